"""Fronts: reward against ability along a path of models, and how two methods' fronts are compared.

A *curve* is what a method offers for one seed: the models along its path (the ratio alpha from 0 to 1, or the
RLHF iterations), in the order of the path. It is cut at its highest reward, since beyond that point the path
only loses. Two curves are compared at equal reward, by linear interpolation between neighbours *on the path*:
points are never sorted by reward, so a path that folds back is not mistaken for a front. Nothing is extended:
outside the rewards that a curve was measured at its ability is unknown (NaN), and only the common range of
two curves is compared; what one of them reaches beyond it shows in the hypervolume instead.

Differences are paired over seeds. Intervals are 95 %, from Student's t over seeds or from a bootstrap
over seeds and items.
"""

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtrit

from ..errors import UserError
from .rows import expand_setting, select

Name = TypeVar("Name", bound=Hashable)
LEVEL = 0.95


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
            raise ValueError(
                f"abilities has {self.abilities.size} points but must have {self.rewards.size}, as rewards"
            )

    def cut(self) -> "Curve":
        """The path up to its highest reward (the first of equals), that point included."""
        end = int(np.argmax(self.rewards)) + 1
        return Curve(self.rewards[:end], self.abilities[:end])

    def at(self, rewards: ArrayLike) -> NDArray[np.float64]:
        """Ability at the given rewards, shape as given: the best crossing of the cut path, NaN where it has
        none.
        """
        path, grid = self.cut(), np.asarray(rewards, dtype=np.float64)
        if path.rewards.size == 1:
            return np.where(grid == path.rewards[0], path.abilities[0], np.nan)
        start_r, end_r = path.rewards[:-1, None], path.rewards[1:, None]
        start_a, end_a = path.abilities[:-1, None], path.abilities[1:, None]
        flat = grid.reshape(1, -1)
        inside = (np.minimum(start_r, end_r) <= flat) & (flat <= np.maximum(start_r, end_r))
        level = start_r == end_r
        share = np.where(level, 0.0, (flat - start_r) / np.where(level, 1.0, end_r - start_r))
        crossing = np.where(level, np.maximum(start_a, end_a), (1 - share) * start_a + share * end_a)
        best = np.max(np.where(inside, crossing, -np.inf), axis=0)
        return np.where(np.isneginf(best), np.nan, best).reshape(grid.shape)


@dataclass(frozen=True)
class Interval:
    """A mean difference with its 95 % interval; NaN bounds where there is a single seed. `per_seed` is
    (seeds,).
    """

    mean: float
    low: float
    high: float
    per_seed: NDArray[np.float64]

    @property
    def verdict(self) -> str:
        """Where the interval excludes 0 "above" or "below", else "undecided"."""
        return "above" if self.low > 0 else "below" if self.high < 0 else "undecided"


def curves_of(
    frame: pd.DataFrame, *, along: str, ability: str, reward: str = "reward", start: pd.DataFrame | None = None
) -> dict[int, Curve]:
    """One curve for each seed in `frame`, a selection of result rows, in the order of the setting `along`.

    `start`: rows of the model that every path leaves from (theta_0), put first. Raises UserError where a
    point has one of the two metrics only, or more than one row of it.
    """
    points = _points_of(frame, along, (reward, ability))
    result = {}
    for seed in sorted(set(frame["seed"])):
        rewards, abilities = (points.get((seed, metric), {}) for metric in (reward, ability))
        if unpaired := sorted(rewards.keys() ^ abilities.keys()):
            raise UserError(f"results: seed {seed}, {along} = {unpaired[0]} needs both {reward} and {ability}.")
        first = [[_single(start, seed, metric)] if start is not None else [] for metric in (reward, ability)]
        result[seed] = Curve(
            *(a + [b[step] for step in sorted(b)] for a, b in zip(first, (rewards, abilities), strict=True))
        )
    return result


def _points_of(frame: pd.DataFrame, along: str, metrics: Sequence[str]) -> dict[tuple[int, str], dict[float, float]]:
    """(seed, metric) -> step -> value."""
    points: dict[tuple[int, str], dict[float, float]] = {}
    rows = frame[frame["metric"].isin(metrics)]
    steps = expand_setting(rows, along)[along]
    for seed, metric, step, value in zip(rows["seed"], rows["metric"], steps, rows["value"], strict=True):
        path = points.setdefault((seed, metric), {})
        if step in path:
            raise UserError(
                f"results: seed {seed}, {metric} has more than one row at {along} = {step}; select one setting first."
            )
        path[step] = value
    return points


def _single(rows: pd.DataFrame, seed: int, metric: str) -> float:
    values = select(rows, seed=seed, metric=metric)["value"]
    if len(values) != 1:
        raise UserError(f"results: the start of the path has {len(values)} rows of {metric} for seed {seed}, not 1.")
    return float(values.iloc[0])


def pareto_front(points: ArrayLike) -> NDArray[np.float64]:
    """The points (n, 2) that no other beats in one coordinate without losing in the other, by rising first
    one.

    Both coordinates are better when higher; equal points appear once.
    """
    unique = np.unique(_points(points), axis=0)
    best_later = np.maximum.accumulate(unique[::-1, 1])[::-1]
    beaten = np.append(unique[:-1, 1] <= best_later[1:], False)
    return unique[~beaten]


def hypervolume(points: ArrayLike, reference: tuple[float, float]) -> float:
    """Area dominated by the single points (n, 2) above `reference` (reward, ability): a staircase, >= 0."""
    front = np.maximum(pareto_front(points), reference)
    widths = np.diff(front[:, 0], prepend=reference[0])
    return float(np.sum(widths * (front[:, 1] - reference[1])))


def _points(points: ArrayLike) -> NDArray[np.float64]:
    array = np.asarray(points, dtype=np.float64)
    if array.ndim != 2 or array.shape[1] != 2 or len(array) == 0 or not np.isfinite(array).all():
        raise ValueError(f"points has shape {array.shape} but must be (n, 2) with n >= 1 and finite values")
    return array


def curve_hypervolume(curve: Curve, reference: tuple[float, float]) -> float:
    """Area dominated by the whole interpolated path, cut at its reward peak, above `reference` (reward,
    ability).

    Exact for the piecewise linear path, and so independent of how densely the path was measured, unlike
    `hypervolume`.
    """
    path = curve.cut()
    edges = np.unique(np.append(path.rewards, reference[0]))
    edges = edges[edges >= reference[0]]
    return float(sum(_slab_area(path, left, right, reference[1]) for left, right in pairwise(edges)))


def _slab_area(path: Curve, left: float, right: float, floor: float) -> float:
    """Dominated area above `floor` between two neighbouring vertex rewards, where every boundary is a
    straight line.
    """
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


def common_grid(first: Curve, second: Curve, points: int = 101) -> NDArray[np.float64]:
    """Rewards (points,), evenly spaced over the range that both cut curves cover; UserError where there is
    none.
    """
    paths = first.cut().rewards, second.cut().rewards
    low, high = max(path.min() for path in paths), min(path.max() for path in paths)
    if low >= high:
        raise UserError(
            f"fronts: rewards {paths[0].min():.4g} to {paths[0].max():.4g} and {paths[1].min():.4g} to "
            f"{paths[1].max():.4g} have no range in common; curves must overlap to be compared."
        )
    return np.linspace(low, high, points)


def mean_gap(first: Curve, second: Curve, points: int = 101) -> float:
    """Mean of (first - second) ability at equal reward over their common range, in the ability's unit."""
    grid = common_grid(first, second, points)
    return float(np.mean(first.at(grid) - second.at(grid)))


def t_interval(values: ArrayLike, level: float = LEVEL) -> Interval:
    """Student's t interval of the mean of independent values (seeds,); with one value the bounds are NaN."""
    per_seed = np.asarray(values, dtype=np.float64)
    if per_seed.ndim != 1 or per_seed.size == 0 or not np.isfinite(per_seed).all():
        raise ValueError(f"values = {per_seed} must be a non-empty list of finite numbers")
    mean, n = float(per_seed.mean()), per_seed.size
    half = stdtrit(n - 1, (1 + level) / 2) * per_seed.std(ddof=1) / np.sqrt(n) if n > 1 else np.nan
    return Interval(mean, mean - half, mean + half, per_seed)


def compare(
    first: Mapping[int, Curve], second: Mapping[int, Curve], measure: Callable[[Curve, Curve], float] = mean_gap
) -> Interval:
    """`measure(first, second)` paired over seeds, {seed: curve} each, with its t interval."""
    return t_interval([measure(first[seed], second[seed]) for seed in _same_seeds(first, second)])


def _same_seeds(first: Mapping[int, object], second: Mapping[int, object]) -> list[int]:
    if set(first) != set(second) or not first:
        raise UserError(f"fronts: seeds {sorted(first)} and {sorted(second)} must be the same, and at least one.")
    return sorted(first)


def choose_setting(
    curves: Mapping[Name, Mapping[int, Curve]], seed: int, score: Callable[[Curve], float]
) -> tuple[Name, dict[int, Curve]]:
    """The setting whose curve scores highest on `seed`, and its curves on the *other* seeds, where it is
    reported.

    `curves`: {setting: {seed: curve}}. `score`, for example, is the hypervolume above theta_0's floor. The
    first of equals wins. Raises UserError where a setting lacks the seed, or nothing is left to report on.
    """
    for name, by_seed in curves.items():
        if seed not in by_seed or len(by_seed) < 2:
            raise UserError(
                f"fronts: setting {name} has seeds {sorted(by_seed)}; to choose on seed {seed} and report "
                f"on others it must have that seed and at least one more."
            )
    best = max(curves, key=lambda name: score(curves[name][seed]))
    return best, {other: curve for other, curve in curves[best].items() if other != seed}
