"""How far theta is from theta_0, group by group and in units of the last place, and what that makes of saved averages."""

from collections.abc import Mapping

import torch

from ..grouping import Grouping, assign
from .pair import Pair
from .precision import STRIDE, WHOLE, Effect

BY_LAYER = Grouping(level="layer", embeddings="own", norm="own", head="own")
STEPS = (1, 2, 4, 8)  # edges of the bins of |update| in units of the last place
SAVED_AT = (0.2, 0.5, 0.8)  # ratios at which averages are rounded, to see what that does to them
_ALL = 1 << 20  # values of a tensor that are all looked at; of a larger one every `STRIDE`-th


def group_movement(
    theta_0: Mapping[str, torch.Tensor], theta: Mapping[str, torch.Tensor]
) -> dict[str, dict[str, float]]:
    """Group (each layer, embeddings, norm, head unless it is tied) -> {"relative": ||theta - theta_0|| / ||theta_0||, "share": of
    ||theta - theta_0||^2 over all groups}. Both zero where nothing has moved.
    """
    squares: dict[str, list[float]] = {}
    for name, group in assign(list(theta), BY_LAYER).items():
        before, after = theta_0[name].cpu().double(), theta[name].cpu().double()  # MPS has no fp64
        square = squares.setdefault(group, [0.0, 0.0])
        square[0] += (after - before).square().sum().item()
        square[1] += before.square().sum().item()
    total = sum(moved for moved, _ in squares.values()) or 1.0
    shares = squares.items()
    return {
        group: {"relative": (moved / size) ** 0.5 if size else 0.0, "share": moved / total}
        for group, (moved, size) in shares
    }


def what_moved(pair: Pair) -> dict:
    """{"groups": as `group_movement`; "weights": how many; "changed": the share of them in which theta differs from theta_0;
    "steps": of these the share whose update is below 1, 1 to 2, .. and above 8 units in the last place of the type that theta is
    saved in; "dtype": these types; "saved": ratio -> `Effect` of the average rounded to them}.

    Of tensors of more than a million values, steps and averages look at every 33rd.
    """
    found = {name: (low, high) for name, low, high in pair.tensors()}
    groups = group_movement(*({name: both[side] for name, both in found.items()} for side in (0, 1)))
    changed, weights, kinds = 0, 0, set()
    bins, effects = torch.zeros(len(STEPS) + 1), {alpha: Effect() for alpha in SAVED_AT}
    for name, (low, high) in found.items():
        kind, size = pair.kind(name), low.numel()
        kinds.add(str(kind).removeprefix("torch."))
        changed, weights = changed + int((low != high).sum()), weights + size
        stride = STRIDE if size > _ALL else 1
        before, after = (tensor.reshape(-1)[::stride].cpu().double() for tensor in (low, high))
        bins += in_steps(before, after, kind) * (size / len(before))
        for alpha, effect in effects.items():
            count_saved(effect, before, after, alpha, kind, size)
    return {
        "groups": groups,
        "weights": weights,
        "changed": changed / weights,
        "steps": (bins / max(1.0, float(bins.sum()))).tolist(),
        "dtype": ", ".join(sorted(kinds)),
        "saved": {f"{alpha:g}": effect.described() for alpha, effect in effects.items()},
    }


def saved_effect(
    pair: Pair,
    theta_0: Mapping[str, torch.Tensor],
    made: Mapping[str, torch.Tensor],
    ratios: float | Mapping[str, float] | None,
) -> Effect:
    """What rounding an average in memory to the types in which it would be saved does to it.

    theta_0, made: theta_0 and the average, as `Pair.tensors` names them. ratios: one, or one a tensor; None: a tensor's is the share of
    theta - theta_0 that it has along it before it is rounded.
    """
    effect = Effect()
    for name, _, high in pair.tensors():
        low, average = theta_0[name], made[name]
        stride = STRIDE if low.numel() > WHOLE else 1
        flat = [tensor.reshape(-1)[::stride].cpu().double() for tensor in (low, high, average)]
        rounded = _as_stored(flat[2], pair.kind(name))
        if ratios is None:
            (exact := Effect()).add(flat[0], flat[1], flat[2], 0.0)
            ratio = exact.alpha or 0.0
        else:
            ratio = ratios if isinstance(ratios, float) else ratios[name]
        effect.add(flat[0], flat[1], rounded, ratio, low.numel())
    return effect


def count_saved(
    effect: Effect, low: torch.Tensor, high: torch.Tensor, ratio: float, kind: torch.dtype, stands_for: int
) -> None:
    """Add to `effect` the linear average of fp64 values, rounded to `kind` as folders are."""
    effect.add(low, high, _as_stored((1 - ratio) * low + ratio * high, kind), ratio, stands_for)


def _as_stored(exact: torch.Tensor, kind: torch.dtype) -> torch.Tensor:
    """fp64 values as a folder of `kind` holds them, through fp32 for 16 bits."""
    return (exact.float() if kind.itemsize < 4 else exact).to(kind).double()


def in_steps(before: torch.Tensor, after: torch.Tensor, kind: torch.dtype) -> torch.Tensor:
    """How many of the fp64 values that differ do so by less than 1 unit in the last place of `kind`, by 1 to 2, .. and by 8 or more."""
    moved = before != after
    steps = (after - before)[moved].abs() / last_place(before[moved], kind)
    return torch.bucketize(steps, torch.tensor(STEPS, dtype=steps.dtype), right=True).bincount(minlength=len(STEPS) + 1)


def last_place(values: torch.Tensor, kind: torch.dtype) -> torch.Tensor:
    """The unit in the last place of fp64 values in the type `kind`: 2^(exponent - bits of the fraction), that of 0 and of subnormals
    included, the smallest there is.
    """
    information = torch.finfo(kind)
    _, exponent = torch.frexp(values)
    bits = round(-torch.log2(torch.tensor(information.eps, dtype=torch.float64)).item())
    lowest = round(torch.log2(torch.tensor(information.tiny, dtype=torch.float64)).item())
    exponent = torch.where(values == 0, lowest, exponent - 1).clamp(min=lowest)
    return torch.ldexp(torch.ones_like(values), exponent - bits)


def labels_of() -> list[str]:
    """What the bins of "steps" are called."""
    inner = [f"{low} to {high}" for low, high in zip(STEPS, STEPS[1:])]
    return [f"below {STEPS[0]}", *inner, f"{STEPS[-1]} and more"]
