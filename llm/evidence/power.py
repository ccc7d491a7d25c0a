"""How many seeds a comparison needs: the power of Student's t test and of two one-sided tests.

The spread and the difference that were found are taken for the true ones, so what comes out is a plan, no result.
"""

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import nctdtr, stdtrit

ALPHA, WANTED = 0.05, 0.80
MOST = 1000  # seeds: nobody will run more
FAR = 30.0  # standard errors


def power_of_t(seeds: int, effect: float) -> float:
    """The chance that a two-sided t test at 5 % finds a mean of `effect` standard deviations, over `seeds` seeds."""
    quantile = stdtrit(seeds - 1, 1 - ALPHA / 2)
    return _above(seeds, abs(effect), quantile) + _above(seeds, -abs(effect), quantile)


def power_of_equivalence(seeds: int, effect: float, margin: float) -> float:
    """The chance that the 90 % interval lies inside +-margin, a lower bound; effect and margin in standard deviations."""
    quantile = stdtrit(seeds - 1, 1 - ALPHA)
    return max(_above(seeds, margin + effect, quantile) + _above(seeds, margin - effect, quantile) - 1, 0.0)


def _above(seeds: int, effect: float, quantile: float) -> float:
    """The chance that the t statistic of a mean of `effect` standard deviations is above a quantile."""
    shift = effect * np.sqrt(seeds)
    if abs(shift) > FAR:  # where scipy's non-central t has no numbers any more
        return float(shift > 0)
    return float(1 - nctdtr(seeds - 1, shift, quantile))


def seeds_needed(values: ArrayLike, bound: float = 0.0, margin: float | None = None) -> int | None:
    """The smallest number of seeds that decides with a chance of 80 %: the mean is on one side of the bound, or within the
    margin around it. `values` are differences, (seeds,); None with one seed, or where more than `MOST` are needed.
    """
    values = np.asarray(values, dtype=np.float64) - bound
    if values.size < 2 or not (spread := values.std(ddof=1)) > 0:
        return None
    effect, room = values.mean() / spread, None if margin is None else margin / spread

    def decides(seeds: int) -> bool:
        equivalent = 0.0 if room is None else power_of_equivalence(seeds, effect, room)
        return max(power_of_t(seeds, effect), equivalent) >= WANTED

    if not decides(MOST):
        return None
    enough, too_few = MOST, 1  # both powers grow with the seeds
    while enough - too_few > 1:
        middle = (enough + too_few) // 2
        enough, too_few = (middle, too_few) if decides(middle) else (enough, middle)
    return enough
