"""Curves: reward against ability along a path of models, and how two methods' curves are compared.

A *curve* is what a method offers for one seed: the models along its path (the ratio alpha from 0 to 1, or the RLHF iterations),
in the order of the path. It is cut at its highest reward, since beyond that point the path only loses. Two curves are compared at
equal reward, by linear interpolation between neighbours *on the path*: points are never sorted by reward, so a path that folds
back is not mistaken for a front. Nothing is extended: outside the rewards that a curve was measured at its ability is unknown
(NaN), and only the common range of two curves is compared; what one of them reaches beyond it shows in the hypervolume instead.

Differences are paired over seeds (Student's t). Where rows keep their items, a bootstrap draws the items again, the same for both
models: two models that were given the same items differ less by luck than two that were given different ones.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import UserError
from .intervals import Interval, check_bootstrap, percentile_interval, t_interval

CHUNK = 50  # draws of a bootstrap at a time, whose numbers fit the cache


@dataclass(frozen=True)
class Curve:
    """Models along a path: `rewards` and `abilities`, both (points,), in the order of the path, finite."""

    rewards: NDArray[np.float64]
    abilities: NDArray[np.float64]

    def __post_init__(self) -> None:
        for name in ("rewards", "abilities"):
            values = np.asarray(getattr(self, name), dtype=np.float64)
            if values.ndim != 1 or values.size == 0 or not np.isfinite(values).all():
                raise ValueError(f"{name} = {values} must be a non-empty list of finite numbers")
            object.__setattr__(self, name, values)
        if self.rewards.shape != self.abilities.shape:
            points, wanted = self.abilities.size, self.rewards.size
            raise ValueError(f"abilities has {points} points but must have {wanted}, as rewards")

    def cut(self) -> "Curve":
        """The path up to its highest reward (the first of equals), that point included."""
        end = int(np.argmax(self.rewards)) + 1
        return self if end == self.rewards.size else Curve(self.rewards[:end], self.abilities[:end])

    def at(self, rewards: ArrayLike) -> NDArray[np.float64]:
        """Ability at the given rewards, shape as given: the best crossing of the cut path, NaN where it has none."""
        grid = np.asarray(rewards, dtype=np.float64)
        return _at(self.rewards, self.abilities, grid.reshape(-1)).reshape(grid.shape)


def _at(rewards: NDArray, abilities: NDArray, grid: NDArray) -> NDArray[np.float64]:
    """`Curve.at` of many curves: (.., points), (.., points), (.., grid) -> (.., grid)."""
    peak = np.argmax(rewards, axis=-1)[..., None]
    start_r, end_r, start_a, end_a = (
        of[..., part, None] for of in (rewards, abilities) for part in (slice(None, -1), slice(1, None))
    )
    before_peak = np.arange(rewards.shape[-1] - 1) < peak
    at = grid[..., None, :]
    low, high = np.where(before_peak[..., None], np.minimum(start_r, end_r), np.inf), np.maximum(start_r, end_r)
    inside, level = (low <= at) & (at <= high), start_r == end_r
    start_a = np.where(level, np.maximum(start_a, end_a), start_a)  # a level segment holds at its one reward
    share = (at - start_r) / np.where(level, np.inf, end_r - start_r)
    crossing = (1 - share) * start_a + share * end_a
    best = np.max(np.where(inside, crossing, -np.inf), axis=-2, initial=-np.inf)
    alone = (peak == 0) & (grid == rewards[..., :1])  # a path that is cut to its first point
    return np.where(alone, abilities[..., :1], np.where(np.isneginf(best), np.nan, best))


def pareto_front(points: ArrayLike) -> NDArray[np.float64]:
    """The points (n, 2) that no other beats in one coordinate without losing in the other, by rising first one.

    Both coordinates are better when higher; equal points appear once.
    """
    unique = np.unique(_points(points), axis=0)
    best_later = np.maximum.accumulate(unique[::-1, 1])[::-1]
    beaten = np.append(unique[:-1, 1] <= best_later[1:], False)
    return unique[~beaten]


def _points(points: ArrayLike) -> NDArray[np.float64]:
    array = np.asarray(points, dtype=np.float64)
    if array.ndim != 2 or array.shape[1] != 2 or len(array) == 0 or not np.isfinite(array).all():
        raise ValueError(f"points has shape {array.shape} but must be (n, 2) with n >= 1 and finite values")
    return array


def curve_hypervolume(curve: Curve, reference: tuple[float, float]) -> float:
    """Area dominated by the whole interpolated path, cut at its reward peak, above `reference` (reward, ability).

    Exact for the piecewise linear path, and so independent of how densely the path was measured.
    """
    path = curve.cut()
    edges = np.unique(np.append(path.rewards, reference[0]))
    edges = edges[edges >= reference[0]]
    return float(sum(_slab_area(path, left, right, reference[1]) for left, right in pairwise(edges)))


def _slab_area(path: Curve, left: float, right: float, floor: float) -> float:
    """Dominated area above `floor` between two neighbouring vertex rewards, where every boundary is a straight line."""
    start, end = np.array([(floor, floor), *_boundaries(path, left, right)]).T
    fall = (end - start)[:, None] - (end - start)[None, :]
    crossing = np.divide(start[None, :] - start[:, None], fall, out=np.zeros_like(fall), where=fall != 0)
    shares = np.unique(np.concatenate([[0.0, 1.0], crossing[(crossing > 0) & (crossing < 1)]]))
    heights = np.max(start[:, None] + shares * (end - start)[:, None], axis=0)
    return (right - left) * (float(np.trapezoid(heights, shares)) - floor)


def _boundaries(path: Curve, left: float, right: float) -> Iterator[tuple[float, float]]:
    """What each segment of the path dominates between `left` and `right`: the ability at the two ends."""
    points = list(zip(path.rewards, path.abilities, strict=True))
    for low, high in map(sorted, pairwise([points[0], *points])):
        if high[0] < right:
            continue
        if low[0] >= right or high[1] >= low[1]:
            yield max(low[1], high[1]), max(low[1], high[1])
        else:
            yield tuple(np.interp([left, right], [low[0], high[0]], [low[1], high[1]]))


def common_grid(first: NDArray, second: NDArray, points: int = 101) -> NDArray[np.float64]:
    """Rewards (.., grid), evenly spaced over the range that two paths up to their peaks cover, of many pairs of them: their rewards, (.., points)
    each. UserError where a pair has no rewards in common.
    """
    (low_1, high_1), (low_2, high_2) = _range(first), _range(second)
    low, high = np.maximum(low_1, low_2), np.minimum(high_1, high_2)
    if (apart := low >= high).any():
        of = np.unravel_index(np.argmax(apart), apart.shape)
        raise UserError(
            f"curves: rewards {low_1[of]:.4g} to {high_1[of]:.4g} and {low_2[of]:.4g} to {high_2[of]:.4g} have no range in common; "
            "curves must overlap to be compared."
        )
    return np.linspace(low, high, points, axis=-1)


def _range(rewards: NDArray) -> tuple[NDArray, NDArray]:
    """The lowest and the highest reward of each path, (.., points), up to its peak: (..) each."""
    peak = np.argmax(rewards, axis=-1)[..., None]
    kept = np.where(np.arange(rewards.shape[-1]) <= peak, rewards, np.inf)
    return kept.min(axis=-1), rewards.max(axis=-1)


def mean_gap(first: Curve, second: Curve, points: int = 101) -> float:
    """Mean of (first - second) ability at equal reward over their common range, in the ability's unit."""
    return float(_gaps((first.rewards, first.abilities), (second.rewards, second.abilities), points))


def _gaps(first: tuple[NDArray, NDArray], second: tuple[NDArray, NDArray], points: int = 101) -> NDArray[np.float64]:
    """`mean_gap` of many pairs of curves, (rewards, abilities) each, (.., points): (..)."""
    grid = common_grid(first[0], second[0], points)
    return np.mean(_at(*first, grid) - _at(*second, grid), axis=-1)


def compare(
    first: Mapping[int, Curve], second: Mapping[int, Curve], measure: Callable[[Curve, Curve], float] = mean_gap
) -> Interval:
    """`measure(first, second)` paired over seeds, {seed: curve} each, with its t interval."""
    return t_interval([measure(first[seed], second[seed]) for seed in _same_seeds(first, second)])


def gap(first: Mapping[int, Curve], second: Mapping[int, Curve]) -> Interval | None:
    """Ability of first - second at equal reward, averaged over their common rewards, paired over seeds.

    None where the curves of a seed have no rewards in common (a path whose reward never rises is one point).
    """
    for seed in first.keys() & second.keys():
        lows, highs = zip(*(_range(curve.rewards) for curve in (first[seed], second[seed])), strict=True)
        if max(lows) >= min(highs):
            return None
    return compare(first, second)


def _same_seeds(first: Mapping[int, object], second: Mapping[int, object]) -> list[int]:
    if set(first) != set(second) or not first:
        raise UserError(f"curves: seeds {sorted(first)} and {sorted(second)} must be the same, and at least one.")
    return sorted(first)


@dataclass(frozen=True)
class MeasuredPath:
    """Models along a path with their per-item values: rewards (points, prompts), abilities (points, items)."""

    rewards: NDArray[np.float64]
    abilities: NDArray[np.float64]

    def curve(self) -> Curve:
        """The curve as measured on all prompts and items."""
        return Curve(self.rewards.mean(axis=1), self.abilities.mean(axis=1))

    def drawn(self, prompts: NDArray, items: NDArray) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(rewards, abilities), (draws, points) each, on drawn prompts and items: their indices, (draws, prompts) and (draws, items)."""
        found = [
            np.stack([of_model[chosen].mean(axis=-1) for of_model in values], axis=-1)
            for values, chosen in ((self.rewards, prompts), (self.abilities, items))
        ]
        return found[0], found[1]


def bootstrap_curves(
    first: Mapping[int, MeasuredPath],
    second: Mapping[int, MeasuredPath],
    rng: np.random.Generator,
    resamples: int = 1000,
) -> Interval:
    """`mean_gap` between two methods, {seed: path} each, drawing seeds, then prompts and items, the same for both methods.

    With few seeds a bootstrap over seeds is too narrow; read it beside `compare`, whose t interval is not.
    """
    seeds = _same_seeds(first, second)
    for seed in seeds:
        check_bootstrap(rng, resamples, _same_size(first[seed].rewards, second[seed].rewards, "rewards", seed))
        _same_size(first[seed].abilities, second[seed].abilities, "abilities", seed)
    per_seed = np.array([mean_gap(first[seed].curve(), second[seed].curve()) for seed in seeds])
    chosen = rng.choice(seeds, size=(resamples, len(seeds)))
    draws = np.empty(chosen.shape)
    for seed in seeds:
        times = int((chosen == seed).sum())
        sizes = (times, first[seed].rewards.shape[1]), (times, first[seed].abilities.shape[1])
        indices = [rng.integers(size[1], size=size) for size in sizes]
        parts = zip(*(np.array_split(of, times // CHUNK + 1) for of in indices), strict=True)
        gaps = [_gaps(first[seed].drawn(*part), second[seed].drawn(*part)) for part in parts]
        draws[chosen == seed] = np.concatenate(gaps)
    return percentile_interval(per_seed, draws.mean(axis=1))


def _same_size(first: NDArray, second: NDArray, name: str, seed: int) -> int:
    if first.shape[1] != second.shape[1]:
        sizes = f"{first.shape[1]} and {second.shape[1]}"
        raise ValueError(f"{name} of seed {seed} has {sizes} items; they must be the same")
    return first.shape[1]
