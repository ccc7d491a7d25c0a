"""PPO's two losses (Schulman et al., arXiv 1707.06347, eq. 7 and 9); each is a mean over the tokens where mask is 1."""

import torch


def policy_loss(
    log_probs: torch.Tensor, old: torch.Tensor, advantages: torch.Tensor, mask: torch.Tensor, clip: float
) -> torch.Tensor:
    """-min(ratio A, clamp(ratio, 1 - clip, 1 + clip) A), ratio = pi / pi_old; scalar.

    Where the two policies are one, its gradient is REINFORCE's: that of -A log pi.

    Args:
        log_probs, old: log-probabilities of the tokens now, with gradient, and when they were written; (rows, length).
        clip: above 0; a ratio that has moved further in its advantage's direction is pushed no more.
    """
    ratio = torch.exp(log_probs - old)
    pessimistic = torch.minimum(ratio * advantages, ratio.clamp(1 - clip, 1 + clip) * advantages)
    return -masked_mean(pessimistic, mask)


def value_loss(
    values: torch.Tensor, old: torch.Tensor, returns: torch.Tensor, mask: torch.Tensor, clip: float
) -> torch.Tensor:
    """Half the squared error, of the value or of the value clamped to old +- clip, whichever is larger; scalar."""
    clamped = old + (values - old).clamp(-clip, clip)
    return 0.5 * masked_mean(torch.maximum((values - returns) ** 2, (clamped - returns) ** 2), mask)


def masked_mean(x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    return (x * mask).sum() / mask.sum()
