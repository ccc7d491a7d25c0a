"""Knowledge distillation: loss + lambda ||pi_theta(. | x) - pi_theta_0(. | x)||_2^2 (the paper, section 4).

The policy's probabilities of the next token, not its logits; a weighted mean over the tokens that the loss counts,
that is over the replies.
"""

import torch

from ..loop import counted_logits, counted_weights
from .mitigation import Materials, Mitigation


def make(setting: dict, materials: Materials) -> Mitigation:
    """setting: {"strength": lambda >= 0}."""

    def penalty(model, theta_0, batch):
        with torch.no_grad():
            wanted = counted_logits(theta_0, batch).softmax(dim=-1)
        distances = (counted_logits(model, batch).softmax(dim=-1) - wanted).square().sum(dim=-1)
        weights = counted_weights(batch)
        return setting["strength"] * (distances * weights).sum() / weights.sum()

    return Mitigation(penalty=penalty)
