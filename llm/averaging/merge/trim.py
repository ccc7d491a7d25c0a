"""Trimming: of each tensor only the changes of largest magnitude are taken over, at the ratio; the others stay theta_0's.

The first step of TIES-merging (Yadav et al., arXiv 2306.01708, section 4), without rescaling; the election of signs, its second step,
needs two changes from one start (`ties.py`). Their default is to keep 20 %, of the whole model's changes at
once; here it is each tensor's share, as in mergekit. Ratio 0 is theta_0; ratio 1 is theta_0 with the kept
changes, and theta only where all are kept.
"""

import numpy as np

from . import Blocks, Merge, linear
from .choose import Cut, highest


def prepare(blocks: Blocks, name: str, keep: float) -> Cut:
    """The cut of the round(keep * values) largest |theta - theta_0|."""
    return highest(lambda: (abs(theta - theta_0) for theta_0, theta in blocks), keep, name)


def apply(models: tuple[np.ndarray, np.ndarray], ratio: float, cut: Cut, first: int) -> np.ndarray:
    theta_0, theta = models
    return np.where(cut.keeps(abs(theta - theta_0), first), linear.apply(theta_0, theta, ratio), theta_0)


TRIM = Merge(
    "theta_0 + alpha (theta - theta_0) for each tensor's largest changes, and theta_0 elsewhere",
    apply,
    prepare,
    by_place=True,
    ends=False,
)
