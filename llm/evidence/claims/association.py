"""What predicts the tax: how well one measurement of a model ranks models by the tax that they pay, against another one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ..intervals import of_mean
from ..metrics import IN_TAXES, RANKS
from .book import Book
from .line import Line, Missing, measured

LEAST_MODELS = 5  # of a seed, to rank


def by_model(book: Book, metrics: Sequence[str]) -> pd.DataFrame:
    """Every model that training or averaging made: (seed, rlhf, family, method, setting_key) -> the metrics and `IN_TAXES`; those
    that have all of them.
    """
    rows = pd.concat([frame.assign(rlhf=rlhf) for rlhf, frame in book.rows.items()])
    rows = rows[~rows["method"].isin(["theta_0", "chance"]) & rows["metric"].isin([*metrics, IN_TAXES])]
    index = ["seed", "rlhf", "family", "method", "setting_key"]
    return rows.pivot_table(index=index, columns="metric", values="value").dropna()


def with_the_tax(table: pd.DataFrame) -> dict[int, dict[str, float]]:
    """seed -> metric -> Spearman's rank correlation, over the models of the seed, with the tax: 1 where the tax always rises with
    the metric, NaN where all models have the same number. Of seeds with at least `LEAST_MODELS`.
    """
    # the tax falls as abilities in taxes rise
    by_seed = {seed: models for seed, models in table.groupby("seed") if len(models) >= LEAST_MODELS}
    ranks = {seed: -models.rank().corr()[IN_TAXES] for seed, models in by_seed.items()}
    return {int(str(seed)): {str(key): float(value) for key, value in of.items()} for seed, of in ranks.items()}


def ranked_models(table: pd.DataFrame, ranks: Mapping[int, object]) -> int:
    """How many models of the table are of the seeds that were ranked."""
    return int(table.index.get_level_values("seed").isin(list(ranks)).sum())


@dataclass(frozen=True)
class PredictsBetter:
    """`predictor` ranks the models of a seed, of all algorithms and methods, by their tax better than `rival` does.

    The difference of two rank correlations with the tax (Spearman's), paired over seeds.
    """

    part: str
    predictor: str
    rival: str
    deciding: bool = True

    def lines(self, book: Book) -> list[Line]:
        book.need(self.predictor)
        book.need(self.rival)
        if IN_TAXES not in book.units:
            return [Line(self.part, deciding=self.deciding, untestable="no tax is paid")]
        table = by_model(book, [self.predictor, self.rival])
        ranks = with_the_tax(table)
        if not ranks:
            raise Missing(f"models with rows of both {self.predictor} and {self.rival}")
        better = [of[self.predictor] - of[self.rival] for of in ranks.values()]
        if not np.isfinite(better).all():
            return [Line(self.part, deciding=self.deciding, untestable="on some seed all models have the same number")]
        note = f"{ranked_models(table, ranks) // len(ranks)} models a seed"
        return [measured(self.part, RANKS, of_mean(better), list(ranks), note, deciding=self.deciding)]
