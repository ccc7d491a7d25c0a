"""Several tests at once. scipy has no correction of Holm's (its `false_discovery_control` bounds another error)."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def holm(p_values: Sequence[float]) -> NDArray[np.float64]:
    """p-values adjusted by Holm's step-down method (1979), in the order given, in [0, 1].

    To reject what is at most .05 here keeps the chance of a single false rejection among all at 5 %, however the tests depend
    on each other.
    """
    p = np.asarray(p_values, dtype=np.float64)
    if p.ndim != 1 or not ((p >= 0) & (p <= 1)).all():
        raise ValueError(f"p_values = {p} must be a list of numbers in [0, 1]")
    order, adjusted = np.argsort(p, kind="stable"), np.empty_like(p)
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(p.size, 0, -1)), 1.0)
    return adjusted
