"""Rows turned into records, with a count of those that gave none and why, and splits that share no prompt."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Generic, TypeVar

from ...errors import UserError
from ..records import Conversation, Preference, Prompt, Turn, turns_of

Record = TypeVar("Record")
Asked = TypeVar("Asked", Conversation, Preference)


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
        listed = ", ".join(f"{reason} {count}" for reason, count in reasons)
        return f"{line}; left out {self.left_out.total()}: {listed}"


def parse(name: str, rows: Iterable[dict], record: Callable[[dict], Record]) -> Parsed[Record]:
    """Apply `record`, which raises `Malformed`, to every row; UserError if no row gives a record."""
    left_out: Counter[str] = Counter()
    records, read = [], 0
    for row in rows:
        read += 1
        try:
            records.append(record(row))
        except Malformed as reason:
            left_out[str(reason)] += 1
    parsed = Parsed(name, records, read, left_out)
    if not records:
        raise UserError(f"nothing to use in {parsed.summary()}.")
    return parsed


def text_of(row: dict, key: str) -> str:
    """The text under `key`, which may be empty. Malformed if there is none."""
    if not isinstance(row.get(key), str):
        raise Malformed(f"{key} is no text")
    return row[key]


def split_reply(turns: Sequence[Turn]) -> tuple[tuple[Turn, ...], str]:
    """(the turns before, the assistant's last reply) of a whole conversation.

    A system turn may come first; then user and assistant alternate, beginning with the user and ending with the
    assistant, and no turn is empty. Raises Malformed with the first of these that does not hold.
    """
    spoken = list(turns[1:] if turns and turns[0].role == "system" else turns)
    if any(turn.role == "system" for turn in spoken):
        raise Malformed("system turn after the first")
    if not spoken or spoken[0].role != "user":
        raise Malformed("does not begin with the user")
    if any(one.role == next_one.role for one, next_one in pairwise(spoken)):
        raise Malformed("two turns of one side in a row")
    if spoken[-1].role != "assistant":
        raise Malformed("no final assistant turn")
    if not spoken[-1].content:
        raise Malformed("empty reply")
    if not all(turn.content for turn in turns):
        raise Malformed("empty turn")
    return tuple(turns[:-1]), spoken[-1].content


def without_prompts_of(test: Sequence[Asked], train: Sequence[Asked]) -> list[Asked]:
    """The training records whose prompt is no prompt of the test's."""
    asked = {turns_of(record.prompt) for record in test}
    return [record for record in train if turns_of(record.prompt) not in asked]


def distinct_prompts(records: Sequence[Asked]) -> list[Prompt]:
    """Every prompt once, in the order of first appearance."""
    return list(dict.fromkeys(turns_of(record.prompt) for record in records))
