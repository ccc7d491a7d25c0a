"""One token more for many texts at once: a Llama's forward pass on top of what it has read before.

Keys and values of a text stand at the columns of its positions, so texts of different lengths lie side by side without
padding between their tokens, and a finished text can make room for a new one.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch


@dataclass
class Memory:
    """What a model has read of each of its rows.

    keys, values: one tensor a layer, (rows, heads, columns, head size); columns beyond a row's length hold anything.
    lengths: tokens read, (rows,).
    """

    keys: list[torch.Tensor]
    values: list[torch.Tensor]
    lengths: torch.Tensor

    def room_for(self, rows: int, columns: int) -> "Memory":
        """An empty memory of that size."""
        keys, values = (
            [old.new_zeros(rows, old.shape[1], columns, old.shape[3]) for old in part]
            for part in (self.keys, self.values)
        )
        return Memory(keys, values, self.lengths.new_zeros(rows))

    def put(self, rows: torch.Tensor, other: "Memory", others: torch.Tensor) -> None:
        """Let `rows` hold what the rows `others` of `other` do."""
        columns = int(other.lengths[others].max())
        for mine, theirs in zip(self.keys + self.values, other.keys + other.values, strict=True):
            mine[rows, :, :columns] = theirs[others, :, :columns]
        self.lengths[rows] = other.lengths[others]

    def keep(self, rows: torch.Tensor) -> "Memory":
        """Only these rows."""
        keys, values = ([old[rows] for old in part] for part in (self.keys, self.values))
        return Memory(keys, values, self.lengths[rows])


def is_supported(model) -> bool:
    """Whether `read_on` computes what the model does."""
    from transformers import LlamaForCausalLM

    if parts := parts_of(model):
        return all(map(is_supported, parts))
    if (
        type(model) is not LlamaForCausalLM
        or model.device.type != "cpu"
        or model.dtype not in (torch.float32, torch.float64)
    ):
        return False
    return model.config.rope_parameters["rope_type"] == "default"


def parts_of(model) -> tuple:
    """The models that a mixture (`llm.models.mixture`) is made of; none for a single model."""
    return getattr(model, "parts", ())


def read(inner, prompts: Sequence[Sequence[int]]) -> tuple[Memory, torch.Tensor]:
    """(memory of the prompts, final hidden state after each prompt (prompts, hidden size)).

    Args:
        inner: a Llama without its head, on any device.
        prompts: token ids, at least one each; best of similar length.
    """
    lengths = torch.tensor([len(prompt) for prompt in prompts])
    ids = torch.zeros((len(prompts), int(lengths.max())), dtype=torch.long)
    for row, prompt in enumerate(prompts):  # nothing that comes later changes what was read, so any padding will do
        ids[row, : len(prompt)] = torch.tensor(prompt)
    output = inner(input_ids=ids.to(inner.device), use_cache=True)
    layers = output.past_key_values.layers
    memory = Memory([layer.keys for layer in layers], [layer.values for layer in layers], lengths)
    return memory, output.last_hidden_state[torch.arange(len(ids)), lengths - 1]


def read_on(model, memory: Memory, tokens: torch.Tensor) -> torch.Tensor:
    """Read one token (rows,) of every row, into the column after those that count; logits of the one after it (rows, vocabulary).

    `memory.lengths` stays as it is: the caller decides which rows have grown.
    """
    if parts := parts_of(model):
        depth, both = parts[0].config.num_hidden_layers, []
        for part, layers in zip(parts, (slice(depth), slice(depth, None)), strict=True):
            both.append(read_on(part, Memory(memory.keys[layers], memory.values[layers], memory.lengths), tokens))
        return model.mixed(*both)
    inner, rows, places = model.model, torch.arange(len(tokens)), memory.lengths
    columns = int(places.max()) + 1
    hidden = inner.embed_tokens(tokens)
    ahead = hidden.new_zeros(len(rows), 1, columns).masked_fill_(
        torch.arange(columns) > places[:, None, None], float("-inf")
    )
    cos, sin = inner.rotary_emb(hidden, places[:, None])
    for layer, keys, values in zip(inner.layers, memory.keys, memory.values, strict=True):
        attention, x = layer.self_attn, layer.input_layernorm(hidden)
        projections = (attention.q_proj, attention.k_proj, attention.v_proj)
        query, key, value = (part(x).view(len(x), -1, attention.head_dim) for part in projections)
        sizes = query.shape[1], key.shape[1]
        query, key = _rotated(torch.cat([query * attention.scaling, key], dim=1), cos, sin).split(sizes, dim=1)
        keys[rows, :, places], values[rows, :, places] = key, value
        groups = query.unflatten(1, (key.shape[1], -1))  # (rows, key heads, query heads that share each, head size)
        scores = groups @ keys[:, :, :columns].transpose(2, 3) + ahead[:, None]
        heads = scores.softmax(dim=-1) @ values[:, :, :columns]
        hidden = hidden + attention.o_proj(heads.flatten(1))
        hidden = hidden + layer.mlp(layer.post_attention_layernorm(hidden))
    return model.lm_head(inner.norm(hidden))


def _rotated(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Rotary positions on (rows, heads, head size)."""
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat([-second, first], dim=-1) * sin
