"""What is trained by our own loop, as modules whose forward is all that learning asks: sharded weights are whole only within it."""

import torch

from ...models.batches import Batch
from ...models.likelihood import token_log_probs
from ..loop import token_loss
from ..rlhf.ppo.critic import Critic


class Imitator(torch.nn.Module):
    """A language model that is asked how unlikely it finds replies."""

    def __init__(self, model) -> None:
        super().__init__()
        self.model = model
        self._no_split_modules = model._no_split_modules  # by which accelerate finds the layers to shard

    def forward(self, batch: Batch) -> torch.Tensor:
        """Mean of -log p over the tokens that count, in nats; (1,)."""
        return torch.stack([token_loss(self.model, batch)])


class ActorCritic(torch.nn.Module):
    """A policy and its critic, which share nothing: one module, since accelerate shards one."""

    def __init__(self, actor, critic: Critic) -> None:
        super().__init__()
        self.actor, self.critic = actor, critic
        self._no_split_modules = actor._no_split_modules

    def forward(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """log p of each of ids[:, 1:] (0 outside of replies) and V of the text before it; (rows, length - 1) each."""
        return token_log_probs(self.actor, batch), self.critic(batch).clone()  # FSDP2 wants no views


def part(state: dict, name: str) -> dict:
    """The weights of one of a module's parts, under the part's own names."""
    return {key.removeprefix(f"{name}."): value for key, value in state.items() if key.startswith(f"{name}.")}
