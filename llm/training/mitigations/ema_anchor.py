"""EMA anchor: a KL anchor (`kl_anchor`) that follows the policy as its moving average (Ramé et al., WARP, arXiv 2406.16768,
section 3.1; there mu = .01, beta = .1, in the reward).

anchor <- (1 - mu) anchor + mu theta after each step, from theta_0 on, so the policy is held to where it lately was. How lately is a matter of
length: on a straight way of 72 steps an anchor with mu = .01 ends at 29 % of it, nearly a fixed one, with mu = .1 at 88 %; theirs, after
9,000 steps, at 99 %.
"""

import copy

import torch

from .kl_anchor import kl_per_token
from .memory import Memory, follow, kept
from .mitigation import Materials, Mitigation


class MovingAnchor:
    """strength: beta >= 0. rate: mu in [0, 1]: at 0 the anchor stays where it begins, at 1 it is the policy itself.

    memory: of the anchor's weights. It begins at the model of the first step (of WARP), or at theta_0 (`from_theta_0`).
    """

    def __init__(self, strength: float, rate: float, memory: Memory, from_theta_0: bool = True) -> None:
        self.strength, self.rate, self.memory, self.from_theta_0 = strength, rate, memory, from_theta_0
        self.anchor: torch.nn.Module | None = None

    def penalty(self, model, theta_0, batch) -> torch.Tensor:
        return self.strength * kl_per_token(model, self._anchor(model, theta_0), batch)

    def after_step(self, model, theta_0) -> None:
        follow(list(self._anchor(model, theta_0).parameters()), model, 1 - self.rate)

    def _anchor(self, model, theta_0) -> torch.nn.Module:
        """A model whose parameters are the tensors in the memory."""
        if self.anchor is None:
            start = theta_0 if self.from_theta_0 else model
            self.anchor = copy.deepcopy(start).eval().requires_grad_(False)
            for parameter, weights in zip(self.anchor.parameters(), kept(self.memory, "anchor", start), strict=True):
                parameter.data = weights
        return self.anchor


def make(setting: dict, materials: Materials) -> Mitigation:
    """setting: {"strength": beta >= 0, "rate": mu in [0, 1]}."""
    memory: Memory = {}
    moving = MovingAnchor(setting["strength"], setting["rate"], memory)
    return Mitigation(penalty=moving.penalty, after_step=moving.after_step, memory=memory)
