"""Paired bootstrap: intervals for differences between models that were measured on the same items.

Two models asked the same questions differ less by luck than two models asked different ones, so items are
drawn once and used for both. Over several seeds the seeds are drawn too (a seed changes training), then the
items within each of them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import UserError
from .fronts import LEVEL, Curve, Interval, mean_gap

Statistic = Callable[[NDArray[np.float64]], NDArray[np.float64]]


def item_mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean over items, axis 1: (points, items) -> (points,)."""
    return values.mean(axis=1)


@dataclass(frozen=True)
class MeasuredPath:
    """Models along a path with their per-item values.

    rewards: (points, prompts). abilities: (points, items, ...): one value an item, or the counts that a
    corpus metric such as BLEU is computed from. `statistic` takes (points, drawn items, ...) to (points,).
    """

    rewards: NDArray[np.float64]
    abilities: NDArray[np.float64]
    statistic: Statistic = item_mean

    def curve(self, prompts: ArrayLike | slice = slice(None), items: ArrayLike | slice = slice(None)) -> Curve:
        """The curve as measured on the given prompts and items (indices, repeats allowed; default all)."""
        return Curve(item_mean(self.rewards[:, prompts]), self.statistic(self.abilities[:, items]))


def bootstrap_items(
    first: ArrayLike,
    second: ArrayLike,
    rng: np.random.Generator,
    resamples: int = 2000,
    statistic: Statistic = item_mean,
) -> Interval:
    """statistic(first) - statistic(second) on the same items, (items, ...) each, with its percentile
    interval.
    """
    pair = np.stack([np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)])
    items = pair.shape[1]
    _check(rng, resamples, items)
    draws = [statistic(pair[:, rng.integers(items, size=items)]) for _ in range(resamples)]
    full = statistic(pair)
    return _interval(np.array([full[0] - full[1]]), [draw[0] - draw[1] for draw in draws])


def bootstrap_seeds(differences: ArrayLike, rng: np.random.Generator, resamples: int = 10_000) -> Interval:
    """The mean of paired differences, (seeds,), with its percentile interval over seeds drawn again.

    Too narrow with few seeds (it never reaches beyond the smallest and the largest difference): read it beside
    `fronts.t_interval`. With one seed the bounds are NaN.
    """
    per_seed = np.asarray(differences, dtype=np.float64)
    _check(rng, resamples, per_seed.size)
    if per_seed.size == 1:
        return Interval(float(per_seed[0]), np.nan, np.nan, per_seed)
    return _interval(per_seed, rng.choice(per_seed, size=(resamples, per_seed.size)).mean(axis=1))


def bootstrap_curves(
    first: Mapping[int, MeasuredPath],
    second: Mapping[int, MeasuredPath],
    rng: np.random.Generator,
    resamples: int = 1000,
    measure: Callable[[Curve, Curve], float] = mean_gap,
) -> Interval:
    """`measure` between two methods, {seed: path} each, drawing seeds, then prompts and items, the same for
    both methods.

    With few seeds a bootstrap over seeds is too narrow; read it beside `fronts.compare`, whose t interval is
    not.
    """
    if set(first) != set(second) or not first:
        raise UserError(f"fronts: seeds {sorted(first)} and {sorted(second)} must be the same, and at least one.")
    seeds = sorted(first)
    for seed in seeds:
        _check(rng, resamples, _same_size(first[seed].rewards, second[seed].rewards, "rewards", seed))
        _same_size(first[seed].abilities, second[seed].abilities, "abilities", seed)

    def drawn(seed: int) -> float:
        prompts, items = first[seed].rewards.shape[1], first[seed].abilities.shape[1]
        chosen = rng.integers(prompts, size=prompts), rng.integers(items, size=items)
        return measure(first[seed].curve(*chosen), second[seed].curve(*chosen))

    per_seed = np.array([measure(first[seed].curve(), second[seed].curve()) for seed in seeds])
    draws = [np.mean([drawn(seed) for seed in rng.choice(seeds, size=len(seeds))]) for _ in range(resamples)]
    return _interval(per_seed, draws)


def _interval(per_seed: NDArray[np.float64], draws: ArrayLike) -> Interval:
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(per_seed.mean()), float(low), float(high), per_seed)


def _same_size(first: NDArray, second: NDArray, name: str, seed: int) -> int:
    if first.shape[1] != second.shape[1]:
        raise ValueError(
            f"{name} of seed {seed} has {first.shape[1]} and {second.shape[1]} items; they must be the same"
        )
    return first.shape[1]


def _check(rng: np.random.Generator, resamples: int, items: int) -> None:
    if not isinstance(rng, np.random.Generator):
        raise TypeError(f"rng = {rng!r} must be a numpy Generator")
    if resamples < 1:
        raise ValueError(f"resamples = {resamples} must be at least 1")
    if items < 1:
        raise ValueError(f"there are {items} items; a bootstrap needs at least 1")
