"""What the tables of the theory say: exact numbers, which need no interval. Only the CSV files are read."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from ...errors import UserError
from ..intervals import Estimate, Interval, of_mean
from ..metrics import BOUNDED, METRICS, RANKS
from .book import Book
from .line import Line, Missing, measured

LEAST_CHANGE = 0.005  # of an ability's range: what a smaller tax is no unit for
EXACT = 1e-6  # the tables' own precision: numbers nearer to each other than this are equal


@dataclass(frozen=True)
class Computed:
    """A number read from a table of results/theory, and on which side of a bound the claim expects it."""

    part: str
    table: str
    number: Callable[[pd.DataFrame], float]
    side: Literal["above", "below"]
    bound: float = 0.0
    deciding: bool = True

    def lines(self, book: Book) -> list[Line]:
        file = book.theory / f"{self.table}.csv" if book.theory else None
        if file is None or not file.is_file():
            raise Missing("make theory")
        try:
            value = float(self.number(pd.read_csv(file)))
        except KeyError as error:
            raise UserError(f"{file}: the column {error} is missing; make it with `make theory`.") from None
        exact = Interval(value, value, value, np.empty(0))
        found = Estimate(exact, exact, float(value == self.bound), None)
        fields = {"side": self.side, "bound": self.bound, "unit": 1.0, "deciding": self.deciding}
        return [measured(self.part, "accuracy", found, (), "computed exactly", **fields)]


def smallest_limit(finite: pd.DataFrame) -> float:
    """The smallest xi_1 - xi_2 of averaged weights in the limit of many features, over the grid of (n, n_o, p, K); at the
    grid's most reliable features it is 0 to the tables' precision, so what is nearer to 0 than `EXACT` counts as 0.
    """
    least = finite["difference_limit"].min()
    return 0.0 if abs(least) < EXACT else least


def smallest_difference(finite: pd.DataFrame) -> float:
    """The smallest xi_1 - xi_2 of averaged weights, exactly, over the same grid."""
    return finite["difference_exact"].min()


def smallest_gain(proposition: pd.DataFrame) -> float:
    """The smallest xi_1, the gain of averaging weights for two tasks with the same classes, likewise."""
    return _exact(proposition)["xi_1"].min()


def largest_unrelated_gain(proposition: pd.DataFrame) -> float:
    """The largest xi_2, the same for two tasks with no class in common, over all numbers of shared features."""
    rows = proposition[(proposition["version"] == "weights") & (proposition["method"] == "exact")]
    return rows["xi_2"].max()


def printed_error(proposition: pd.DataFrame) -> float:
    """How far the printed xi_1 and xi_2 are at most from those of averaged weights, both in the limit."""
    limit = proposition[proposition["method"] == "closed-form"].set_index(["version", "n_o"])[["xi_1", "xi_2"]]
    return (limit.loc["printed"] - limit.loc["weights"]).abs().to_numpy().max()


@dataclass(frozen=True)
class OverlapExplains:
    """C12c: over a model's layers, the rank correlation of the gain that the layer's overlap predicts with the
    gain measured when that layer alone is averaged half and half; a line with its interval over seeds.

    The measured gain is the mean of
    what the average adds to the abilities over theta_0's layer and to the reward over theta's layer, each in units of its
    change between theta_0 and theta; abilities without a tax of `LEAST_CHANGE` are left out.
    """

    part: str
    rlhf: str = "rsf"

    def lines(self, book: Book) -> list[Line]:
        there = [one for one in book.overlaps if self.rlhf in one["rlhf"]]
        if not there:
            raise Missing("snakemake overlap")
        per_seed = [correlation(one["rlhf"][self.rlhf]) for one in there]
        seeds = [one["seed"] for one in there]
        return [measured(self.part, RANKS, of_mean(per_seed), seeds, unit=1.0)]


def correlation(overlap: Mapping) -> float:
    """Spearman's over the layers, of predicted and measured gain; NaN where one of them is the same everywhere."""
    layers = overlap["layers"].values()
    predicted = np.array([layer["predicted"] for layer in layers])
    gains = np.array([measured_gain(layer["effect"], overlap["theta_0"], overlap["theta"]) for layer in layers])
    if len(set(predicted)) < 2 or len(set(gains)) < 2:
        return float("nan")
    return float(spearmanr(predicted, gains).statistic)


def measured_gain(effect: Mapping, theta_0: Mapping, theta: Mapping) -> float:
    """xi of one layer: half of what averaging adds to the abilities, and half of what it adds to the reward."""
    lost = {
        name: theta_0[name] - theta[name]
        for name in BOUNDED
        if name in theta and theta_0[name] - theta[name] > LEAST_CHANGE * METRICS[name].best
    }
    rise = theta["reward"] - theta_0["reward"]
    if not lost or rise <= 0:
        raise UserError(
            "overlap: theta lost no ability or won no reward, so that there is no unit for what averaging adds."
        )
    half, start = effect["half"], effect["start"]
    abilities = float(np.mean([(half[name] - start[name]) / tax for name, tax in lost.items()]))
    return (abilities + (half["reward"] - theta["reward"]) / rise) / 2


def _exact(proposition: pd.DataFrame) -> pd.DataFrame:
    rows = proposition[(proposition["version"] == "weights") & (proposition["method"] == "exact")]
    return rows[rows["n_o"] < rows["n"]]
