"""The learning rates at which two methods are compared, where both were measured at several.

Whether averaging is better depends on the rate, so each method gets the rate that suits it, and what suits is what is compared:
the lead at equal reward. The first takes the rate whose smallest lead over the second, at any rate of that one, is largest; the
second takes the rate that leaves it this lead. (The area that a path encloses is another thing: a rate may have the largest
because it reaches the highest reward, and lie below the others at every reward that they reach, too.)
"""

from collections.abc import Mapping
from math import inf

import pandas as pd

from . import paths

STRENGTHS = ["strength", "rank", "lora_alpha"]  # what tells the models of a method that changes training apart
Models = Mapping[float | None, pd.DataFrame]  # learning rate, None for the preset's own -> a path of models


def by_lead(
    first: Models, second: Models, seed: int, metric: str = "mean_ability"
) -> tuple[float | None, float | None]:
    """The rate of the first method and that of the second, chosen on one seed at equal learned reward.

    Of equals the first in the order given. A pair of rates without a reward in common counts as an endless lead.
    """
    curves = [{lr: _curves(models, seed, metric) for lr, models in method.items()} for method in (first, second)]

    def lead(lr: float | None, rival: float | None) -> float:
        found = paths.gap(curves[0][lr], curves[1][rival])
        return found.mean if found else inf

    leads = {lr: {rival: lead(lr, rival) for rival in second} for lr in first}
    best = max(leads, key=lambda lr: min(leads[lr].values()))
    return best, min(leads[best], key=lambda rival: leads[best][rival])


def same_strengths(models: Models, method: str) -> dict[float | None, pd.DataFrame]:
    """The paths of a method with those of its models only whose strength was measured at every rate.

    A path is interpolated between its models, so that a rate with more of them would be measured more finely than the others:
    no fair choice. The ends of a path (theta_0, plain distillation), and paths that have no strengths, stay whole.
    """
    common = set.intersection(*(set(_strengths(path[path["method"] == method])) for path in models.values()))
    return {
        lr: path[
            [key in common or other for key, other in zip(_strengths(path), path["method"] != method, strict=True)]
        ]
        for lr, path in models.items()
    }


def _strengths(path: pd.DataFrame) -> list[tuple]:
    return list(path[STRENGTHS].fillna(-1.0).itertuples(index=False, name=None))


def _curves(models: pd.DataFrame, seed: int, metric: str) -> dict:
    return paths.curves(models[models["seed"] == seed], metric)
