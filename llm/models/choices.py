"""How likely a model finds each choice of a question, with a long question read once for all of them."""

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

from ..evaluation.metrics import log_likelihoods, sums_of, token_log_likelihoods
from .batches import left_pad, positions

LONG = 32  # tokens; shorter questions are read again with each choice, which costs less than to keep what was read


def choice_log_likelihoods(
    model, asked: list[tuple[list[int], list[list[int]]]], pad_id: int, batch_size: int
) -> list[np.ndarray]:
    """Sum of log p(choice | context) in nats for each choice of each (context ids, choices' ids); all at least one token.

    batch_size: choices that are scored together.
    """
    if max(len(context) for context, _ in asked) < LONG:
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
    choices = [choice for _, choices in asked for choice in choices]
    ids = pad_sequence([torch.tensor(choice) for choice in choices], batch_first=True, padding_value=pad_id).to(
        model.device
    )
    mask = torch.cat(
        [context_mask[owner], torch.ones_like(ids)], dim=1
    )  # what stands right of a choice changes nothing in it
    after = model.model(
        input_ids=ids,
        attention_mask=mask,
        position_ids=positions(mask)[:, -ids.shape[1] :],
        past_key_values=read.past_key_values,
    ).last_hidden_state
    before = torch.cat([read.last_hidden_state[owner, -1:], after[:, :-1]], dim=1)  # of each token of a choice
    lengths = torch.tensor([len(choice) for choice in choices])
    chosen = (torch.arange(ids.shape[1]) < lengths[:, None]).to(model.device)
    scores = token_log_likelihoods(
        model.lm_head(before[chosen]), ids[chosen]
    )  # not of the padding: it would be most of it
    return np.split(sums_of(scores, lengths.tolist()), counts.cumsum(0)[:-1])
