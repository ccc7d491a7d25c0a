"""The output as pieces of some megabytes: what to read of each source for a piece, and how it is made of that."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np

from ...errors import UserError
from ...models.safetensors import TensorInfo
from . import lora as adapters
from .arithmetic import STORAGE, NotFinite, all_finite, as_floats, mix

SIZE = 1 << 19  # values of a piece: few enough for the caches, enough for Python's share of the time to be small
Stored = np.ndarray  # unsigned integers or floats, flat, as `arithmetic.STORAGE` says


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
class Piece:
    """Some of theta_0's and of theta's values, and a function of the two (None for none) that gives the output's.

    `make` may write into its arguments.
    """

    theta_0: Span | None
    theta: Span | None
    make: Callable[[Stored | None, Stored | None], Stored]


def averaged(left: TensorInfo, right: TensorInfo, ratio: float) -> Iterator[Piece]:
    """(1 - ratio) left + ratio right in right's type; right may have more rows, which are kept."""
    shared = min(left.elements, right.elements)
    for low, high in zip(_spans(left, shared), _spans(right, shared), strict=True):
        yield Piece(low, high, partial(_mixed, left, right, ratio))
    yield from _kept(right, shared)


def scaled_adapter(
    base: Mapping[str, TensorInfo], adapter: adapters.Adapter, tensor: TensorInfo, ratio: float
) -> Iterator[Piece]:
    """A tensor of an adapter as it is in the adapter of the averaged model."""
    target = adapter.targets[tensor.name]
    if adapter.whole.get(target) is tensor:
        yield from averaged(base[target], tensor, ratio)
    elif adapters.scales_with_ratio(tensor.name):
        for span in _spans(tensor, tensor.elements):
            yield Piece(None, span, partial(_scaled, tensor, ratio))
    else:
        yield from _kept(tensor)


def merged(weight: TensorInfo, adapter: adapters.Adapter, ratio: float) -> Iterator[Piece]:
    """A tensor of theta_0 with what the adapter adds to it, at the ratio."""
    if weight.name in adapter.added and ratio:
        left, right = adapters.factors(*adapter.added[weight.name], ratio)
        for rows in adapters.row_blocks(weight):
            span = Span(weight, rows.start * weight.shape[1], rows.stop * weight.shape[1])
            yield Piece(span, None, partial(_merged, weight, left[rows.start : rows.stop], right))
    elif weight.name in adapter.whole:
        yield from averaged(weight, adapter.whole[weight.name], ratio)
    else:
        for span in _spans(weight, weight.elements):
            yield Piece(span, None, lambda values, _: _finite(weight, "theta-0", values))


def _spans(tensor: TensorInfo, last: int, first: int = 0) -> Iterator[Span]:
    return (Span(tensor, start, min(start + SIZE, last)) for start in range(first, last, SIZE))


def _kept(tensor: TensorInfo, first: int = 0) -> Iterator[Piece]:
    for span in _spans(tensor, tensor.elements, first):
        yield Piece(None, span, lambda _, values: _finite(tensor, "theta", values))


def _mixed(left: TensorInfo, right: TensorInfo, ratio: float, low: Stored, high: Stored) -> Stored:
    """The average, written over `high`; whole numbers must be the same in both."""
    if right.dtype not in STORAGE:
        if not np.array_equal(low, high):
            raise UserError(f"{right.name}, of type {right.dtype}, differs and cannot be averaged.")
        return high
    low, high = as_floats(low, left.dtype), as_floats(high, right.dtype)
    try:
        return mix(low, left.dtype, high, right.dtype, ratio, high)
    except NotFinite as error:
        if str(error) == "sum":
            too_large = f"{right.name} of theta-0 has values too large for theta's type, {right.dtype}."
            raise UserError(too_large) from None
        raise _not_finite(*((left, "theta-0") if str(error) == "theta_0" else (right, "theta"))) from None


def _scaled(tensor: TensorInfo, ratio: float, _, values: Stored) -> Stored:
    return adapters.scaled(_finite(tensor, "theta", values), tensor.dtype, ratio)


def _merged(weight: TensorInfo, left: np.ndarray, right: np.ndarray, values: Stored, _) -> Stored:
    sums = adapters.merged_rows(weight, _finite(weight, "theta-0", values), left, right)
    if not all_finite(sums, weight.dtype):
        raise UserError(f"{weight.name} of theta-0 ({weight.path}) and the adapter exceed {weight.dtype}.")
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
