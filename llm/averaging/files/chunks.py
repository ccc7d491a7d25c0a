"""The output as chunks of some megabytes: what to read of each source for a chunk, and how it is made of that."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from ...errors import UserError
from ...models.safetensors import TensorInfo
from ..merge import Blocks, Merge
from ..merge.linear import LINEAR
from . import lora
from .arithmetic import STORAGE, NotFinite, all_finite, as_floats, mix, widen

SIZE = 1 << 19  # values of a chunk: few enough for the caches, enough for Python's share of the time to be small
Stored = np.ndarray  # unsigned integers or floats, flat, as in `arithmetic.STORAGE`


class Span(NamedTuple):
    """Stored values `first` to `last` (exclusive) of a tensor."""

    tensor: TensorInfo
    first: int
    last: int

    def read(self, buffer: np.ndarray) -> np.ndarray:
        return self.tensor.read(self.first, self.last, buffer)

    @property
    def end(self) -> int:
        """The place in the tensor's file where it ends, in bytes."""
        return self.tensor.start + self.last * self.tensor.itemsize


@dataclass(frozen=True)
class Chunk:
    """Some of theta_0's and of theta's values, and a function of the two (None for none) that gives the output's.

    `make` may write into its arguments.
    """

    theta_0: Span | None
    theta: Span | None
    make: Callable[[Stored | None, Stored | None], Stored]


def averaged(
    left: TensorInfo,
    right: TensorInfo,
    ratio: float,
    merge: Merge = LINEAR,
    name: str = "",
    third: TensorInfo | None = None,
) -> Iterator[Chunk]:
    """Both merged at the ratio, in right's type; right may have more rows, which are kept.

    name: what the tensor is called where that decides random numbers; right's own if it is not given. third: theta_pre's.
    """
    shared = min(left.elements, right.elements)
    state = None
    if merge.prepare and right.dtype in STORAGE and not merge.copies(ratio):
        models = [left, right] if third is None else [left, right, third]
        with np.errstate(invalid="ignore"):  # what is not finite is refused when it is merged
            state = merge.prepare(Blocks(partial(_blocks, models, shared)), name or right.name)
    for low, high in zip(_spans(left, shared), _spans(right, shared), strict=True):
        yield Chunk(low, high, partial(_mixed, left, right, third, ratio, merge, state, low.first))
    yield from _kept(right, shared)


def scaled_adapter(adapter: lora.Adapter, tensor: TensorInfo, ratio: float) -> Iterator[Chunk]:
    """A tensor of an adapter as it is in the adapter of the averaged model."""
    if lora.replaces(tensor.name):
        yield from averaged(adapter.base[adapter.targets[tensor.name]], tensor, ratio)
    elif lora.scales_with_ratio(tensor.name):
        for span in _spans(tensor, tensor.elements):
            yield Chunk(None, span, partial(_scaled, tensor, ratio))
    else:
        yield from _kept(tensor)


def merged(name: str, adapter: lora.Adapter, ratio: float) -> Iterator[Chunk]:
    """A tensor of theta_0 with what the adapter puts in its place and adds to it, at the ratio."""
    weight, whole = adapter.base[name], adapter.whole.get(name)
    if name in adapter.added and ratio:
        left, right = lora.factors(*adapter.added[name], ratio)
        for rows in lora.row_blocks(weight):
            place = rows.start * weight.shape[1], rows.stop * weight.shape[1]
            make = partial(_merged, weight, whole, ratio, left[rows.start : rows.stop], right)
            yield Chunk(Span(weight, *place), Span(whole, *place) if whole else None, make)
    elif whole:
        yield from averaged(weight, whole, ratio)
    else:
        for span in _spans(weight, weight.elements):
            yield Chunk(span, None, lambda values, _: _finite(weight, "theta-0", values))


def _spans(tensor: TensorInfo, last: int, first: int = 0) -> Iterator[Span]:
    return (Span(tensor, start, min(start + SIZE, last)) for start in range(first, last, SIZE))


def _blocks(models: list[TensorInfo], last: int) -> Iterator[tuple[np.ndarray, ...]]:
    """The first `last` values of all in order, (values,) each, in fp64: what `Merge.prepare` reads."""
    for spans in zip(*(_spans(model, last) for model in models), strict=True):
        yield tuple(_fp64(span) for span in spans)


def _fp64(span: Span) -> np.ndarray:
    stored = as_floats(span.tensor.read(span.first, span.last), span.tensor.dtype)
    return widen(stored, span.tensor.dtype).astype(np.float64)


def _kept(tensor: TensorInfo, first: int = 0) -> Iterator[Chunk]:
    for span in _spans(tensor, tensor.elements, first):
        yield Chunk(None, span, lambda _, values: _finite(tensor, "theta", values))


def _mixed(
    left: TensorInfo,
    right: TensorInfo,
    third: TensorInfo | None,
    ratio: float,
    merge: Merge,
    state: Any,
    first: int,
    low: Stored,
    high: Stored,
) -> Stored:
    """The average, written over `high`; whole numbers must be the same in both."""
    if right.dtype not in STORAGE:
        if not np.array_equal(low, high):
            raise UserError(f"{right.name}, of type {right.dtype}, differs and cannot be averaged.")
        return high
    low, high = as_floats(low, left.dtype), as_floats(high, right.dtype)
    extra = None
    if third is not None:
        extra = _fp64(Span(third, first, first + len(low)))
        if not np.isfinite(extra).all():
            raise _not_finite(third, "theta-pre")
    try:
        return mix(low, left.dtype, high, right.dtype, ratio, high, merge, state, first, extra)
    except NotFinite as error:
        if str(error) == "sum":
            too_large = f"{right.name} of theta-0 has values too large for theta's type, {right.dtype}."
            raise UserError(too_large) from None
        raise _not_finite(*((left, "theta-0") if str(error) == "theta_0" else (right, "theta"))) from None


def _scaled(tensor: TensorInfo, ratio: float, _, values: Stored) -> Stored:
    return lora.scaled(_finite(tensor, "theta", values), tensor.dtype, ratio)


def _merged(
    weight: TensorInfo,
    whole: TensorInfo | None,
    ratio: float,
    left: np.ndarray,
    right: np.ndarray,
    low: Stored,
    high: Stored,
) -> Stored:
    low, kind = _finite(weight, "theta-0", low), whole.dtype if whole else weight.dtype
    high = _finite(whole, "theta", high) if whole else None
    sums = lora.merged_rows(low, weight.dtype, left, right, high, kind, ratio)
    if not all_finite(sums, kind):
        raise UserError(f"{weight.name} of theta-0 ({weight.path}) and the adapter exceed {kind}.")
    return sums


def _finite(tensor: TensorInfo, owner: str, values: Stored) -> Stored:
    """The same values as floats; UserError if one is NaN or Inf."""
    if tensor.dtype not in STORAGE:
        return values
    values = as_floats(values, tensor.dtype)
    if not all_finite(values, tensor.dtype):
        raise _not_finite(tensor, owner)
    return values


def _not_finite(tensor: TensorInfo, owner: str) -> UserError:
    return UserError(f"{tensor.name} of {owner} ({tensor.path}) holds NaN or Inf.")
