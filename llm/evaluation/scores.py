"""What a task gives for each item, so that values, errors and paired differences all come from the same
numbers.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .metrics import bleu_statistics, corpus_bleu

MEAN, BLEU = "mean", "bleu"
_RESAMPLES = 200  # for the standard error of a corpus metric


@dataclass(frozen=True)
class Scores:
    """A task's items for one model.

    items: (items,) values whose mean counts, or (items, 10) sentence statistics whose sum makes corpus BLEU.
    statistic: "mean" or "bleu".
    """

    items: NDArray[np.float64]
    statistic: str = MEAN

    def value(self) -> float:
        return float(values(self.items[None], self.statistic)[0])

    def stderr(self, rng: np.random.Generator) -> float | None:
        """Standard error over the items; None for a single one."""
        count = len(self.items)
        if count < 2:
            return None
        if self.statistic == MEAN:
            return float(self.items.std(ddof=1) / np.sqrt(count))
        draws = [self.items[rng.integers(count, size=count)] for _ in range(_RESAMPLES)]
        return float(values(np.stack(draws), BLEU).std(ddof=1))


def values(items: NDArray[np.float64], statistic: str) -> NDArray[np.float64]:
    """The metric of each point: (points, items) or (points, items, 10) -> (points,); BLEU in [0, 100]."""
    return items.mean(axis=1) if statistic == MEAN else np.array([corpus_bleu(point) for point in items])


def full_scale(statistic: str) -> float:
    """What one unit of a share of the metric's whole scale is, so that abilities can be added up."""
    return 100.0 if statistic == BLEU else 1.0


def sentence_statistics(replies: list[str], references: list[str]) -> NDArray[np.float64]:
    """(sentences, 10): what corpus BLEU is made of (`llm.evaluation.metrics`), for text as people write it (sacrebleu's 13a)."""
    return bleu_statistics(replies, references, tokenize="13a").astype(np.float64)
