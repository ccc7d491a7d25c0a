"""Experience replay: lambda times as many pre-training documents are mixed into the batches (the paper, section 4)."""

from collections.abc import Callable
from math import floor

from .mitigation import Example, Materials, Mitigation

_SLACK = 1e-9  # so that 0.1 * 30 counts as 3


class Replay:
    """Adds documents to the examples of a batch.

    strength: lambda >= 0, documents an example. Where lambda times a batch is no whole number, what is owed is carried
        over, so that the share is right over all batches.
    document: draws a document.
    """

    def __init__(self, strength: float, document: Callable[[], Example]) -> None:
        self.strength, self.document = strength, document
        self.examples = self.documents = 0

    def __call__(self, examples: list[Example]) -> list[Example]:
        self.examples += len(examples)
        owed = floor(self.strength * self.examples + _SLACK) - self.documents
        self.documents += owed
        return examples + [self.document() for _ in range(owed)]


def make(setting: dict, materials: Materials) -> Mitigation:
    """setting: {"strength": lambda >= 0}."""
    return Mitigation(mix=Replay(setting["strength"], materials.document))
