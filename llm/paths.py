"""Paths of models, taken from result rows: along an algorithm's iterations, a ratio, a strength.

The notebooks and the table read the same rows through this file. A *path* is a frame of rows with a column
`step`, in whose order it leaves theta_0: the iteration of early stopping (0 is theta_0), the ratio alpha of an
averaging method (the share of the post-RLHF model; 0 is theta_0 and 1 is theta), a penalty's strength with
its sign turned (-infinity is theta_0), LoRA's rank. Learning rates are numbers, or None for the preset's own. `mean_ability` is a metric made here:
the mean of the abilities, BLEU taken in [0, 1].
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from llm.errors import UserError
from llm.families import check_complete, known, with_columns
from llm.fronts import Curve, Interval, choose_setting, compare, curve_hypervolume, curves_of, t_interval
from llm.results import read_rows

REWARDS = ("reward", "gold_reward")
ABILITIES = ("qa", "reading_f1", "bleu")
TOP = {"qa": 1.0, "reading_f1": 1.0, "bleu": 100.0}
SATURATED = 0.02  # of the reward's rise: nearer to its peak than this, the reward counts as saturated
ENDS = {  # setting that a path runs along -> the step of theta_0, and the path's last model with its step
    "iteration": (0.0, None),
    "alpha": (0.0, ("theta", 1.0)),
    "strength": (-np.inf, ("distilled", 0.0)),
    "rank": (0.0, None),
}
NORMAL = 1.96  # half a 95 % interval in standard errors, where the error is known (over items)


def load(results: Path, rlhf: str = "rsf") -> pd.DataFrame:
    """The rows of one preset that belong to an algorithm: its own, those of every method after it, theta_0 and chance.

    Experiments that are no family of `llm.families` are left out. Columns added: `family`, and one for each entry of the
    settings (None or NaN where a setting has none). Rows added: `mean_ability`. Raises UserError for rows of several
    presets, and for a setting measured on some seeds or metrics only.
    """
    rows = read_rows(results)
    if rows["preset"].nunique() > 1:
        raise UserError(f"results: {results} holds rows of {', '.join(sorted(set(rows['preset'])))}; give one.")
    ours = np.array([known(*one) for one in zip(rows["method"], rows["setting"], strict=True)])
    rows = rows[ours & rows["rlhf"].isin(["none", rlhf]) & (rows["split"] == "test")].reset_index(drop=True)
    if "theta_0" not in set(rows["method"]):
        raise UserError(f"results: {results} has no rows of method theta_0; run the sweep `core` first.")
    rows = with_columns(rows)
    check_complete(rows, (*REWARDS, *ABILITIES))
    return pd.concat([rows, _mean_abilities(rows)], ignore_index=True)


def _mean_abilities(rows: pd.DataFrame) -> pd.DataFrame:
    abilities = rows[rows["metric"].isin(ABILITIES)]
    top = abilities["metric"].map(TOP)
    scaled = abilities.assign(value=abilities["value"] / top, squared=(abilities["stderr"] / top) ** 2)
    groups = scaled.groupby(["method", "setting_key", "seed"], sort=False)
    first = groups.first().reset_index()
    mean, error = groups["value"].mean(), np.sqrt(groups["squared"].sum(min_count=1)) / groups.size()
    return first.assign(metric="mean_ability", value=mean.to_numpy(), stderr=error.to_numpy()).drop(
        columns="squared"
    )[rows.columns]


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
    return rows[rows["method"] == "theta_0"]


def path(rows: pd.DataFrame, method: str, lr: float | None = None, **where: object) -> pd.DataFrame:
    """The rows of `method` at a learning rate, and those of the models that the path begins and ends with.

    Early stopping begins with theta_0; methods with a ratio go from theta_0 to theta; part (give part="input", ..) ends
    with theta; methods with a strength go from theta_0, which an infinite strength gives, to `distilled`, which has none
    (PPO's penalty, kl, has no such end); LoRA begins with theta_0, as a rank of 0. `where` chooses by settings. Column
    added: step. Raises UserError where there are no rows.
    """
    at_rate = rows["lr"].isna() if lr is None else rows["lr"] == lr
    chosen = rows[at_rate & (rows["method"] == method)]
    for key, value in where.items():
        chosen = chosen[chosen[key] == value]
    if chosen.empty:
        raise UserError(f"results: no rows for method = {method}, lr = {lr or 'own'}, {where}.")
    along = next(name for name in ENDS if chosen[name].notna().any())
    sign = -1.0 if along == "strength" else 1.0  # so that every path runs away from theta_0
    chosen = chosen.assign(step=sign * chosen[along].astype(float))
    first, last = ENDS[along]
    ends = {} if method == "part" else {first: rows["method"] == "theta_0"}
    if last is not None and method != "kl":
        name, step = last
        ends[step] = at_rate & (rows["method"] == name)
    pieces = [rows[which].assign(step=step) for step, which in ends.items() if which.any()]
    whole = pd.concat([*pieces, chosen[~chosen["step"].isin([piece["step"].iloc[0] for piece in pieces])]])
    return whole[whole["seed"].isin(set(chosen["seed"]))].sort_values(["step", "seed"])


def of_family(rows: pd.DataFrame, name: str) -> pd.DataFrame:
    """The path of a family (`llm.families`) at the preset's own learning rate; the bare rows of one that has no path
    (`distilled`, which is one model, and `pattern`).
    """
    chosen = rows[(rows["family"] == name) & rows["lr"].isna()]
    if chosen.empty:
        raise UserError(f"results: no rows for {name} at the preset's own learning rate.")
    if chosen[list(ENDS)].isna().all(axis=None):
        return chosen
    return path(rows, chosen["method"].iloc[0], family=name)


def at(path: pd.DataFrame, step: float | dict[int, float]) -> pd.DataFrame:
    """The rows of a path at a step, or at a step for each seed."""
    wanted = path["seed"].map(step) if isinstance(step, dict) else step
    return path[np.isclose(path["step"], wanted)]


def curves(path: pd.DataFrame, ability: str, reward: str = "reward") -> dict[int, Curve]:
    """One curve for each seed of a path (`llm.fronts`)."""
    both = path[path["metric"].isin((reward, ability))]
    settings = [{"step": step} for step in both["step"]]
    return curves_of(both.assign(setting=settings), along="step", ability=ability, reward=reward)


def value(rows: pd.DataFrame, seed: int, metric: str) -> float:
    """The one number that `rows` have for a seed and a metric."""
    values = rows.loc[(rows["seed"] == seed) & (rows["metric"] == metric), "value"]
    if len(values) != 1:
        raise UserError(
            f"results: {len(values)} rows for seed = {seed}, metric = {metric}; there must be one."
        )
    return float(values.iloc[0])


def difference(first: pd.DataFrame, second: pd.DataFrame, metric: str) -> Interval:
    """first - second, one model a seed each, paired over seeds, with its 95 % interval.

    With one seed the interval is that over items, taken as independent: the same items are asked of both
    models, so it is rather too wide.
    """
    common = seeds(first)
    if common != seeds(second):
        raise UserError(f"results: seeds {common} and {seeds(second)} must be the same to be paired.")
    interval = t_interval([value(first, seed, metric) - value(second, seed, metric) for seed in common])
    if len(common) > 1:
        return interval
    errors = [rows.loc[rows["metric"] == metric, "stderr"].iloc[0] for rows in (first, second)]
    half = NORMAL * float(np.hypot(*errors))
    return Interval(interval.mean, interval.mean - half, interval.mean + half, interval.per_seed)


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


def lift(models: pd.DataFrame, rival: dict[int, Curve], ability: str, reward: str = "reward") -> list[float]:
    """For each seed the ability of some models minus that of a rival's path at the same reward, averaged over the models.

    A model beyond the rewards that the rival's cut path reaches is compared with its nearest end.
    """
    per_seed = []
    for seed in seeds(models):
        path = rival[seed].cut()
        own = models[models["seed"] == seed].pivot(index="setting_key", columns="metric", values="value")
        rewards = np.clip(own[reward], path.rewards.min(), path.rewards.max())
        per_seed.append(float(np.mean(own[ability] - path.at(rewards))))
    return per_seed


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
    by_seed = curves(path(rows, method, lr), "mean_ability", reward)
    return {seed: _area(rows, seed, curve, reward) for seed, curve in by_seed.items()}


def _area(rows: pd.DataFrame, seed: int, curve: Curve, reward: str) -> float:
    floor = value(rows[rows["method"] == "chance"], seed, "mean_ability")
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
