"""Batched sampling with a key-value cache that drops finished rows; for a Llama on the CPU by continuous batching, where others
take their place, a prompt is read once however many replies it gets, and what transformers does around each step is skipped.
"""

import inspect
from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch

from .batches import batches_of, left_pad, positions
from .kv_cache import is_supported, read_on
from .reader import Reader

# What transformers' models call their caches; RWKV's, "state", is wrong for several rows at a time.
_CACHES = ("past_key_values", "cache_params")
COMPACT_BELOW = 0.75  # drop finished rows once fewer than this share of the rows is still being written
SLOTS = (
    160  # replies of a Llama on the CPU that are written at the same time: their keys and values should fit its caches
)
REFILL = 16  # finished ones among them are replaced when there are so many


@dataclass(frozen=True)
class Reply:
    """Token ids without the end token, and whether the end token was reached."""

    ids: list[int]
    finished: bool


@torch.no_grad()
def generate(
    model,
    prompts: list[list[int]],
    *,
    max_new_tokens: int,
    end_id: int | Collection[int],
    pad_id: int,
    temperature: float,
    rng: torch.Generator | None = None,
    batch_size: int = 256,
    reader: Reader | None = None,
) -> list[Reply]:
    """Continue each prompt.

    Args:
        model: a transformers causal language model; left in the mode it is in.
        prompts: token ids, at least one each.
        max_new_tokens: a reply is cut there (and is then not `finished`).
        end_id: the token, or tokens, that end a reply.
        temperature: 0 for the most likely token, else the softmax temperature.
        rng: the source of randomness, required if temperature > 0. Each step draws one uniform number a prompt of the
            batch, whether that row is finished or not, so a reply does not depend on when others end.
        batch_size: prompts of similar length that are written together.
        reader: one of the same model, which may know the prompts already.

    Returns:
        One reply a prompt, in the order of the prompts.
    """
    if temperature > 0 and rng is None:
        raise ValueError("rng is None; a torch.Generator is required when temperature > 0")
    replies: list[Reply | None] = [None] * len(prompts)
    ends = [end_id] if isinstance(end_id, int) else sorted(end_id)
    for rows in batches_of([len(prompt) for prompt in prompts], batch_size, is_recurrent(model)):
        some, limits = [prompts[i] for i in rows], (max_new_tokens, ends)
        if is_supported(model):
            batch = _ContinuousBatch(reader or Reader(model), some, *limits, temperature, rng).write()
        else:
            batch = _generate_batch(model, some, *limits, pad_id, temperature, rng)
        for i, reply in zip(rows, batch):
            replies[i] = reply
    return replies


def _generate_batch(model, prompts, max_new_tokens, ends, pad_id, temperature, rng) -> list[Reply]:
    ids, mask = left_pad(prompts, pad_id, model.device)
    written: list[list[int]] = [[] for _ in prompts]
    finished = [False] * len(prompts)
    alive = torch.arange(len(prompts))  # which prompt each row of the cache belongs to
    logits, past = forward(model, 1, input_ids=ids, attention_mask=mask, position_ids=positions(mask), use_cache=True)
    droppable = _is_droppable(past)
    for step in range(max_new_tokens):
        uniform = torch.rand(len(prompts), generator=rng) if temperature > 0 else None
        token = _choose(logits[:, -1], temperature, uniform[alive] if temperature > 0 else None).to(ids.device)
        for row, value in zip(alive.tolist(), token.tolist()):
            if finished[row]:
                continue
            if value in ends:
                finished[row] = True
            else:
                written[row].append(value)
        going = torch.tensor([not finished[row] for row in alive.tolist()])
        if step + 1 == max_new_tokens or not going.any():
            break
        ids, mask = torch.cat([ids, token[:, None]], dim=1), torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
        if droppable and going.float().mean() < COMPACT_BELOW:
            keep = going.nonzero().squeeze(1)
            alive, keep = alive[keep], keep.to(ids.device)
            ids, mask = ids[keep], mask[keep]
            for cache in past.values():
                cache.batch_select_indices(keep)
        new = slice(-1 if past else None, None)  # a model without a cache reads all again
        read = {"input_ids": ids[:, new], "attention_mask": mask, "position_ids": positions(mask)[:, new]}
        logits, past = forward(model, 1, **read, **past, use_cache=bool(past))
    return [Reply(ids, done) for ids, done in zip(written, finished)]


class _ContinuousBatch:
    """Continues a batch of prompts, `SLOTS` of them at a time; slot k writes the reply to prompt `rows[k]`.

    The replies are those of `_generate_batch` (up to rounding): the random number of a prompt's step does not depend on who
    is written when.
    """

    def __init__(self, reader: Reader, prompts, max_new_tokens: int, ends: list[int], temperature: float, rng) -> None:
        self.reader, self.source = reader, reader.learn(prompts)
        self.model, self.ends, self.temperature, self.rng = reader.model, torch.tensor(ends), temperature, rng
        self.written = torch.full((len(prompts), max_new_tokens), ends[0])
        self.lengths = torch.zeros(len(prompts), dtype=torch.long)  # of the replies, with the end token
        self.uniform: list[torch.Tensor] = []  # for each step, a number a prompt
        slots = min(SLOTS, len(prompts))
        self.rows, self.tokens = torch.zeros(slots, dtype=torch.long), torch.zeros(slots, dtype=torch.long)
        self.going = torch.zeros(slots, dtype=torch.bool)
        self.memory = reader.room_for(slots, max(map(len, prompts)) + max_new_tokens)
        self.begun = 0  # prompts so far

    def write(self) -> list[Reply]:
        while True:
            ended = (~self.going).nonzero()[:, 0]
            waiting = len(self.written) - self.begun
            if waiting and (len(ended) >= REFILL or len(ended) == len(self.going)):
                self._begin(ended[:waiting])
                continue
            if len(ended) == len(self.going):
                break
            if not waiting and self.going.float().mean() < COMPACT_BELOW:
                self._drop()
            logits = read_on(self.model, self.memory, self.tokens)
            self.memory.lengths += self.going
            going = self.going.nonzero()[:, 0]
            self._choose_next(going, logits[going])
        finished = torch.isin(self.written.gather(1, self.lengths[:, None] - 1)[:, 0], self.ends)
        ends = (self.lengths - finished.long()).tolist()
        return [Reply(ids[:end], done) for ids, end, done in zip(self.written.tolist(), ends, finished.tolist())]

    def _begin(self, slots: torch.Tensor) -> None:
        """The next prompts, in these slots."""
        rows = torch.arange(self.begun, self.begun + len(slots))
        self.begun += len(slots)
        self.rows[slots] = rows
        self.reader.put(self.memory, slots, self.source[rows])
        self._choose_next(slots, self.model.lm_head(self.reader.last[self.source[rows]]))

    def _choose_next(self, slots: torch.Tensor, logits: torch.Tensor) -> None:
        """Choose the next token of these slots."""
        rows = self.rows[slots]
        steps = self.lengths[rows]
        tokens = _choose(logits, self.temperature, self._uniform(steps, rows) if self.temperature > 0 else None)
        self.written[rows, steps] = tokens
        self.lengths[rows] += 1
        self.tokens[slots] = tokens
        self.going[slots] = ~torch.isin(tokens, self.ends) & (steps + 1 < self.written.shape[1])

    def _uniform(self, steps: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        while len(self.uniform) <= int(steps.max()):
            self.uniform.append(torch.rand(len(self.written), generator=self.rng))
        return torch.stack(self.uniform)[steps, rows]

    def _drop(self) -> None:
        """Make finished replies' slots go away."""
        kept = self.going.nonzero()[:, 0]
        self.memory, self.rows, self.tokens = self.memory.keep(kept), self.rows[kept], self.tokens[kept]
        self.going = self.going[kept]


def _choose(logits: torch.Tensor, temperature: float, uniform: torch.Tensor | None) -> torch.Tensor:
    """(rows, vocabulary) -> (rows,); by inversion of the cumulative distribution where temperature > 0."""
    if temperature == 0:
        return logits.argmax(dim=-1)
    logits = logits.cpu() if logits.is_mps else logits  # MPS has no fp64
    cumulative = torch.softmax(logits.double() / temperature, dim=-1).cumsum(dim=-1)
    cumulative = cumulative / cumulative[:, -1:]
    return (cumulative <= uniform[:, None].to(logits.device, torch.float64)).sum(dim=-1)


def forward(model, keep: int, **arguments) -> tuple[torch.Tensor, dict]:
    """(logits of the last `keep` positions (rows, keep, vocabulary), the cache as the argument that it is in the next call);
    the model, of any class, is given what its forward knows of the arguments.
    """
    known = accepted(model)
    given = arguments | {"logits_to_keep": keep}
    if "input_ids" in known:  # else it is a wrapper that hands on whatever it gets
        given |= {} if known & {*_CACHES} else {"use_cache": False}
        given = {key: value for key, value in given.items() if key in known}
    if is_recurrent(model):
        given.pop("attention_mask", None)
    output = model(**given)
    caches = {name: getattr(output, name, None) for name in _CACHES}
    return output.logits[:, -keep:], {name: cache for name, cache in caches.items() if cache is not None}


def is_recurrent(model) -> bool:
    """Whether the model keeps a state (Mamba, RWKV, hybrids), for which padding is no different from text: it gets none."""
    return getattr(model, "_is_stateful", False)


def _is_droppable(past: dict) -> bool:
    """Whether rows of the cache can be dropped: of keys and values, not of the states that hybrids keep beside them."""
    from transformers.cache_utils import LinearAttentionCacheLayerMixin

    layers = [layer for cache in past.values() for layer in getattr(cache, "layers", [None])]
    return all(
        hasattr(layer, "batch_select_indices") and not isinstance(layer, LinearAttentionCacheLayerMixin)
        for layer in layers
    )


def accepted(model) -> frozenset[str]:
    """The names of what the model's forward takes."""
    kind: Any = type(model)
    return _parameters(kind)


@cache
def _parameters(kind: Any) -> frozenset[str]:
    return frozenset(inspect.signature(kind.forward).parameters)
