"""Model Stock (Jang et al., arXiv 2403.19522): the mean of N runs from one theta_0, drawn back to theta_0 as far as the runs disagree.

(1 - t) theta_0 + t mean(theta_n) with t = N cos / (1 + (N - 1) cos), cos the mean cosine between the runs' changes from theta_0: for
each tensor, as theirs for each layer, or for the whole model, tied tensors once. t is in [0, 1]: 1 where all runs changed alike, and 0
where their changes are at right angles, or further apart, or nothing changed.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations
from math import sqrt
from typing import Any

import torch

from ..live import tied
from ..soup import mean
from . import Build, Materials, State
from .means import runs_of, towards


def ratio(runs: int, cosine: float) -> float:
    """t for a mean cosine in [-1, 1]."""
    return runs * cosine / (1 + (runs - 1) * cosine) if cosine > 0 else 0.0


def cosines(theta_0: State, states: Sequence[State], names: Sequence[str]) -> float:
    """The mean over pairs of runs of the cosine between their changes of the named tensors, taken as one vector; 0 for none."""
    products: dict[tuple[int, int], float] = {}
    for name in names:
        changes = [(state[name].double() - theta_0[name].double()).flatten() for state in states]
        for i, j in [(k, k) for k in range(len(states))] + list(combinations(range(len(states)), 2)):
            products[i, j] = products.get((i, j), 0.0) + float(changes[i] @ changes[j])
    pairs = list(combinations(range(len(states)), 2))
    lengths = {pair: sqrt(products[pair[0], pair[0]] * products[pair[1], pair[1]]) for pair in pairs}
    return sum(products[pair] / lengths[pair] if lengths[pair] else 0.0 for pair in pairs) / len(pairs)


def make(materials: Materials) -> Build:
    """From {"runs": N, "per": "tensor" or "model"} to the model. UserError for more runs than there are."""

    def build(setting: Mapping[str, Any]) -> torch.nn.Module:
        runs = setting["runs"]
        states = runs_of(materials, runs)
        owners = tied(materials.model.state_dict())
        moving = [name for name, one in materials.theta.items() if one.is_floating_point() and name not in owners]
        units = [moving] if setting["per"] == "model" else [[name] for name in moving]
        alphas = dict.fromkeys(materials.theta, 0.0)
        for names in units:
            alphas |= dict.fromkeys(names, ratio(runs, cosines(materials.theta_0, states, names)))
        return towards(materials, mean(states), alphas)

    return build
