"""The critic: what reward a reply is going to get, judged after each of its tokens."""

from pathlib import Path

import torch

from ....models.batches import Batch
from ....models.loading import load_reward_model


class Critic(torch.nn.Module):
    """The reward model's body and head, read at every token, less the reward baseline.

    It begins at the reward model rather than at theta_0 with a new head: what the learned reward thinks of an
    unfinished reply is already a fair guess of what it will think of the whole, whereas a new head has first to learn
    the reward, and until then its noise goes into every advantage.
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
