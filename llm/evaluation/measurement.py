"""What a measured number is, whoever measured it, so that values, errors and paired differences come from the same items."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .metrics import corpus_bleu

MEAN, BLEU = "mean", "bleu"
_RESAMPLES = 200  # for the standard error of a corpus metric


@dataclass(frozen=True)
class Measurement:
    """A metric's value with its standard error over n items, None where it is not known.

    items: what each item contributed, if that is kept: (n,) values whose mean is the value, or (n, 10) statistics of
    sentences whose sum makes corpus BLEU. statistic: "mean" or "bleu".
    """

    value: float
    stderr: float | None
    n: int
    items: NDArray[np.float64] | None = None
    statistic: str = MEAN

    @classmethod
    def of(
        cls, items: NDArray[np.float64], statistic: str = MEAN, rng: np.random.Generator | None = None
    ) -> "Measurement":
        """The error is not known of a single item, nor of BLEU without random numbers for its bootstrap over sentences."""
        value = float(values(items[None], statistic)[0])
        return cls(value, _error(items, statistic, rng), len(items), items, statistic)


def values(items: NDArray[np.float64], statistic: str) -> NDArray[np.float64]:
    """The metric of each point: (points, items) or (points, items, 10) -> (points,); BLEU in [0, 100]."""
    return items.mean(axis=1) if statistic == MEAN else np.array([corpus_bleu(point) for point in items])


def full_scale(statistic: str) -> float:
    """What one unit of a share of the metric's whole scale is, so that abilities can be added up."""
    return 100.0 if statistic == BLEU else 1.0


def _error(items: NDArray[np.float64], statistic: str, rng: np.random.Generator | None) -> float | None:
    count = len(items)
    if count < 2 or (statistic == BLEU and rng is None):
        return None
    if statistic == MEAN:
        return float(items.std(ddof=1) / np.sqrt(count))
    drawn = rng.integers(count, size=(_RESAMPLES, count))
    return float(np.std([corpus_bleu(items[rows]) for rows in drawn], ddof=1))
