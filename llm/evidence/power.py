"""How many seeds a comparison needs: the power of Student's t test and of two one-sided tests.

The spread and the difference that were found are taken for the true ones, so what comes out is a plan, no result.
"""

from bisect import bisect_left

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import gammaincinv, nctdtr, ndtr, stdtrit

from .intervals import cross_chosen

ALPHA, WANTED = 0.05, 0.80
MOST = 1000  # seeds: nobody will run more
FAR = 30.0  # standard errors
SPREADS = (np.arange(400) + 0.5) / 400  # quantiles


def power_of_t(seeds: int, effect: float) -> float:
    """The chance that a two-sided t test at 5 % finds a mean of `effect` standard deviations, over `seeds` seeds."""
    quantile = stdtrit(seeds - 1, 1 - ALPHA / 2)
    return _above(seeds, abs(effect), quantile) + _above(seeds, -abs(effect), quantile)


def power_of_equivalence(seeds: int, effect: float, margin: float) -> float:
    """The chance that the 90 % interval lies inside +-margin; effect and margin in standard deviations.

    For each spread that the seeds may have, drawn evenly from its distribution, the chance that the mean lies within the
    margin by more than half the interval's width.
    """
    df, quantile = seeds - 1, stdtrit(seeds - 1, 1 - ALPHA)
    half = quantile * np.sqrt(2 * gammaincinv(df / 2, SPREADS) / df)  # of the interval, in standard errors
    above, below = (np.sqrt(seeds) * (margin + sign * effect) - half for sign in (1, -1))
    return float(np.maximum(ndtr(above) - ndtr(-below), 0.0).mean())


def _above(seeds: int, effect: float, quantile: float) -> float:
    """The chance that the t statistic of a mean of `effect` standard deviations is above a quantile."""
    shift = effect * np.sqrt(seeds)
    if abs(shift) > FAR:  # where scipy's non-central t has no numbers any more
        return float(shift > 0)
    return float(1 - nctdtr(seeds - 1, shift, quantile))


def seeds_needed(
    values: ArrayLike, bound: float = 0.0, margin: float | None = None, chosen: bool = False
) -> int | None:
    """The smallest number of seeds that decides with a chance of 80 %: the mean is on one side of the bound, or within the
    margin around it. `values` are differences, (seeds,). chosen: whether something is chosen on the other seeds, which multiplies the
    squared error by what goes with the number planned (`cross_chosen`). None with one seed, or where more than `MOST` are needed.
    """
    values = np.asarray(values, dtype=np.float64) - bound
    if values.size < 2 or not (found_spread := values.std(ddof=1)) > 0:
        return None

    def decides(seeds: int) -> bool:
        spread = found_spread * np.sqrt(cross_chosen(seeds, chosen))
        effect = values.mean() / spread
        equivalent = 0.0 if margin is None else power_of_equivalence(seeds, effect, margin / spread)
        return max(power_of_t(seeds, effect), equivalent) >= WANTED

    found = 2 + bisect_left(range(2, MOST + 1), True, key=decides)  # both powers grow with the seeds
    return found if found <= MOST else None
