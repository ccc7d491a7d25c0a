"""Paths of models, taken from frames of rows: along RSF's iterations, a ratio, the strength of a method that changes training.

The notebooks, the table and the ledger of claims read the same rows through this file. A *path* is a frame of rows
(`llm.evidence.frames`) with a column `step`: the iteration of early stopping (0 is theta_0); the ratio alpha of an averaging
method (the share of the post-RLHF model; 0 is theta_0 and 1 is theta); or, of a method that changes training, the place of a
strength, the strongest first. Learning rates are numbers, or None for the preset's own.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import stdtrit

from ..errors import UserError
from ..methods import METHODS, Order
from .curves import Curve, MeasuredPath, bootstrap_curves, curve_hypervolume
from .curves import gap as gap_of_curves
from .frames import after, first_of, read_preset
from .intervals import Interval, chosen_elsewhere, t_interval
from .metrics import MEAN_ABILITY

CORE = ("theta_0", "chance", "theta", "early-stopping", "ma", "part", "ama")  # what needs no training but RLHF's own
SATURATED = 0.02  # of the reward's rise: nearer to its peak than this, the reward counts as saturated
NORMAL = 1.96  # half a 95 % interval in standard errors, where the error is known (over items)


def load(results: Path) -> pd.DataFrame:
    """The rows of RSF, or of the first algorithm that was measured, and of averaging after it, of one preset, as
    `llm.evidence.frames.after` gives them.

    Raises UserError for rows of several presets, of unknown methods, and for a setting measured on some seeds or metrics only.
    """
    rows = read_preset(results)
    return after(rows, first_of(set(rows["rlhf"])), CORE)


def seeds(rows: pd.DataFrame) -> list[int]:
    return sorted(int(seed) for seed in set(rows["seed"]))


def of_seeds(rows: pd.DataFrame, chosen: Iterable[int]) -> pd.DataFrame:
    return rows[rows["seed"].isin(set(chosen))]


def swept(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of those seeds that RSF was run on at other learning rates too; empty where there are none."""
    return of_seeds(rows, rows.loc[rows["lr"].notna(), "seed"])


def rates(rows: pd.DataFrame, own: float) -> list[float | None]:
    """RSF's learning rates in rising order; None, the preset's own, stands where `own` belongs.

    A rate that equals `own` is the same runs once more, and left out.
    """
    others = [float(lr) for lr in set(rows["lr"].dropna()) if not np.isclose(lr, own)]
    return sorted([*others, None], key=lambda lr: own if lr is None else lr)


def theta_0(rows: pd.DataFrame) -> pd.DataFrame:
    return of_method(rows, "theta_0")


def of_method(rows: pd.DataFrame, method: str) -> pd.DataFrame:
    return rows[rows["method"] == method]


def at_rate(rows: pd.DataFrame, lr: float | None) -> pd.DataFrame:
    return rows[rows["lr"].isna() if lr is None else rows["lr"] == lr]


def path(rows: pd.DataFrame, family: str, lr: float | None = None) -> pd.DataFrame:
    """The models of a family at a learning rate, and those that its path begins and ends with, as its `Order` says.

    Column added: step. Where the models of a family form no path, they are returned as they are. Raises UserError where
    there are no rows, or where an end of the path has none for some seed.
    """
    chosen = at_rate(rows[rows["family"] == family], lr)
    if chosen.empty:
        rate = "the preset's own learning rate" if lr is None else f"learning rate {lr:g}"
        raise UserError(f"results: no rows of {family} at {rate}.")
    method = METHODS[chosen["method"].iloc[0]]
    if method.order is None:
        return chosen
    ranked = not {"alpha", "iteration"} & {*method.order.by}  # by a strength, which has no scale of its own
    chosen = chosen.assign(step=_places(chosen, method.order) if ranked else chosen[method.order.by[0]].astype(float))
    last = chosen["step"].max() + 1 if ranked else 1.0
    ends = {step: end for step, end in ((0.0, method.order.starts), (last, method.order.ends)) if end}
    pieces = [chosen[~chosen["step"].isin(list(ends))]]
    for step, end in ends.items():
        models = of_method(at_rate(rows, lr) if "lr" in METHODS[end].setting else rows, end)
        if lacking := set(chosen["seed"]) - set(models["seed"]):
            raise UserError(
                f"results: {family}, seed = {min(lacking)} has rows, but {end}, an end of its path, has none."
            )
        pieces.append(models.assign(step=step))
    return of_seeds(pd.concat(pieces), chosen["seed"]).sort_values(["step", "seed"])


def _places(models: pd.DataFrame, order: Order) -> list[float]:
    """The place of each model's strength among all of them, from 1; keys that none of them has do not count."""
    by = [key for key in order.by if models[key].notna().any()]
    sorted_values = models[by].drop_duplicates().sort_values(by, ascending=not order.falling)
    place = {values: float(step) for step, values in enumerate(sorted_values.itertuples(index=False, name=None), 1)}
    return [place[values] for values in models[by].itertuples(index=False, name=None)]


def at(path: pd.DataFrame, step: float | dict[int, float]) -> pd.DataFrame:
    """The rows of a path at a step, or at a step for each seed."""
    wanted = path["seed"].map(step) if isinstance(step, dict) else step
    return path[np.isclose(path["step"], wanted)]


def curves(path: pd.DataFrame, ability: str, reward: str = "reward") -> dict[int, Curve]:
    """One curve (`llm.evidence.curves`) for each seed of a path; UserError where a point lacks a metric or has it twice."""
    points: dict[int, dict[float, dict[str, float]]] = {}
    columns = [path[name].tolist() for name in ("seed", "step", "metric", "value")]  # lists: selections would be slow
    for seed, step, metric, number in zip(*columns, strict=True):
        if metric not in (reward, ability):
            continue
        model = points.setdefault(seed, {}).setdefault(step, {})
        if metric in model:
            raise UserError(f"results: seed {seed}, step {step:g} has {metric} twice; choose one path first.")
        model[metric] = number
    found = {}
    for seed, models in sorted(points.items()):
        in_order = [models[step] for step in sorted(models)]
        if unpaired := [step for step in sorted(models) if len(models[step]) < 2]:
            raise UserError(f"results: seed {seed}, step {unpaired[0]:g} needs both {reward} and {ability}.")
        found[seed] = Curve(*(np.array([model[key] for model in in_order]) for key in (reward, ability)))
    return found


def values(rows: pd.DataFrame, chosen: Iterable[int], metric: str) -> NDArray[np.float64]:
    """The one number that `rows` have of a metric for each of the chosen seeds, (seeds,)."""
    return np.array(_only(rows, chosen, metric, "value"))


def _only(rows: pd.DataFrame, chosen: Iterable[int], metric: str, column: str) -> list[Any]:
    found: dict[int, list[Any]] = {seed: [] for seed in chosen}
    columns = (rows[name].tolist() for name in ("seed", "metric", column))  # lists: selections would be slow
    for seed, of_metric, number in zip(*columns, strict=True):
        if of_metric == metric and seed in found:
            found[seed].append(number)
    for seed, numbers in found.items():
        if len(numbers) != 1:
            raise UserError(f"results: {len(numbers)} rows for seed = {seed}, metric = {metric}; there must be one.")
    return [numbers[0] for numbers in found.values()]


def difference(
    first: pd.DataFrame, second: pd.DataFrame, metric: str, over_items: bool = True, inflation: float = 1.0
) -> Interval:
    """first - second, one model a seed each, paired over seeds, with its 95 % interval.

    With one seed the interval is that over items (`items_error`; Student's, over the items or groups of them that rows keep), or missing
    where these are not to count. inflation: of the squared error, where a model was chosen on the other seeds (`llm.evidence.intervals.cross_chosen`).
    """
    common = seeds(first)
    if common != seeds(second):
        raise UserError(f"results: seeds {common} and {seeds(second)} must be the same to be paired.")
    interval = t_interval(values(first, common, metric) - values(second, common, metric), inflation=inflation)
    if len(common) > 1 or not over_items:
        return interval
    items = _only(first, common, metric, "items")[0]
    quantile = stdtrit(len(items) - 1, 0.975) if isinstance(items, list) and len(items) > 1 else NORMAL
    half = quantile * items_error(first, second, metric)
    return Interval(interval.mean, interval.mean - half, interval.mean + half, interval.per_seed)


def items_error(first: pd.DataFrame, second: pd.DataFrame, metric: str) -> float:
    """Standard error, over test items, of the mean over seeds of first - second: of these very runs, not of others.

    Both models are given the same items: where rows keep them, it is that of the items' differences. Elsewhere they are
    taken as independent, so it is rather too large.
    """
    errors = [_items_error(first, second, seed, metric) for seed in seeds(first)]
    return float(np.sqrt(np.sum(np.square(errors))) / len(errors))


def _items_error(first: pd.DataFrame, second: pd.DataFrame, seed: int, metric: str) -> float:
    items = [_only(rows, [seed], metric, "items")[0] for rows in (first, second)]
    if all(isinstance(of_model, list) for of_model in items):
        between = np.subtract(*items)
        return between.std(ddof=1) / np.sqrt(len(between))
    return np.hypot(*[_only(rows, [seed], metric, "stderr")[0] for rows in (first, second)])


def gap(
    first: pd.DataFrame, second: pd.DataFrame, ability: str, reward: str = "reward", over_items: bool = False
) -> Interval | None:
    """Ability of the path `first` - `second` at equal reward, averaged over the rewards that both reach, paired over seeds.

    None where the paths of a seed have no reward in common. A single seed has no spread, so its bounds are NaN. With
    `over_items` they come from a bootstrap of its prompts and items, where rows keep these and paths drawn again have rewards
    in common: whether the difference is more than the luck of the items. It says nothing about other runs.
    """
    found = gap_of_curves(*(curves(path, ability, reward) for path in (first, second)))
    if found is None or len(found.per_seed) > 1 or not over_items:
        return found
    pair = [_measured(path, ability, reward) for path in (first, second)]
    if None in pair:
        return found
    try:
        return bootstrap_curves({0: pair[0]}, {0: pair[1]}, np.random.default_rng(0))
    except UserError:
        return found


def _measured(path: pd.DataFrame, ability: str, reward: str) -> MeasuredPath | None:
    """The models of a path of one seed with their items, in the path's order; None where a row keeps none."""
    items = [path.loc[path["metric"] == metric].sort_values("step")["items"] for metric in (reward, ability)]
    if any(of_metric.isna().any() for of_metric in items):
        return None
    return MeasuredPath(*(np.array(of_metric.tolist()) for of_metric in items))


def saturation(path: pd.DataFrame) -> dict[int, tuple[float, float]]:
    """For each seed the last step before the reward saturates, and the first at which it has.

    Saturated: within `SATURATED` of the rise from the path's first step to its peak. Where the reward never
    rises both are the first step.
    """
    found = {}
    for seed in seeds(path):
        points = path[(path["seed"] == seed) & (path["metric"] == "reward")].sort_values("step")
        steps, rewards = points["step"].to_numpy(), points["value"].to_numpy()
        first = int(np.argmax(rewards >= rewards[0] + (1 - SATURATED) * (rewards.max() - rewards[0])))
        found[seed] = float(steps[max(first - 1, 0)]), float(steps[first])
    return found


def areas(rows: pd.DataFrame, models: pd.DataFrame, reward: str = "reward") -> dict[int, float]:
    """For each seed a path's hypervolume in (reward, mean ability), above theta_0's reward and chance, which `rows` hold."""
    start, chance = theta_0(rows), of_method(rows, "chance")
    of_seed = curves(models, MEAN_ABILITY, reward)
    lowest = values(start, of_seed, reward), values(chance, of_seed, MEAN_ABILITY)
    return {
        seed: curve_hypervolume(curve, (reward_0, guessed))
        for (seed, curve), reward_0, guessed in zip(of_seed.items(), *lowest, strict=True)
    }


def at_best_rates(
    rows: pd.DataFrame, family: str, among: Sequence[float | None]
) -> tuple[pd.DataFrame, dict[int, float | None]]:
    """A family's path, on each seed at the learning rate of the largest area on the other seeds; and seed -> that rate."""
    models = {lr: path(rows, family, lr) for lr in among}
    found = [areas(rows, one) for one in models.values()]
    common = sorted(set.intersection(*map(set, found)))
    _, best = chosen_elsewhere(np.array([[[area[seed]] for seed in common] for area in found]))
    taken = {seed: among[place] for seed, place in zip(common, best[:, 0], strict=True)}
    return pd.concat([of_seeds(models[lr], [seed]) for seed, lr in taken.items()]), taken


def on_every_seed(path: pd.DataFrame) -> pd.DataFrame:
    """A path's models at the steps that every seed has."""
    has = path.groupby("step")["seed"].nunique()
    return path[path["step"].isin(has.index[has == path["seed"].nunique()])]


def best_step(path: pd.DataFrame, least_reward: float) -> float:
    """The step of the largest mean ability among those with at least this learned reward, means over seeds.

    The step of the highest reward where none has it. Only steps that every seed has: runs may end at different iterations.
    """
    means = on_every_seed(path).groupby(["metric", "step"])["value"].mean()
    reward, ability = means["reward"], means[MEAN_ABILITY]
    allowed = reward.index[reward >= least_reward]
    return float(ability[allowed].idxmax() if len(allowed) else reward.idxmax())
