"""What predicts the tax: how well one measurement of a model ranks models by the tax that they pay, against another one."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from ..intervals import of_mean
from ..metrics import IN_TAXES, RANKS
from .book import Book
from .line import Line, Missing, measured

LEAST_MODELS = 5  # of a seed, to rank


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
        rows = pd.concat([frame.assign(rlhf=rlhf) for rlhf, frame in book.rows.items()])
        rows = rows[~rows["method"].isin(["theta_0", "chance"])]
        rows = rows[rows["metric"].isin([self.predictor, self.rival, IN_TAXES])]
        table = rows.pivot_table(
            index=["seed", "rlhf", "method", "setting_key"], columns="metric", values="value"
        ).dropna()
        by_seed = {seed: models for seed, models in table.groupby("seed") if len(models) >= LEAST_MODELS}
        ranks = {seed: models.rank().corr()[IN_TAXES].to_dict() for seed, models in by_seed.items()}
        if not ranks:
            raise Missing(f"models with rows of both {self.predictor} and {self.rival}")
        # the tax falls as abilities in taxes rise, so a good predictor correlates negatively with them
        better = [of[self.rival] - of[self.predictor] for of in ranks.values()]
        if not np.isfinite(better).all():
            return [Line(self.part, deciding=self.deciding, untestable="on some seed all models have the same number")]
        note = f"{len(table) // len(ranks)} models a seed"
        return [
            measured(
                self.part, RANKS, of_mean(better), [int(str(seed)) for seed in ranks], note, deciding=self.deciding
            )
        ]
