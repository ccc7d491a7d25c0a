"""Which ratio to take: the largest gain in ability at no significant loss of alignment.

Every comparison is with theta (ratio 1) on the same items: a paired bootstrap draws items once for all models. A ratio
is allowed if its loss of alignment is not significant, that is if the upper end of the one-sided interval of its
difference from theta is not below 0. Among those the one with the largest gain, the mean over abilities as shares of
their scales, is recommended. Choosing the best on the items it is measured on flatters it, so the whole procedure is
also run on each resample and scored on the items that were left out: `expected` is what it gains on new items.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...errors import UserError
from ..measurement import full_scale, values


@dataclass(frozen=True)
class Series:
    """One task along the front. items: (points, items) or (points, items, 10), the last point theta's."""

    name: str
    items: NDArray[np.float64]
    statistic: str

    def value(self, chosen: NDArray[np.int64] | slice = slice(None)) -> NDArray[np.float64]:
        """The metric of each point on the chosen items, (points,)."""
        return values(self.items[:, chosen], self.statistic)


@dataclass(frozen=True)
class Change:
    """A difference from theta with its interval at the stated confidence, two-sided."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Recommendation:
    """The ratio, and how sure that is.

    alignment, abilities: changes against theta, in the metrics' own units. gain: mean change of the abilities, as a
    share of their scales. allowed: the ratios without a significant loss. chosen: ratio -> how often the procedure
    chose it on resampled items. expected: its gain on items it did not see.
    """

    alpha: float
    confidence: float
    alignment: Change
    abilities: dict[str, Change]
    gain: Change
    expected: Change
    allowed: list[float]
    chosen: dict[float, float]


def recommend(
    alphas: Sequence[float],
    alignment: Series,
    abilities: Sequence[Series],
    rng: np.random.Generator,
    confidence: float = 0.95,
    resamples: int = 1000,
) -> Recommendation:
    """The recommended ratio among `alphas`, whose last is 1 (theta).

    Raises UserError unless 0.5 <= confidence < 1, there is an ability, and each task has at least 5 items.
    """
    _check(alphas, alignment, abilities, confidence, resamples)
    tasks, scales = [alignment, *abilities], [full_scale(task.statistic) for task in abilities]
    full = np.array([_change(task.value()) for task in tasks])  # (tasks, points)
    seen, unseen = _resampled(tasks, rng, resamples)  # (resamples, tasks, points) each
    slack = np.quantile(seen[:, 0], confidence, axis=0) - full[0]
    gain, drawn, left = (_gain(changes, scales) for changes in (full, seen, unseen))
    allowed = full[0] + slack >= 0
    best = _best(gain, allowed)
    picks = np.array([_best(g, change + slack >= 0) for g, change in zip(drawn, seen[:, 0], strict=True)])
    interval = _Interval(confidence)
    return Recommendation(
        alpha=alphas[best],
        confidence=confidence,
        alignment=interval(full[0, best], seen[:, 0, best]),
        abilities={t.name: interval(full[k, best], seen[:, k, best]) for k, t in enumerate(abilities, 1)},
        gain=interval(gain[best], drawn[:, best]),
        expected=interval(left[range(resamples), picks].mean(), left[range(resamples), picks]),
        allowed=[alpha for alpha, fine in zip(alphas, allowed, strict=True) if fine],
        chosen={alpha: float((picks == k).mean()) for k, alpha in enumerate(alphas)},
    )


def _check(alphas, alignment: Series, abilities: Sequence[Series], confidence: float, resamples: int) -> None:
    if not 0.5 <= confidence < 1:
        raise UserError(f"confidence is {confidence}, allowed are numbers from 0.5 to below 1.")
    if resamples < 2:
        raise UserError(f"resamples is {resamples}, allowed are whole numbers from 2.")
    if not abilities:
        raise UserError("tasks has no ability beside the alignment metric; give at least one.")
    if alphas[-1] != 1:
        raise ValueError(f"alphas ends with {alphas[-1]}; the last point must be theta, ratio 1")
    for task in [alignment, *abilities]:
        if task.items.shape[1] < 5:
            raise UserError(f"{task.name} has {task.items.shape[1]} items, allowed are at least 5.")


def _resampled(tasks: Sequence[Series], rng: np.random.Generator, resamples: int) -> tuple[NDArray, NDArray]:
    """Changes against theta on drawn items, and on those left out: (resamples, tasks, points) each.

    Only draws that leave out an item of every task count (with few items one may take them all).
    """
    seen: list[list] = []
    unseen: list[list] = []
    while len(seen) < resamples:
        draws = [rng.integers(task.items.shape[1], size=(task.items.shape[1],)) for task in tasks]
        rest = [np.setdiff1d(np.arange(len(draw)), draw) for draw in draws]
        if all(len(left) for left in rest):
            seen.append([_change(task.value(draw)) for task, draw in zip(tasks, draws, strict=True)])
            unseen.append([_change(task.value(left)) for task, left in zip(tasks, rest, strict=True)])
    return np.array(seen), np.array(unseen)


def _change(points: NDArray[np.float64]) -> NDArray[np.float64]:
    return points - points[-1]


def _gain(changes: NDArray[np.float64], scales: Sequence[float]) -> NDArray[np.float64]:
    """Mean change of the abilities as shares of their scales: (.., 1 + abilities, points) -> (.., points)."""
    return (changes[..., 1:, :] / np.array(scales)[:, None]).mean(axis=-2)


def _best(gain: NDArray[np.float64], allowed: NDArray[np.bool_]) -> int:
    """Index of the largest gain among the allowed, of equals the one nearest to theta; theta itself always is."""
    allowed = np.append(allowed[:-1], True)
    masked = np.where(allowed, gain, -np.inf)
    return int(np.flatnonzero(masked == masked.max())[-1])


@dataclass(frozen=True)
class _Interval:
    confidence: float

    def __call__(self, value: float, draws: NDArray[np.float64]) -> Change:
        low, high = np.quantile(draws, [(1 - self.confidence) / 2, (1 + self.confidence) / 2])
        return Change(float(value), float(low), float(high))
