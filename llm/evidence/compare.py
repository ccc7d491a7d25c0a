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
from .rates import Rate, by_lead

UNDER_FRONT, AT_EQUAL_REWARD = "area under the front", "ability at equal reward"
OWN_GROUPS = (
    "ama-own-embeddings",
    "ama-own-embeddings-head",
)  # families whose embeddings, or head too, have their own ratio
AtRates = Mapping[Rate, pd.DataFrame]  # learning rate -> path


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


def has_ratio(path: pd.DataFrame) -> bool:
    """Whether a path's steps are ratios."""
    return bool(path["alpha"].notna().any())


def as_coarse(path: pd.DataFrame, other: pd.DataFrame) -> pd.DataFrame:
    """A path along a ratio at the ratios of another such path, if it has them all; any other path as it is."""
    wanted = set(other["step"])
    if not (has_ratio(path) and has_ratio(other) and wanted <= set(path["step"])):
        return path
    return path[path["step"].isin(wanted)]


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
    """A rival minus a method, at several learning rates.

    at: both at the same rate, over all seeds. rates: the rival's best and the method's, chosen on the seed `chosen_on`; best:
    at these, over the other seeds (that one, if it is the only one). None where nothing can be compared.
    """

    at: dict[Rate, Interval | None]
    rates: tuple[Rate, Rate]
    chosen_on: int
    best: Interval | None


def leads(found: Mapping[str, AtRates], metric: str, rival: str) -> dict[str, AtBest]:
    """A metric at equal learned reward, of a rival minus that of every other method; rates as `llm.evidence.rates.by_lead`
    chooses.
    """
    chosen_on, others = _choosing(found)
    result = {}
    for name, models in _others(found, rival):
        first, second = by_lead(found[rival], models, chosen_on, metric)
        ours, theirs = (paths.of_seeds(path, others) for path in (found[rival][first], models[second]))
        at = {lr: paths.gap(found[rival][lr], models[lr], metric) for lr in models}
        result[name] = AtBest(at, (first, second), chosen_on, paths.gap(ours, theirs, metric))
    return result


def area_leads(found: Mapping[str, AtRates], rows: pd.DataFrame, rival: str) -> dict[str, AtBest] | None:
    """The area under the front of a rival minus that of every other method; each has the rate of its own largest area.

    As shares of one ideal for all methods and rates (`llm.evidence.hypervolume`); `rows` hold theta_0 and chance. None where
    there is none.
    """
    chosen_on, others = _choosing(found)
    every = {(name, lr): path for name, models in found.items() for lr, path in models.items()}
    shares = volumes(every, *_ends(rows, {chosen_on, *others}), MEAN_ABILITY)
    if shares is None:
        return None

    def minus(first: tuple[str, Rate], second: tuple[str, Rate], seeds: Iterable[int]) -> Interval:
        return t_interval([shares[first][seed] - shares[second][seed] for seed in seeds])

    def largest(name: str) -> Rate:
        return max(found[name], key=lambda lr: shares[name, lr][chosen_on])

    result = {}
    for name, models in _others(found, rival):
        at = {lr: minus((rival, lr), (name, lr), shares[name, lr]) for lr in models}
        rates = largest(rival), largest(name)
        result[name] = AtBest(at, rates, chosen_on, minus((rival, rates[0]), (name, rates[1]), others))
    return result


def _choosing(found: Mapping[str, AtRates]) -> tuple[int, list[int]]:
    return paths.choosing(paths.seeds(next(iter(found["ma"].values()))))


def _others(found: Mapping[str, AtRates], rival: str) -> list[tuple[str, AtRates]]:
    """The methods that a rival is held against; MA against early stopping is reported once, as MA's."""
    return [(name, models) for name, models in found.items() if name not in {"ma", rival}]


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
