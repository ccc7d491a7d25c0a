"""Everything that lines are computed from: the rows of one preset, by algorithm, and the units that lines share.

The units, each one number for the whole preset, from RSF (where it was not measured, the first algorithm that was) at the preset's own
learning rate, means over seeds:

* a reward: how far it rises from theta_0 to its highest on RSF's way;
* an ability: what RSF takes of it, theta_0 - theta, the *tax*.

`IN_TAXES` is a metric made from them: the mean over the abilities of ability / tax. A difference of 1 in it
is the whole tax in every ability. An ability has a unit only where its tax is at least `LEAST_TAX` of its range and its 95 %
interval lies above 0 (Student's over the seeds, or the normal one over the items where that is wider; theta_0's and theta's are
taken as independent, which is cautious): one that hardly pays would bring its noise, divided by next to nothing. What has no unit is
left out of the mean; so is a log-likelihood, which has a unit but no range.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from operator import itemgetter
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd

from ...errors import UserError
from ...files import read_made
from .. import paths
from ..frames import after, first_of, read_preset, steps
from ..intervals import t_interval
from ..metrics import ABILITIES, BOUNDED, IN_TAXES, MEAN_ABILITY, METRICS, REWARDS
from ..shares import Rate, Rises, rises
from .line import Missing

T = TypeVar("T")
LEAST_TAX = 0.005
A_RATIO_A_LAYER = "ama-layers"  # AMA, whatever the number of layers, which rows call it by
COLUMNS = ["method", "seed", "metric", "value", "n", "step", "alpha"]  # of a path


@dataclass(frozen=True)
class Book:
    """rows: algorithm -> rows (`llm.evidence.frames.after`). units: metric -> size, only where it is positive. neighbours: the
    books of other presets. theory: the folder of the theory's tables.
    overlaps: the preset's measured overlaps.
    """

    preset: str
    rows: Mapping[str, pd.DataFrame]
    units: Mapping[str, float]
    neighbours: Mapping[str, "Book"] = field(default_factory=dict)
    theory: Path | None = None
    overlaps: Sequence[Mapping[str, Any]] = ()
    # paths, rates and rises, once they are taken
    _taken: dict[tuple, Any] = field(default_factory=dict, compare=False, repr=False)

    @cached_property
    def ground(self) -> pd.DataFrame:
        """The rows of theta_0 and chance, which the rows of every algorithm hold."""
        rows = next(iter(self.rows.values()))
        return rows.loc[rows["method"].isin(["theta_0", "chance"]), ["method", "seed", "metric", "value"]]

    @property
    def metrics(self) -> set[str]:
        """What was measured of theta_0, and what is made of it here."""
        return set(self.ground["metric"])

    def need(self, metric: str) -> None:
        """Raises Missing for a metric that this preset has no rows of, or that `METRICS` does not know."""
        if metric != IN_TAXES and metric not in self.metrics & set(METRICS):
            raise Missing(f"rows of {metric}")

    @property
    def overall(self) -> str:
        """The metric that sums the abilities up: `IN_TAXES`, or their mean where there is no tax to measure in."""
        return IN_TAXES if IN_TAXES in self.units else MEAN_ABILITY

    def rises(self, rlhf: str, reward: str) -> Rises:
        """How far an algorithm raises a reward on each seed (`llm.evidence.shares.rises`)."""
        return self.once((rlhf, reward), lambda: rises(self.rows[rlhf], reward))

    def once(self, key: tuple, find: Callable[[], T]) -> T:
        """What `find` gives, found once for a key."""
        if key not in self._taken:
            self._taken[key] = find()
        return self._taken[key]

    @property
    def seeds(self) -> list[int]:
        return sorted({seed for rows in self.rows.values() for seed in paths.seeds(rows)})


def read_book(results: Path, neighbours: Iterable[str] = (), theory: Path | None = None) -> Book:
    """The book of a folder of rows, and of those of the named presets that have a folder beside it."""
    rows = read_preset(results)
    book = make_book(rows)
    folders = {name: results.resolve().parent / name for name in neighbours if name != book.preset}
    others = {name: read_book(folder) for name, folder in folders.items() if any(folder.glob("*.jsonl"))}
    return replace(book, neighbours=others, theory=theory, overlaps=read_overlaps(results))


def read_overlaps(results: Path) -> list[dict[str, Any]]:
    """What a folder of results has of overlaps (`llm.stages.overlap`), seed by seed."""
    return sorted(map(read_made, results.glob("overlap-seed*.json")), key=itemgetter("seed"))


def make_book(rows: pd.DataFrame) -> Book:
    """The book of one preset's rows (`read_preset`), of the seeds that have theta_0's."""
    return book_and_frames(rows, set(rows["rlhf"]) - {"none"})[0]


def book_and_frames(rows: pd.DataFrame, algorithms: Iterable[str]) -> tuple[Book, dict[str, pd.DataFrame]]:
    """`make_book`, and the rows after each of the algorithms (`llm.evidence.frames.after`) with the taxes; of one that was not measured
    only theta_0 and chance.
    """
    rows = rows[rows["seed"].isin(set(rows.loc[rows["method"] == "theta_0", "seed"]))]
    measured = set(rows["rlhf"]) - {"none"}
    if not measured:
        raise UserError("results: there are no rows of any algorithm; run the sweep `core` first.")
    frames = {rlhf: after(rows, rlhf) for rlhf in sorted({*algorithms, *measured})}
    units = _units(frames[first_of(measured)])
    frames = {rlhf: with_taxes(frame, units) for rlhf, frame in frames.items()}
    kept = ["method", "family", "setting_key", "lr", *steps(), "seed", "metric", "value", "n"]
    book = Book(rows["preset"].iloc[0], {rlhf: frames[rlhf][kept] for rlhf in sorted(measured)}, units)
    return book, {rlhf: frames[rlhf] for rlhf in algorithms}


def _units(rows: pd.DataFrame) -> dict[str, float]:
    way = rows[rows["lr"].isna() & rows["method"].isin(["theta", "early-stopping"])]
    of_start = paths.theta_0(rows)
    start = of_start[of_start["seed"].isin(set(way["seed"]))]
    before = start.groupby("metric")["value"].mean()
    by_model = way.groupby(["metric", "method", "iteration"], dropna=False)
    of_all = by_model["value"].mean()[by_model["seed"].nunique() == way["seed"].nunique()]
    peak = of_all.groupby("metric").max()
    units = {reward: peak[reward] - before.get(reward, 0.0) for reward in REWARDS if reward in peak}
    taxes = {ability: tax for ability in ABILITIES if (tax := _tax(start, way[way["method"] == "theta"], ability))}
    units |= taxes | ({IN_TAXES: 1.0} if set(taxes) & set(BOUNDED) else {})
    return {metric: float(size) for metric, size in units.items() if size > 0}


def _tax(start: pd.DataFrame, theta: pd.DataFrame, ability: str) -> float:
    """What theta has lost of theta_0's ability, the mean over seeds; 0 where it is too small or not clear of 0."""
    before, after_it = (end[end["metric"] == ability] for end in (start, theta))
    ends = before.merge(after_it, on="seed", validate="one_to_one")
    if ends.empty:
        return 0.0
    paid, seeds = ends["value_x"] - ends["value_y"], len(ends)
    of_seeds = paid.mean() - t_interval(paid).low if seeds > 1 else 0.0
    errors = ends[["stderr_x", "stderr_y"]]
    if seeds == 1 and errors.isna().all(axis=None):
        return 0.0
    of_items = paths.NORMAL * float((errors**2).sum().sum()) ** 0.5 / seeds  # without those that are not known
    least = max(LEAST_TAX * (METRICS[ability].best or 0.0), of_seeds, of_items)
    return float(paid.mean()) if paid.mean() >= least else 0.0


def with_taxes(rows: pd.DataFrame, units: Mapping[str, float]) -> pd.DataFrame:
    """The rows, and of each model `IN_TAXES` where there is a tax."""
    taxed = rows[rows["metric"].isin(set(units) & set(BOUNDED))]
    if taxed.empty:
        return rows
    scaled = taxed.assign(value=taxed["value"] / taxed["metric"].map(units), stderr=float("nan"))
    groups = scaled.groupby(["method", "setting_key", "seed"], sort=False)
    made = groups.first().reset_index().assign(metric=IN_TAXES, value=groups["value"].mean().to_numpy())
    return pd.concat([rows, made[rows.columns]], ignore_index=True)


@dataclass(frozen=True)
class Route:
    """A path of models: of which family (`llm.evidence.frames`), after which algorithm, and the sweep that measures it."""

    rlhf: str
    family: str
    sweep: str = "core"

    def models(self, book: Book, lr: Rate = None) -> pd.DataFrame:
        """The path at a learning rate (None: the preset's own), as a frame of `COLUMNS`. Missing where it has no rows."""
        return book.once((self.rlhf, self.family, lr), lambda: self._models(book, lr))

    def _models(self, book: Book, lr: Rate) -> pd.DataFrame:
        if lr not in self.rates(book):
            raise Missing(f"sweep {self.sweep}")
        rows = book.rows[self.rlhf]
        return paths.path(rows, self._named(rows), lr)[COLUMNS]

    def rates(self, book: Book) -> dict[Rate, set[int]]:
        """The learning rates that there are models of this family at, with their seeds; Missing without the algorithm."""
        if self.rlhf not in book.rows:
            raise Missing(f"sweep {self.sweep}")
        return book.once(("rates", self.rlhf, self.family), lambda: self._rates(book.rows[self.rlhf]))

    def _rates(self, rows: pd.DataFrame) -> dict[Rate, set[int]]:
        chosen = rows[rows["family"] == self._named(rows)]
        own, others = chosen[chosen["lr"].isna()], chosen[chosen["lr"].notna()]
        groups = (models for _, models in others.groupby("lr"))
        found: dict[Rate, set[int]] = {float(models["lr"].iloc[0]): set(models["seed"]) for models in groups}
        return ({None: set(own["seed"])} if len(own) else {}) | found

    def _named(self, rows: pd.DataFrame) -> str:
        """The family as rows call it: `A_RATIO_A_LAYER` by the most parts that were measured."""
        if self.family != A_RATIO_A_LAYER:
            return self.family
        parts = rows["family"].drop_duplicates().str.extract(r"^ama-(\d+)$", expand=False).dropna().astype(int)
        return self.family if parts.empty else f"ama-{parts.max()}"


def paired(first: pd.DataFrame, second: pd.DataFrame, sweep: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Both paths on the seeds that both have; Missing, with the sweep, where they have none in common."""
    common = set(first["seed"]) & set(second["seed"])
    if not common:
        raise Missing(f"sweep {sweep}")
    return paths.of_seeds(first, common), paths.of_seeds(second, common)


def shared_rates(
    book: Book, first: Route, second: Route, several: bool = False
) -> tuple[dict[Rate, pd.DataFrame], dict[Rate, pd.DataFrame]]:
    """The paths of both routes at the learning rates that both were measured at on every seed that both have at the preset's own; with
    `several`, where that is the preset's own alone, at all that both were measured at, on the seeds that have all of them, if any has.
    Missing where they have no seed in common.
    """
    rates, other = first.rates(book), second.rates(book)
    own: Rate = None
    seeds = {lr: rates[lr] & other[lr] for lr in rates if lr in other}
    if not seeds.get(None):
        later = first if first.sweep != "core" else second
        lacking = next((route for route, found in ((first, rates), (second, other)) if None not in found), later)
        raise Missing(f"sweep {lacking.sweep}")
    every: dict[Rate, set[int]] = {lr: both for lr, both in seeds.items() if both >= seeds[own]}
    if several and len(every) == 1:
        some = {lr: both for lr, both in seeds.items() if both & seeds[own]}
        every = some if set.intersection(*some.values()) else every
    common = set.intersection(*every.values()) & seeds[own]
    one, two = ({lr: paths.of_seeds(route.models(book, lr), common) for lr in every} for route in (first, second))
    return one, two
