"""KL anchor: loss + beta KL(pi_theta || pi_anchor), in nats, a mean over the tokens that the loss counts; the anchor is theta_0.

Ziegler et al. (arXiv 1909.08593) have the divergence in the reward, of what the policy writes. Here the tokens are those that are imitated:
in RSF the best of n replies, sampled as the iteration began. The divergence of each is exact, a sum over the vocabulary, and only it has
a gradient, not the choice of tokens. beta weighs nats against nats of loss and cannot be compared with one that weighs them against reward.
"""

import torch

from ...models.batches import Batch
from ..loop import counted_logits, counted_weights
from .mitigation import Materials, Mitigation


def kl_per_token(model: torch.nn.Module, anchor: torch.nn.Module, batch: Batch) -> torch.Tensor:
    """Weighted mean of KL(model || anchor) over the counted tokens, in nats a token; the anchor gets no gradient."""
    with torch.no_grad():
        wanted = counted_logits(anchor, batch).log_softmax(dim=-1)
    ours = counted_logits(model, batch).log_softmax(dim=-1)
    divergences = (ours.exp() * (ours - wanted)).sum(dim=-1)
    weights = counted_weights(batch)
    return (divergences * weights).sum() / weights.sum()


def make(setting: dict, materials: Materials) -> Mitigation:
    """setting: {"strength": beta >= 0}."""

    def penalty(model, theta_0, batch):
        return setting["strength"] * kl_per_token(model, theta_0, batch)

    return Mitigation(penalty=penalty)
