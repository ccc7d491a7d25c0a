"""Two paths of one run, compared item by item.

Over several seeds the seeds say how much a difference can be trusted (`llm.evidence.paths.gap`). A single seed has no spread; but where
its rows keep their items, the same prompts and items were asked of every model, and drawing those again says whether the
difference is more than the luck of the items. It says nothing about other runs.
"""

import numpy as np
import pandas as pd

from ..errors import UserError
from . import paths
from .bootstrap import MeasuredPath, bootstrap_curves
from .fronts import Interval


def gap(first: pd.DataFrame, second: pd.DataFrame, ability: str, reward: str = "reward") -> Interval | None:
    """Ability of the path `first` - `second` at equal reward, averaged over the rewards that both reach (`llm.evidence.paths.gap`).

    The 95 % interval is over seeds; with one seed over its prompts and items, or missing (NaN) where rows do not keep them or
    where paths drawn again have no reward in common. None where the paths themselves have none.
    """
    found = paths.gap(*(paths.curves(path, ability, reward) for path in (first, second)))
    if found is None or len(found.per_seed) > 1:
        return found
    pair = [_measured(path, ability, reward) for path in (first, second)]
    if None in pair:
        return found
    try:
        return bootstrap_curves(*({0: path} for path in pair), np.random.default_rng(0))
    except UserError:
        return found


def _measured(path: pd.DataFrame, ability: str, reward: str) -> MeasuredPath | None:
    """The models of a path of one seed with their items, in the path's order; None where a row keeps none."""
    items = [path.loc[path["metric"] == metric].sort_values("step")["items"] for metric in (reward, ability)]
    if any(of_metric.isna().any() for of_metric in items):
        return None
    return MeasuredPath(*(np.array(of_metric.tolist()) for of_metric in items))
