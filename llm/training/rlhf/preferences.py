"""Losses on pairs of replies of which the first is preferred: of a reward model, and of DPO's policy, which is one too.

TRL's RewardTrainer and DPOTrainer compute the same: tests compare.
"""

import torch
import torch.nn.functional as F


def bradley_terry(margins: torch.Tensor) -> torch.Tensor:
    """Mean of -log sigmoid(margin), the reward of the preferred reply less that of the other; (pairs,) -> scalar.

    For a reward model after Bradley and Terry; with `dpo_margins` it is DPO's loss (Rafailov et al., eq. 7).
    """
    return -F.logsigmoid(margins).mean()


def dpo_margins(log_probs: torch.Tensor, reference: torch.Tensor, beta: float) -> torch.Tensor:
    """Reward beta log(pi / pi_0) of the preferred replies less that of the others; (2 pairs,) twice -> (pairs,).

    Args:
        log_probs, reference: log-probabilities of the replies by the policy and by theta_0, the preferred ones first.
        beta: above 0.
    """
    chosen, rejected = (beta * (log_probs - reference)).chunk(2)
    return chosen - rejected
