"""The mean of the run's last models, interpolated to theta_0: stochastic weight averaging along alignment (Izmailov et al.,
arXiv 1803.05407) with MA after it.

(1 - alpha) theta_0 + alpha mean(theta_(K - n + 1), .., theta_K) for a run of K iterations, n of them averaged ("last"). alpha = 0 is
theta_0; alpha = 1 the mean, which is theta for n = 1.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any

import torch

from ..soup import mean
from . import Build, Materials, State
from .means import states_of, towards


def make(materials: Materials) -> Build:
    """From {"last": n, "alpha"} to the model. UserError for more models than the run has."""
    end = max(int(key.removeprefix("iteration")) for key in materials.folders if key.startswith("iteration"))

    @cache
    def state(last: int) -> State:
        keys = [f"iteration{number}" for number in range(end, end - last, -1)]
        return mean(states_of(materials, keys, "last", last, range(1, end + 1)))

    def build(setting: Mapping[str, Any]) -> torch.nn.Module:
        return towards(materials, state(setting["last"]), setting["alpha"])

    return build
