"""Extrapolation from an early model of the run: theta_0 + alpha (theta_k - theta_0), theta_k the model after iteration k and alpha above 1
(ExPO, Zheng et al., arXiv 2404.16792, who extrapolate a partly trained model; they call alpha - 1 alpha).

alpha = 0 is theta_0 and alpha = 1 theta_k.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any

import torch

from . import Build, Materials, State
from .means import states_of, towards


def make(materials: Materials) -> Build:
    """From {"iteration": k, "alpha"} to the model. UserError for an iteration that there is not."""
    known = [int(key.removeprefix("iteration")) for key in materials.folders if key.startswith("iteration")]

    @cache
    def state(iteration: int) -> State:
        return states_of(materials, [f"iteration{iteration}"], "iteration", iteration, sorted(known))[0]

    def build(setting: Mapping[str, Any]) -> torch.nn.Module:
        return towards(materials, state(setting["iteration"]), setting["alpha"], most=3.0)

    return build
