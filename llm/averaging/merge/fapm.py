"""FAPM, forgetting-aware pruning (Huang, Cheng, Wang, arXiv 2509.08255): of each tensor the changes are kept that are large but not
large against the weight that they change.

Score |d| - mean(|W_0|) |d| / |W_0| with d = theta - theta_0, W_0 = theta_0, the mean over the tensor; the top share is kept, 10 % by
default, at the ratio and without rescaling. A weight that was 0 is kept last, and an unchanged one scores 0. Ratio 0 is theta_0;
ratio 1 is theta_0 with the kept changes.
"""

import numpy as np

from . import Blocks, Merge, linear
from .choose import Cut, highest
from .sums import total


def scores(theta_0: np.ndarray, theta: np.ndarray, mean: float) -> np.ndarray:
    """(values,); -inf where a weight that was 0 has changed."""
    change, size = abs(theta - theta_0), abs(theta_0)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        found = np.where(size == 0, -np.inf, change - mean * (change / size))  # also where the mean is 0
    return np.where(change == 0, 0.0, found)


def prepare(blocks: Blocks, name: str, keep: float) -> tuple[float, Cut]:
    """(mean of |W_0|, the cut)."""
    sum_, number = total(abs(theta_0) for theta_0, _ in blocks)
    mean = sum_ / max(number, 1)
    return mean, highest(lambda: (scores(theta_0, theta, mean) for theta_0, theta in blocks), keep, name)


def apply(models: tuple[np.ndarray, np.ndarray], ratio: float, state: tuple[float, Cut], first: int) -> np.ndarray:
    mean, cut = state
    return np.where(cut.keeps(scores(*models, mean), first), linear.apply(*models, ratio), models[0])


FAPM = Merge(
    "theta_0 + alpha (theta - theta_0) for each tensor's changes that are large, but not against the weight itself, "
    "and theta_0 elsewhere",
    apply,
    prepare,
    by_place=True,
    ends=False,
)
