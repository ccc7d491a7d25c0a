"""The reference comparison: every method on one plane, the share of the reward's rise kept against the tax paid for it.

Reward is counted in shares of a seed's own rise (`llm.evidence.shares`), tax in what RLHF takes (`llm.evidence.claims.book`): 1 is the
whole tax, the mean over the abilities that pay one. All at the preset's own learning rate.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..config import Preset, load_sweep, names, runnable
from ..config.sweep import Entry
from ..errors import UserError
from ..methods import METHODS, family
from . import paths
from .claims.association import by_model, ranked_models, with_the_tax
from .claims.book import Book
from .costs import GROUPS, compared, cost_of
from .intervals import Interval, chosen_elsewhere, cross_chosen, ratio_of_means, t_interval
from .metrics import IN_TAXES
from .shares import NotComparable, Saved, at_levels, saved

EQUAL = "pattern"  # the family without a look: figure 9's equal ratios, which are MA under another name
GRID = np.arange(0, 111) / 100  # shares of the rise that fronts are told at
LEVELS = (0.8, 0.9, 0.95)  # and that the table has
CHOSEN_AT = 0.9  # of the rise: where leaders are
RIVAL = "early-stopping"
PREDICTORS = ("forward_kl", "weight_displacement")


def place_of(share: float) -> int:
    """The place in `GRID` of a share of the rise."""
    return int(np.abs(GRID - share).argmin())


@dataclass(frozen=True)
class Front:
    """tax: (seeds, GRID) in taxes; NaN at shares of the rise that the path does not reach on every seed. whole: theta's, (seeds,).
    inflation: of the squared error, where there was a choice (`leaders`).
    """

    family: str
    method: str
    seeds: tuple[int, ...]
    tax: NDArray[np.float64]
    whole: NDArray[np.float64]
    inflation: float = 1.0

    @property
    def group(self) -> str:
        return cost_of(self.method).group

    @cached_property
    def band(self) -> tuple[NDArray, NDArray, NDArray]:
        """The share of theta's tax paid at each share of the rise, and its 95 % interval over seeds.

        It is a ratio of means, paired by seed, with Fieller's interval, so fronts of other seeds can stand beside it: all end in 1 at
        theta. NaN where the path does not reach or theta pays nothing; bounds NaN with one seed, or where there are none.
        """
        found = np.full((3, len(GRID)), np.nan)
        if self.whole.mean() > 0:
            for place in np.flatnonzero(np.isfinite(self.tax).all(axis=0)):
                share = ratio_of_means(self.tax[:, place], self.whole, inflation=self.inflation)
                found[:, place] = share.mean, share.low, share.high
        found[~np.isfinite(found)] = np.nan
        return found[0], found[1], found[2]


def models_of(book: Book, rlhf: str) -> dict[str, pd.DataFrame]:
    """family -> path, of every method that forms one, on the seeds on which the reward rises, with the reward and the tax alone;
    UserError where no tax is paid.
    """
    if IN_TAXES not in book.units:
        raise UserError(f"results: {book.preset} has no ability that pays a tax; there is nothing to compare.")
    rows, rise = book.rows[rlhf], book.rises(rlhf, "reward")
    rising = [seed for seed, (_, height) in rise.items() if height > 0]
    needed = rows["metric"].isin(["reward", IN_TAXES]) & rows["seed"].isin(rising)  # of dozens of metrics
    own = rows[needed & rows["lr"].isna() & (rows["family"] != EQUAL)]
    ordered = [name for name in compared() if METHODS[name].order]
    named = own[own["method"].isin(ordered)].drop_duplicates("family").set_index("family")["method"]
    return {
        name: paths.path(own, name) for method in ordered for name in named.index[named == method]
    }  # in the order of the table


def fronts(book: Book, rlhf: str) -> dict[str, Front]:
    """The front of every family; with one seed it is that seed's own."""
    rise, start = book.rises(rlhf, "reward"), paths.theta_0(book.rows[rlhf])
    theta = paths.at_rate(paths.of_method(book.rows[rlhf], "theta"), None)
    found = {}
    for name, path in models_of(book, rlhf).items():
        seeds = tuple(paths.seeds(path))
        before = paths.values(start, seeds, IN_TAXES)
        tax = before[:, None] - at_levels({None: path}, rise, IN_TAXES, "reward", GRID)[0]
        tax[:, ~np.isfinite(tax).all(axis=0)] = np.nan
        whole = before - paths.values(theta, seeds, IN_TAXES)
        found[name] = Front(name, _method(path, name), seeds, tax, whole)
    return found


def _method(path: pd.DataFrame, name: str) -> str:
    return str(path.loc[path["family"] == name, "method"].iloc[0])


def saved_at(book: Book, rlhf: str, models: Mapping[str, pd.DataFrame], name: str, level: float) -> Saved | None:
    """What a family saves of early stopping's tax at one share of the rise; None where one of them does not get there, or no seed
    has both.

    Early stopping has all its models against each family, so that all lines of the table are about the same tax. A path is taken as
    straight between its models, so one with few models lies lower than it could: the table counts them.
    """
    if RIVAL not in models:  # of public pairs there are seldom checkpoints
        return None
    common = set(models[name]["seed"]) & set(models[RIVAL]["seed"])
    if not common:
        return None
    ours, theirs = (paths.of_seeds(models[one], common) for one in (name, RIVAL))
    start = paths.theta_0(book.rows[rlhf])
    try:
        levels = np.array([level])
        rise = book.rises(rlhf, "reward")
        return saved({None: ours}, {None: theirs}, start, rise, IN_TAXES, levels=levels, equally=False)
    except NotComparable:
        return None


def share(found: Saved | None) -> Interval | None:
    """The share with its 95 % interval; None where there is none, or early stopping pays no tax that is clear of 0."""
    return found.share().outer if found and found.is_taxed else None


@dataclass(frozen=True)
class Line:
    """A line of the table: what a family saves of early stopping's tax at each of `LEVELS`, None where it is no number; models: of
    a seed's path, the ends included.
    """

    family: str
    method: str
    seeds: int
    models: int
    saved: tuple[Interval | None, ...]


def table(book: Book, rlhf: str, levels: Sequence[float] = LEVELS) -> list[Line]:
    """A line a family, by group, the largest share at the middle level first; those that get to none of the levels last."""
    models = models_of(book, rlhf)
    lines = []
    for name, path in models.items():
        if name != RIVAL:
            shares = tuple(share(saved_at(book, rlhf, models, name, level)) for level in levels)
            lines.append(Line(name, _method(path, name), path["seed"].nunique(), path["step"].nunique(), shares))
    middle = len(levels) // 2

    def place(line: Line) -> tuple[int, float]:
        at = line.saved[middle]
        return list(GROUPS).index(cost_of(line.method).group), -at.mean if at else np.inf

    return sorted(lines, key=place)


@dataclass(frozen=True)
class Leader:
    """front: on each seed that of the family that pays least on the other seeds, under the name of the one taken most often.
    taken: family -> the seeds that took it, the most first.
    """

    front: Front
    taken: Mapping[str, int]


def leaders(found: Mapping[str, Front]) -> dict[str, Leader]:
    """group -> its best family, chosen for each seed on the others, as claims do (`llm.evidence.intervals.chosen_elsewhere`).

    Told at `CHOSEN_AT` of the rise, of families that have the lowest of `LEVELS` too; where no family of the group gets there, at the highest
    tenth that one gets to. Of these families those count that were measured on the most seeds, so that few seeds of one do not decide for
    all; on the seeds that all of them have. MA and early stopping, which all are held against, lead no
    group, nor does the oracle, which is a bound.
    """
    groups: dict[str, list[Front]] = {}
    for front in found.values():
        if front.family not in (RIVAL, "ma") and front.method != "oracle":
            groups.setdefault(front.group, []).append(front)
    best = {}
    for group, families in groups.items():
        for at in np.arange(CHOSEN_AT, 0, -0.1):
            columns = [place_of(share) for share in (at, min(at, LEVELS[0]))]
            reaching = [front for front in families if np.isfinite(front.tax[:, columns]).all()]
            most = max((len(front.seeds) for front in reaching), default=0)
            reaching = [front for front in reaching if len(front.seeds) == most]
            if seeds := set.intersection(*(set(front.seeds) for front in reaching)) if reaching else set():
                best[group] = _leader(reaching, sorted(seeds), columns[0])
                break
    return best


def _leader(fronts: Sequence[Front], seeds: Sequence[int], column: int) -> Leader:
    tax, whole = (
        np.array([getattr(front, of)[[front.seeds.index(seed) for seed in seeds]] for front in fronts])
        for of in ("tax", "whole")
    )
    chosen = chosen_elsewhere(-tax[:, :, [column]])[1][:, 0]
    taken = Counter(fronts[place].family for place in chosen)
    first = next(front for front in fronts if front.family == taken.most_common(1)[0][0])
    every = np.arange(len(seeds))
    its_tax = tax[chosen, every]
    its_tax[:, ~np.isfinite(its_tax).all(axis=0)] = np.nan
    inflation = cross_chosen(len(seeds), len(fronts) > 1)
    front = replace(first, seeds=tuple(seeds), tax=its_tax, whole=whole[chosen, every], inflation=inflation)
    return Leader(front, dict(taken.most_common()))


@dataclass(frozen=True)
class Association:
    """How well a metric ranks models by the tax they pay: Spearman's rank correlation in each seed, mean over seeds."""

    group: str
    predictor: str
    models: float
    found: Interval


def associations(book: Book, rlhf: str) -> list[Association]:
    """Over all models of an algorithm (group ""), and over those of each group; empty where a predictor was not measured."""
    if IN_TAXES not in book.units or not set(PREDICTORS) <= set(book.rows[rlhf]["metric"]):
        return []
    models = by_model(book, PREDICTORS)
    models = models[models.index.get_level_values("rlhf") == rlhf]
    groups = np.array(
        [cost_of(name).group if name in compared() else "" for name in models.index.get_level_values("method")]
    )
    found = []
    for group in ("", *GROUPS):
        chosen = models[groups == group] if group else models
        ranks = with_the_tax(chosen)
        for predictor in PREDICTORS:
            numbers = [of[predictor] for of in ranks.values()]
            if numbers and np.isfinite(numbers).all():
                found.append(
                    Association(group, predictor, ranked_models(chosen, ranks) / len(ranks), t_interval(numbers))
                )
    return found


def unmeasured(book: Book, rlhf: str, preset: Preset) -> dict[str, list[str]]:
    """sweep -> its methods that have no rows after an algorithm, and the families of settings that have none of methods that have some;
    of the sweeps that measure the preset at its own rate.
    """
    rows = book.rows[rlhf]
    own = rows[rows["lr"].isna()]
    there = set(own["method"]), set(own["family"])
    lacking = {}
    for name in names("sweeps"):
        sweep = runnable(load_sweep(name), preset)
        if rlhf in sweep.rlhf and None in sweep.learning_rates:
            entries = (*sweep.averaging, *sweep.training)
            lacking[name] = dict.fromkeys(absent for entry in entries for absent in _absent(entry, *there))
    return {name: list(absent) for name, absent in lacking.items() if absent}


def _absent(entry: Entry, methods: set[str], families: set[str]) -> list[str]:
    """An entry's method that is not among those measured, or else its families that are not."""
    if entry.method not in methods:
        return [entry.method]
    try:
        return [one for setting in entry.settings() if (one := family(entry.method, setting)) not in families]
    except KeyError:  # families by what an entry's options do not say, such as AMA's parts
        return []
