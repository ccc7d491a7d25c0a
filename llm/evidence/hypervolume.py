"""How much of the plane of reward and ability a method's front encloses, compared between methods seed by seed; and single
models against a method's path.

The hypervolume of a path (`llm.evidence.curves.curve_hypervolume`: straight between its models, cut at its highest reward, so that
a path measured at more settings gains nothing by it) is taken above theta_0's reward and chance, and divided by that of
the ideal: the highest reward that any of the compared methods reaches on the seed, at theta_0's ability. So 1 is "all of
the reward at no tax", and what lies below chance counts for nothing.
"""

from collections.abc import Hashable, Mapping
from typing import TypeVar

import numpy as np
import pandas as pd

from ..errors import UserError
from .curves import Curve, curve_hypervolume
from .paths import curves, seeds, value

Name = TypeVar("Name", bound=Hashable)
Volumes = dict[Name, dict[int, float]]  # method -> seed -> share of the ideal


def volumes(
    paths: Mapping[Name, pd.DataFrame], start: pd.DataFrame, chance: pd.DataFrame, ability: str, reward: str = "reward"
) -> Volumes[Name] | None:
    """For each method and seed the share of the ideal.

    Args:
        paths: method -> its path (`llm.evidence.paths`), all of the same seeds.
        start, chance: the rows of theta_0 and of the chance floors, of those seeds.
    Returns:
        None where some seed has no ideal: no method's reward rises above theta_0's, or theta_0's ability is not above
        chance. Raises UserError for paths of different seeds.
    """
    by_method = {name: curves(path, ability, reward) for name, path in paths.items()}
    common = sorted(next(iter(by_method.values())))
    for name, by_seed in by_method.items():
        if sorted(by_seed) != common:
            raise UserError(f"volumes: {name} has seeds {sorted(by_seed)}; to be compared it must have {common}.")
    found: Volumes[Name] = {name: {} for name in by_method}
    for seed in common:
        corner = value(start, seed, reward), value(chance, seed, ability)
        highest = max(by_seed[seed].rewards.max() for by_seed in by_method.values())
        ideal = (highest - corner[0]) * (value(start, seed, ability) - corner[1])
        if highest <= corner[0] or ideal <= 0:
            return None
        for name, by_seed in by_method.items():
            found[name][seed] = curve_hypervolume(by_seed[seed], corner) / ideal
    return found


def lift(models: pd.DataFrame, rival: dict[int, Curve], ability: str, reward: str = "reward") -> list[float]:
    """For each seed the ability of some models minus that of a rival's path at the same reward, averaged over the models.

    A model beyond the rewards that the rival's cut path reaches is compared with its nearest end.
    """
    per_seed, of_models = [], models.pivot(index=["seed", "setting_key"], columns="metric", values="value")
    for seed in seeds(models):
        path, own = rival[seed].cut(), of_models.loc[seed]
        rewards = np.clip(own[reward], path.rewards.min(), path.rewards.max())
        per_seed.append(float(np.mean(own[ability] - path.at(rewards))))
    return per_seed
