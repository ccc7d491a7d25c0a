"""A soup of runs from one theta_0 (Wortsman et al., arXiv 2203.05482), interpolated to theta_0.

(1 - alpha) theta_0 + alpha mean(theta of each of M runs); the runs differ in their random streams. alpha = 0 is theta_0; alpha = 1
the soup.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any

import torch

from ..soup import mean
from . import Build, Materials, State
from .means import runs_of, towards


def make(materials: Materials) -> Build:
    """From {"runs": M, "alpha"} to the model. UserError for more runs than there are."""

    @cache
    def state(runs: int) -> State:
        return mean(runs_of(materials, runs))

    def build(setting: Mapping[str, Any]) -> torch.nn.Module:
        return towards(materials, state(setting["runs"]), setting["alpha"])

    return build
