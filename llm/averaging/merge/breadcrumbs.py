"""Model breadcrumbs (Davari and Belilovsky, arXiv 2312.06795): of each tensor neither the largest changes, taken for outliers, nor the
smallest are taken over.

The share `gamma` of largest |theta - theta_0| goes, of the rest the share `density` of the tensor stays, at the ratio and without
rescaling; with less than `gamma` left, fewer of the largest go. Ratio 0 is theta_0; ratio 1 is theta_0 with the kept changes.

The defaults, .9 and .01, are mergekit's (`breadcrumbs`), which is per tensor as here. The authors' public code masks each row of a matrix, and keeps
far less: .05 to .2 with .001 to .01 gone, beginning at .15 and .006 (.2 and .1 in its README).
"""

import numpy as np

from . import Blocks, Merge, linear
from .choose import Cut, highest


def prepare(blocks: Blocks, name: str, density: float, gamma: float) -> tuple[Cut, Cut]:
    """(the cut of the outliers, the cut of these and what is kept)."""
    outliers = min(gamma, 1 - density)

    def changes():
        return (abs(theta - theta_0) for theta_0, theta in blocks)

    return highest(changes, outliers, name), highest(changes, outliers + density, name)


def apply(models: tuple[np.ndarray, np.ndarray], ratio: float, cuts: tuple[Cut, Cut], first: int) -> np.ndarray:
    theta_0, theta = models
    outliers, all_of_them = (cut.keeps(abs(theta - theta_0), first) for cut in cuts)
    return np.where(all_of_them & ~outliers, linear.apply(theta_0, theta, ratio), theta_0)


BREADCRUMBS = Merge(
    "theta_0 + alpha (theta - theta_0) but for each tensor's very largest and its smallest changes, which stay theta_0's",
    apply,
    prepare,
    by_place=True,
    ends=False,
)
