"""How likely a model finds tokens: of its own replies, with gradient, for DPO and PPO; of given texts, for measuring; and of
the choices of a question, where a long question is read once for all of them.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch.nn.utils.rnn import pad_sequence

from .batches import Batch, batches_of, left_pad, positions
from .generate import forward, is_recurrent
from .kv_cache import parts_of

LONG = 32  # tokens; shorter questions are read again with each choice, which costs less than to keep what was read


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


@torch.no_grad()
def log_likelihoods(model, pairs: list[tuple[list[int], list[int]]], pad_id: int, batch_size: int) -> np.ndarray:
    """Sum of log p(continuation | context) in nats for each (context ids, continuation ids); both at least one token."""
    result = np.empty(len(pairs))
    for rows in batches_of([len(context) + len(reply) for context, reply in pairs], batch_size, is_recurrent(model)):
        ids, mask = left_pad([pairs[i][0] + pairs[i][1] for i in rows], pad_id, model.device)
        lengths = torch.tensor([len(pairs[i][1]) for i in rows])
        longest = int(lengths.max())
        logits = forward(model, longest + 1, input_ids=ids, attention_mask=mask, position_ids=positions(mask))[0]
        counted = (torch.arange(longest) >= longest - lengths[:, None]).to(model.device)
        scores = _token_log_likelihoods(logits[:, :-1][counted], ids[:, -longest:][counted])
        result[rows] = _sums(scores, lengths.tolist())
    return result


def choice_log_likelihoods(
    model, asked: list[tuple[list[int], list[list[int]]]], pad_id: int, batch_size: int
) -> list[np.ndarray]:
    """Sum of log p(choice | context) in nats for each choice of each (context ids, choices' ids); all at least one token.

    batch_size: choices that are scored together.
    """
    if max(len(context) for context, _ in asked) < LONG or parts_of(model):
        pairs = [(context, choice) for context, choices in asked for choice in choices]
        scores = log_likelihoods(model, pairs, pad_id, batch_size)
        return np.split(scores, np.cumsum([len(choices) for _, choices in asked])[:-1])
    order = sorted(range(len(asked)), key=lambda i: len(asked[i][0]))
    together = max(1, batch_size // max(len(choices) for _, choices in asked))
    result: list[np.ndarray] = [np.empty(0)] * len(asked)
    for start in range(0, len(order), together):
        rows = order[start : start + together]
        for row, scores in zip(rows, _read_once(model, [asked[i] for i in rows], pad_id)):
            result[row] = scores
    return result


@torch.no_grad()
def _read_once(model, asked: list[tuple[list[int], list[list[int]]]], pad_id: int) -> list[np.ndarray]:
    contexts, context_mask = left_pad([context for context, _ in asked], pad_id, model.device)
    read = model.model(
        input_ids=contexts, attention_mask=context_mask, position_ids=positions(context_mask), use_cache=True
    )
    counts = torch.tensor([len(choices) for _, choices in asked])
    owner = torch.arange(len(asked)).repeat_interleave(counts).to(model.device)  # of each choice
    read.past_key_values.batch_select_indices(owner)
    choices = [torch.tensor(choice) for _, choices in asked for choice in choices]
    ids = pad_sequence(choices, batch_first=True, padding_value=pad_id).to(model.device)
    mask = torch.cat(
        [context_mask[owner], torch.ones_like(ids)], dim=1
    )  # what is right of a choice changes nothing in it
    after = model.model(
        input_ids=ids,
        attention_mask=mask,
        position_ids=positions(mask)[:, -ids.shape[1] :],
        past_key_values=read.past_key_values,
    ).last_hidden_state
    before = torch.cat([read.last_hidden_state[owner, -1:], after[:, :-1]], dim=1)  # of each token of a choice
    lengths = torch.tensor([len(choice) for choice in choices])
    chosen = (torch.arange(ids.shape[1]) < lengths[:, None]).to(model.device)  # not the padding: it would be most of it
    scores = _token_log_likelihoods(model.lm_head(before[chosen]), ids[chosen])
    return np.split(_sums(scores, lengths.tolist()), counts.cumsum(0)[:-1])


def _token_log_likelihoods(logits: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """log p of each token in nats, from the logits before it, (tokens, vocabulary); fp64 on the CPU, (tokens,)."""
    return -F.cross_entropy(logits.float(), ids, reduction="none").cpu().double()


def _sums(values: torch.Tensor, lengths: list[int]) -> np.ndarray:
    """Sums over one stretch of values after the other."""
    return np.array([stretch.sum().item() for stretch in values.split(lengths)])
