"""What averaging two folders did."""

import re
from dataclasses import dataclass, field
from math import prod
from typing import Any

from ..precision import Effect

_NUMBER = re.compile(r"([0-9]+)")


@dataclass(frozen=True)
class Report:
    """What `average_files` did.

    kind: "model", "adapter" or "merged adapter". method: its name; options: their values.
    groups: label -> ratio; tensors: name -> (label, ratio, shape); notes: sentences.
    hashes: "theta_0", "theta", of soups "with_1" .. and, of methods that take it, "theta_pre" -> file name -> SHA-256.
    formula: the merged weight in words. details: what else the method was given and found; "soup": model -> its share in theta. effect: `precision.Effect`, as JSON
    has it. dtype: the types of the floating tensors that were written. rounding: how values were rounded to them.
    """

    kind: str
    method: str
    options: dict[str, object]
    groups: dict[str, float]
    grouping: dict[str, object] | None
    tensors: dict[str, tuple[str, float, tuple[int, ...]]]
    notes: list[str]
    hashes: dict[str, dict[str, str]]
    formula: str = ""
    details: dict[str, object] = field(default_factory=dict)
    effect: dict[str, Any] = field(default_factory=dict)
    dtype: str = ""
    rounding: str = "nearest"

    @property
    def rounded(self) -> str:
        """What rounding did, in words."""
        weights = "the adapter's scaled weights" if self.kind == "adapter" else "the weights"
        return f"{self.dtype}, rounding {self.rounding}: {Effect.of(self.effect).sentence(weights)}"

    def coverage(self) -> list[tuple[str, float, int, int]]:
        """(label, ratio, number of tensors, number of values) per label and ratio; labels by their numbers, 2 before 10."""
        rows: dict[tuple[str, float], list[int]] = {}
        for label, ratio, shape in self.tensors.values():
            row = rows.setdefault((label, ratio), [0, 0])
            row[0] += 1
            row[1] += prod(shape)
        found = ((label, ratio, tensors, size) for (label, ratio), (tensors, size) in rows.items())
        return sorted(
            found, key=lambda row: ([int(part) if part.isdecimal() else part for part in _NUMBER.split(row[0])], row[1])
        )
