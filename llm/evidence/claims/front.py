"""Two paths of models compared: the share of the second's tax that the first saves at equal reward (`llm.evidence.shares`).

What decides is the learned reward, the one that the paper has; the gold reward and the single abilities stand beside it. Where the
rival's tax is not clear of 0 a share of it is no number: the difference of the abilities is told instead, in their own unit or in
taxes of RSF, and has no margin.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pandas as pd

from .. import paths
from ..equivalence import ABILITY_MARGIN
from ..frames import abilities, rewards
from ..intervals import of_mean
from ..metrics import ABILITIES, IN_TAXES, LOG_LIKELIHOODS, METRICS, SAVED
from ..shares import Models, NotComparable, Saved, saved, saved_at
from .book import Book, Route, paired, shared_rates
from .change import Model
from .line import Line, Missing, Side, measured, rounded

TAXABLE = {IN_TAXES, *ABILITIES, *LOG_LIKELIHOODS}  # of which more is better, so that there may be a tax


@dataclass(frozen=True)
class Ahead:
    """The path `first` above (or below) the path `second`, at the learning rates that both were measured at.

    needs: what would measure other rates than the preset's own, if without them this is no comparison. own_rate: at the preset's
    own learning rate alone. by: the reward that decides, the one that the algorithm was given.
    """

    part: str
    first: Route
    second: Route
    metric: str = IN_TAXES
    side: Side = "above"
    deciding: bool = True
    needs: str = ""
    own_rate: bool = False
    by: str = "reward"

    def lines(self, book: Book) -> list[Line]:
        book.need(self.metric)
        book.need(self.by)
        pair = (
            self._at_own_rate(book) if self.own_rate else shared_rates(book, self.first, self.second, bool(self.needs))
        )
        lacking = bool(self.needs) and len(pair[0]) == 1
        lines = [Line(self.part, deciding=self.deciding, missing=self.needs)] if lacking else []
        if lacking and not self.deciding:
            return lines
        decides = self.deciding and not lacking
        listed = [(self.metric, reward) for reward in rewards(pair[0][None])]
        if self.metric == IN_TAXES:
            listed += [(ability, self.by) for ability in (*abilities(pair[0][None]), *_scores(pair))]
        lines += [
            self._line(book, pair, metric, reward, decides and (metric, reward) == (self.metric, self.by))
            for metric, reward in listed
        ]
        if len(pair[0]) > 1:
            told = "at the preset's own learning rate"
            lines.append(self._line(book, self._at_own_rate(book), self.metric, self.by, False, told))
        return lines

    def _at_own_rate(self, book: Book) -> tuple[Models, Models]:
        first, second = paired(self.first.models(book), self.second.models(book), self.second.sweep)
        return {None: first}, {None: second}

    def _line(
        self, book: Book, pair: tuple[Models, Models], metric: str, reward: str, deciding: bool, how: str = ""
    ) -> Line:
        rlhf = self.second.rlhf if self.first.rlhf == self.second.rlhf else "rsf"
        beside = f": {METRICS[metric].words}" if metric != self.metric else f", {how}" if how else ""
        fields: dict[str, Any] = {"by": reward, "side": self.side, "deciding": deciding}
        return _compared(book, f"{self.part}{beside}", pair, rlhf, metric, how, fields)


def _compared(
    book: Book, part: str, pair: tuple[Models, Models], rlhf: str, metric: str, how: str, fields: dict[str, Any]
) -> Line:
    """The line of two methods' paths, on the scale of the rise of an algorithm."""
    seeds, reward = tuple(paths.seeds(next(iter(pair[0].values())))), fields["by"]
    if metric == IN_TAXES and metric not in book.units:
        return Line(part, seeds=seeds, untestable="no tax is paid", **fields)
    try:
        if rlhf not in book.rows:
            raise Missing("sweep core")
        found = saved(*pair, paths.of_method(book.ground, "theta_0"), book.rises(rlhf, reward), metric, reward)
    except NotComparable as error:
        return Line(part, seeds=seeds, untestable=str(error), **fields)
    return share_line(book, part, found, metric, how or _rates(found), fields)


@dataclass(frozen=True)
class AheadOfBest:
    """The path `first` above a method that has several settings, a path each: at each level of the reward the method takes, on each seed,
    the setting that is best there on the other seeds. Of the settings those count that were measured on the most seeds of `first`.

    method: as rows name it. sweep: what measures it.
    """

    part: str
    first: Route
    method: str
    sweep: str
    deciding: bool = True

    def lines(self, book: Book) -> list[Line]:
        book.need(IN_TAXES)
        ours, settings = self.first.models(book), self._settings(book)
        common = set(ours["seed"]).intersection(*(set(path["seed"]) for path in settings.values()))
        if not common:
            raise Missing(f"sweep {self.sweep}")
        theirs = {
            family if len(settings) > 1 else None: paths.of_seeds(path, common) for family, path in settings.items()
        }
        pair: tuple[Models, Models] = {None: paths.of_seeds(ours, common)}, theirs
        return [
            _compared(
                book,
                self.part,
                pair,
                self.first.rlhf,
                IN_TAXES,
                "",
                {"by": reward, "deciding": self.deciding and reward == "reward"},
            )
            for reward in rewards(pair[0][None])
        ]

    def _settings(self, book: Book) -> dict[str, pd.DataFrame]:
        """family -> path; Missing where `first` and the method have no seed in common."""
        rows, seeds = book.rows[self.first.rlhf], set(self.first.models(book)["seed"])
        own = rows[(rows["method"] == self.method) & rows["lr"].isna() & rows["seed"].isin(seeds)]
        measured_on = own.groupby("family")["seed"].nunique()
        if measured_on.empty:
            raise Missing(f"sweep {self.sweep}")
        most = measured_on.index[measured_on == measured_on.max()]
        return {family: Route(self.first.rlhf, family, self.sweep).models(book) for family in sorted(most)}


def _scores(pair: tuple[Models, Models]) -> list[str]:
    """The log-likelihoods of the abilities' items that every model of both methods has: less noisy than what is right or wrong."""
    paths_of_all = [path for models in pair for path in models.values()]

    def has(path: pd.DataFrame, score: str) -> bool:
        return (path["metric"] == score).sum() == (path["metric"] == "reward").sum()

    return [score for score in LOG_LIKELIHOODS if all(has(path, score) for path in paths_of_all)]


def share_line(book: Book, part: str, found: Saved, metric: str, note: str, fields: dict[str, Any]) -> Line:
    """The line of a share of the tax, or of the difference where the tax is not clear of 0."""
    fields = fields | {"levels": found.levels, "inflation": found.inflation}
    if found.is_taxed:
        taxes = tuple(rounded(tax) for tax in found.tax)
        return measured(
            part, SAVED, found.share(), found.seeds, note, unit=1.0, margin=ABILITY_MARGIN, taxes=taxes, **fields
        )
    untaxed = "the rival's tax is not clear of 0 there, so the difference itself" if metric in TAXABLE else ""
    note = "; ".join(filter(None, (note, untaxed)))
    return measured(
        part,
        metric,
        of_mean(found.kept, inflation=found.inflation),
        found.seeds,
        note,
        unit=book.units.get(metric),
        **fields,
    )


def _rates(found: Saved) -> str:
    """Which learning rates, or which of the rival's settings, were taken, where there was a choice."""
    taken = {rate for counter in found.rates for rate in counter}
    if taken == {None}:
        return ""
    first, second = (_shares(counter) for counter in found.rates)
    settings = any(isinstance(rate, str) for rate in taken)
    what = f"the rival's settings {second}" if settings else f"learning rates {first} against {second}"
    return f"{what}, chosen " + ("on the other seeds" if len(found.seeds) > 1 else "for itself")


def _shares(taken: Counter[Any]) -> str:
    ordered: Iterable[tuple[Any, int]] = taken.most_common()
    return ", ".join(
        f"{lr if isinstance(lr, str) else 'own' if lr is None else f'{lr:g}'} {n / taken.total():.0%}"
        for lr, n in ordered
    )


@dataclass(frozen=True)
class AheadOf:
    """A path above a single model, at that model's reward: the share of the model's tax that the path saves. With
    `model_first` the model above the path: the share of the path's tax that the model saves.
    """

    part: str
    path: Route
    model: Model
    metric: str = IN_TAXES
    model_first: bool = False
    deciding: bool = True

    def lines(self, book: Book) -> list[Line]:
        book.need(self.metric)
        pair = paired(self.path.models(book), self.model.route.models(book), self.model.route.sweep)
        point = paths.at(pair[1], self.model.steps(pair[1]))
        return [self._line(book, pair[0], point, reward) for reward in rewards(pair[0])]

    def _line(self, book: Book, path: pd.DataFrame, point: pd.DataFrame, reward: str) -> Line:
        seeds = tuple(paths.seeds(path))
        fields: dict[str, Any] = {"by": reward, "deciding": self.deciding and reward == "reward"}
        if self.metric == IN_TAXES and IN_TAXES not in book.units:
            return Line(self.part, seeds=seeds, untestable="no tax is paid", **fields)
        start, rise = paths.of_method(book.ground, "theta_0"), book.rises(self.model.route.rlhf, reward)
        try:
            found = saved_at(path, point, start, rise, self.metric, reward, self.model_first)
        except NotComparable as error:
            return Line(self.part, seeds=seeds, untestable=str(error), **fields)
        return share_line(book, self.part, found, self.metric, "", fields)
