"""Spherical linear interpolation of each tensor, on the great circle through both (Shoemake, SIGGRAPH 1985).

With the angle W between theta_0 and theta, as flat vectors: sin((1 - ratio) W) / sin W theta_0 + sin(ratio W) / sin W theta.
Between vectors of equal length the length stays, where linear interpolation shortens them.
"""

from math import atan2, sin, sqrt

from . import Blocks, Merge, linear

_FLAT = 1e-4  # of sin W; below it the weights are the linear ones to 2e-9, and those of opposite vectors have no limit


def prepare(blocks: Blocks, _name: str) -> float:
    """The angle W in [0, pi]; 0 where a tensor is zero."""
    square_0 = square = product = 0.0
    for theta_0, theta in blocks:
        square_0 += float((theta_0 * theta_0).sum())
        square += float((theta * theta).sum())
        product += float((theta_0 * theta).sum())
    return atan2(sqrt(max(0.0, square_0 * square - product * product)), product)


def apply(theta_0, theta, ratio: float, angle: float):
    if not sin(angle) > _FLAT:
        return linear.apply(theta_0, theta, ratio)
    return sin((1 - ratio) * angle) / sin(angle) * theta_0 + sin(ratio * angle) / sin(angle) * theta


SLERP = Merge(
    "(sin((1 - alpha) W) theta_0 + sin(alpha W) theta) / sin W, W the angle between the two tensors", apply, prepare
)
