"""DARE, drop and rescale (Yu et al., arXiv 2311.03099): each change is dropped with probability p, and the others divided by 1 - p.

theta_0 + ratio m (theta - theta_0) / (1 - p), m ~ Bernoulli(1 - p): linear interpolation on average over the masks. What is dropped
follows from the number `mask`, the tensor's name and the value's place. They drop up to 90 % of fine-tuned models' changes with little
loss, up to 99 % of large ones'. Ratio 0 is theta_0; ratio 1 is not theta unless p is 0.
"""

import numpy as np

from . import Blocks, Merge, linear
from .choose import uniform


def prepare(_blocks: Blocks, name: str, drop: float, mask: int) -> tuple[str, float, int]:
    return name, drop, mask


def apply(models: tuple[np.ndarray, np.ndarray], ratio: float, state: tuple[str, float, int], first: int) -> np.ndarray:
    theta_0, theta = models
    name, drop, mask = state
    kept = uniform(name, first, len(theta), mask) >= drop
    return np.where(kept, linear.apply(theta_0, theta, ratio / (1 - drop)), theta_0)


DARE = Merge(
    "theta_0 + alpha m (theta - theta_0) / (1 - p), m drawn 1 with probability 1 - p and else 0",
    apply,
    prepare,
    by_place=True,
    ends=False,
)
