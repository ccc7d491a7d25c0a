"""WARP, weight averaged rewarded policies (Ramé et al., arXiv 2406.16768, algorithm 1): every iteration

1. trains M runs from theta_init (first theta_0), each held to its own moving average (`ema_anchor`; there mu = .01, beta = .1),
2. merges what they have learned by spherical interpolation of the task vectors, layer by layer (M = 2), into theta_slerp,
3. goes the `share` of the way from theta_init to theta_slerp (there eta = .3), the next theta_init.

The output is no single model but the front (1 - eta) theta_0 + eta theta_slerp of the last iteration, 0 <= eta <= 1, so eta is slid once
training has ended. The algorithm's front starts at the model before RLHF, not at the last theta_init; so does ours.

There an iteration is 9,000 steps, here one of the algorithm's own: with mu = .01 the anchor hardly leaves theta_init in 12 steps. There the KL
is in REINFORCE's reward, of what the policy writes; here it is in the loss, on the tokens that are imitated (`kl_anchor`). There runs differ
by the order of the same prompts; here, in RSF, they draw prompts of their own, and in DPO they have the same pairs in another order.
"""

import torch

from ...averaging.merge import Blocks
from ...averaging.merge.slerp import apply, prepare
from ...grouping import Grouping, assign
from .ema_anchor import MovingAnchor
from .memory import Memory, keep, kept
from .mitigation import Materials, Mitigation

BY_LAYER = Grouping(level="layer", embeddings="own", norm="own", head="own")


def slerp(first: list[torch.Tensor], second: list[torch.Tensor], share: float) -> list[torch.Tensor]:
    """Spherical interpolation of two vectors that are each given in pieces, with the one angle between the whole vectors."""
    angle = prepare(Blocks(lambda: zip(first, second, strict=True)), "")
    return [apply(a, b, share, angle) for a, b in zip(first, second, strict=True)]


@torch.no_grad()
def merged(start: torch.nn.Module, models: list[torch.nn.Module]) -> torch.nn.Module:
    """The first model with the weights theta_slerp; all runs count alike, and one alone stays as it is.

    Of more than two the m-th is merged into those before it with the weight 1 / m (their appendix B.3).
    """
    before, target = dict(start.named_parameters()), models[0]
    weights = [dict(model.named_parameters()) for model in models]
    groups: dict[str, list[str]] = {}
    for name, group in assign(list(before), BY_LAYER).items():
        groups.setdefault(group, []).append(name)
    for names in groups.values() if len(models) > 1 else ():
        vectors = [weights[0][name] - before[name] for name in names]
        for m, state in enumerate(weights[1:], start=2):
            vectors = slerp(vectors, [state[name] - before[name] for name in names], 1 / m)
        for name, vector in zip(names, vectors, strict=True):
            target.get_parameter(name).copy_(before[name] + vector)
    return target


class Warp:
    """share: eta of training, in [0, 1]. eta: of the output, in [0, 1]; None: the last theta_init is. memory: of theta_slerp."""

    def __init__(self, share: float, eta: float | None, memory: Memory) -> None:
        self.share, self.eta, self.memory = share, eta, memory

    @torch.no_grad()
    def combine(self, start: torch.nn.Module, models: list[torch.nn.Module]) -> torch.nn.Module:
        """The next theta_init."""
        model = merged(start, models)
        keep(self.memory, "merged", model)
        for parameter, before in zip(model.parameters(), start.parameters(), strict=True):
            parameter.copy_(before.lerp(parameter, self.share))  # exact at both ends
        return model

    @torch.no_grad()
    def finish(self, model: torch.nn.Module, theta_0: torch.nn.Module) -> None:
        """Put the point of the front into the model."""
        if self.eta is None:
            return
        weights = zip(model.parameters(), theta_0.parameters(), kept(self.memory, "merged", theta_0), strict=True)
        for parameter, start, end in weights:
            parameter.copy_(start.lerp(end, self.eta))


def make(setting: dict, materials: Materials) -> Mitigation:
    """setting: {"share": of training in [0, 1], "runs": M >= 1, "anchor": beta >= 0, "rate": mu in [0, 1]} and, unless what the next
    iteration would begin with is to be measured, {"eta": of the output in [0, 1]}.
    """
    memory: Memory = {}
    moving = MovingAnchor(setting["anchor"], setting["rate"], {}, from_theta_0=False)
    warp = Warp(setting["share"], setting.get("eta"), memory)
    return Mitigation(
        penalty=moving.penalty,
        after_step=moving.after_step,
        memory=memory,
        runs=setting["runs"],
        goes_on=setting["runs"] == 1,
        combine=warp.combine,
        finish=warp.finish,
    )
