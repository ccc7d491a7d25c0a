"""The learning rates at which two methods are compared, where both were measured at several.

Whether averaging is better depends on the rate, so each method gets the rate that suits it, and what suits is what is compared:
the lead at equal reward. The first takes the rate whose smallest lead over the second, at any rate of that one, is largest; the
second takes the rate that leaves it this lead. (The area that a path encloses is another thing: a rate may have the largest
because it reaches the highest reward, and lie below the others at every reward that they reach, too.)
"""

from collections.abc import Iterable, Mapping
from math import inf

import pandas as pd

from ..methods import METHODS, names
from . import paths
from .curves import gap
from .metrics import MEAN_ABILITY

Rate = float | None  # a learning rate, None for the preset's own
Models = Mapping[Rate, pd.DataFrame]  # learning rate -> a path of models


def by_lead(first: Models, second: Models, seed: int, metric: str = MEAN_ABILITY) -> tuple[Rate, Rate]:
    """The rate of the first method and that of the second, chosen on one seed at equal learned reward.

    Of equals the first in the order given. A pair of rates without a reward in common counts as an endless lead.
    """
    curves = [
        {lr: paths.curves(paths.of_seeds(path, [seed]), metric) for lr, path in models.items()}
        for models in (first, second)
    ]

    def lead(lr: Rate, rival: Rate) -> float:
        found = gap(curves[0][lr], curves[1][rival])
        return found.mean if found else inf

    leads = {lr: {rival: lead(lr, rival) for rival in second} for lr in first}
    best = max(leads, key=lambda lr: min(leads[lr].values()))
    return best, min(leads[best], key=lambda rival: leads[best][rival])


def at_rates(rows: pd.DataFrame, family: str, rates: Iterable[Rate]) -> dict[Rate, pd.DataFrame]:
    """A family's paths at some rates, of the strengths that it has at every rate."""
    return same_strengths({lr: paths.path(rows, family, lr) for lr in rates}, family)


def same_strengths(models: Models, family: str) -> dict[Rate, pd.DataFrame]:
    """The paths of a family with those of its models only whose strength was measured at every rate.

    A path is interpolated between its models, so that a rate with more of them would be measured more finely than the others:
    no fair choice. The ends of a path (theta_0, plain distillation), and paths that have no strengths, stay whole.
    """
    common = set.intersection(*(set(_strengths(path[path["family"] == family])) for path in models.values()))
    return {
        lr: path[[key in common or end for key, end in zip(_strengths(path), path["family"] != family, strict=True)]]
        for lr, path in models.items()
    }


def _strengths(path: pd.DataFrame) -> list[tuple]:
    """What tells the models of a method that changes training apart, for each row."""
    orders = [METHODS[name].order for name in names("training")]
    keys = list(dict.fromkeys(key for order in orders if order for key in order.by))
    return list(path[keys].fillna(-1.0).itertuples(index=False, name=None))
