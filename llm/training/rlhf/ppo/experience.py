"""What PPO learns from in one iteration: sampled replies with what the old policy, the critic and the reward said."""

from dataclasses import dataclass

import torch

from ....config import Ppo
from ....models.batches import Batch
from ....models.likelihood import token_log_probs
from .advantages import gae, token_rewards, whiten


@dataclass(frozen=True)
class Experience:
    """Replies and, for every token of ids[:, 1:], numbers of shape (rows, length - 1), 0 outside of the replies."""

    batch: Batch
    log_probs: torch.Tensor  # of the policy that wrote them
    reference: torch.Tensor  # of theta_0
    values: torch.Tensor  # of the critic before its update
    advantages: torch.Tensor  # whitened over all replies
    returns: torch.Tensor  # what the critic is fitted to

    @property
    def mask(self) -> torch.Tensor:
        """1 on the tokens of the replies; (rows, length - 1)."""
        return (self.batch.weights[:, 1:] > 0).float()

    def rows(self, chosen: list[int]) -> "Experience":
        """Some of the replies, cut to the longest of them."""
        length = int(self.batch.mask[chosen].sum(dim=1).max())
        batch = Batch(*(part[chosen, :length] for part in (self.batch.ids, self.batch.mask, self.batch.weights)))
        others = (self.log_probs, self.reference, self.values, self.advantages, self.returns)
        return Experience(batch, *(part[chosen, : length - 1] for part in others))


@torch.no_grad()
def experience(actor, critic, theta_0, batch: Batch, scores: torch.Tensor, settings: Ppo, size: int) -> Experience:
    """Look back at replies that the actor has just written.

    Args:
        batch: prompts and replies; the weights are above 0 on the replies.
        scores: reward of each reply less the baseline, (rows,).
        size: rows that go through the models together.
    """
    log_probs, reference, values = (
        torch.cat([look(model, _rows(batch, start, size)) for start in range(0, len(batch.ids), size)])
        for model, look in ((actor, token_log_probs), (theta_0, token_log_probs), (critic, lambda c, b: c(b)))
    )
    return judged(batch, log_probs, reference, values, scores, settings)


def judged(
    batch: Batch,
    log_probs: torch.Tensor,
    reference: torch.Tensor,
    values: torch.Tensor,
    scores: torch.Tensor,
    settings: Ppo,
) -> Experience:
    """The same of what the policy, theta_0 and the critic have said of every token of ids[:, 1:], (rows, length - 1) each.

    settings: anything with PPO's `eta`, `gamma` and `gae_lambda`.
    """
    mask = (batch.weights[:, 1:] > 0).float()
    rewards = token_rewards(scores, log_probs, reference, mask, settings.eta)
    advantages, returns = gae(rewards, values, mask, settings.gamma, settings.gae_lambda)
    return Experience(batch, log_probs, reference, values * mask, whiten(advantages, mask), returns)


def _rows(batch: Batch, start: int, size: int) -> Batch:
    return Batch(*(part[start : start + size] for part in (batch.ids, batch.mask, batch.weights)))
