"""Two paths compared with each at its best learning rate: chosen on the first seed, reported on the others.

Whether averaging is better depends on the rate (who can choose it may not need averaging), so this is the harder comparison,
and the one that decides. The rates are chosen by the lead at equal reward (`llm.evidence.rates`); what the rates of the largest areas
give stands beside it.

Methods that change training were measured at fewer strengths at other rates than at the preset's own. A rate is chosen among
the strengths that every rate has; what is reported at the chosen one is its whole front.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from .. import paths
from ..metrics import IN_TAXES
from ..rates import by_lead
from .book import Book, Route
from .front import Side, front_lines, pair
from .line import Line


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
            pair_at = [paths.of_seeds(route.models(book, lr), seeds) for route, lr in zip(routes, best, strict=True)]
            return self._lines(
                book, *pair_at, f"learning rates {_name(best[0])} and {_name(best[1])}, {note}", deciding
            )

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
