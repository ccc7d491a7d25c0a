"""Means of several models' weights, and what lies between them and theta_0: what the methods of several checkpoints share."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch

from ...errors import UserError
from ..live import mix_, tied
from ..merge.linear import LINEAR
from . import Materials, State


def states_of(
    materials: Materials, keys: Sequence[str], option: str, asked: int, allowed: Sequence[int]
) -> list[State]:
    """The weights of the models under `keys`; UserError that names the option, what was asked for and what there is."""
    missing = [key for key in keys if key not in materials.folders]
    if missing:
        there = ", ".join(map(str, allowed)) or "none"
        raise UserError(f"{option} = {asked} is not allowed: there is no {missing[0]}; allowed are {there}.")
    return [materials.load(materials.folders[key]).state_dict() for key in keys]


def runs_of(materials: Materials, runs: int) -> list[State]:
    """theta and the last models of other runs, `runs` in all."""
    known = 1
    while f"run{known + 1}" in materials.folders:
        known += 1
    keys = [f"run{number}" for number in range(2, runs + 1)]
    return [materials.theta, *states_of(materials, keys, "runs", runs, range(2, known + 1))]


def towards(materials: Materials, end: State, alpha: float | Mapping[str, float], most: float = 1.0) -> torch.nn.Module:
    """(1 - alpha) theta_0 + alpha end in the live model; alpha: one number in [0, most], or one for each tensor."""
    owners = tied(materials.model.state_dict())
    start, last = ({name: state[name] for name in state if name not in owners} for state in (materials.theta_0, end))
    mix_(materials.model, start, last, alpha, replace(LINEAR, most=most))
    return materials.model
