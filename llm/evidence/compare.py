"""Methods compared with a rival, for figures and the ledger alike: fronts, single models, learning rates.

What is compared is ability at equal reward, seed by seed, over 50 to 95 % of the reward's rise as far as both paths reach
(`llm.evidence.shares`): who stops earlier is not told as beaten.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import product

import pandas as pd

from . import paths
from .frames import abilities, rewards
from .intervals import Interval, t_interval
from .metrics import MEAN_ABILITY
from .shares import Models, NotComparable, Rate, Rises, matched, rises, saved, saved_at

OWN_GROUPS = (
    "ama-own-embeddings",
    "ama-own-embeddings-head",
)  # families whose embeddings, or head too, have their own ratio


@dataclass(frozen=True)
class Gain:
    """What a method keeps more than its rival at equal reward, in the ability's unit, with Student's 95 % interval over seeds.

    levels: the lowest and the highest reward that were compared, as shares of the rise; None where these are all that both
    reach.
    """

    t: Interval
    levels: tuple[float, float] | None = None


@dataclass(frozen=True)
class Contest:
    """A family against its rival: (reward, ability) -> gain, None where nothing can be compared. `mark` goes after its name."""

    family: str
    against: str
    mark: str
    found: Mapping[tuple[str, str], Gain | None]


def contests(
    found: Mapping[str, pd.DataFrame],
    rows: pd.DataFrame,
    rival: str = "ma",
    of: Iterable[str] | None = None,
    mark: str = "",
    everywhere: bool = False,
    overall: str = "",
) -> list[Contest]:
    """What all paths, or those in `of`, keep more than `rival` at equal reward, as the ledger compares (`llm.evidence.shares`).

    `rows` hold theta_0, and the algorithm whose rise the rewards are counted in. everywhere: over all rewards that both reach,
    for paths that begin at theta and hardly leave its reward (`llm.evidence.paths.gap`). overall: a metric of all abilities
    together, compared too (`llm.evidence.claims.book`).
    """
    names = [name for name in (found if of is None else of) if name != rival]
    start, rise = paths.theta_0(rows), {reward: rises(rows, reward) for reward in rewards(rows)}

    def against(path: pd.DataFrame, ability: str, reward: str) -> Gain | None:
        if not everywhere:
            return gain(path, found[rival], start, rise[reward], ability, reward)
        found_gap = paths.gap(*matched(path, found[rival], rise[reward], reward), ability, reward, over_items=True)
        return Gain(found_gap) if found_gap else None

    every = list(product(rewards(rows), [*abilities(rows), *([overall] if overall else [])]))
    return [Contest(name, rival, mark, {(r, a): against(found[name], a, r) for r, a in every}) for name in names]


def at_reward_of(
    family: str, step: float, found: Mapping[str, pd.DataFrame], rows: pd.DataFrame, of: Iterable[str]
) -> Contest:
    """What MA keeps more than one model of another family, at a step of its path, at that model's reward; in the
    abilities `of`, by each reward.
    """
    model, start = paths.at(found[family], step), paths.theta_0(rows)

    def against(ability: str, reward: str) -> Gain | None:
        try:
            one = saved_at(found["ma"], model, start, rises(rows, reward), ability, reward)
        except NotComparable:
            return None
        return Gain(t_interval(one.kept), one.levels)

    return Contest("ma", family, "", {(r, a): against(a, r) for r, a in product(rewards(rows), of)})


def gain(
    path: pd.DataFrame, rival: pd.DataFrame, start: pd.DataFrame, rise: Rises, ability: str, reward: str
) -> Gain | None:
    """A path's ability minus its rival's at equal reward; None where the two have too few rewards in common."""
    try:
        found = saved({None: path}, {None: rival}, start, rise, ability, reward)
    except NotComparable:
        return None
    return Gain(t_interval(found.kept), found.levels)


@dataclass(frozen=True)
class Duel:
    """What a family with groups of its own keeps of the mean ability more than its rival at equal reward."""

    preset: str
    rlhf: str
    family: str
    rival: str
    reward: str
    seeds: int
    found: Gain


def duels(frames: Mapping[str, pd.DataFrame], preset: str) -> list[Duel]:
    """Every family with groups of its own that was measured, against MA and the paper's AMA, by both rewards; `frames`:
    algorithm -> rows.
    """
    found, rivals = [], ("ma", "ama")
    for rlhf, rows in frames.items():
        there = set(rows.loc[rows["lr"].isna(), "family"])
        for family in OWN_GROUPS:
            if there >= {family, *rivals}:
                found += [duel(rows, preset, rlhf, family, rival, r) for rival in rivals for r in rewards(rows)]
    return [one for one in found if one]


def duel(rows: pd.DataFrame, preset: str, rlhf: str, family: str, rival: str, reward: str) -> Duel | None:
    """None where the two have too few rewards in common on some seed."""
    first, second = paths.path(rows, family), paths.path(rows, rival)
    common = set(first["seed"]) & set(second["seed"])
    ours, theirs = paths.of_seeds(first, common), paths.of_seeds(second, common)
    found = gain(ours, theirs, paths.theta_0(rows), rises(rows, reward), MEAN_ABILITY, reward)
    return Duel(preset, rlhf, family, rival, reward, len(common), found) if found else None


def losses(rows: pd.DataFrame) -> dict[str, float]:
    """How far each ability lies apart in theta_0 and theta, mean over seeds, in the ability's unit: the size of what is paid."""
    theta = paths.at_rate(paths.of_method(rows, "theta"), None)
    start = paths.of_seeds(paths.theta_0(rows), theta["seed"])
    ends = (frame.groupby("metric")["value"].mean() for frame in (start, theta))
    apart = abs(next(ends) - next(ends))
    return {ability: float(apart[ability]) for ability in abilities(rows) if ability in apart}


@dataclass(frozen=True)
class AtBest:
    """What a rival saves of a method's tax at equal learned reward (`llm.evidence.shares`): at each learning rate, both at the
    same, and with each at the rate that is best at each level on the other seeds. None where that is no number: the two have
    no levels in common, or the method pays no tax there.
    """

    at: dict[Rate, Interval | None]
    best: Interval | None


def leads(found: Mapping[str, Models], rows: pd.DataFrame, metric: str, rival: str) -> dict[str, AtBest]:
    """The share saved in a metric by a rival, of the tax of every other method; MA against early stopping is told as MA's.

    `rows` hold theta_0 and the algorithm at the preset's own rate (`llm.evidence.shares.rises`).
    """
    start, rise = paths.theta_0(rows), rises(rows)

    def share(ours: Models, theirs: Models) -> Interval | None:
        try:
            one = saved(ours, theirs, start, rise, metric)
        except NotComparable:
            return None
        return one.share().outer if one.is_taxed else None

    ours, result = found[rival], {}
    for name, models in found.items():
        if name not in {"ma", rival}:
            at = {lr: share({lr: ours[lr]}, {lr: path}) for lr, path in models.items()}
            result[name] = AtBest(at, share(ours, models))
    return result


def both_rise(path: pd.DataFrame) -> list[float]:
    """The ratios below 1 at which the learned reward and an ability are above those of theta, the path's end, with their
    whole 95 % intervals, and no ability is below.
    """
    theta, found = paths.at(path, 1), []
    for alpha in sorted(set(path["step"]) - {1.0}):
        model = paths.at(path, alpha)
        reward, *rest = (paths.difference(model, theta, m).verdict for m in ("reward", *abilities(path)))
        if reward == "above" and "above" in rest and "below" not in rest:
            found.append(float(alpha))
    return found
