"""Linear interpolation of all weights: model averaging, WiSE-FT (Wortsman et al., arXiv 2109.01903; the paper, section 4)."""

from . import Merge


def apply(theta_0, theta, ratio: float, _=None):
    """(1 - ratio) theta_0 + ratio theta."""
    return (1 - ratio) * theta_0 + ratio * theta


LINEAR = Merge("(1 - alpha) theta_0 + alpha theta", apply, is_linear=True)
