"""TIES-merging (Yadav et al., arXiv 2306.01708, section 4) of the changes from theta_pre to theta_0 and from theta_pre to theta.

With weights 1 - ratio and ratio: each tensor's changes are trimmed to those of largest magnitude (their default: 20 %); at each
place the sign of their weighted sum is elected; the weighted mean of the changes that have it, times `scale`, is added to theta_pre.
Where both are trimmed, or they cancel, theta_pre stays. Ratio 0 is theta_pre with theta_0's trimmed changes and ratio 1 with theta's:
neither theta_0 nor theta is an end, and in between a change that only one of the two has is taken over whole, whatever the ratio.

Theirs is the unweighted mean, ratio .5 here, and their lambda, `scale` here, is searched from .8 to 2.5 (script of their public code,
github.com/prateeky2806/ties-merging); at 1 the trimmed changes are shorter than the whole ones, so a part of tuning is undone. They trim
the model's flattened changes at once (`topk_values_mask`), here it is each tensor's, as in mergekit, so that tensors can be merged one by one.
"""

from collections.abc import Iterator
from functools import partial

import numpy as np

from . import Blocks, Merge
from .choose import Cut, highest

State = tuple[tuple[Cut, Cut], float]


def prepare(blocks: Blocks, name: str, keep: float, scale: float) -> State:
    """The cuts of theta_0's and of theta's changes, and the factor."""

    def sizes(which: int) -> Iterator[np.ndarray]:
        return (abs(models[which] - models[2]) for models in blocks)

    return (highest(partial(sizes, 0), keep, name), highest(partial(sizes, 1), keep, name)), scale


def apply(models: tuple[np.ndarray, np.ndarray, np.ndarray], ratio: float, state: State, first: int) -> np.ndarray:
    theta_pre, weights, (cuts, scale) = models[2], (1 - ratio, ratio), state
    changes = [model - theta_pre for model in models[:2]]
    trimmed = [np.where(cut.keeps(abs(change), first), change, 0.0) for cut, change in zip(cuts, changes, strict=True)]
    elected = np.sign(sum(weight * change for weight, change in zip(weights, trimmed, strict=True)))
    shares = [weight * (change * elected > 0) for weight, change in zip(weights, trimmed, strict=True)]
    summed = sum(share * change for share, change in zip(shares, trimmed, strict=True))
    whole = sum(shares)
    return theta_pre + scale * np.divide(summed, whole, out=np.zeros_like(summed), where=whole > 0)


TIES = Merge(
    "theta_pre + scale times the mean, weighted by 1 - alpha and alpha, of those trimmed changes from theta_pre to theta_0 and to theta that "
    "have the elected sign",
    apply,
    prepare,
    by_place=True,
    starts=False,
    ends=False,
    third=True,
)
