"""L2 penalty: loss + lambda ||theta - theta_0||_2^2 over all parameters (the paper, section 4)."""

import torch

from .mitigation import Penalty, differences


def l2(strength: float) -> Penalty:
    """strength: lambda >= 0."""

    def penalty(model, theta_0, batch) -> torch.Tensor:
        return strength * sum(difference.square().sum() for difference in differences(model, theta_0))

    return penalty
