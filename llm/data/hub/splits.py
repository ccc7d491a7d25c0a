"""Splits that never share a prompt, whatever the order of the rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Generic, TypeVar

from ..records import Conversation, Preference, Prompt, turns_of

Record = TypeVar("Record", Conversation, Preference)


@dataclass(frozen=True)
class Splits(Generic[Record]):
    """Records for training, validation and test; `in_test` training records were left out, as the test asks the same."""

    train: list[Record]
    validation: list[Record]
    test: list[Record]
    in_test: int

    def summary(self, name: str) -> str:
        """One line with the sizes."""
        sizes = f"{len(self.train)} train, {len(self.validation)} validation, {len(self.test)} test"
        return f"{name}: {sizes}; left out of training {self.in_test} with a prompt of the test split"


def split(train: Sequence[Record], test: Sequence[Record], validation: float) -> Splits[Record]:
    """Take about the share `validation`, in [0, 1], out of `train`; `test` (empty where the source has none) stays whole.

    A record's side depends on the first user turn only, by its hash. So not only the same prompt stays on one side, but
    also a conversation that begins another one.
    """
    asked = {turns_of(record.prompt) for record in test}
    fresh = [record for record in train if turns_of(record.prompt) not in asked]
    held_out = [record for record in fresh if _position(record.prompt) < validation]
    kept = [record for record in fresh if _position(record.prompt) >= validation]
    return Splits(kept, held_out, list(test), len(train) - len(fresh))


def distinct_prompts(records: Sequence[Record]) -> tuple[list[Prompt], int]:
    """(every prompt once, in the order of first appearance; how many records repeat one)."""
    prompts = list(dict.fromkeys(turns_of(record.prompt) for record in records))
    return prompts, len(records) - len(prompts)


def _position(prompt: Prompt) -> float:
    """A number in [0, 1) that the first user turn decides."""
    opening = next(turn.content for turn in turns_of(prompt) if turn.role == "user")
    return int.from_bytes(sha256(opening.encode()).digest()[:6]) / 2**48
