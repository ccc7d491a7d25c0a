"""theta_0 and theta side by side, and a live model for the weights between them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from ..averaging.live import mix_, tied
from ..grouping import Grouping, assign, ratios
from ..models.loading import load_model


@dataclass(frozen=True)
class Between:
    """model: live, with theta's weights until it is mixed. theta_0, theta: state dicts that share no memory with it.
    assignment: tensor name -> group.
    """

    model: torch.nn.Module
    theta_0: Mapping[str, torch.Tensor]
    theta: Mapping[str, torch.Tensor]
    assignment: Mapping[str, str]

    def mix(self, alphas: Mapping[str, float]) -> torch.nn.Module:
        """The model, averaged with a ratio for each group."""
        mix_(self.model, self.theta_0, self.theta, ratios(self.assignment, alphas))
        return self.model


def load_between(theta_0: Path, theta: Path, grouping: Grouping, device: torch.device | str = "cpu") -> Between:
    """Both model folders, the tensors grouped."""
    model = load_model(theta, device)
    both = load_model(theta_0, device), model
    states = [{name: tensor.clone() for name, tensor in one.state_dict().items()} for one in both]
    return Between(model, *states, assign(states[1], grouping, tied(model.state_dict())))
