"""Averages of state dicts and of live modules (the paper, section 4), by any of the methods in `merge`.

They are computed in fp64 and rounded to theta's dtype (through fp32 for the 16-bit ones). In fp32 a sum would be wrong by
many units in the last place wherever the two terms nearly cancel; and fp64 gives back exactly what both models agree on.
"""

from collections.abc import Iterator, Mapping
from types import MappingProxyType

import torch
from torch import Tensor

from ..errors import UserError, dimensions
from ..grouping import check_ratio, role
from .merge import Blocks, Merge, merge_named
from .merge.linear import LINEAR

# Elements widened at a time: what fits the caches of a CPU, what is worth a count of choices, and what keeps an accelerator busy.
_BLOCK, _BLOCK_CHOSEN, _BLOCK_OF_ACCELERATORS = 1 << 14, 1 << 18, 1 << 22


@torch.no_grad()
def average(
    theta_0: Mapping[str, Tensor],
    theta: Mapping[str, Tensor],
    ratios: float | Mapping[str, float],
    method: str | Merge = "ma",
    theta_pre: Mapping[str, Tensor] | None = None,
) -> dict[str, Tensor]:
    """A new state dict: theta_0 and theta merged tensor by tensor, in theta's dtypes and on its devices.

    ratios: one number in [0, 1], the post-RLHF share, or one per tensor name (see `grouping.ratios`).
    method: "ma", (1 - ratio) theta_0 + ratio theta, or another method of `merge`. theta_pre: of methods that take it.
    Where the method has such ends, ratio 0 gives theta_0's and ratio 1 theta's tensor bit by bit (if their dtypes are the same). Tensors that
    share memory in theta (tied weights) share it in the result, at the ratio of the embeddings. Whole numbers
    and booleans must be equal in both models. Nothing is modified.
    Raises UserError if names or shapes differ, weights are tied in theta alone, a ratio is missing or outside [0, 1], or a tensor that
    is not copied holds NaN, or an infinity that the other model has not there.
    """
    merge = _merge(method)
    per_name = _checked(theta_0, theta, ratios, merge.most)
    check_finite(theta_0, {n: high for n, high in theta.items() if not merge.of(n).copies(per_name[n])})
    result: dict[str, Tensor] = {}
    owners = tied(theta)
    _check_tied(owners, theta_0, "theta_0")
    for name in sorted(theta, key=lambda name: name in owners):
        if name in owners:
            result[name] = result[owners[name]]
        else:
            result[name] = torch.empty_like(theta[name], memory_format=torch.contiguous_format)
            _mix_named(result[name], name, (theta_0, theta, theta_pre), per_name[name], merge)
    return {name: result[name] for name in theta}


@torch.no_grad()
def mix_(
    module: torch.nn.Module,
    theta_0: Mapping[str, Tensor],
    theta: Mapping[str, Tensor],
    ratios: float | Mapping[str, float],
    method: str | Merge = "ma",
    theta_pre: Mapping[str, Tensor] | None = None,
    names: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """`average` written into a live module's parameters and persistent buffers; a tied weight once.

    The result is rounded to the module's own dtypes. theta_0 and theta need only the first of a tied weight's
    names (the embeddings'). Either may be the module's own state dict; else they share no memory with it. names: tensor -> what it is
    called in files, by which a method with random numbers draws them, where that is another name.
    Raises UserError, before anything is written, if a tensor of the module is in neither model, or as `average` does but for NaN and
    infinities, which are not looked for.
    """
    live = module.state_dict(keep_vars=True)
    owners = tied(live)
    targets = {name: tensor.data for name, tensor in live.items() if name not in owners}
    missing = [name for name in targets if name not in theta or name not in theta_0]
    if missing:
        raise UserError(f"theta_0 and theta lack {missing[0]}, a tensor of the module.")
    extra = sorted((theta.keys() | theta_0.keys()) - live.keys())
    if extra:
        raise UserError(f"theta_0 or theta has {extra[0]}, which is no tensor of the module.")
    left, right = ({name: model[name] for name in targets} for model in (theta_0, theta))
    if isinstance(ratios, Mapping):
        ratios = {name: ratio for name, ratio in ratios.items() if name not in owners}
    _check_tied(owners, theta_0, "theta_0")
    _check_tied(owners, theta, "theta")
    merge = _merge(method)
    per_name = _checked(left, right, ratios, merge.most)
    for name, target in targets.items():
        if target.shape != theta[name].shape:
            shapes = f"{dimensions(target.shape)} in the module and {dimensions(theta[name].shape)} in theta"
            raise UserError(f"{name} has shape {shapes}.")
        _check_whole(name, theta_0[name], theta[name])
        if merge.of(name).third:
            _of(theta_pre, name, target)
    for name, target in targets.items():
        _mix_named(target, name, (theta_0, theta, theta_pre), per_name[name], merge, names.get(name, name))


def tied(state: Mapping[str, Tensor]) -> dict[str, str]:
    """Name -> the tensor whose very memory it is: of those that share it the embeddings, else the first."""
    sharing: dict[tuple, list[str]] = {}
    for name, tensor in state.items():
        if tensor.numel():
            key = (tensor.device, tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype)
            sharing.setdefault(key, []).append(name)
    owners: dict[str, str] = {}
    for names in sharing.values():
        owner = next((name for name in names if role(name) == "embeddings"), names[0])
        owners |= {name: owner for name in names if name != owner}
    return owners


def _check_tied(owners: Mapping[str, str], state: Mapping[str, Tensor], side: str) -> None:
    """UserError where a model has other values in a tensor that the result has in common with another."""
    for name, owner in owners.items():
        if (
            name in state
            and state[name].data_ptr() != state[owner].data_ptr()
            and not torch.equal(state[name], state[owner])
        ):
            raise UserError(
                f"{name} is a matrix of its own in {side}, where the result has {owner}; both models must have it alike."
            )


def check_finite(theta_0: Mapping[str, Tensor], theta: Mapping[str, Tensor]) -> None:
    """UserError where a tensor holds NaN, or an infinity that the other model has not in its place (as masks have)."""
    for name, high in theta.items():
        low = theta_0[name].to(high.device)
        if low.is_floating_point() and high.is_floating_point():
            odd = (low != high) & ~(low.isfinite() & high.isfinite())
            if odd.any():
                side = "theta" if low[odd].isfinite().all() else "theta_0"
                raise UserError(f"{name} of {side} holds NaN or Inf.")


def _merge(method: str | Merge) -> Merge:
    return merge_named(method) if isinstance(method, str) else method


def _of(theta_pre: Mapping[str, Tensor] | None, name: str, like: Tensor) -> Tensor:
    """A tensor of theta_pre; UserError where there is none of that shape."""
    if theta_pre is None:
        raise UserError("theta_pre is missing; the method needs it.")
    if name not in theta_pre or theta_pre[name].shape != like.shape:
        found = dimensions(theta_pre[name].shape) if name in theta_pre else "none"
        raise UserError(f"{name} has shape {found} in theta_pre and {dimensions(like.shape)} in theta.")
    return theta_pre[name]


def _checked(
    theta_0: Mapping[str, Tensor], theta: Mapping[str, Tensor], ratios: float | Mapping[str, float], most: float
) -> dict[str, float]:
    """One valid ratio per tensor; raises UserError if the two models do not fit each other or the ratios."""
    one_sided = sorted(theta_0.keys() ^ theta.keys())
    if one_sided:
        where = "theta_0" if one_sided[0] in theta_0 else "theta"
        raise UserError(f"{one_sided[0]} is a tensor of {where} only; both models must have the same.")
    for name, tensor in theta.items():
        if tensor.shape != theta_0[name].shape:
            shapes = f"{dimensions(theta_0[name].shape)} in theta_0 and {dimensions(tensor.shape)} in theta"
            raise UserError(f"{name} has shape {shapes}.")
    if not isinstance(ratios, Mapping):
        check_ratio("ratios", ratios, most)
        return {name: float(ratios) for name in theta}
    odd = sorted(ratios.keys() ^ theta.keys())
    if odd:
        raise UserError(f"ratios and models must name the same tensors, but {odd[0]} is in one of them only.")
    for name, ratio in ratios.items():
        check_ratio(f"ratios[{name}]", ratio, most)
    return {name: float(ratio) for name, ratio in ratios.items()}


def _mix_named(target: Tensor, name: str, models: tuple, ratio: float, merge: Merge, drawn: str = "") -> None:
    """`mix_into` of the tensor of that name of theta_0, theta and, where the method takes it, theta_pre. drawn: by which name random
    numbers are drawn, if not by its own.
    """
    theta_0, theta, theta_pre = models
    own = merge.of(name)
    third = _of(theta_pre, name, target) if own.third else None
    mix_into(target, theta_0[name], theta[name], ratio, own, drawn or name, theta_pre=third)


def mix_into(
    target: Tensor,
    theta_0: Tensor,
    theta: Tensor,
    ratio: float,
    merge: Merge = LINEAR,
    name: str = "",
    wide: torch.dtype = torch.float64,
    theta_pre: Tensor | None = None,
) -> None:
    """target <- the two merged at the ratio, block by block, computed in `wide`; UserError for whole numbers that differ."""
    if _check_whole(name, theta_0, theta):
        target.copy_(theta)
    elif merge.copies(ratio):
        target.copy_(theta if ratio else theta_0)
    else:
        out = target.reshape(-1)
        on_cpu = merge.by_place or out.is_mps  # numpy computes there, and MPS has no fp64
        device = torch.device("cpu") if on_cpu else out.device
        size = _BLOCK if device.type == "cpu" else _BLOCK_OF_ACCELERATORS
        size = _BLOCK_CHOSEN if merge.by_place else size
        models = [theta_0, theta] if theta_pre is None else [theta_0, theta, theta_pre]

        def read() -> Iterator[tuple]:
            for parts in zip(*(model.reshape(-1).split(size) for model in models), strict=True):
                moved = (part.detach().to(device, wide) for part in parts)
                yield tuple(part.numpy() if merge.by_place else part for part in moved)

        blocks = Blocks(read)
        state, first = merge.prepare(blocks, name) if merge.prepare else None, 0
        for part, block in zip(out.split(size), blocks, strict=True):
            merged = torch.as_tensor(merge.mix(block, ratio, state, first))
            part.copy_(merged.float() if out.dtype.itemsize < 4 else merged)
            first += len(part)
        if not target.is_contiguous():  # then `out` is a copy
            target.copy_(out.view(target.shape))


def _check_whole(name: str, theta_0: Tensor, theta: Tensor) -> bool:
    """Whether the tensors are of whole numbers or booleans; UserError where they differ then."""
    if theta.is_floating_point() and theta_0.is_floating_point():
        return False
    if not torch.equal(theta_0, theta.to(theta_0.device)):
        raise UserError(f"{name}, of type {theta.dtype}, differs and cannot be averaged.")
    return True
