"""Every text belongs to one part for good, whatever else is read and in whatever order."""

from collections.abc import Callable, Iterable, Mapping
from hashlib import sha256
from types import MappingProxyType
from typing import TypeVar

Row = TypeVar("Row")
Ends = Mapping[str, float]  # part -> where it ends in [0, 1], the parts in order

# `train` for what learns from labelled items, `validation` for choosing how they are asked, `test` for what is reported
ITEMS: Ends = MappingProxyType({"train": 0.2, "validation": 0.4, "test": 1.0})
PROMPTS: Ends = MappingProxyType({"train": 0.75, "test": 1.0})


def part_of(text: str, ends: Ends) -> str:
    """The part of a text, by its hash."""
    place = place_of(text)
    return next(part for part, end in ends.items() if place < end)


def belonging(rows: Iterable[Row], part: str, ends: Ends, key: Callable[[Row], str]) -> list[Row]:
    """The rows whose `key` is a text of `part`, in an order that looks random; rows with the same key stand together."""
    return sorted((row for row in rows if part_of(key(row), ends) == part), key=lambda row: place_of(key(row)))


def place_of(text: str) -> float:
    """A number in [0, 1)."""
    return int.from_bytes(sha256(text.encode()).digest()[:6]) / 2**48
