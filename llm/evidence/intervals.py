"""Intervals of means over seeds: Student's t, and the bootstrap.

Both are ours and not scipy's: `scipy.stats.ttest_1samp(...).confidence_interval()` and `scipy.stats.bootstrap` give the same
numbers but for the last digits, warn where all seeds agree, and know no single seed; and scipy.stats takes longest to import.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtrit

LEVEL = 0.95


@dataclass(frozen=True)
class Interval:
    """A mean difference with its 95 % interval; NaN bounds where there is a single seed. `per_seed` is (seeds,)."""

    mean: float
    low: float
    high: float
    per_seed: NDArray[np.float64]

    @property
    def verdict(self) -> str:
        """Where the interval excludes 0 "above" or "below", else "undecided"."""
        return "above" if self.low > 0 else "below" if self.high < 0 else "undecided"

    @property
    def standard_errors(self) -> float:
        """The mean in standard errors over seeds; NaN with one seed."""
        n = len(self.per_seed)
        return float(self.per_seed.mean() / (self.per_seed.std(ddof=1) / np.sqrt(n))) if n > 1 else np.nan


def t_interval(values: ArrayLike, level: float = LEVEL) -> Interval:
    """Student's t interval of the mean of independent values (seeds,); with one value the bounds are NaN."""
    per_seed = np.asarray(values, dtype=np.float64)
    if per_seed.ndim != 1 or per_seed.size == 0 or not np.isfinite(per_seed).all():
        raise ValueError(f"values = {per_seed} must be a non-empty list of finite numbers")
    mean, n = float(per_seed.mean()), per_seed.size
    half = stdtrit(n - 1, (1 + level) / 2) * per_seed.std(ddof=1) / np.sqrt(n) if n > 1 else np.nan
    return Interval(mean, mean - half, mean + half, per_seed)


def bootstrap_seeds(differences: ArrayLike, rng: np.random.Generator, resamples: int = 10_000) -> Interval:
    """The mean of paired differences, (seeds,), with its percentile interval over seeds drawn again.

    Too narrow with few seeds (it never reaches beyond the smallest and the largest difference): read it beside `t_interval`.
    With one seed the bounds are NaN.
    """
    per_seed = np.asarray(differences, dtype=np.float64)
    check_bootstrap(rng, resamples, per_seed.size)
    if per_seed.size == 1:
        return Interval(float(per_seed[0]), np.nan, np.nan, per_seed)
    return percentile_interval(per_seed, rng.choice(per_seed, size=(resamples, per_seed.size)).mean(axis=1))


def percentile_interval(per_seed: NDArray[np.float64], draws: ArrayLike) -> Interval:
    """The mean of `per_seed`, and the interval that holds 95 % of `draws`."""
    low, high = np.quantile(np.asarray(draws), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(per_seed.mean()), float(low), float(high), per_seed)


def check_bootstrap(rng: np.random.Generator, resamples: int, items: int) -> None:
    """TypeError without a Generator; ValueError where nothing would be drawn."""
    if not isinstance(rng, np.random.Generator):
        raise TypeError(f"rng = {rng!r} must be a numpy Generator")
    if resamples < 1:
        raise ValueError(f"resamples = {resamples} must be at least 1")
    if items < 1:
        raise ValueError(f"there are {items} items; a bootstrap needs at least 1")
