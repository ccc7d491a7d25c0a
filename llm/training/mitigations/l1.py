"""L1 penalty: loss + lambda ||theta - theta_0||_1 over all parameters (the paper, section 4)."""

import torch

from .mitigation import Penalty, differences


def l1(strength: float) -> Penalty:
    """strength: lambda >= 0."""

    def penalty(model, theta_0, batch) -> torch.Tensor:
        return strength * sum(difference.abs().sum() for difference in differences(model, theta_0))

    return penalty
