"""The gradient of AMA's loss by the ratios, exactly, without a third copy of the weights where a model allows it.

The averaged weights are W = (1 - alpha_g) theta_0 + alpha_g theta, so dL/dalpha_g = sum over the tensors of group g of
<dL/dW, theta - theta_0>, taken tensor by tensor while the backward pass makes dL/dW, which is then dropped.

`streamed_gradient`: the model holds theta_0. When a module is called, its parameters are replaced by the averaged ones, and put
back when it returns; what autograd would keep of the averaged weights for the backward pass is a note, from which they are
averaged again when their turn comes. So memory holds both models and one module's weights and gradient, and a step costs two
more passes over the weights than a plain one. `ratio_gradient`: the averaged weights stand in a live model of their own.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch.autograd.graph import saved_tensors_hooks

from ...errors import UserError
from ...grouping import labels, ratios
from ...models.batches import IGNORED
from ..live import mix_, mix_into
from .parameterise import shares

_BLOCK = 1 << 20  # elements widened at a time, so that temporaries stay small next to any layer

Gradient = Callable[[Mapping[str, float], Any], tuple[float, torch.Tensor]]
Losses = Callable[[Mapping[str, float], dict], torch.Tensor]


@dataclass(frozen=True)
class Engine:
    """gradient: (group -> ratio, batch) -> (loss, slopes (groups,)). losses: the same -> `reply_losses`.

    copies: how many times the weights of a model are in memory.
    """

    gradient: Gradient
    losses: Losses
    copies: int


def engine_for(model, theta: Mapping[str, torch.Tensor], assignment: Mapping[str, str], probe: dict) -> Engine:
    """`streamed_gradient` where a run over the batch `probe` shows that the model allows it, else a live third copy.

    model: holds theta_0. theta: a state dict on the same device. Buffers are not averaged on the way, so models that
    differ in them take the third copy too.
    """
    if any(not torch.equal(buffer, theta.get(name, buffer)) for name, buffer in model.named_buffers()):
        return _in_place(model, theta, assignment)
    gradient = streamed_gradient(model, theta, assignment)
    try:
        gradient(dict.fromkeys(labels(assignment), 0.5), probe)
    except Unmixable:
        return _in_place(model, theta, assignment)
    return Engine(gradient, _streamed_losses(model, theta, assignment), 2)


def _streamed_losses(model, theta: Mapping[str, torch.Tensor], assignment: Mapping[str, str]) -> Losses:
    groups = labels(assignment)
    share = shares(assignment, groups)

    def losses(alphas: Mapping[str, float], batch: dict) -> torch.Tensor:
        place = torch.tensor([alphas[group] for group in groups], dtype=torch.float64)
        with mixing(model, theta, assignment, {label: row @ place for label, row in share.items()}):
            return reply_losses(model, batch)

    return losses


def _in_place(model, theta: Mapping[str, torch.Tensor], assignment: Mapping[str, str]) -> Engine:
    live, theta_0 = deepcopy(model).requires_grad_(True), model.state_dict()

    def losses(alphas: Mapping[str, float], batch: dict) -> torch.Tensor:
        mix_(live, theta_0, theta, ratios(assignment, alphas))
        return reply_losses(live, batch)

    def gradient(alphas: Mapping[str, float], batch: dict) -> tuple[float, torch.Tensor]:
        return ratio_gradient(live, theta_0, theta, assignment, alphas, batch)

    return Engine(gradient, losses, 3)


def reply_loss(model, batch: dict) -> torch.Tensor:
    """Mean of -log p(token | those before it) over the tokens whose label is not -100, in at least fp32."""
    logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], use_cache=False).logits[:, :-1]
    if logits.dtype.itemsize < 4:
        logits = logits.float()
    return F.cross_entropy(logits.flatten(0, 1), batch["labels"][:, 1:].flatten(), ignore_index=IGNORED)


@torch.no_grad()
def reply_losses(model, batch: dict) -> torch.Tensor:
    """Mean of -log p(token | those before it) over each reply's tokens, in nats; (rows,) in fp64."""
    logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], use_cache=False).logits[:, :-1]
    labels_ = batch["labels"][:, 1:]
    losses = F.cross_entropy(logits.float().transpose(1, 2), labels_, ignore_index=IGNORED, reduction="none").double()
    return losses.sum(dim=1) / (labels_ != IGNORED).sum(dim=1)


def ratio_gradient(
    model,
    theta_0: Mapping[str, torch.Tensor],
    theta: Mapping[str, torch.Tensor],
    assignment: Mapping[str, str],
    alphas: Mapping[str, float],
    batch: dict,
) -> tuple[float, torch.Tensor]:
    """(loss, dL/dalpha (groups,)) at the given ratios: eq. 9 as a mean over the replies' tokens, in nats."""
    mix_(model, theta_0, theta, ratios(assignment, alphas))
    groups = labels(assignment)
    gradient = torch.zeros(len(groups), dtype=torch.float64)
    share = shares(assignment, groups)

    def reduce(name: str):
        def hook(parameter: torch.Tensor) -> None:
            gradient.add_(slope(parameter.grad, theta_0[name], theta[name]) * share[assignment[name]])
            parameter.grad = None

        return hook

    with ExitStack() as during:
        for name, parameter in model.named_parameters():
            if assignment[name] in share:
                during.enter_context(parameter.register_post_accumulate_grad_hook(reduce(name)))
            else:
                during.callback(parameter.requires_grad_(False).requires_grad_, True)
        loss = reply_loss(model, batch)
        loss.backward()
    return loss.item(), gradient


def slope(gradient: torch.Tensor, theta_0: torch.Tensor, theta: torch.Tensor) -> float:
    """<gradient, theta - theta_0>, block by block in fp64 (in fp32 on accelerators, where fp64 can be slow)."""
    wide = torch.float64 if gradient.is_cpu or gradient.dtype == torch.float64 else torch.float32
    flat, low, high = (tensor.reshape(-1) for tensor in (gradient, theta_0, theta))
    total = torch.zeros((), dtype=wide, device=gradient.device)
    for start in range(0, flat.numel(), _BLOCK):
        block = slice(start, start + _BLOCK)
        difference = high[block].to(gradient.device, wide) - low[block].to(gradient.device, wide)
        total += (flat[block].to(wide) * difference).sum()
    return total.item()


class Unmixable(UserError):
    """The model uses a weight without calling the module that holds it, so it cannot be mixed on the way."""


def streamed_gradient(model, theta: Mapping[str, torch.Tensor], assignment: Mapping[str, str]) -> Gradient:
    """(group -> ratio, batch) -> (loss, dL/dalpha (groups,)), as `ratio_gradient`.

    model: a live causal language model with theta_0's weights, which stay as they are and get no gradients of their own any
    more. theta: a state dict on the same device. When called it raises Unmixable if the model uses a weight without
    calling the module that holds it.
    """
    groups = labels(assignment)
    share = shares(assignment, groups)
    model.requires_grad_(False)

    def gradient(alphas: Mapping[str, float], batch: dict) -> tuple[float, torch.Tensor]:
        place = torch.tensor([alphas[group] for group in groups], dtype=torch.float64, requires_grad=True)
        with mixing(model, theta, assignment, {label: row @ place for label, row in share.items()}):
            loss = reply_loss(model, batch)
        loss.backward()
        return loss.item(), place.grad

    return gradient


@contextmanager
def mixing(
    model, theta: Mapping[str, torch.Tensor], assignment: Mapping[str, str], ratios: Mapping[str, torch.Tensor]
) -> Iterator[None]:
    """While this lasts, `model` (theta_0) computes as the averaged model, with gradients for `ratios`.

    ratios: label -> 0-dimensional tensor in [0, 1]; the labels "theta" and "theta_0" need none.
    """
    holders = _holders(model, assignment)
    swap = _Swap(theta, {name: ratios.get(assignment[name]) for _, names in holders for name in names.values()})
    with ExitStack() as during:
        for module, names in holders:
            during.enter_context(module.register_forward_pre_hook(swap.enter(names)))
            during.enter_context(module.register_forward_hook(swap.leave, always_call=True))
        during.enter_context(saved_tensors_hooks(swap.pack, swap.unpack))
        yield
    missed = sorted(swap.ratios.keys() - swap.seen)
    if missed:
        raise Unmixable(f"{missed[0]} is used without a call of its module, so it cannot be mixed on the way.")


def _holders(model, assignment: Mapping[str, str]) -> list[tuple[torch.nn.Module, dict[str, str]]]:
    """Modules that hold parameters which differ from theta_0's, and for each {attribute: parameter's name}."""
    first_name = {id(parameter): name for name, parameter in model.named_parameters()}
    found = []
    for module in model.modules():
        own = {key: first_name[id(p)] for key, p in module._parameters.items() if p is not None}
        moving = {key: name for key, name in own.items() if assignment[name] != "theta_0"}
        if moving:
            found.append((module, moving))
    return found


class _Swap:
    """The hooks of `mixing`. `ratios`: parameter's name -> its ratio, None for theta's own."""

    def __init__(self, theta: Mapping[str, torch.Tensor], ratios: Mapping[str, torch.Tensor | None]) -> None:
        self.theta, self.ratios = theta, ratios
        self.seen: set[str] = set()
        self._kept: dict[int, dict[str, torch.nn.Parameter]] = {}  # module's id -> what it held
        self._running: dict[int, tuple[torch.Tensor, torch.Tensor, float]] = {}  # address -> how it was mixed

    def enter(self, names: Mapping[str, str]):
        def hook(module: torch.nn.Module, _inputs) -> None:
            if id(module) in self._kept:
                raise Unmixable(f"{next(iter(names.values()))} belongs to a module that calls itself.")
            self._kept[id(module)] = {key: module._parameters[key] for key in names}
            for key, name in names.items():
                module._parameters[key] = self._mixed(module._parameters[key].detach(), name)

        return hook

    def leave(self, module: torch.nn.Module, _inputs, _output) -> None:
        for key, parameter in self._kept.pop(id(module), {}).items():
            self._running.pop(_address(module._parameters[key]), None)
            module._parameters[key] = parameter

    def pack(self, tensor: torch.Tensor):
        """What autograd keeps: a note in place of a mixed weight or a view of one, else the tensor itself."""
        made = self._running.get(_address(tensor))
        if made is None:
            return tensor
        return made, tensor.dtype, tensor.size(), tensor.stride(), tensor.storage_offset()

    def unpack(self, kept) -> torch.Tensor:
        if isinstance(kept, torch.Tensor):
            return kept
        made, dtype, *layout = kept
        return averaged(*made).view(dtype).as_strided(*layout)

    def _mixed(self, theta_0: torch.Tensor, name: str) -> torch.Tensor:
        self.seen.add(name)
        ratio, theta = self.ratios[name], self.theta[name].detach()
        if ratio is None:
            return theta.to(theta_0.dtype)
        mixed = _Mix.apply(ratio, theta_0, theta)
        self._running[_address(mixed)] = (theta_0, theta, ratio.item())
        return mixed


class _Mix(torch.autograd.Function):
    """W = (1 - ratio) theta_0 + ratio theta; backward, dL/dratio = <dL/dW, theta - theta_0>."""

    @staticmethod
    def forward(ctx, ratio: torch.Tensor, theta_0: torch.Tensor, theta: torch.Tensor) -> torch.Tensor:
        ctx.ends = theta_0, theta
        return averaged(theta_0, theta, ratio.item())

    @staticmethod
    def backward(ctx, gradient: torch.Tensor) -> tuple:
        return torch.tensor(slope(gradient, *ctx.ends), dtype=torch.float64), None, None


def averaged(theta_0: torch.Tensor, theta: torch.Tensor, ratio: float) -> torch.Tensor:
    """(1 - ratio) theta_0 + ratio theta in theta_0's type; in fp32 but for fp64, since this is done twice a step."""
    target = torch.empty_like(theta_0, memory_format=torch.contiguous_format)
    mix_into(target, theta_0, theta, ratio, wide=torch.promote_types(theta_0.dtype, torch.float32))
    return target


def _address(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
