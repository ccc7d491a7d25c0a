"""How likely a model finds tokens: of its own replies, with gradient, for DPO and PPO; of given texts, and of replies to
prompts that are read once, for measuring; and how far two models differ in what they say next.
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F

from .batches import Batch, batches_of, left_pad, positions, similar_rows
from .generate import forward, is_recurrent
from .reader import Reader

MOST_LOGITS, MOST_POSITIONS = 2**24, 1024  # that are kept at a time


def token_log_probs(model, batch: Batch) -> torch.Tensor:
    """log p(token | those before it) in nats of ids[:, 1:], (rows, length - 1); 0 where the token's weight is 0."""
    batch = batch.to(model.device)
    counted = batch.weights[:, 1:] > 0
    chosen = -F.cross_entropy(counted_logits(model, batch), batch.ids[:, 1:][counted], reduction="none")
    return torch.zeros(counted.shape, dtype=chosen.dtype, device=chosen.device).masked_scatter(counted, chosen)


def counted_logits(model, batch: Batch) -> torch.Tensor:
    """Logits of the tokens whose weight is not 0, row by row; (counted tokens, vocabulary), in at least fp32, with gradient.

    On a CPU long rows are read apart from short ones where that leaves much padding out; this changes rounding only.
    """
    counted = batch.weights[:, 1:] > 0
    numbers = torch.zeros(counted.shape, dtype=torch.long, device=counted.device)
    numbers[counted] = torch.arange(int(counted.sum()), device=counted.device)
    found, order = [], []
    for rows, length in similar_rows(batch.mask):
        given = {"input_ids": batch.ids[rows, :length], "attention_mask": batch.mask[rows, :length]}
        hidden, some = model.model(**given, use_cache=False).last_hidden_state[:, :-1], counted[rows, : length - 1]
        found.append(hidden[some])
        order.append(numbers[rows, : length - 1][some])
    logits = model.lm_head(found[0] if len(found) == 1 else torch.cat(found)[torch.cat(order).argsort()])
    return logits if logits.dtype == torch.float64 else logits.float()


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


@torch.no_grad()
def reply_log_likelihoods(reader: Reader, pairs: Sequence[tuple[list[int], list[int]]]) -> list[np.ndarray]:
    """log p in nats of each token of the reply of each (prompt ids, reply ids), both at least one token: (tokens,) a pair.

    A prompt is read once however many replies it has.
    """
    states, counts = states_before(reader, pairs)
    wanted = torch.tensor([token for _, reply in pairs for token in reply], device=states.device)
    found = [
        _token_log_likelihoods(reader.model.lm_head(states[rows]), wanted[rows])
        for rows in _chunks(reader.model, states)
    ]
    return np.split(torch.cat(found).numpy(), np.cumsum(counts)[:-1])


def states_before(reader: Reader, pairs: Sequence[tuple[list[int], list[int]]]) -> tuple[torch.Tensor, list[int]]:
    """`Reader.states` before each token of the replies: as many as they have tokens."""
    return reader.states([(context, reply[:-1]) for context, reply in pairs])


@torch.no_grad()
def divergences(model, states: torch.Tensor, other, others: torch.Tensor) -> np.ndarray:
    """KL(model || other) in nats of what each says next, exactly, over the vocabulary: (positions,).

    Args:
        model, other: with the head `lm_head`.
        states, others: their final hidden states at the same positions of the same texts, (positions, hidden size).
    """
    found = []
    for rows in _chunks(model, states):
        p, q = (one.lm_head(of[rows]).float().log_softmax(dim=1) for one, of in ((model, states), (other, others)))
        found.append((p.exp() * (p - q)).sum(dim=1).cpu().double())
    return torch.cat(found).numpy()


def _chunks(model, states: torch.Tensor) -> list[slice]:
    """Positions whose logits are made together."""
    size = max(1, min(MOST_LOGITS // model.config.vocab_size, MOST_POSITIONS))
    return [slice(start, start + size) for start in range(0, len(states), size)]


def _token_log_likelihoods(logits: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """log p of each token in nats, from the logits before it, (tokens, vocabulary); fp64 on the CPU, (tokens,)."""
    return -F.cross_entropy(logits.float(), ids, reduction="none").cpu().double()


def _sums(values: torch.Tensor, lengths: list[int]) -> np.ndarray:
    """Sums over one stretch of values after the other."""
    return np.array([stretch.sum().item() for stretch in values.split(lengths)])
