"""Gram matrices of what the layers of a model are given, on texts of token ids: what averages by regression know of a model.

They are taken by hooks on linear layers (`nn.Linear`, GPT-2's `Conv1D`) and embeddings, so that any transformers decoder works.
Texts of equal length are read together, so nothing is ever padded: experts and recurrent layers see real tokens only.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ...errors import UserError
from ...models.batches import Tokens, batches_of
from ...models.chat import context_of
from . import Materials

_TOGETHER = 2048  # tokens in a batch: their logits are the largest tensor on the way


@dataclass(frozen=True)
class Gram:
    """X^T X / n of a linear layer's inputs X over n tokens with a last feature that is 1, (features + 1, features + 1) in fp64; or,
    of an embedding, the share of the n tokens that is each of its rows, (rows,): the diagonal of that matrix for one-hot inputs.

    Layers with the very same input (queries, keys and values; gate and up) have one Gram in common.
    """

    matrix: Tensor

    @property
    def is_diagonal(self) -> bool:
        return self.matrix.ndim == 1


Grams = Mapping[str, Gram]  # module's name -> its Gram; those that no token came to have none


def takes_part(module: nn.Module) -> bool:
    """Whether a module is a linear layer or an embedding."""
    return isinstance(module, nn.Linear | nn.Embedding) or is_transposed(module)


def is_transposed(module: nn.Module) -> bool:
    """Whether it is a linear layer whose weight is stored (in, out)."""
    from transformers.pytorch_utils import Conv1D

    return isinstance(module, Conv1D)


def equal_lengths(samples: Sequence[Tokens], vocabulary: int, context: int) -> list[Tensor]:
    """The samples as batches of token ids, (texts, length) each, cut to `context` tokens; none is padded.

    Raises UserError if there is none, or one holds an id that is not in [0, vocabulary).
    """
    texts = [(sample.context + sample.reply)[:context] for sample in samples]
    texts = [ids for ids in texts if ids]
    if not texts:
        raise UserError("samples = none is not allowed; allowed is at least one with a token in it.")
    highest, lowest = max(map(max, texts)), min(map(min, texts))
    if highest >= vocabulary or lowest < 0:
        wrong = highest if highest >= vocabulary else lowest
        raise UserError(f"samples hold the token id {wrong}; allowed are 0 to {vocabulary - 1}, those of the model.")
    lengths = [len(ids) for ids in texts]
    found = []
    for rows in batches_of(lengths, len(texts), equal=True):
        size = max(1, _TOGETHER // lengths[rows[0]])
        found += [torch.tensor([texts[i] for i in rows[start : start + size]]) for start in range(0, len(rows), size)]
    return found


def texts_of(materials: Materials, kind: str, count: int) -> list[Tensor]:
    """A method's samples as such batches, on the device of its live model."""
    return batches_for(materials.model.config, materials.samples(kind, count), materials.model.device)


def batches_for(config: Any, samples: Sequence[Tokens], device: torch.device) -> list[Tensor]:
    """`equal_lengths` for the vocabulary and the context of a model with this configuration."""
    found = equal_lengths(samples, config.get_text_config().vocab_size, context_of(config))
    return [ids.to(device) for ids in found]


@torch.no_grad()
def gather(model: nn.Module, batches: Iterable[Tensor]) -> Grams:
    """The Grams of all layers of a live model, on batches as `equal_lengths` makes them."""
    batches = list(batches)
    gatherer = Gatherer(dict(model.named_modules()))
    with gatherer.listening():
        for ids in batches:
            gatherer.begin(ids)
            model(input_ids=ids.to(model.device), use_cache=False)
    return gatherer.grams(sum(ids.numel() for ids in batches))


def beyond(whole: Grams, part: Grams, tokens: tuple[int, int]) -> Grams:
    """The Grams of what texts have beyond their beginnings: n G - m G_part over n - m tokens.

    In a causal model a beginning reads the same alone, so its sums are in the whole's. tokens: (n, m). Layers with one Gram in common
    keep one.
    """
    count, fewer = tokens
    made: dict[int, Gram] = {}
    for name, gram in whole.items():
        if id(gram) not in made:
            rest = count * gram.matrix - (fewer * part[name].matrix if name in part else 0)
            made[id(gram)] = Gram((rest.clamp(min=0) if gram.is_diagonal else rest) / (count - fewer))
    return {name: made[id(gram)] for name, gram in whole.items()}


class Gatherer:
    """Sums up the inputs of some modules, by hooks, while `listening`; `begin` says which ids are read next."""

    def __init__(self, modules: Mapping[str, nn.Module]) -> None:
        self.modules = {name: module for name, module in modules.items() if takes_part(module)}
        self.owner: dict[str, str] = {}  # module -> the first one with the same input, which may be itself
        self._sums: dict[str, Tensor] = {}
        self._last: tuple[Tensor, str] | None = None  # the last input, and whose it was first
        self._ids = torch.empty(0)

    @contextmanager
    def listening(self) -> Iterator[None]:
        with ExitStack() as during:
            for name, module in self.modules.items():
                hook = self._counted(name) if isinstance(module, nn.Embedding) else self._added(name)
                during.enter_context(module.register_forward_pre_hook(hook))
            during.callback(setattr, self, "_last", None)
            yield

    def begin(self, ids: Tensor) -> None:
        self._ids = ids

    def grams(self, tokens: int) -> dict[str, Gram]:
        """Of all modules that were given something, sums divided by the number of tokens that were read."""
        made = {name: Gram(total / tokens) for name, total in self._sums.items()}
        return {name: made[owner] for name, owner in self.owner.items() if owner in made}

    def _added(self, name: str):
        def hook(_module: nn.Module, inputs: tuple) -> None:
            given = inputs[0]
            if self._last is not None and self._last[0] is given:
                owner = self._last[1]
            else:
                owner, self._last = name, (given, name)
            if self.owner.setdefault(name, owner) != owner:
                raise UserError(f"{name} shares its input with other layers at some texts only; no method knows that.")
            if owner == name:
                self._add(name, given)

        return hook

    def _add(self, name: str, given: Tensor) -> None:
        x = given.reshape(-1, given.shape[-1])
        x = x.cpu() if x.is_mps else x  # MPS has no fp64
        x = torch.cat([x, x.new_ones(len(x), 1)], dim=1).to(torch.float64)
        if name in self._sums:
            self._sums[name].addmm_(x.T, x)
        else:
            self._sums[name] = x.T @ x

    def _counted(self, name: str):
        def hook(module: nn.Module, inputs: tuple) -> None:
            if type(module).forward is not nn.Embedding.forward and not self._is_text(inputs):
                return  # such as OPT's positions, which are made of a mask within the module
            ids, rows = inputs[0], len(self._ids)
            times = rows if len(ids) == 1 < rows else 1  # positions are the same for every text
            found = torch.bincount(ids.flatten().cpu(), minlength=module.num_embeddings).double() * times
            self._sums[name] = self._sums[name] + found if name in self._sums else found
            self.owner[name] = name

        return hook

    def _is_text(self, inputs: tuple) -> bool:
        return bool(inputs) and inputs[0].shape == self._ids.shape and torch.equal(inputs[0].cpu(), self._ids.cpu())
