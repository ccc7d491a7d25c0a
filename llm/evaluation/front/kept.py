"""Shares of theta's rise in the alignment metric that other models keep, with Fieller's intervals (1954) of ratios of means."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def kept_shares(rises: Array, spread: Array, quantile: float) -> tuple[Array, Array, Array]:
    """(lower bounds, estimates, upper bounds) of rises[k] / rises[-1] for each k before the last.

    rises: (models,) means over items, theta's last. spread: (models, models) covariances of these means. quantile: of Student's t.
    The bounds are infinite where the last rise is no further than that from 0.
    """
    above, rise = rises[:-1], rises[-1]
    own, both, of_rise = np.diag(spread)[:-1], spread[:-1, -1], spread[-1, -1]
    square = quantile**2
    a, b, c = rise**2 - square * of_rise, above * rise - square * both, above**2 - square * own
    with np.errstate(divide="ignore", invalid="ignore"):
        estimates = above / rise
        half = np.sqrt(np.maximum(0, b**2 - a * c))
        if a > 0:
            return (b - half) / a, estimates, (b + half) / a
    return np.full_like(b, -np.inf), estimates, np.full_like(b, np.inf)


def margin(points: Array, keep: float) -> Array:
    """By how much each model between the ends is above theta_0 plus `keep` of the rise: (.., points) -> (.., points - 2)."""
    return points[..., 1:-1] - points[..., :1] - keep * (points[..., -1:] - points[..., :1])


def margin_error(spread: Array, keep: float) -> Array:
    """Standard error of each model's `margin`, from the covariances of the rises; (models - 1,)."""
    own, both, of_rise = np.diag(spread)[:-1], spread[:-1, -1], spread[-1, -1]
    return np.sqrt(np.maximum(0, own - 2 * keep * both + keep**2 * of_rise))
