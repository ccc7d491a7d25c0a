"""What the tables of the theory say: exact numbers, which need no interval. Only the CSV files are read."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from ...errors import UserError
from ..intervals import Estimate, Interval
from .book import Book
from .line import Line, Missing, measured

EXACT = 1e-6  # the tables' own precision: numbers nearer to each other than this are equal


@dataclass(frozen=True)
class Computed:
    """A number read from a table of results/theory, and on which side of a bound the claim expects it."""

    part: str
    table: str
    number: Callable[[pd.DataFrame], float]
    side: Literal["above", "below"]
    bound: float = 0.0

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
        note = "computed exactly"
        return [measured(self.part, "accuracy", found, (), note, side=self.side, bound=self.bound, unit=1.0)]


def smallest_difference(proposition: pd.DataFrame) -> float:
    """The smallest xi_1 - xi_2 of averaged weights where not all features are shared."""
    return _exact(proposition)["difference"].min()


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


def _exact(proposition: pd.DataFrame) -> pd.DataFrame:
    rows = proposition[(proposition["version"] == "weights") & (proposition["method"] == "exact")]
    return rows[rows["n_o"] < rows["n"]]
