"""What the tables of the theory say: exact numbers, which need no interval. Only the CSV files are read."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from ...errors import UserError
from ..intervals import Estimate, Interval, of_mean
from ..metrics import ABILITIES, RANKS
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


MANY, SHARED = 20, 0.75  # features, and the largest shared part, of what counts as many features


def smallest_of_many(finite: pd.DataFrame) -> float:
    """The smallest xi_1 - xi_2 of averaged weights, exactly, over the grid of (n, n_o, p, K) where features are many; where they are
    reliable, too, it is 0 to the tables' precision, so what is nearer to 0 than `EXACT` counts as 0.
    """
    least = finite.loc[(finite["n"] >= MANY) & (finite["n_o"] <= SHARED * finite["n"]), "difference_exact"].min()
    return 0.0 if abs(least) < EXACT else least


def smallest_difference(finite: pd.DataFrame) -> float:
    """The smallest xi_1 - xi_2 of averaged weights, exactly, over all of the grid."""
    return finite["difference_exact"].min()


def largest_reversed(finite: pd.DataFrame) -> float:
    """The sign of the largest with two classes, where all but two (n odd) or three (n even) features are shared, and where the
    difference falls exponentially with n (`theory.reversed_difference`).
    """
    own = finite["n"] - finite["n_o"]
    return np.sign(finite.loc[(finite["n_classes"] == 2) & (own == 3 - finite["n"] % 2), "difference_exact"].max())


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


class NoUnit(Exception):
    """A seed's layers cannot be compared; its text says why."""


@dataclass(frozen=True)
class OfLayers:
    """C12c: a number of a model's layers, by what averaging each of them alone, half and half, adds; with its interval over seeds.

    number: from the overlaps of an algorithm (`llm.stages.overlap`). metric: what it is.
    """

    part: str
    number: Callable[[Mapping], float]
    metric: str = RANKS
    deciding: bool = True
    rlhf: str = "rsf"

    def lines(self, book: Book) -> list[Line]:
        there = [one for one in book.overlaps if self.rlhf in one["rlhf"]]
        if not there:
            raise Missing("snakemake overlap")
        seeds = tuple(one["seed"] for one in there)
        try:
            per_seed = [self.number(one) for one in in_units(there, book.units, self.rlhf)]
        except NoUnit as error:
            return [Line(self.part, self.metric, seeds=seeds, deciding=self.deciding, untestable=str(error))]
        return [measured(self.part, self.metric, of_mean(per_seed), seeds, unit=1.0, deciding=self.deciding)]


def in_units(overlaps: Sequence[Mapping], units: Mapping[str, float], rlhf: str = "rsf") -> list[dict]:
    """What was measured of an algorithm on each seed, with the units of the preset's book beside it."""
    return [one["rlhf"][rlhf] | {"units": units} for one in overlaps]


def by_prediction(overlap: Mapping) -> float:
    """Rank correlation over the layers, of the gain that a layer's overlap predicts with the measured one."""
    return _ranked([layer["predicted"] for layer in overlap["layers"].values()], overlap)


def by_share(overlap: Mapping) -> float:
    """The same of the share of the smaller task's directions in a layer that the other task uses, too: S2 / n."""
    return _ranked([layer["s2"] / min(layer["ranks"]) for layer in overlap["layers"].values()], overlap)


def by_depth(overlap: Mapping) -> float:
    """The same of a layer's number, which knows nothing of overlap."""
    return _ranked(range(len(overlap["layers"])), overlap)


def beyond_depth(overlap: Mapping) -> float:
    """`by_prediction` minus `by_depth`: what knowing the overlap adds to knowing the layer's number."""
    return by_prediction(overlap) - by_depth(overlap)


def by_prediction_at_equal_ranks(overlap: Mapping) -> float:
    """`by_prediction` as if both tasks used as many directions as the smaller one does, so that their number cannot tell layers apart."""
    layers = ((min(layer["ranks"]), layer["s2"], layer["s4"]) for layer in overlap["layers"].values())
    return _ranked([predicted_gain(n, n, s2, s4) for n, s2, s4 in layers], overlap)


def predicted_gain(n_a: int, n_b: int, s2: float, s4: float) -> float:
    """n_eff / sqrt(n_a n_b) - 1 of the half-and-half average of subspaces of dimensions n_a and n_b (`theory.overlap`, the
    classes in common): by how much it multiplies the features that each task has alone, geometric mean over the two.
    """
    return (n_a + n_b + 2 * s2) ** 2 / (n_a + n_b + 12 * s2 + 2 * s4) / (n_a * n_b) ** 0.5 - 1


def by_apart(overlap: Mapping) -> float:
    """`by_prediction` as if the tasks had no class in common, where theory predicts a loss in every layer (`theory.overlap`, case 2)."""
    layers = ((*layer["ranks"], layer["s2"]) for layer in overlap["layers"].values())
    return _ranked([apart_gain(n_a, n_b, s2) for n_a, n_b, s2 in layers], overlap)


def apart_gain(n_a: int, n_b: int, s2: float) -> float:
    """`predicted_gain` with no class in common: at most 0, and 0 where no direction or the whole of both is in common."""
    kept = [(n + s2) ** 2 / (n * (n + 3 * s2)) for n in (n_a, n_b)]
    return (kept[0] * kept[1]) ** 0.5 - 1


def by_sign(overlap: Mapping) -> float:
    """The share of the layers in which the predicted and the measured gain have the same sign, less that of the others: from -1 to 1."""
    predicted = [layer["predicted"] for layer in overlap["layers"].values()]
    return float(np.mean(np.sign(predicted) * np.sign(_gains(overlap))))


def mean_gain(overlap: Mapping) -> float:
    """Mean over the layers of the measured gain."""
    return float(np.mean(_gains(overlap)))


def _ranked(numbers: Iterable[float], overlap: Mapping) -> float:
    """Spearman's with the measured gain; NoUnit where one of them is the same in every layer."""
    given, gains = list(numbers), _gains(overlap)
    if len(set(given)) < 2 or len(set(gains)) < 2:
        raise NoUnit("on some seed all layers have the same number, so that there are no ranks")
    return float(spearmanr(given, gains).statistic)


def _gains(overlap: Mapping) -> list[float]:
    return [measured_gain(layer["effect"], overlap["theta"], overlap["units"]) for layer in overlap["layers"].values()]


def measured_gain(effect: Mapping, theta: Mapping, units: Mapping[str, float]) -> float:
    """xi of one layer: half of what averaging adds to the abilities over theta_0's layer, and half of what it adds to the reward over
    theta's, each in the preset's units (`llm.evidence.claims.book`); abilities without one are left out.

    Raises NoUnit where no ability or no reward has one.
    """
    half, start = effect["half"], effect["start"]
    lost = [name for name in ABILITIES if name in half and name in units]
    if not lost or "reward" not in units:
        raise NoUnit("theta lost no ability or won no reward, so that there is no unit for what averaging adds")
    abilities = float(np.mean([(half[name] - start[name]) / units[name] for name in lost]))
    return (abilities + (half["reward"] - theta["reward"]) / units["reward"]) / 2


def _exact(proposition: pd.DataFrame) -> pd.DataFrame:
    rows = proposition[(proposition["version"] == "weights") & (proposition["method"] == "exact")]
    return rows[rows["n_o"] < rows["n"]]
