"""Two paths of models compared: ability at equal reward, and the area that each front encloses.

The difference at equal reward is the mean over the rewards that both reach, each path cut at its highest reward
(`llm.evidence.curves`). What decides is the learned reward, the one that the paper has; the gold reward, the single abilities and
the areas stand beside it.

Whether averaging is better depends on the learning rate (who can choose it may not need averaging), so where both paths were
measured at several, what decides is the harder comparison: each at its best rate, chosen on the first seed by the lead at equal
reward (`llm.evidence.rates`) and reported on the others; what the rates of the largest areas give stands beside it. Methods that
change training were measured at fewer strengths at other rates than at the preset's own: a rate is chosen among the strengths
that every rate has, and what is reported at the chosen one is its whole front.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isnan
from typing import Literal

import pandas as pd

from .. import paths
from ..compare import as_coarse
from ..frames import abilities, rewards
from ..intervals import Interval, t_interval
from ..metrics import AREA, IN_TAXES, MEAN_ABILITY, METRICS
from ..rates import by_lead
from .book import Book, Route, paired
from .change import Model
from .line import Line, measured

Side = Literal["above", "below"]


@dataclass(frozen=True)
class Ahead:
    """The path `first` above (or below) the path `second`.

    same_steps: take of the second only the steps that the first has (`llm.evidence.compare.as_coarse`).
    """

    part: str
    first: Route
    second: Route
    metric: str = IN_TAXES
    side: Side = "above"
    same_steps: bool = False
    deciding: bool = True

    def lines(self, book: Book) -> list[Line]:
        first, second = pair(book, self.first, self.second)
        if self.same_steps:
            second = as_coarse(second, first)
        return front_lines(book, self.part, first, second, self.metric, self.side, self.deciding)


@dataclass(frozen=True)
class SomeAhead:
    """One of several paths, by name, above another: the one that is highest on the first seed, reported on the others."""

    part: str
    candidates: Mapping[str, Route]
    second: Route
    metric: str = IN_TAXES

    def lines(self, book: Book) -> list[Line]:
        pairs = {name: pair(book, route, self.second) for name, route in self.candidates.items()}
        seeds = sorted(set.intersection(*(set(paths.seeds(first)) for first, _ in pairs.values())))
        chosen_on, others = paths.choosing(seeds)

        def advantage(name: str) -> float:
            first, second = (paths.of_seeds(one, [chosen_on]) for one in pairs[name])
            found = gap(first, second, _known(book, IN_TAXES), "reward")
            return found.mean if found else float("-inf")

        best = max(pairs, key=advantage)
        first, second = (paths.of_seeds(one, others) for one in pairs[best])
        return front_lines(book, self.part, first, second, self.metric, note=f"{best} chosen on seed {chosen_on}")


@dataclass(frozen=True)
class AheadOf:
    """A path above a single model: ability of the path at the model's reward, minus the model's."""

    part: str
    first: Route
    model: Model
    metric: str = IN_TAXES

    def lines(self, book: Book) -> list[Line]:
        first, second = pair(book, self.first, self.model.route)
        point, seeds, metric = paths.at(second, self.model.step), paths.seeds(first), _known(book, self.metric)
        found = None
        if metric:
            gaps = [
                float(curve.at(paths.value(point, seed, "reward"))) - paths.value(point, seed, metric)
                for seed, curve in paths.curves(first, metric).items()
            ]
            found = None if any(map(isnan, gaps)) else t_interval(gaps)
        return [measured(self.part, self.metric, found, seeds, unit=book.units.get(self.metric), note=_why(found))]


def pair(book: Book, first: Route, second: Route) -> tuple[pd.DataFrame, pd.DataFrame]:
    sweep = first.sweep if first.sweep != "core" else second.sweep
    return paired(first.models(book), second.models(book), sweep)


def front_lines(
    book: Book,
    part: str,
    first: pd.DataFrame,
    second: pd.DataFrame,
    metric: str = IN_TAXES,
    side: Side = "above",
    deciding: bool = True,
    note: str = "",
) -> list[Line]:
    """The deciding line, in `metric` at equal learned reward, and those beside it."""
    seeds = paths.seeds(first)
    listed = [(metric, "reward")]
    listed += [(ability, "reward") for ability in (*abilities(first), MEAN_ABILITY) if metric == IN_TAXES]
    listed += [(metric, reward) for reward in rewards(first) if reward != "reward"]
    lines = []
    for place, (ability, reward) in enumerate(listed):
        known = _known(book, ability)
        found = gap(first, second, known, reward)
        title, why = f"{part}, at equal {METRICS[reward].words}", "; ".join(filter(None, (note, _why(found))))
        unit, decides = book.units.get(ability), deciding and place == 0
        lines.append(measured(title, ability, found, seeds, side, 0.0, unit, decides, why))
    return lines + (_area_lines(book, part, first, second, side, note) if metric == IN_TAXES else [])


def gap(first: pd.DataFrame, second: pd.DataFrame, metric: str | None, reward: str) -> Interval | None:
    """`llm.evidence.paths.gap` of two paths; None where there is no such metric, or no reward in common."""
    return paths.gap(first, second, metric, reward) if metric else None


def _area_lines(book: Book, part: str, first: pd.DataFrame, second: pd.DataFrame, side: Side, note: str) -> list[Line]:
    rows, seeds, lines = book.ground, paths.seeds(first), []
    for reward in rewards(first) if "chance" in set(rows["method"]) else ():
        areas = [paths.areas(rows, path, reward) for path in (first, second)]
        found = t_interval([areas[0][seed] - areas[1][seed] for seed in seeds])
        title, unit = f"{part}, area under {METRICS[reward].words}", book.units.get(f"{AREA}:{reward}")
        lines.append(measured(title, AREA, found, seeds, side, 0.0, unit, deciding=False, note=note))
    return lines


def _known(book: Book, metric: str) -> str | None:
    return None if metric == IN_TAXES and metric not in book.units else metric


def _why(found: Interval | None) -> str:
    return "" if found else "no reward in common on some seed, or no tax to measure in"


@dataclass(frozen=True)
class AheadAtBestRates:
    """The path `first` above (or below) the path `second`, among the learning rates that both were measured at.

    needs: what would measure other rates than the preset's own, if without them this is no comparison; else it is one at
    that rate alone.
    """

    part: str
    first: Route
    second: Route
    metric: str = IN_TAXES
    side: Side = "above"
    deciding: bool = True
    needs: str = ""

    def lines(self, book: Book) -> list[Line]:
        own = pair(book, self.first, self.second)
        rates, every = self._rates(book)
        if len(rates) == 1:
            alone = "at the preset's own learning rate, the only one measured"
            lines = self._lines(book, *own, alone, not self.needs)
            return ([Line(self.part, deciding=self.deciding, missing=self.needs)] if self.needs else []) + lines
        chosen_on, others = paths.choosing(every)
        routes = self.first, self.second

        def at(best: Sequence[float | None], seeds: list[int], note: str, deciding: bool) -> list[Line]:
            one, other = (paths.of_seeds(route.models(book, lr), seeds) for route, lr in zip(routes, best, strict=True))
            note = f"learning rates {_name(best[0])} and {_name(best[1])}, {note}"
            return self._lines(book, one, other, note, deciding)

        first, second = (route.alike(book, rates) for route in routes)
        best, how = by_lead(first, second, chosen_on, book.overall), f"chosen on seed {chosen_on}"
        largest = [max(rates, key=lambda lr: _area(book, models[lr], chosen_on)) for models in (first, second)]
        lines = at(best, others, how, True)
        if len(others) < len(every):
            lines += at(best, every, f"{how}, which is counted too", False)[:1]
        lines += at(largest, others, f"of the largest areas on seed {chosen_on}", False)[:1]
        return lines + self._lines(book, *own, "both at the preset's own learning rate", False)[:1]

    def _lines(self, book: Book, first: pd.DataFrame, second: pd.DataFrame, note: str, deciding: bool) -> list[Line]:
        deciding = deciding and self.deciding
        return front_lines(book, self.part, first, second, self.metric, self.side, deciding, note)

    def _rates(self, book: Book) -> tuple[list[float | None], list[int]]:
        """The rates at which both were measured on some seed, the preset's own first; and the seeds that have all of them."""
        first, second = self.first.rates(book), self.second.rates(book)
        seeds = {lr: first[lr] & second[lr] for lr in first if lr in second}
        rates = [lr for lr, both in seeds.items() if both & seeds[None]]
        common = set.intersection(*(seeds[lr] for lr in rates))
        return (rates, sorted(common)) if common else ([None], sorted(seeds[None]))


def _area(book: Book, models: pd.DataFrame, seed: int) -> float:
    return paths.areas(book.ground, paths.of_seeds(models, [seed]))[seed]


def _name(lr: float | None) -> str:
    return "own" if lr is None else f"{lr:g}"
