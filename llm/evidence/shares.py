"""The share of a rival's tax that a method saves at equal reward: how two paths of models are compared.

Rewards are counted in shares of a seed's own rise, from theta_0 to the highest reward of the algorithm at the preset's own
learning rate. Two paths are compared at the levels from 50 to 95 % of it that both reach on every seed: nearer to theta_0
all curves coincide, and no tax is paid. Where a method was measured at several learning rates, at each level a seed takes
the rate that is best there on the other seeds (leave one seed out). A path is taken as straight between its models, so that more
of them lie higher: both are compared by models that have a counterpart near in reward on the other. See `docs/protocol.md`.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from . import paths
from .intervals import Estimate, chosen_elsewhere, cross_chosen, of_ratio, t_interval

LEVELS = np.arange(50, 96) / 100  # of the reward's rise
LEAST = 6  # levels, so a range of 5 % of the rise: over fewer nothing is compared
DECIMALS = 9  # of shares of the rise, by which models are near to one another: beyond them is arithmetic

Rate = float | None  # a learning rate, None for the preset's own
Models = Mapping[Any, pd.DataFrame]  # `Rate`, or the family of a setting -> a path of models (`llm.evidence.paths`)
Rises = Mapping[int, tuple[float, float]]  # seed -> theta_0's reward, and how far it rises


class NotComparable(Exception):
    """Two paths have no levels in common, or the reward does not rise; its text says which."""


@dataclass(frozen=True)
class Saved:
    """What a method saves of a rival's tax.

    kept: the method's ability minus the rival's, tax: theta_0's minus the rival's; means over the levels, (seeds,), in the
    ability's unit. levels: the lowest and the highest, as shares of the rise. rates: how often, over seeds and levels, the
    method and the rival took each learning rate, or setting. inflation: of the squared error, where there was a choice of them
    (`llm.evidence.intervals.cross_chosen`).
    """

    seeds: tuple[int, ...]
    kept: NDArray[np.float64]
    tax: NDArray[np.float64]
    levels: tuple[float, float]
    rates: tuple[Counter[Any], Counter[Any]]
    inflation: float = 1.0

    @property
    def is_taxed(self) -> bool:
        """Whether the rival's tax is above 0 with its whole 95 % interval: only then is a share of it a number."""
        return t_interval(self.tax, inflation=self.inflation).low > 0 if len(self.tax) > 1 else bool(self.tax[0] > 0)

    def share(self) -> Estimate:
        """The share saved: 1 is all of the rival's tax, 0 none, below 0 the method pays more."""
        return of_ratio(self.kept, self.tax, self.inflation)


def rises(rows: pd.DataFrame, reward: str = "reward") -> dict[int, tuple[float, float]]:
    """theta_0's reward and the rise above it of an algorithm at the preset's own rate, for each seed that was aligned."""
    rows = rows[rows["lr"].isna() & (rows["metric"] == reward)]
    start = paths.theta_0(rows).set_index("seed")["value"]
    peak = rows[rows["method"].isin(["theta", "early-stopping"])].groupby("seed")["value"].max()
    return {int(seed): (float(start[seed]), float(peak[seed] - start[seed])) for seed in peak.index}


def saved(
    method: Models,
    rival: Models,
    start: pd.DataFrame,
    rise: Rises,
    metric: str,
    reward: str = "reward",
    levels: NDArray[np.float64] = LEVELS,
    equally: bool = True,
) -> Saved:
    """What `method` saves of the tax that `rival` pays in `metric`, at equal `reward`, averaged over levels of it.

    Args:
        method, rival: their paths at each learning rate, all of the same seeds.
        start: theta_0's rows of these seeds.
        levels: shares of the rise, (levels,).
        equally: whether both are compared by models that have a counterpart on the other (`equally_dense`).
    Raises NotComparable where the reward does not rise on some seed, or both reach fewer than `LEAST` of the levels (all of
    them, where fewer are given).
    """
    seeds = paths.seeds(next(iter(method.values())))
    if flat := [seed for seed in seeds if rise.get(seed, (0.0, 0.0))[1] <= 0]:
        raise NotComparable(f"the reward does not rise on seed {flat[0]}")
    method, rival = ({lr: _of(path, metric, reward) for lr, path in models.items()} for models in (method, rival))
    every = [at_levels(models, rise, metric, reward, levels) for models in (method, rival)]
    reached = [np.isfinite(found).all(axis=1).any(axis=0) for found in every]
    shared = reached[0] & reached[1]
    if shared.sum() < min(LEAST, len(levels)):
        told = " and ".join(_reach(models, rise, reward) for models in (method, rival))
        raise NotComparable(f"unequal reach: on every seed the two cover {told} of the reward's rise")
    ends = float(levels[shared][0]), float(levels[shared][-1])
    first, second = equally_dense(method, rival, rise, ends, reward) if equally else (method, rival)
    fewer = [at_levels(models, rise, metric, reward, levels) for models in (first, second)]
    values, rates = zip(  # where a path that folds has lost a level, the whole path counts
        *(chosen_elsewhere(np.where(np.isfinite(few), few, found)) for few, found in zip(fewer, every, strict=True))
    )
    ours, theirs = (found[:, shared].mean(axis=1) for found in values)
    before = paths.values(start, seeds, metric)
    taken = [
        Counter(list(models)[place] for place in chosen[:, shared].flat)
        for models, chosen in zip((first, second), rates, strict=True)
    ]
    inflation = cross_chosen(len(seeds), len(method) > 1 or len(rival) > 1)
    return Saved(tuple(seeds), ours - theirs, before - theirs, ends, (taken[0], taken[1]), inflation)


def saved_at(
    path: pd.DataFrame,
    model: pd.DataFrame,
    start: pd.DataFrame,
    rise: Rises,
    metric: str,
    reward: str = "reward",
    model_first: bool = False,
) -> Saved:
    """What a path saves of the tax of a single model, one a seed, at that model's reward; `model_first`: the model of the path's.

    Raises NotComparable where the reward does not rise, or the path does not reach the model's, on some seed.
    """
    seeds, curves = paths.seeds(path), paths.curves(path, metric, reward)
    at = dict(zip(seeds, paths.values(model, seeds, reward).tolist(), strict=True))
    of_path = np.array([float(curves[seed].at(at[seed])) for seed in seeds])
    if np.isnan(of_path).any() or any(rise[seed][1] <= 0 for seed in seeds):
        raise NotComparable("unequal reach: on some seed the path does not reach the model's reward")
    of_model, before = (paths.values(of, seeds, metric) for of in (model, start))
    first, second = (of_model, of_path) if model_first else (of_path, of_model)
    reached = [(at[seed] - rise[seed][0]) / rise[seed][1] for seed in seeds]
    levels = min(reached), max(reached)
    return Saved(tuple(seeds), first - second, before - second, levels, (Counter(), Counter()))


def at_levels(
    models: Models, rise: Rises, metric: str, reward: str, levels: NDArray[np.float64] = LEVELS
) -> NDArray[np.float64]:
    """Ability (rates, seeds, levels) at shares of each seed's rise; NaN where a path does not reach."""
    return np.array(
        [
            [curve.at(rise[seed][0] + levels * rise[seed][1]) for seed, curve in by_seed.items()]
            for by_seed in (paths.curves(path, metric, reward) for path in models.values())
        ]
    )


def _of(path: pd.DataFrame, metric: str, reward: str) -> pd.DataFrame:
    """What two metrics alone are compared by: a path's frame has dozens of columns and metrics, and each selection takes all."""
    needed = [name for name in ("seed", "step", "alpha", "metric", "value") if name in path]
    return path[needed][path["metric"].isin([metric, reward])]


def _reach(models: Models, rise: Rises, reward: str) -> str:
    """The shares of the rise that some learning rate covers on every seed."""
    found = []
    for path in models.values():
        by_seed = path[path["metric"] == reward].groupby("seed")["value"]
        ends = [
            [(end[seed] - rise[seed][0]) / rise[seed][1] for seed in end.index]
            for end in (by_seed.min(), by_seed.max())
        ]
        found.append((max(ends[0]), min(ends[1])))
    low, high = min(low for low, _ in found), max(high for _, high in found)
    return f"{low:.0%} to {high:.0%}" if low < high else "nothing"


def equally_dense(
    first: Models, second: Models, rise: Rises, ends: tuple[float, float], reward: str = "reward"
) -> tuple[Models, Models]:
    """Both methods' paths, on each seed reduced to models that have a counterpart: the finer one (at its finest rate) to those nearest in reward
    to the other's, the other to those nearest to these, and each to what it needs beside them to reach both `ends` (shares of the rise).

    Models count up to a seed's highest reward, since a path is cut there (`llm.evidence.curves.Curve`). A path against its own models, or
    some of them, is then the same path: without this rule the finer would seem better, or the one that is finer in half of the range.
    """
    rising = [{lr: _rising(path, rise, reward) for lr, path in models.items()} for models in (first, second)]
    return _thinned((first, second), rising, ends)


def _thinned(
    models: tuple[Models, Models],
    rising: Sequence[Mapping[Rate, Mapping[int, Mapping[float, float]]]],
    ends: tuple[float, float],
) -> tuple[Models, Models]:
    """`equally_dense` of two methods, each with its rates' rising steps (`_rising`)."""

    def fineness(shares: Mapping[float, float]) -> tuple[int, float]:
        """How many models lie between the ends; of as many, how narrow is what holds both."""
        below = max((share for share in shares.values() if share <= ends[0]), default=-np.inf)
        above = min((share for share in shares.values() if share >= ends[1]), default=np.inf)
        return sum(ends[0] <= share <= ends[1] for share in shares.values()), below - above

    kept: list[dict[Rate, dict[int, Mapping[float, float]]]] = [{lr: {} for lr in of_method} for of_method in rising]
    for seed in next(iter(rising[0].values())):
        full = [max((of[seed] for of in of_method.values()), key=fineness) for of_method in rising]
        fine = int(fineness(full[1]) > fineness(full[0]))
        near = {fine: _nearest(full[fine], full[1 - fine], ends)}
        near[1 - fine] = _nearest(full[1 - fine], near[fine], ends)
        for place, of_method in enumerate(rising):
            for lr, of in of_method.items():
                kept[place][lr][seed] = _nearest(of[seed], near[1 - place], ends)
    thin = [{lr: _only(path, kept[place][lr]) for lr, path in of.items()} for place, of in enumerate(models)]
    return thin[0], thin[1]


def matched(
    first: pd.DataFrame, second: pd.DataFrame, rise: Rises, reward: str = "reward"
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Two paths by the models that have a counterpart (`equally_dense`), over all rewards that both reach; as they are where a reward does
    not rise, or where they are of other seeds, which cannot be compared anyway.
    """
    seeds = paths.seeds(first)
    if seeds != paths.seeds(second) or any(rise.get(seed, (0.0, 0.0))[1] <= 0 for seed in seeds):
        return first, second
    reached = [_rising(path, rise, reward) for path in (first, second)]
    low = min(max(min(of[seed].values()) for of in reached) for seed in seeds)
    high = max(min(max(of[seed].values()) for of in reached) for seed in seeds)
    pair = _thinned(({None: first}, {None: second}), [{None: of} for of in reached], (low, high))
    return pair[0][None], pair[1][None]


def _only(path: pd.DataFrame, kept: Mapping[int, Mapping[float, float]]) -> pd.DataFrame:
    return path[[step in kept[seed] for seed, step in zip(path["seed"].tolist(), path["step"].tolist(), strict=True)]]


def _rising(path: pd.DataFrame, rise: Rises, reward: str) -> dict[int, dict[float, float]]:
    """Of each seed the steps up to the one of the highest reward, the first of equals, and their reward as a share of the rise."""
    columns = [path[name].tolist() for name in ("seed", "step", "metric", "value")]  # lists: selections would be slow
    found: dict[int, dict[float, float]] = {}
    for seed, step, metric, value in zip(*columns, strict=True):
        if metric == reward:
            found.setdefault(seed, {})[step] = round((value - rise[seed][0]) / rise[seed][1], DECIMALS)
    peaks = {seed: min(step for step in of if of[step] == max(of.values())) for seed, of in found.items()}
    return {seed: {step: of[step] for step in sorted(of) if step <= peaks[seed]} for seed, of in found.items()}


def _nearest(
    shares: Mapping[float, float], others: Mapping[float, float], ends: tuple[float, float]
) -> dict[float, float]:
    """Of a path's steps, with their shares of the rise, the one nearest to each of another path's, and of those beyond an end the
    nearest to it (the farthest, where none gets there), so that the path reaches no less.
    """
    kept = {min(shares, key=lambda step: abs(shares[step] - other)) for other in others.values()}
    below = [step for step, share in shares.items() if share <= ends[0]] or [min(shares, key=shares.__getitem__)]
    above = [step for step, share in shares.items() if share >= ends[1]] or [max(shares, key=shares.__getitem__)]
    kept |= set() if kept & set(below) else {max(below, key=shares.__getitem__)}
    kept |= set() if kept & set(above) else {min(above, key=shares.__getitem__)}
    return {step: shares[step] for step in sorted(kept)}
