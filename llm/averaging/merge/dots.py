"""DoTS (Yuan et al., arXiv 2605.00610): tuning's change and RLHF's, each trimmed to its largest values and stretched to its old length.

theta_pre + sft s_0 top(theta_0 - theta_pre) + ratio s_1 top(theta - theta_0), top: the share `keep` of largest magnitude of each tensor
(theirs: 30 %), s: ||change|| / ||top(change)||. They take both coefficients from [.5, 2] by a search; here they are given: `sft`
and the ratio, up to 2. Their lengths are those of the whole model's changes, here each tensor's, so that tensors can be
merged one by one. Their RLVR change begins at theta_pre too (theta - theta_pre, of a model aligned without tuning), ours at theta_0, since
theta is aligned from there; and their public configurations leave the stretching off, which is an option there. Neither theta_0 nor theta is an
end: ratio 0 is theta_pre with tuning's trimmed change.
"""

from collections.abc import Iterator
from functools import partial
from math import sqrt

import numpy as np

from . import Blocks, Merge
from .choose import Cut, highest
from .sums import Sum

State = list[tuple[Cut, float]]  # of tuning's change and of RLHF's: the cut, the factor


def _changes(theta_0: np.ndarray, theta: np.ndarray, theta_pre: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return theta_0 - theta_pre, theta - theta_0


def prepare(blocks: Blocks, name: str, keep: float, sft: float) -> State:
    def sizes(which: int) -> Iterator[np.ndarray]:
        return (abs(_changes(*models)[which]) for models in blocks)

    cuts = [highest(partial(sizes, which), keep, name) for which in range(2)]
    whole, kept, first = (Sum(), Sum()), (Sum(), Sum()), 0
    for models in blocks:
        for which, change in enumerate(_changes(*models)):
            square = change**2
            whole[which].add(square)
            kept[which].add(square[cuts[which].keeps(abs(change), first)])
        first += len(models[0])
    lengths = [sqrt(all_.value / own.value) if own.value else 0.0 for all_, own in zip(whole, kept, strict=True)]
    return [(cut, factor * length) for cut, factor, length in zip(cuts, (sft, 1.0), lengths, strict=True)]


def apply(models: tuple[np.ndarray, np.ndarray, np.ndarray], ratio: float, state: State, first: int) -> np.ndarray:
    kept = [
        np.where(cut.keeps(abs(change), first), factor * change, 0.0)
        for (cut, factor), change in zip(state, _changes(*models), strict=True)
    ]
    return models[2] + kept[0] + ratio * kept[1]


DOTS = Merge(
    "theta_pre + sft top(theta_0 - theta_pre) + alpha top(theta - theta_0), each trimmed to its largest values and stretched to "
    "its old length",
    apply,
    prepare,
    by_place=True,
    starts=False,
    ends=False,
    most=2.0,
    third=True,
)
