"""What PPO learns from in one iteration: sampled replies, their log-probabilities, values and advantages; the critic."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from ....config import Ppo
from ....config.trainers import PpoSettings
from ....models.batches import Batch
from ....models.likelihood import token_log_probs
from ....models.loading import load_reward_model
from ...loop import count_minibatches
from . import objective


class Critic(torch.nn.Module):
    """The reward model's body and head, read at every token, less the reward baseline.

    It estimates, after each token of a reply, what reward the reply is going to get. It begins at the reward model rather
    than at theta_0 with a new head: the learned reward of an unfinished reply is already a fair guess of that of the
    whole, whereas a new head has first to learn the reward, and until then its noise goes into every advantage.
    """

    def __init__(self, reward_model, baseline: float):
        super().__init__()
        self.body = reward_model.model
        self.head = torch.nn.Linear(reward_model.score.in_features, 1)
        with torch.no_grad():
            self.head.weight.copy_(reward_model.score.weight)
            self.head.bias.fill_(-baseline)

    def forward(self, batch: Batch) -> torch.Tensor:
        """V of the text before each of ids[:, 1:], in the unit of the reward; (rows, length - 1)."""
        hidden = self.body(input_ids=batch.ids, attention_mask=batch.mask, use_cache=False).last_hidden_state
        return self.head(hidden[:, :-1])[:, :, 0].float()


def fresh_critic(reward: Path, baseline: float) -> Critic:
    """A critic that has seen nothing yet, from the folder of the reward model; in evaluation mode."""
    return Critic(load_reward_model(reward), baseline).eval()


AnyPpo = Ppo | PpoSettings  # of the microcosm, or of the distributed trainers


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
        return self._changed(lambda part: part[chosen, :length], lambda part: part[chosen, : length - 1])

    def to(self, device) -> "Experience":
        return self._changed(lambda part: part.to(device), lambda part: part.to(device))

    def _changed(self, of_batch: Callable, of_others: Callable) -> "Experience":
        others = (self.log_probs, self.reference, self.values, self.advantages, self.returns)
        batch = Batch(*map(of_batch, (self.batch.ids, self.batch.mask, self.batch.weights)))
        return Experience(batch, *map(of_others, others))

    def policy_loss(self, log_probs: torch.Tensor, settings: AnyPpo) -> torch.Tensor:
        """Of a policy by which the tokens have these log-probabilities."""
        return objective.policy_loss(log_probs, self.log_probs, self.advantages, self.mask, settings.clip)

    def value_loss(self, values: torch.Tensor, settings: AnyPpo) -> torch.Tensor:
        """Of a critic that gives these values."""
        return objective.value_loss(values, self.values, self.returns, self.mask, settings.value_clip)

    def log(self, scores: torch.Tensor, finished: Sequence[bool]) -> dict[str, float]:
        """Mean "reward" and "length" (tokens), share of "unfinished" replies, and "kl" from theta_0 in nats a reply.

        Args:
            scores: reward of each reply, (rows,). finished: whether the policy ended it by itself.
        """
        return {
            "reward": float(scores.double().mean()),
            "length": float(self.mask.sum(dim=1).mean()),
            "unfinished": sum(not done for done in finished) / len(finished),
            "kl": float((self.log_probs - self.reference).sum(dim=1).double().mean()),
        }


@torch.no_grad()
def experience(actor, critic, theta_0, batch: Batch, scores: torch.Tensor, settings: AnyPpo, size: int) -> Experience:
    """Evaluate replies that the actor has just generated.

    Args:
        batch: prompts and replies; the weights are above 0 on the replies.
        scores: reward of each reply less the baseline, (rows,).
        size: rows that go through the models together.
    """
    parts = [
        Batch(*(part[start : start + size] for part in (batch.ids, batch.mask, batch.weights)))
        for start in range(0, len(batch.ids), size)
    ]
    log_probs, reference = (torch.cat([token_log_probs(model, part) for part in parts]) for model in (actor, theta_0))
    return evaluated(batch, log_probs, reference, torch.cat([critic(part) for part in parts]), scores, settings)


def evaluated(
    batch: Batch,
    log_probs: torch.Tensor,
    reference: torch.Tensor,
    values: torch.Tensor,
    scores: torch.Tensor,
    settings: AnyPpo,
) -> Experience:
    """The same, given the numbers of the policy, of theta_0 and of the critic for ids[:, 1:], (rows, length - 1) each."""
    mask = (batch.weights[:, 1:] > 0).float()
    rewards = objective.token_rewards(scores, log_probs, reference, mask, settings.eta)
    advantages, returns = objective.gae(rewards, values, mask, settings.gamma, settings.gae_lambda)
    return Experience(batch, log_probs, reference, values * mask, objective.whiten(advantages, mask), returns)


def span_of(settings: AnyPpo, iteration: int) -> dict[str, int]:
    """The steps of all iterations, and the first one of this iteration, as `fit` takes them."""
    steps = count_minibatches(settings.prompts, settings.batch, settings.epochs)
    return {"steps": steps * settings.iterations, "first_step": steps * (iteration - 1)}
