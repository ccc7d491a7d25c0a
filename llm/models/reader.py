"""Prompts that a model reads once, however many continuations of each are then written, scored or compared.

What it makes of continuations is given as hidden states, so that one pass serves likelihoods (`llm.models.likelihood`),
divergences between two models, and rewards (`llm.models.rewards`).
"""

from collections.abc import Iterable, Iterator, Sequence

import torch
from torch.nn.utils.rnn import pad_sequence

from .kv_cache import Memory, read

TOGETHER = 64  # prompts of similar length that are read at once, so that padding costs little
TOKENS = 1024  # of continuations of similar length that are read at once, of at most 4 `TOGETHER`
PADDING = 256  # tokens that are read for nothing at most, for prompts to be read together
PACK = 64  # tokens of one prompt's continuations that stand side by side, so that its keys and values are copied once
ROOM = 2**28  # bytes of keys and values that are copied at most, for continuations to be read together


class Reader:
    """A Llama, with a head of any kind, and the prompts that it has read; on any device.

    last: final hidden state after each prompt, (prompts, hidden size), by the prompt's number.
    """

    def __init__(self, model) -> None:
        self.model = model
        self.last = torch.empty(0)
        self._parts: list[Memory] = []  # of at most `TOGETHER` prompts each
        self._known: dict[tuple[int, ...], int] = {}

    @torch.no_grad()
    def learn(self, prompts: Iterable[Sequence[int]]) -> torch.Tensor:
        """The number of each prompt (token ids, at least one each); those that are new are read."""
        wanted = [tuple(prompt) for prompt in prompts]
        new = sorted({prompt for prompt in wanted if prompt not in self._known}, key=lambda ids: (len(ids), ids))
        for some in _alike(new):
            memory, last = read(self.model.model, some)
            first = len(self._parts) * TOGETHER  # numbers leave gaps where a part is not full
            self._known |= {prompt: first + row for row, prompt in enumerate(some)}
            self._parts.append(memory)
            padded = last.new_zeros(TOGETHER, last.shape[1])
            padded[: len(last)] = last
            self.last = torch.cat([self.last.to(last), padded])
        return torch.tensor([self._known[prompt] for prompt in wanted])

    def lengths(self, numbers: torch.Tensor) -> torch.Tensor:
        """Tokens of the prompts, on the CPU."""
        found = torch.empty(len(numbers), dtype=torch.long)
        for where, part, rows in self._of(numbers):
            found[where] = part.lengths[rows].cpu()
        return found

    def room_for(self, rows: int, columns: int) -> Memory:
        """An empty memory of that size."""
        return self._parts[0].room_for(rows, columns)

    def put(self, memory: Memory, rows: torch.Tensor, numbers: torch.Tensor) -> None:
        """Let `rows` of a memory hold these prompts."""
        for where, part, others in self._of(numbers):
            memory.put(rows[where], part, others)

    @torch.no_grad()
    def states(self, pairs: Sequence[tuple[Sequence[int], Sequence[int]]]) -> tuple[torch.Tensor, list[int]]:
        """Final hidden states of each (prompt, continuation), ids: after the prompt and after each token of the continuation,
        which may have none; (all of them one after the other, hidden size), and how many there are of each pair.
        """
        numbers = self.learn(prompt for prompt, _ in pairs)
        counts = [1 + len(continuation) for _, continuation in pairs]
        starts = torch.tensor(counts).cumsum(0) - torch.tensor(counts)
        found = self.last.new_empty(sum(counts), self.last.shape[1])
        found[starts] = self.last[numbers]
        packs = _packs([continuation for _, continuation in pairs], numbers.tolist())
        packs.sort(key=lambda pack: (_tokens(pack, pairs), len(pairs[pack[0]][0])))
        while packs:  # the longest first
            rows = max(1, min(4 * TOGETHER, TOKENS // _tokens(packs[-1], pairs)))
            longest = max(len(pairs[pack[0]][0]) for pack in packs[-rows:])
            rows = max(1, min(rows, ROOM // (longest * self._bytes)))
            some, packs = packs[-rows:], packs[:-rows]
            hidden = self._read_on([[pairs[i][1] for i in pack] for pack in some], numbers[[pack[0] for pack in some]])
            for row, pack in enumerate(some):
                read = hidden[row].split([counts[i] - 1 for i in pack] + [hidden.shape[1] - _tokens(pack, pairs)])
                for i, of_one in zip(pack, read):
                    found[starts[i] + 1 : starts[i] + counts[i]] = of_one
        return found, counts

    def _read_on(self, packs: list[list[Sequence[int]]], numbers: torch.Tensor) -> torch.Tensor:
        """(rows, most tokens of a pack, hidden size) of packs of continuations, each of the prompt of that number. A continuation sees
        its prompt and itself; what is right of a pack changes nothing in it.
        """
        from transformers import DynamicCache

        device, lengths = self.last.device, self.lengths(numbers)
        memory = self.room_for(len(numbers), int(lengths.max()))
        self.put(memory, torch.arange(len(numbers)), numbers)
        cache = DynamicCache()
        for layer, (keys, values) in enumerate(zip(memory.keys, memory.values, strict=True)):
            cache.update(keys, values, layer)
        ids = _side_by_side([torch.tensor([token for one in pack for token in one]) for pack in packs])
        owners = _side_by_side(
            [torch.cat([torch.full((len(one),), k) for k, one in enumerate(pack)]) for pack in packs]
        )
        places = _side_by_side([torch.cat([torch.arange(len(one)) for one in pack]) for pack in packs])
        columns = ids.shape[1]
        known = torch.arange(int(lengths.max())) < lengths[:, None]
        own = (owners[:, :, None] == owners[:, None, :]) & torch.ones(columns, columns, dtype=torch.bool).tril()
        seen = torch.cat([known[:, None].expand(-1, columns, -1), own], dim=2)
        dtype = self.last.dtype
        mask = torch.zeros(seen.shape, dtype=dtype).masked_fill_(~seen, torch.finfo(dtype).min)
        return self.model.model(
            input_ids=ids.to(device),
            attention_mask=mask[:, None].to(device),
            position_ids=(lengths[:, None] + places).to(device),
            past_key_values=cache,
            use_cache=True,
        ).last_hidden_state

    @property
    def _bytes(self) -> int:
        """Of the keys and values of one token."""
        return sum(part[0, :, 0].nbytes for part in self._parts[0].keys + self._parts[0].values)

    def _of(self, numbers: torch.Tensor) -> Iterator[tuple[torch.Tensor, Memory, torch.Tensor]]:
        """(places in `numbers`, the part that holds those prompts, their rows in it)."""
        owners = numbers // TOGETHER
        for owner in owners.unique().tolist():
            where = (owners == owner).nonzero()[:, 0]
            yield where, self._parts[owner], numbers[where] % TOGETHER


def _alike(prompts: list[tuple[int, ...]]) -> Iterator[list[tuple[int, ...]]]:
    """Prompts, the shortest first, in groups that are read together."""
    group: list[tuple[int, ...]] = []
    for prompt in prompts:
        padding = sum(len(prompt) - len(one) for one in group)
        if len(group) == TOGETHER or padding > PADDING:
            yield group
            group = []
        group.append(prompt)
    if group:
        yield group


def _packs(continuations: Sequence[Sequence[int]], prompts: list[int]) -> list[list[int]]:
    """Continuations that have tokens, by their places, in packs of the same prompt of at most `PACK` tokens, or of one."""
    packs: list[list[int]] = []
    size, of_prompt = 0, -1
    for i in sorted((i for i, one in enumerate(continuations) if len(one)), key=lambda i: prompts[i]):
        if prompts[i] != of_prompt or size + len(continuations[i]) > PACK:
            packs.append([])
            size, of_prompt = 0, prompts[i]
        packs[-1].append(i)
        size += len(continuations[i])
    return packs


def _tokens(pack: list[int], pairs: Sequence[tuple[Sequence[int], Sequence[int]]]) -> int:
    return sum(len(pairs[i][1]) for i in pack)


def _side_by_side(rows: list[torch.Tensor]) -> torch.Tensor:
    """(rows, longest), padded with 0 on the right."""
    return pad_sequence(rows, batch_first=True)
