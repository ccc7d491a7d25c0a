"""Log-probabilities of the tokens that a model wrote, one by one or added up; DPO and PPO are made of them."""

import torch
import torch.nn.functional as F

from .batches import Batch


def token_log_probs(model, batch: Batch) -> torch.Tensor:
    """log p(token | those before it) in nats of ids[:, 1:], (rows, length - 1); 0 where the token's weight is 0."""
    batch = batch.to(model.device)
    hidden = model.model(input_ids=batch.ids, attention_mask=batch.mask, use_cache=False).last_hidden_state[:, :-1]
    counted = batch.weights[:, 1:] > 0
    logits = model.lm_head(hidden[counted]).float()
    chosen = -F.cross_entropy(logits, batch.ids[:, 1:][counted], reduction="none")
    return torch.zeros(counted.shape, dtype=chosen.dtype, device=chosen.device).masked_scatter(counted, chosen)


def reply_log_probs(model, batch: Batch) -> torch.Tensor:
    """log p(reply | prompt) in nats, the sum over the tokens of weight above 0; (rows,)."""
    return token_log_probs(model, batch).sum(dim=1)
