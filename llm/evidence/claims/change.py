"""Two models compared: how far a metric changes from one to the other, paired over seeds."""

from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import Literal

import pandas as pd

from .. import paths
from ..metrics import ABILITIES, IN_TAXES
from .book import Book, Route, paired
from .line import Line, measured

COMPANIONS = {"reward": ("gold_reward",), IN_TAXES: ABILITIES}  # beside it where they were measured, without deciding
LAST = inf  # the last step of a path


@dataclass(frozen=True)
class Model:
    """A model of a path: at a step, or at the one that `choose(book, path of the first seed)` finds there."""

    route: Route
    step: float = LAST
    choose: Callable[[Book, pd.DataFrame], float] | None = None


@dataclass(frozen=True)
class Change:
    """first - second in a metric. `kept`: the share of the metric's unit that may be lost and still count as kept."""

    part: str
    first: Model
    second: Model
    metric: str
    side: Literal["above", "below"] = "above"
    kept: float = 0.0
    deciding: bool = True

    def lines(self, book: Book) -> list[Line]:
        models = self.first, self.second
        first, second = (model.route.models(book) for model in models)
        pair = paired(first, second, self._rows_of())
        every = paths.seeds(pair[0])
        chosen_on, others = paths.choosing(every)
        steps, notes = [], []
        for model, path in zip(models, pair, strict=True):
            step = path["step"].max() if model.step == LAST else model.step
            if model.choose:
                step = model.choose(book, path[path["seed"] == chosen_on])
                notes.append(f"step {step:g} chosen on seed {chosen_on}")
            steps.append(step)
        ends = [paths.at(path, step) for path, step in zip(pair, steps, strict=True)]
        seeds, note = (others if notes else every), ", ".join(dict.fromkeys(notes))
        listed = [(self.metric, seeds, note, self.deciding)]
        if len(seeds) < len(every):
            listed.append((self.metric, every, f"{note}, which is counted too", False))
        listed += [(metric, seeds, note, False) for metric in COMPANIONS.get(self.metric, ()) if metric in book.metrics]
        return [self._line(book, ends, *one) for one in listed]

    def _rows_of(self) -> str:
        return next((m.route.sweep for m in (self.first, self.second) if m.route.sweep != "core"), "core")

    def _line(
        self, book: Book, ends: list[pd.DataFrame], metric: str, seeds: list[int], note: str, deciding: bool
    ) -> Line:
        found = None  # where no model has the metric
        if metric in set(ends[0]["metric"]):
            first, second = (paths.of_seeds(end, seeds) for end in ends)
            found = paths.difference(first, second, metric, over_items=False)
        bound = -self.kept * book.units.get(metric, 0.0)
        note = note if found else "no tax to measure it in"
        return measured(self.part, metric, found, seeds, self.side, bound, book.units.get(metric), deciding, note)


def highest(metric: str) -> Callable[[Book, pd.DataFrame], float]:
    """The step after the first at which a metric is highest."""

    def choose(book: Book, path: pd.DataFrame) -> float:
        later = path[(path["metric"] == metric) & (path["step"] > path["step"].min())]
        return float(later.set_index("step")["value"].idxmax())

    return choose


def most_of_both(book: Book, path: pd.DataFrame) -> float:
    """The step before the last at which the smaller of two gains over the last step is largest: reward, abilities
    (in shared units; abilities are left out where there is no tax).
    """
    table = path.pivot_table(index="step", columns="metric", values="value")
    metrics = [metric for metric in ("reward", IN_TAXES) if metric in book.units and metric in table]
    if not metrics:
        return float(table.index[0])
    gains = pd.concat([(table[m] - table[m].iloc[-1]) / book.units[m] for m in metrics], axis=1).min(axis=1)
    return float(gains.iloc[:-1].idxmax())
