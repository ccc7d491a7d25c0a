"""WARP, weight averaged rewarded policies (Ramé et al., arXiv 2406.16768, algorithm 1): every iteration

1. trains M runs from the same model, each held to its own moving average (`ema_anchor`; there mu = .01, beta = .1),
2. merges what they have learned by spherical interpolation of the task vectors, layer by layer (M = 2),
3. goes the share eta of the way from the model before to the merged one (eta = .3).

There an iteration is thousands of steps; here it is one of the algorithm's own.
"""

import torch

from ...averaging.merge import Blocks
from ...averaging.merge.slerp import apply, prepare
from ...grouping import Grouping, assign
from .ema_anchor import MovingAnchor
from .mitigation import Materials, Mitigation

BY_LAYER = Grouping(level="layer", embeddings="own", norm="own", head="own")


def slerp(first: list[torch.Tensor], second: list[torch.Tensor], share: float) -> list[torch.Tensor]:
    """Spherical interpolation of two vectors that are each given in pieces, with the one angle between the whole vectors."""
    angle = prepare(Blocks(lambda: zip(first, second, strict=True)), "")
    return [apply(a, b, share, angle) for a, b in zip(first, second, strict=True)]


@torch.no_grad()
def combined(start: torch.nn.Module, models: list[torch.nn.Module], share: float) -> torch.nn.Module:
    """The first model with the weights start + share (merged - start); all runs count alike.

    Of more than two the m-th is merged into those before it with the weight 1 / m (their appendix B.3).
    """
    before, target = dict(start.named_parameters()), models[0]
    weights = [dict(model.named_parameters()) for model in models]
    groups: dict[str, list[str]] = {}
    for name, group in assign(list(before), BY_LAYER).items():
        groups.setdefault(group, []).append(name)
    for names in groups.values():
        merged = [weights[0][name] - before[name] for name in names]
        for m, state in enumerate(weights[1:], start=2):
            merged = slerp(merged, [state[name] - before[name] for name in names], 1 / m)
        for name, vector in zip(names, merged, strict=True):
            if share < 1 or len(models) > 1:  # else the run's own weights, exactly
                target.get_parameter(name).copy_(before[name] + share * vector)
    return target


def make(setting: dict, materials: Materials) -> Mitigation:
    """setting: {"share": eta in [0, 1], "runs": M >= 1, "anchor": beta >= 0, "rate": mu in [0, 1]}."""
    moving = MovingAnchor(setting["anchor"], setting["rate"], {}, from_theta_0=False)
    return Mitigation(
        penalty=moving.penalty,
        after_step=moving.after_step,
        runs=setting["runs"],
        goes_on=setting["runs"] == 1,
        combine=lambda start, models: combined(start, models, setting["share"]),
    )
