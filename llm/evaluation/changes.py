"""How a metric changes from one model to another on the same items: paired intervals, items lost and gained, verdicts."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..evidence.intervals import percentiles, t_interval
from .measurement import MEAN, Measurement, values

LOWER_IS_BETTER = ("brier", "calibration_error", "self_bleu")


@dataclass(frozen=True)
class Change:
    """A difference with its interval at the stated confidence, two-sided; NaN bounds where there is a single item."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:+.4g} [{self.low:+.4g}, {self.high:+.4g}]"


def paired_change(before: Measurement, after: Measurement, seed: int, confidence: float, resamples: int) -> Change:
    """after - before on the same items, in the metric's own unit.

    Of means of items by Student's t; of others (BLEU, calibration error) by the percentile bootstrap over items. Its draws follow from
    the seed and the number of items alone, so that the same items have the same interval, whatever is compared before them.
    """
    first, second = before.items, after.items
    if before.statistic == MEAN:
        found = t_interval(second - first, confidence)
        return Change(found.mean, found.low, found.high)
    value = after.value - before.value
    if len(first) < 2:
        return Change(value, np.nan, np.nan)
    drawn = np.random.default_rng([seed, 3]).integers(len(first), size=(resamples, len(first)))
    changes = values(second[drawn], after.statistic) - values(first[drawn], before.statistic)
    return Change(value, *percentiles(changes, confidence))


def flips(before: Measurement, after: Measurement) -> tuple[list[int], list[int]]:
    """(items that score less after, items that score more), by their numbers from 0; none of a metric that is no mean of items."""
    if before.statistic != MEAN:
        return [], []
    change: NDArray[np.float64] = after.items - before.items
    return np.flatnonzero(change < 0).tolist(), np.flatnonzero(change > 0).tolist()


def shared(confidence: float, questions: int) -> float:
    """The confidence of each of several intervals that are all to be right at the one stated (Bonferroni)."""
    return 1 - (1 - confidence) / max(1, questions)


def verdicts(
    abilities: Mapping[str, Change], rise: Change | None, alignment: str, clear: Mapping[str, Change] | None = None
) -> list[str]:
    """What can be said of theta against theta_0 from the intervals: which abilities are measurably lower, and which have no interval,
    whether alignment is measurably higher (None: not measured). clear: the abilities' changes at a confidence that is shared between them
    (`shared`), which decide; the same without several.
    """
    clear = abilities if clear is None else clear
    known = {name: change for name, change in abilities.items() if change.high == change.high}
    lower = [f"{name} ({change})" for name, change in known.items() if clear[name].high < 0]
    said = [f"theta pays a tax on {', '.join(lower)}." if lower else NO_TAX] if known else []
    if alone := [name for name in abilities if name not in known]:
        said.append(f"A single item says nothing of a tax: {', '.join(alone)}.")
    if rise is not None and rise.low != rise.low:
        said.append(f"A single prompt says nothing of alignment: {alignment} {rise.value:+.4g}.")
    elif rise is not None and not rise.low > 0:
        said.append(f"theta does not measurably beat theta_0 on the alignment metric: {alignment} {rise}.")
    return said


NO_TAX = "theta pays no measurable tax on these items."
