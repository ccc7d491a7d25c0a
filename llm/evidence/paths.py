"""Paths of models, taken from result rows: along RSF's iterations, along the ratio of an averaging method.

The notebooks, the table and the ledger of claims read the same rows through this file. A *path* is a frame of
rows with a column `step`: the iteration of early stopping (0 is theta_0), or the ratio alpha of an averaging
method (the share of the post-RLHF model; 0 is theta_0 and 1 is theta). Learning rates are numbers, or None for
the preset's own. Paths of methods that change training stand in `llm.evidence.families`; rows are read in `llm.evidence.frames`.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from ..errors import UserError
from .frames import ABILITIES, REWARDS, abilities, after, read_preset, rewards
from .fronts import Curve, Interval, choose_setting, compare, curve_hypervolume, curves_of, t_interval

__all__ = [
    "ABILITIES",
    "REWARDS",
    "abilities",
    "areas",
    "at",
    "at_rate",
    "best_rate",
    "best_step",
    "curves",
    "difference",
    "gap",
    "load",
    "models_of",
    "of_method",
    "path",
    "path_areas",
    "rates",
    "rewards",
    "saturation",
    "seeds",
    "swept",
    "theta_0",
    "value",
]

SATURATED = 0.02  # of the reward's rise: nearer to its peak than this, the reward counts as saturated
NORMAL = 1.96  # half a 95 % interval in standard errors, where the error is known (over items)


def load(results: Path) -> pd.DataFrame:
    """The rows of RSF and of averaging after it, of one preset, as `llm.evidence.frames.after` gives them.

    Raises UserError for rows of several presets, and for a setting measured on some seeds or metrics only.
    """
    return after(read_preset(results), "rsf")


def seeds(rows: pd.DataFrame) -> list[int]:
    return sorted(int(seed) for seed in set(rows["seed"]))


def swept(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of those seeds that RSF was run on at other learning rates too; empty where there are none."""
    return rows[rows["seed"].isin(set(rows.loc[rows["lr"].notna(), "seed"]))]


def rates(rows: pd.DataFrame, own: float) -> list[float | None]:
    """RSF's learning rates in rising order; None, the preset's own, stands where `own` belongs.

    A rate that equals `own` is the same runs once more, and left out.
    """
    others = [float(lr) for lr in set(rows["lr"].dropna()) if not np.isclose(lr, own)]
    return sorted([*others, None], key=lambda lr: own if lr is None else lr)


def theta_0(rows: pd.DataFrame) -> pd.DataFrame:
    return of_method(rows, "theta_0")


def of_method(rows: pd.DataFrame, method: str, **where: object) -> pd.DataFrame:
    """The rows of a method; `where` chooses by settings."""
    chosen = rows[rows["method"] == method]
    for key, value in where.items():
        chosen = chosen[chosen[key] == value]
    return chosen


def at_rate(rows: pd.DataFrame, lr: float | None) -> pd.DataFrame:
    return rows[rows["lr"].isna() if lr is None else rows["lr"] == lr]


def models_of(rows: pd.DataFrame, method: str, lr: float | None = None, **where: object) -> pd.DataFrame:
    """The rows of a method at a learning rate; UserError where there are none."""
    chosen = of_method(at_rate(rows, lr), method, **where)
    if chosen.empty:
        raise UserError(f"results: no rows for method = {method}, lr = {lr or 'own'}, {where}.")
    return chosen


def path(rows: pd.DataFrame, method: str, lr: float | None = None, **where: object) -> pd.DataFrame:
    """The rows of `method` at a learning rate, and those of the models that the path begins and ends with.

    Early stopping begins with theta_0; ma and ama go from theta_0 to theta; part (give part="input", ..) ends
    with theta. `where` chooses by settings. Column added: step. Raises UserError where there are no rows.
    """
    chosen = models_of(rows, method, lr, **where)
    chosen = chosen.assign(step=chosen["iteration" if method == "early-stopping" else "alpha"].astype(float))
    pieces, ends = [], []
    if method != "part":
        pieces, ends = [theta_0(rows).assign(step=0.0)], [0.0]
    if method != "early-stopping":
        pieces, ends = [*pieces, of_method(at_rate(rows, lr), "theta").assign(step=1.0)], [*ends, 1.0]
    for piece, end in zip(pieces, ends, strict=True):
        if lacking := set(chosen["seed"]) - set(piece["seed"]):
            raise UserError(
                f"results: method = {method}, seed = {min(lacking)} has rows, but {'theta' if end else 'theta_0'} has none."
            )
    whole = pd.concat([*pieces, chosen[~chosen["step"].isin(ends)]])
    return whole[whole["seed"].isin(set(chosen["seed"]))].sort_values(["step", "seed"])


def at(path: pd.DataFrame, step: float | dict[int, float]) -> pd.DataFrame:
    """The rows of a path at a step, or at a step for each seed."""
    wanted = path["seed"].map(step) if isinstance(step, dict) else step
    return path[np.isclose(path["step"], wanted)]


def curves(path: pd.DataFrame, ability: str, reward: str = "reward") -> dict[int, Curve]:
    """One curve for each seed of a path (`llm.evidence.fronts`)."""
    needed = path.loc[path["metric"].isin([ability, reward]), ["seed", "metric", "value", "step"]]
    settings = [{"step": step} for step in needed["step"]]
    return curves_of(needed.assign(setting=settings), along="step", ability=ability, reward=reward)


def value(rows: pd.DataFrame, seed: int, metric: str) -> float:
    """The one number that `rows` have for a seed and a metric."""
    return float(_only(rows, seed, metric, "value"))


def _only(rows: pd.DataFrame, seed: int, metric: str, column: str) -> object:
    found = rows.loc[(rows["seed"] == seed) & (rows["metric"] == metric), column]
    if len(found) != 1:
        raise UserError(f"results: {len(found)} rows for seed = {seed}, metric = {metric}; there must be one.")
    return found.iloc[0]


def difference(first: pd.DataFrame, second: pd.DataFrame, metric: str) -> Interval:
    """first - second, one model a seed each, paired over seeds, with its 95 % interval.

    With one seed the interval is that over items (`items_error`).
    """
    common = seeds(first)
    if common != seeds(second):
        raise UserError(f"results: seeds {common} and {seeds(second)} must be the same to be paired.")
    interval = t_interval([value(first, seed, metric) - value(second, seed, metric) for seed in common])
    if len(common) > 1:
        return interval
    half = NORMAL * items_error(first, second, metric)
    return Interval(interval.mean, interval.mean - half, interval.mean + half, interval.per_seed)


def items_error(first: pd.DataFrame, second: pd.DataFrame, metric: str) -> float:
    """Standard error, over test items, of the mean over seeds of first - second: of these very runs, not of others.

    The same items are asked of both models: where rows keep them, it is that of the items' differences. Elsewhere they are
    taken as independent, so it is rather too large.
    """
    errors = [_items_error(first, second, seed, metric) for seed in seeds(first)]
    return float(np.sqrt(np.sum(np.square(errors))) / len(errors))


def _items_error(first: pd.DataFrame, second: pd.DataFrame, seed: int, metric: str) -> float:
    items = [_only(rows, seed, metric, "items") for rows in (first, second)]
    if all(isinstance(of_model, list) for of_model in items):
        between = np.subtract(*items)
        return between.std(ddof=1) / np.sqrt(len(between))
    return np.hypot(*(_only(rows, seed, metric, "stderr") for rows in (first, second)))


def gap(first: dict[int, Curve], second: dict[int, Curve]) -> Interval | None:
    """Ability of first - second at equal reward, averaged over their common rewards, paired over seeds.

    None where the curves of a seed have no rewards in common (a path whose reward never rises is one point).
    """

    def ends(curve: Curve) -> tuple[float, float]:
        rewards = curve.cut().rewards
        return float(rewards.min()), float(rewards.max())

    for seed in first.keys() & second.keys():
        (low, high), (other_low, other_high) = ends(first[seed]), ends(second[seed])
        if max(low, other_low) >= min(high, other_high):
            return None
    return compare(first, second)


def saturation(path: pd.DataFrame, reward: str = "reward") -> dict[int, tuple[float, float]]:
    """For each seed the last step before the reward saturates, and the first at which it has.

    Saturated: within `SATURATED` of the rise from the path's first step to its peak. Where the reward never
    rises both are the first step.
    """
    found = {}
    for seed in seeds(path):
        points = path[(path["seed"] == seed) & (path["metric"] == reward)].sort_values("step")
        steps, rewards = points["step"].to_numpy(), points["value"].to_numpy()
        first = int(np.argmax(rewards >= rewards[0] + (1 - SATURATED) * (rewards.max() - rewards[0])))
        found[seed] = float(steps[max(first - 1, 0)]), float(steps[first])
    return found


def areas(rows: pd.DataFrame, method: str, lr: float | None, reward: str = "reward") -> dict[int, float]:
    """For each seed a path's hypervolume in (reward, mean ability), above theta_0's reward and chance."""
    return path_areas(rows, path(rows, method, lr), reward)


def path_areas(rows: pd.DataFrame, models: pd.DataFrame, reward: str = "reward") -> dict[int, float]:
    """The same of any path of models; `rows` hold theta_0 and chance."""
    by_seed = curves(models, "mean_ability", reward)
    return {seed: _area(rows, seed, curve, reward) for seed, curve in by_seed.items()}


def _area(rows: pd.DataFrame, seed: int, curve: Curve, reward: str) -> float:
    floor = value(of_method(rows, "chance"), seed, "mean_ability")
    return curve_hypervolume(curve, (value(theta_0(rows), seed, reward), floor))


def best_rate(
    rows: pd.DataFrame, method: str, among: Iterable[float | None], reward: str = "reward"
) -> tuple[float | None, list[int]]:
    """The learning rate of the largest area on the first seed, and the other seeds, to report it on.

    With one seed that seed itself is returned: there is no other to report on.
    """
    all_curves = {lr: curves(path(rows, method, lr), "mean_ability", reward) for lr in among}
    chosen_on = min(seeds(rows))

    def score(curve: Curve) -> float:
        return _area(rows, chosen_on, curve, reward)

    if len(seeds(rows)) == 1:
        return max(all_curves, key=lambda lr: score(all_curves[lr][chosen_on])), [chosen_on]
    best, others = choose_setting(all_curves, chosen_on, score)
    return best, sorted(others)


def best_step(path: pd.DataFrame, least_reward: float) -> float:
    """The step of the largest mean ability among those with at least this learned reward, means over seeds.

    The step of the highest reward where none has it.
    """
    means = path.groupby(["metric", "step"])["value"].mean()
    reward, ability = means["reward"], means["mean_ability"]
    allowed = reward.index[reward >= least_reward]
    return float(ability[allowed].idxmax() if len(allowed) else reward.idxmax())
