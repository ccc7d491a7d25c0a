"""PPO's objective: from a reward a reply to an advantage a token (KL penalty, generalised advantage estimation,
whitening), and the two clipped losses (Schulman et al., arXiv 1707.06347, eq. 7 and 9).

All tensors are (rows, length); `mask` is 1 on the tokens of the reply, one stretch a row, and 0 elsewhere. A reply is
an episode: nothing follows its last token. Losses are means over the tokens where mask is 1.
"""

import torch


def token_rewards(
    scores: torch.Tensor, log_probs: torch.Tensor, reference: torch.Tensor, mask: torch.Tensor, eta: float
) -> torch.Tensor:
    """-eta (log pi - log pi_0) at every token of the reply, and the reply's score (rows,) besides at its last one.

    Summed over a reply and averaged over replies this is E[r] - eta KL(pi || pi_0), in the unit of the reward.
    """
    places = torch.arange(mask.shape[1]).expand_as(mask)
    last = places.masked_fill(mask == 0, -1).argmax(dim=1)
    penalised = -eta * (log_probs - reference) * mask
    return penalised.scatter_add(1, last[:, None], scores[:, None].to(penalised.dtype))


def gae(
    rewards: torch.Tensor, values: torch.Tensor, mask: torch.Tensor, gamma: float, lam: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """(advantages, returns), 0 outside of the reply (Schulman et al., arXiv 1506.02438, eq. 16).

    delta_t = r_t + gamma V_(t+1) - V_t; A_t = delta_t + gamma lam A_(t+1); the return, which V is fitted to, is A + V.

    Args:
        values: V of the text before each token.
        gamma, lam: discount and trace decay, in [0, 1].
    """
    advantages = torch.zeros_like(values)
    following, next_value = torch.zeros(len(values)), torch.zeros(len(values))
    for t in reversed(range(values.shape[1])):
        delta = rewards[:, t] + gamma * next_value - values[:, t]
        following = (delta + gamma * lam * following) * mask[:, t]
        next_value = values[:, t] * mask[:, t]
        advantages[:, t] = following
    return advantages, (advantages + values) * mask


def whiten(x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Mean 0 and standard deviation 1 over the tokens where mask is 1, 0 elsewhere; equal numbers become 0."""
    counted = x[mask > 0]
    spread = counted.std(correction=0)
    return (x - counted.mean()) / (spread + 1e-8) * mask


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
