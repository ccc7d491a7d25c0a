"""Intervals over seeds: of a mean (Student's t), of a ratio of means (Fieller), of a difference near a ceiling (logits), and the
bootstrap; and the p-values that belong to them.

The quantiles of t are those of scipy.special. scipy.stats has the same (`t.interval`, `ttest_1samp`; the tests compare), but its
import takes a second, more than all the rest of a command that reads rows, and it knows no single seed.

`inflation` multiplies the squared standard error: seeds whose numbers depend on each other, because what they are told at was
chosen on the other seeds, have a mean that varies more than their spread says (`cross_chosen`).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, logit, stdtr, stdtrit

LEVEL, INNER = 0.95, 0.90  # of the interval that a verdict rests on, and of that of two one-sided tests at 5 %
FLIPS_FROM = 8  # seeds: with fewer, no sign-flip test can give a p-value below .01
FLIPS_UPTO = 20  # seeds of which every flip is looked at
FLIPS = 2**16  # that are drawn of more seeds


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


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % (`outer`) and 90 % (`inner`) intervals.

    p: two-sided, of the hypothesis that the number is the bound that it was tested against; None with one seed.
    sign_flip: the same by the exact sign-flip test; None with fewer than `FLIPS_FROM` seeds.
    """

    outer: Interval
    inner: Interval
    p: float | None
    sign_flip: float | None


def cross_chosen(seeds: int, chosen: bool) -> float:
    """The inflation for what was chosen on the other seeds: 1 + n / (n - 1) (Nadeau and Bengio 2003, for training sets that
    overlap), whether or not the seeds' choices agree; 1 where there was one candidate, or with a single seed.
    """
    return 1 + seeds / (seeds - 1) if chosen and seeds > 1 else 1.0


def chosen_elsewhere(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Of values (candidates, seeds, levels) those of the candidate that is best on the other seeds, (seeds, levels), and its place.

    Candidates at a level are those that have a value there on every seed; NaN where there is none. A single seed chooses for itself.
    """
    reached = np.isfinite(values).all(axis=1, keepdims=True)
    others = values.sum(axis=1, keepdims=True) - values if values.shape[1] > 1 else values
    best = np.where(reached, others, -np.inf).argmax(axis=0)
    chosen = np.take_along_axis(values, best[None], axis=0)[0]
    return np.where(reached.any(axis=0), chosen, np.nan), best


def of_mean(values: ArrayLike, bound: float = 0.0, inflation: float = 1.0) -> Estimate:
    """The mean of paired differences, (seeds,), tested against a bound."""
    values = _checked(values)
    outer, inner = (t_interval(values, level, inflation) for level in (LEVEL, INNER))
    flips = sign_flip_test(values - bound) if inflation == 1 else None
    return Estimate(outer, inner, p_value(values - bound, inflation), flips)


def of_ratio(numerators: ArrayLike, denominators: ArrayLike, inflation: float = 1.0) -> Estimate:
    """The ratio of two means over seeds, (seeds,) each, tested against 0: that is a test of the numerators alone."""
    numerators = _checked(numerators)
    outer, inner = (ratio_of_means(numerators, denominators, level, inflation) for level in (LEVEL, INNER))
    flips = sign_flip_test(numerators) if inflation == 1 else None
    return Estimate(outer, inner, p_value(numerators, inflation), flips)


def of_logits(first: ArrayLike, second: ArrayLike, items: int, inflation: float = 1.0) -> Estimate:
    """first - second, shares in [0, 1] of `items` items, (seeds,) each, tested against 0 on the logit scale.

    Near a ceiling a difference of shares is skewed, and Student's interval reaches beyond 1; the difference of logits does
    neither. It is told in shares again, from the mean of `second`. A share of 0 or 1 counts as half an item off it.
    """
    shares = [(_checked(values) * items + 0.5) / (items + 1) for values in (first, second)]
    differences, middle = logit(shares[0]) - logit(shares[1]), float(logit(shares[1]).mean())

    def told(number: ArrayLike) -> NDArray:
        return expit(middle + np.asarray(number)) - expit(middle)

    def at(level: float) -> Interval:
        found = t_interval(differences, level, inflation)
        mean, low, high = (float(told(number)) for number in (found.mean, found.low, found.high))
        return Interval(mean, low, high, told(differences))

    flips = sign_flip_test(differences) if inflation == 1 else None
    return Estimate(at(LEVEL), at(INNER), p_value(differences, inflation), flips)


def t_interval(values: ArrayLike, level: float = LEVEL, inflation: float = 1.0) -> Interval:
    """Student's t interval of the mean of independent values (seeds,); with one value the bounds are NaN."""
    per_seed = _checked(values)
    mean, n = float(per_seed.mean()), per_seed.size
    half = stdtrit(n - 1, (1 + level) / 2) * per_seed.std(ddof=1) * np.sqrt(inflation / n) if n > 1 else np.nan
    return Interval(mean, mean - half, mean + half, per_seed)


def ratio_of_means(
    numerators: ArrayLike, denominators: ArrayLike, level: float = LEVEL, inflation: float = 1.0
) -> Interval:
    """mean(numerators) / mean(denominators) over seeds, (seeds,) each, paired, with Fieller's interval.

    The interval holds the ratios r for which mean(numerators - r denominators) is not distinguishable from 0. Where the mean
    of the denominators is not itself distinguishable from 0 these are no bounded interval: the bounds are then -inf and inf.
    With one seed they are NaN. `per_seed` is numerators / mean(denominators), whose mean is the ratio.
    """
    above, below = _checked(numerators), _checked(denominators)
    n, means = above.size, np.array([above.mean(), below.mean()])
    per_seed = above / means[1]
    if n == 1:
        return Interval(float(per_seed[0]), np.nan, np.nan, per_seed)
    spread = np.cov(above, below) * inflation / n
    low, ratio, high = (float(of[0]) for of in fieller(means, spread, stdtrit(n - 1, (1 + level) / 2)))
    return Interval(ratio, low, high, per_seed)


def fieller(means: NDArray, spread: NDArray, quantile: float) -> tuple[NDArray, NDArray, NDArray]:
    """(lower bounds, estimates, upper bounds) of means[k] / means[-1] for each k before the last (Fieller 1954).

    means: (numbers,); spread: (numbers, numbers), their covariances; quantile: of Student's t. The bounds are the roots of a
    quadratic, and infinite where the last mean is within `quantile` standard errors of 0.
    """
    above, below = means[:-1], means[-1]
    own, both, of_last = np.diag(spread)[:-1], spread[:-1, -1], spread[-1, -1]
    a, b, c = below**2 - quantile**2 * of_last, above * below - quantile**2 * both, above**2 - quantile**2 * own
    with np.errstate(divide="ignore", invalid="ignore"):
        estimates = above / below
    if a <= 0:
        return np.full_like(b, -np.inf), estimates, np.full_like(b, np.inf)
    half = np.sqrt(np.maximum(0, b**2 - a * c))
    return (b - half) / a, estimates, (b + half) / a


def p_value(values: ArrayLike, inflation: float = 1.0) -> float | None:
    """Two-sided p-value of Student's t test that the mean over seeds is 0; None with one seed. Where all seeds agree: 0, or 1 at 0."""
    values = _checked(values)
    if values.size == 1:
        return None
    error = values.std(ddof=1) * np.sqrt(inflation / values.size)
    if error <= 1e-12 * max(abs(values.mean()), 1e-300):
        return float(values.mean() == 0)
    return float(2 * stdtr(values.size - 1, -abs(values.mean()) / error))


def sign_flip_test(values: ArrayLike) -> float | None:
    """Two-sided p-value of the exact test that flips the signs of the seeds' differences; None below `FLIPS_FROM` seeds.

    It assumes that differences are as often positive as negative if nothing is true, and no normal distribution. Above
    `FLIPS_UPTO` seeds flips are drawn, by a generator of the call's own. (`scipy.stats.permutation_test` does the same a hundred times
    as slowly, since it makes a list of all flips.)
    """
    values = _checked(values)
    if values.size < FLIPS_FROM:
        return None
    if values.size > FLIPS_UPTO:
        signs = np.random.default_rng(0).choice((-1.0, 1.0), (FLIPS, values.size))
        sums = np.append(signs @ values, values.sum())
    else:
        sums = values[:1]  # the first sign stays: with all others turned it is the same flip, on the other side
        for value in values[1:]:
            sums = np.concatenate([sums + value, sums - value])
    return float(np.mean(abs(sums) >= abs(values.sum()) - 1e-12 * abs(values).sum()))


def _checked(values: ArrayLike) -> NDArray[np.float64]:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or array.size == 0 or not np.isfinite(array).all():
        raise ValueError(f"values = {array} must be a non-empty list of finite numbers")
    return array


def percentile_interval(per_seed: NDArray[np.float64], draws: ArrayLike) -> Interval:
    """The mean of `per_seed`, and the interval that holds 95 % of `draws`."""
    return Interval(float(per_seed.mean()), *percentiles(draws), per_seed)


def percentiles(draws: ArrayLike, level: float = LEVEL) -> tuple[float, float]:
    """The bounds that hold a share `level` of `draws`, and as many below as above."""
    low, high = np.quantile(np.asarray(draws), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def check_bootstrap(rng: np.random.Generator, resamples: int, items: int) -> None:
    """TypeError without a Generator; ValueError where nothing would be drawn."""
    if not isinstance(rng, np.random.Generator):
        raise TypeError(f"rng = {rng!r} must be a numpy Generator")
    if resamples < 1:
        raise ValueError(f"resamples = {resamples} must be at least 1")
    if items < 1:
        raise ValueError(f"there are {items} items; a bootstrap needs at least 1")
