"""AMA's gradient without a third copy of the weights: every module's weights are mixed while it runs.

The model holds theta_0. When a module is called, its parameters are replaced by (1 - ratio) theta_0 +
ratio theta, and put back when it returns; what autograd would keep of the mixed weights for the backward
pass is a note, from which they are mixed again when their turn comes. So memory holds both models and
one module's weights and gradient, and a step costs two more passes over the weights than a plain one.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch.autograd.graph import saved_tensors_hooks

from ...errors import UserError
from ...grouping import labels
from .descent import shares
from .optimise import reply_loss, slope


class Unmixable(UserError):
    """The model uses a weight without calling the module that holds it, so it cannot be mixed on the way."""


def streamed_gradient(
    model, theta: Mapping[str, torch.Tensor], assignment: Mapping[str, str]
) -> Callable[[Mapping[str, float], dict], tuple[float, torch.Tensor]]:
    """(group -> ratio, batch) -> (loss, dL/dalpha (groups,)), as `ama.ratio_gradient`, for `descent.descend`.

    model: a live causal language model with theta_0's weights, which stay as they are and get no
    gradients of their own any more. theta: a state dict on the same device. When called it raises
    Unmixable if the model uses a weight without calling the module that holds it.
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
    handles = []
    for module, names in holders:
        handles.append(module.register_forward_pre_hook(swap.enter(names)))
        handles.append(module.register_forward_hook(swap.leave, always_call=True))
    try:
        with saved_tensors_hooks(swap.pack, swap.unpack):
            yield
    finally:
        for handle in handles:
            handle.remove()
    missed = sorted(swap.ratios.keys() - swap.seen)
    if missed:
        raise Unmixable(f"{missed[0]} is used without a call of its module, so it cannot be mixed on the way.")


def _holders(model, assignment: Mapping[str, str]) -> list[tuple[torch.nn.Module, dict[str, str]]]:
    """Modules that hold parameters which differ from theta_0's, and for each {attribute: parameter's
    name}.
    """
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
        return _lerp(*made).view(dtype).as_strided(*layout)

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
        return _lerp(theta_0, theta, ratio.item())

    @staticmethod
    def backward(ctx, gradient: torch.Tensor) -> tuple:
        return torch.tensor(slope(gradient, *ctx.ends), dtype=torch.float64), None, None


def _lerp(theta_0: torch.Tensor, theta: torch.Tensor, ratio: float) -> torch.Tensor:
    return torch.lerp(theta_0, theta.to(theta_0.dtype), ratio)


def _address(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
