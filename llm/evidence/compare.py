"""Methods compared with a rival, for figures and the ledger alike: fronts, single models, learning rates.

What is compared is ability at equal reward (`llm.evidence.paths.gap`) or the area under the front as a share of the ideal
(`llm.evidence.hypervolume`), seed by seed.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from . import paths
from .frames import abilities, rewards
from .hypervolume import Volumes, lift, volumes
from .intervals import Interval, bootstrap_seeds, t_interval
from .metrics import MEAN_ABILITY
from .shares import Models, NotComparable, Rate, as_coarse, rises, saved

UNDER_FRONT, AT_EQUAL_REWARD = "area under the front", "ability at equal reward"
OWN_GROUPS = (
    "ama-own-embeddings",
    "ama-own-embeddings-head",
)  # families whose embeddings, or head too, have their own ratio


@dataclass(frozen=True)
class Advantage:
    """A difference between two methods over seeds: Student's t interval, and that of the paired bootstrap over seeds,
    which is too narrow with few seeds. The first decides.
    """

    t: Interval
    bootstrap: Interval


def advantage(differences: ArrayLike, rng: np.random.Generator | None = None) -> Advantage:
    """The mean of paired differences, (seeds,), with both intervals; `rng` by default is seeded with 0."""
    return Advantage(t_interval(differences), bootstrap_seeds(differences, rng or np.random.default_rng(0)))


@dataclass(frozen=True)
class Contest:
    """A family's `kind`, by default its area, minus its rival's: (reward, ability) -> advantage, None where nothing can be
    compared. `mark` goes before the family's name.
    """

    family: str
    against: str
    mark: str
    found: Mapping[tuple[str, str], Advantage | None]
    kind: str = UNDER_FRONT


def at_equal_reward(path: pd.DataFrame, rival: pd.DataFrame, reward: str) -> dict[str, Interval | None]:
    """ability -> the path's ability minus its rival's at equal reward, over the rewards that both reach; None where there
    are none. Where both run along a ratio the rival is taken at the path's own ratios.
    """
    against = as_coarse(rival, path)
    return {ability: paths.gap(path, against, ability, reward) for ability in abilities(path)}


def contests(
    found: Mapping[str, pd.DataFrame],
    rows: pd.DataFrame,
    rival: str = "ma",
    of: Iterable[str] | None = None,
    mark: str = "",
) -> list[Contest]:
    """The areas of all paths, or of those in `of`, against that of `rival`; `rows` hold theta_0 and chance.

    Where both run along a ratio the rival is taken at the method's own ratios, if it has them all, so that both are
    equally coarse.
    """
    names = [name for name in (found if of is None else of) if name != rival]
    coarse = {f"{rival} at {name}": as_coarse(found[rival], found[name]) for name in names}
    start, chance = _ends(rows, next(iter(found.values()))["seed"])
    areas = {
        (reward, ability): volumes({**found, **coarse}, start, chance, ability, reward)
        for reward in rewards(rows)
        for ability in abilities(rows)
    }

    def against(name: str, area: Volumes | None) -> Advantage | None:
        return _minus(area, name, f"{rival} at {name}") if area else None

    return [Contest(name, rival, mark, {key: against(name, area) for key, area in areas.items()}) for name in names]


def lifts(found: Mapping[str, pd.DataFrame], rival: str = "ma") -> list[Contest]:
    """The abilities of families of single models minus those of `rival` at the same reward (`llm.evidence.hypervolume.lift`)."""

    def against(models: pd.DataFrame, reward: str, ability: str) -> Advantage:
        return advantage(lift(models, paths.curves(found[rival], ability, reward), ability, reward))

    gaps = {
        name: {(r, a): against(models, r, a) for r in rewards(models) for a in abilities(models)}
        for name, models in found.items()
        if name != rival
    }
    return [Contest(name, rival, "", leads, AT_EQUAL_REWARD) for name, leads in gaps.items()]


@dataclass(frozen=True)
class Duel:
    """The area under a family's front (mean ability against a reward, share of the ideal) minus that of its rival, at the same
    ratios.
    """

    preset: str
    rlhf: str
    family: str
    rival: str
    reward: str
    seeds: int
    found: Advantage


def duels(frames: Mapping[str, pd.DataFrame], preset: str, rivals: Sequence[str] = ("ma", "ama")) -> list[Duel]:
    """Every family with groups of its own that was measured, against MA and the paper's AMA, by both rewards; `frames`:
    algorithm -> rows.
    """
    found = []
    for rlhf, rows in frames.items():
        there = set(rows.loc[rows["lr"].isna(), "family"])
        for family in OWN_GROUPS:
            if there >= {family, *rivals}:
                found += [duel(rows, preset, rlhf, family, rival, r) for rival in rivals for r in rewards(rows)]
    return [one for one in found if one]


def duel(rows: pd.DataFrame, preset: str, rlhf: str, family: str, rival: str, reward: str) -> Duel | None:
    """None where some seed has no ideal (`llm.evidence.hypervolume`)."""
    first, second = paths.path(rows, family), paths.path(rows, rival)
    common = set(first["seed"]) & set(second["seed"])
    both = {family: first, rival: as_coarse(second, first)}
    both = {name: paths.of_seeds(path, common) for name, path in both.items()}
    area = volumes(both, *_ends(rows, common), MEAN_ABILITY, reward)
    return Duel(preset, rlhf, family, rival, reward, len(common), _minus(area, family, rival)) if area else None


def _ends(rows: pd.DataFrame, seeds: Iterable[int]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The rows of theta_0 and of chance, of some seeds."""
    start, chance = (paths.of_seeds(paths.of_method(rows, method), seeds) for method in ("theta_0", "chance"))
    return start, chance


def _minus(area: Volumes, first: str, second: str) -> Advantage:
    return advantage([area[first][seed] - area[second][seed] for seed in sorted(area[second])])


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
