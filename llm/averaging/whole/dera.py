"""DeRa, decoding-time realignment (Liu et al., arXiv 2402.02992): policies interpolated, not weights.

At each token the logits are (1 - lambda) h_theta_0 + lambda h_theta; lambda is called alpha here, and may be above 1. For theta aligned
with a KL penalty of coefficient beta this approximates, token by token, the model of coefficient beta / lambda. RSF has no such
penalty, so after it that reading does not apply, and alpha only interpolates the policies. Two forward passes a token. alpha = 0 has
theta_0's own logits and alpha = 1 theta's.
"""

from collections.abc import Mapping
from typing import Any

from ...models.mixture import LogitMixture
from . import Build, Materials


def make(materials: Materials) -> Build:
    """From {"alpha"} to the mixture."""
    theta_0 = materials.load(materials.folders["theta_0"])

    def build(setting: Mapping[str, Any]) -> LogitMixture:
        return LogitMixture(theta_0, materials.model, setting["alpha"])

    return build
