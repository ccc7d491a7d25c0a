"""Rows turned into records, with a count of those that gave none and why."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

from ...errors import UserError

Record = TypeVar("Record")


class Malformed(Exception):
    """A row that gives no record. Its text is the reason, the same for all rows of a kind, as reports count by it."""


@dataclass(frozen=True)
class Parsed(Generic[Record]):
    """The records of a data set in the order of its rows, and reason -> how many of the `rows` gave none."""

    name: str
    records: list[Record]
    rows: int
    left_out: Counter[str]

    def summary(self) -> str:
        """One line: how many records and rows, and what was left out, the most frequent reason first."""
        line = f"{self.name}: {len(self.records)} records from {self.rows} rows"
        if not self.left_out:
            return line
        reasons = sorted(self.left_out.items(), key=lambda item: (-item[1], item[0]))
        return f"{line}; left out {self.left_out.total()}: " + ", ".join(
            f"{reason} {count}" for reason, count in reasons
        )


def parse(
    name: str, rows: Iterable[dict], record: Callable[[dict], Record], limit: int | None = None
) -> Parsed[Record]:
    """Apply `record`, which raises `Malformed`, to every row, or until there are `limit` records.

    Raises UserError if no row gives a record.
    """
    records, read, left_out = [], 0, Counter()
    for row in rows:
        read += 1
        try:
            records.append(record(row))
        except Malformed as reason:
            left_out[str(reason)] += 1
        if len(records) == limit:
            break
    parsed = Parsed(name, records, read, left_out)
    if not records:
        raise UserError(f"nothing to use in {parsed.summary()}.")
    return parsed


def text_of(row: dict, key: str) -> str:
    """The text under `key`, which may be empty. Malformed if there is none."""
    if not isinstance(row.get(key), str):
        raise Malformed(f"{key} is no text")
    return row[key]
