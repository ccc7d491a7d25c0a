"""A walk through two models layer by layer, over all of their texts: Gram matrices of one layer at a time, the hidden states kept.

As in calibration for quantisation (GPTQ, arXiv 2210.17323), what a layer gives for each batch is the next one's input, so memory
holds one layer's weights and Grams, what stands outside of the layers, and the hidden states of both sets of texts. The model's own code
runs in all of it, whatever its masks and position embeddings: for layer k it is called anew, with the layers before k standing for
what they have given.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ...grouping import layer_list
from .grams import Gatherer, Grams
from .regression import Setting, regress, with_the_rest

Modules = Mapping[str, nn.Module]
Part = tuple[
    str, dict[str, Tensor]
]  # "first" (what stands before the layers), a layer's number or "last"; its merged tensors


class _Stop(Exception):
    """The layer that was wanted has given its outputs."""


@dataclass
class Side:
    """One of the two models and its texts.

    model: its weights are put in and taken out, so it may be on the meta device (but for buffers). weights: name -> its own tensors, each
    once; a tied head has none. batches: token ids (texts, length), without padding, on the device where the model is to run.
    """

    model: nn.Module
    weights: Mapping[str, Tensor]
    batches: list[Tensor]
    given: list[Any] = field(init=False)  # what the last layer gave, for each batch

    def __post_init__(self) -> None:
        self.path = layer_list(name for name, _ in self.model.named_parameters())
        self.layers: Any = self.model.get_submodule(self.path)
        self.given = [None] * len(self.batches)

    def within(self, k: int) -> Modules:
        """Modules of layer k, by their names in the model."""
        start = f"{self.path}.{k}"
        return {name: one for name, one in self.model.named_modules() if f"{name}.".startswith(f"{start}.")}

    def outside(self) -> Modules:
        return {name: one for name, one in self.model.named_modules() if not f"{name}.".startswith(f"{self.path}.")}

    @torch.no_grad()
    def fill(self, modules: Modules, values: Mapping[str, Tensor] | None = None) -> None:
        """Give modules their own weights, or `values`."""
        source = self.weights if values is None else values
        for name, module in modules.items():
            for kept in (module._parameters, module._buffers):
                for key, old in kept.items():
                    full = f"{name}.{key}" if name else key
                    if old is not None and full in self.weights:
                        made = source[full].to(self.batches[0].device, old.dtype)
                        kept[key] = nn.Parameter(made, requires_grad=False) if isinstance(old, nn.Parameter) else made
        self.model.tie_weights()

    @staticmethod
    def empty(modules: Modules) -> None:
        """Take their weights out again; buffers stay."""
        for module in modules.values():
            for key, old in module._parameters.items():
                if old is not None:
                    module._parameters[key] = nn.Parameter(old.to("meta"), requires_grad=False)

    @contextmanager
    def holding(self, weights: Mapping[str, Tensor]) -> Iterator[nn.Module]:
        """All of the model with other weights, empty again after."""
        own, modules = self.weights, dict(self.model.named_modules())
        self.weights = weights
        self.fill(modules)
        yield self.model
        self.empty(modules)
        self.weights = own

    def grams(self, modules: Modules, upto: int | None, keep: bool) -> Grams:
        """Of modules, on a run as `run`."""
        gatherer = Gatherer(modules)
        with gatherer.listening():
            self.run(upto, keep, gatherer.begin)
        return gatherer.grams(sum(ids.numel() for ids in self.batches))

    @torch.no_grad()
    def run(self, upto: int | None, keep: bool, begin: Callable[[Tensor], None] = lambda ids: None) -> None:
        """Read each batch up to the end of layer `upto` (-1: up to the first layer; None: all of the model).

        keep: whether what the layer gives is what the next one will be given.
        """
        for number, ids in enumerate(self.batches):
            begin(ids)
            made = self._call(self.given[number], ids, upto)
            if keep:
                self.given[number] = made

    def _call(self, given: Any, ids: Tensor, upto: int | None) -> Any:
        before = self.layers[: len(self.layers) if upto is None else max(upto, 0)]
        made: list[Any] = []

        def stop(_module: nn.Module, *seen: Any) -> None:
            made.append(seen[-1])
            raise _Stop

        with ExitStack() as during, suppress(_Stop):
            if upto is not None:
                target = self.layers[max(upto, 0)]
                hooked = target.register_forward_pre_hook if upto < 0 else target.register_forward_hook
                during.enter_context(hooked(stop))
            for layer in before:
                layer.forward = lambda *_, **__: given
                during.callback(delattr, layer, "forward")
            self.model(input_ids=ids, use_cache=False)
        return made[0] if made else given


def walk_through(
    sides: tuple[Side, Side], setting: Setting, merged_inputs: bool = False, known: frozenset[str] = frozenset()
) -> Iterator[Part]:
    """The merged tensors of each part, in fp64 by name, as `regression.regress` makes them; of all that were given something.

    merged_inputs: whether what a layer is given has been through the merged layers before it, or through the model's own. known: the
    parts that are not made (nor given); not with merged_inputs.
    """
    apart = [_regressed(side, side.outside()) for side in sides]
    for side in sides:
        side.fill(side.outside())
    grams = [side.grams(modules, -1, keep=False) for side, modules in zip(sides, apart, strict=True)]
    yield from _merged("first", sides, apart, grams, setting, merged_inputs, known)
    for k in range(len(sides[0].layers)):
        layers = [side.within(k) for side in sides]
        for side, modules in zip(sides, layers, strict=True):
            side.fill(modules)
        if str(k) in known:
            for side in sides:
                side.run(k, keep=True)
        else:
            found = [side.grams(modules, k, not merged_inputs) for side, modules in zip(sides, layers, strict=True)]
            yield from _merged(str(k), sides, layers, found, setting, merged_inputs, known)
        for side, modules in zip(sides, layers, strict=True):
            if merged_inputs:
                side.run(k, keep=True)
            side.empty(modules)
    late = [{n: m for n, m in modules.items() if n not in seen} for modules, seen in zip(apart, grams, strict=True)]
    if all(late) and "last" not in known:
        found = [side.grams(modules, None, keep=False) for side, modules in zip(sides, late, strict=True)]
        yield from _merged("last", sides, late, found, setting, False, known)


def _merged(
    part: str,
    sides: tuple[Side, Side],
    modules: Sequence[Modules],
    grams: Sequence[Grams],
    setting: Setting,
    filled: bool,
    known: frozenset[str],
) -> Iterator[Part]:
    """One part; where `filled`, both models are given its merged weights."""
    if part in known:
        return
    start, end = (side.weights for side in sides)
    merged = dict(regress(modules[1], start, end, (grams[0], grams[1]), setting))
    if filled:
        for side in sides:
            place = side.outside() if part == "first" else side.within(int(part))
            names = [f"{n}.{key}" for n, m in place.items() for key in m.state_dict(keep_vars=True) if "." not in key]
            own = {name: end[name] for name in names if name in end}
            side.fill(place, with_the_rest(merged, start, own, setting))
    yield part, merged


def _regressed(side: Side, modules: Modules) -> Modules:
    """Those whose weight is a tensor of its own, so not a tied head."""
    return {name: module for name, module in modules.items() if f"{name}.weight" in side.weights}
