"""Two paths of models compared: ability at equal reward, and the area that each front encloses.

The difference at equal reward is the mean over the rewards that both reach, each path cut at its highest reward
(`llm.evidence.fronts`). What decides is the learned reward, the one that the paper has; the gold reward, the single abilities and
the areas are told beside it.
"""

from dataclasses import dataclass
from math import isnan
from typing import Literal

import pandas as pd

from .. import paths
from ..frames import KNOWN
from ..fronts import Interval, t_interval
from .book import Book, Route, choosing, of_seeds, paired
from .change import Model
from .line import AREA, IN_TAXES, Line, measured

Side = Literal["above", "below"]


@dataclass(frozen=True)
class Ahead:
    """The path `first` above (or below) the path `second`.

    same_steps: take of the second only the steps that the first has, so that both are equally coarse.
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
            second = second[second["step"].isin(set(first["step"]))]
        return front_lines(book, self.part, first, second, self.metric, self.side, self.deciding)


@dataclass(frozen=True)
class SomeAhead:
    """One of several paths above another: the one that is highest on the first seed, reported on the others."""

    part: str
    candidates: tuple[Route, ...]
    second: Route
    metric: str = IN_TAXES

    def lines(self, book: Book) -> list[Line]:
        pairs = [pair(book, route, self.second) for route in self.candidates]
        seeds = sorted(set.intersection(*(set(paths.seeds(first)) for first, _ in pairs)))
        chosen_on, others = choosing(seeds)

        def advantage(place: int) -> float:
            found = gap(*(of_seeds(one, [chosen_on]) for one in pairs[place]), _known(book, IN_TAXES), "reward")
            return found.mean if found else float("-inf")

        best = max(range(len(pairs)), key=advantage)
        note = f"{', '.join(map(str, self.candidates[best].where.values()))} chosen on seed {chosen_on}"
        return front_lines(book, self.part, *(of_seeds(one, others) for one in pairs[best]), self.metric, note=note)


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
    """The deciding line, in `metric` at equal learned reward, and those told beside it."""
    seeds = paths.seeds(first)
    told = [(metric, "reward")]
    there = [ability for ability in KNOWN if ability in set(first["metric"])]
    told += [(ability, "reward") for ability in (*there, "mean_ability") if metric == IN_TAXES]
    told += [(metric, "gold_reward")] if "gold_reward" in set(first["metric"]) else []
    lines = []
    for place, (ability, reward) in enumerate(told):
        known = _known(book, ability)
        found = gap(first, second, known, reward)
        where = "at equal learned reward" if reward == "reward" else "at equal gold reward"
        lines.append(
            measured(
                f"{part}, {where}",
                ability,
                found,
                seeds,
                side=side,
                unit=book.units.get(ability),
                deciding=deciding and place == 0,
                note="; ".join(filter(None, (note, _why(found)))),
            )
        )
    return lines + (_area_lines(book, part, first, second, side, note) if metric == IN_TAXES else [])


def gap(first: pd.DataFrame, second: pd.DataFrame, metric: str | None, reward: str) -> Interval | None:
    """`llm.evidence.paths.gap` of two paths; None where there is no such metric, or no reward in common."""
    return paths.gap(paths.curves(first, metric, reward), paths.curves(second, metric, reward)) if metric else None


def _area_lines(book: Book, part: str, first: pd.DataFrame, second: pd.DataFrame, side: Side, note: str) -> list[Line]:
    rows, seeds, lines = book.ground, paths.seeds(first), []
    for reward in paths.REWARDS:
        if reward not in set(first["metric"]) or "chance" not in set(rows["method"]):
            continue
        areas = [paths.path_areas(rows, path, reward) for path in (first, second)]
        found = t_interval([areas[0][seed] - areas[1][seed] for seed in seeds])
        under = "learned" if reward == "reward" else "gold"
        lines.append(
            measured(
                f"{part}, area under {under} reward",
                AREA,
                found,
                seeds,
                side=side,
                unit=book.units.get(f"{AREA}:{reward}"),
                deciding=False,
                note=note,
            )
        )
    return lines


def _known(book: Book, metric: str) -> str | None:
    return None if metric == IN_TAXES and metric not in book.units else metric


def _why(found: Interval | None) -> str:
    return "" if found else "no reward in common on some seed, or no tax to measure in"
