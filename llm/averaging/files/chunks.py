"""The output as chunks of some megabytes: what to read of each source for a chunk, and how it is made of that."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, Protocol

import numpy as np

from ...errors import UserError
from ...models.safetensors import TensorInfo
from ..merge import Blocks, Merge
from ..merge.linear import LINEAR
from . import lora
from .arithmetic import STORAGE, NotFinite, all_finite, as_floats, mix, narrow, widen
from .output import Narrow, Output

SIZE = 1 << 19  # values of a chunk: few enough for the caches, enough for Python's share of the time to be small
_AT_ONCE = 1 << 16  # values of a block that is looked at beforehand: in fp64 and with its scores they fit a cache
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


class Several(Protocol):
    """A tensor that is the mean of several models' (`soup.SoupTensor`)."""

    def values(self, first: int, last: int, theta_0: np.ndarray | None) -> np.ndarray: ...

    def same(self, first: int, last: int) -> np.ndarray: ...


@dataclass(frozen=True)
class Averaged:
    """A tensor of two models merged at the ratio, in the output's type; `right` may have more rows, which are kept.

    name: what the tensor is called where that decides random numbers; right's own if it is not given. third: theta_pre's.
    soup: what is read instead of `right`, whose shape and type the output has still.
    """

    left: TensorInfo
    right: TensorInfo
    ratio: float
    output: Output
    merge: Merge = LINEAR
    name: str = ""
    third: TensorInfo | None = None
    soup: Several | None = None

    def chunks(self) -> Iterator[Chunk]:
        shared, name = min(self.left.elements, self.right.elements), self.name or self.right.name
        state, soup = None, self.soup
        if self.merge.prepare and self.right.dtype in STORAGE and not self.merge.copies(self.ratio):
            with np.errstate(invalid="ignore"):  # what is not finite is refused when it is merged
                state = self.merge.prepare(Blocks(partial(self._blocks, shared)), name)
        round_ = self.output.narrow(name)
        for low in _spans(self.left, shared):
            high = Span(self.right, low.first, low.last) if soup is None else None
            yield Chunk(low, high, partial(self._made, state, round_, low.first))
        if soup is None:
            yield from _kept(self.right, self.output, shared)
            return
        for span in _spans(self.right, self.right.elements, shared):
            yield Chunk(None, None, lambda *_, span=span: self._of_soup(soup, round_, span))

    def _blocks(self, last: int) -> Iterator[tuple[np.ndarray, ...]]:
        """The first `last` values of all in order, (values,) each, in fp64: what `Merge.prepare` reads."""
        for start in range(0, last, size := min(SIZE, _AT_ONCE)):
            place = start, min(start + size, last)
            low = fp64(Span(self.left, *place))
            high = self.soup.values(*place, low) if self.soup else fp64(Span(self.right, *place))
            yield (low, high) if self.third is None else (low, high, fp64(Span(self.third, *place)))

    def _made(self, state: Any, round_: Narrow, first: int, low: Stored, high: Stored | None) -> Stored:
        """The average, written over `high` where its type stays; whole numbers must be the same in both."""
        left, right, kind, out = self.left, self.right, self.right.dtype, None
        if right.dtype not in STORAGE:
            return self._whole_numbers(first, low, high)
        low, to, extra = as_floats(low, left.dtype), self.output.type_of(right.dtype), None
        if self.soup is not None:
            high, kind = self.soup.values(first, first + len(low), widen(low, left.dtype).astype(np.float64)), "F64"
        else:
            assert high is not None
            out = high = as_floats(high, right.dtype)
        if self.third is not None:
            extra = fp64(Span(self.third, first, first + len(low)))
            if not np.isfinite(extra).all():
                raise not_finite(self.third, "theta-pre")
        seen = self.output.sample(low, left.dtype), self.output.sample(high, kind)
        exact = None if self.merge.is_linear or self.merge.copies(self.ratio) else np.empty(len(low))
        try:
            made = mix(low, left.dtype, high, kind, self.ratio, out, self.merge, state, first, extra, to, round_, exact)
        except NotFinite as error:
            if str(error) == "sum":
                raise _too_large(right, to) from None
            raise not_finite(*((left, "theta-0") if str(error) == "theta_0" else (right, "theta"))) from None
        self.output.count(*seen, made, to, self.ratio, exact)
        return made

    def _whole_numbers(self, first: int, low: Stored, high: Stored | None) -> Stored:
        """Values of a type that is not averaged; UserError where they differ."""
        high = self.soup.same(first, first + len(low)) if self.soup else high
        if not np.array_equal(low, high):
            raise UserError(f"{self.right.name}, of type {self.right.dtype}, differs and cannot be averaged.")
        return high

    def _of_soup(self, soup: Several, round_: Narrow, span: Span) -> Stored:
        """Rows that theta_0 lacks: the soup's own."""
        to = self.output.type_of(self.right.dtype)
        made = round_(soup.values(span.first, span.last, None), to)
        if not all_finite(made, to):
            raise _too_large(self.right, to)
        return made


def scaled_adapter(adapter: lora.Adapter, tensor: TensorInfo, ratio: float, output: Output) -> Iterator[Chunk]:
    """A tensor of an adapter as it is in the adapter of the averaged model."""
    if lora.replaces(tensor.name):
        yield from Averaged(adapter.base[adapter.targets[tensor.name]], tensor, ratio, output).chunks()
    elif lora.scales_with_ratio(tensor.name):
        round_ = output.narrow(tensor.name)
        for span in _spans(tensor, tensor.elements):
            yield Chunk(None, span, partial(_scaled, tensor, ratio, output, round_))
    else:
        yield from _kept(tensor, output)


def merged(name: str, adapter: lora.Adapter, ratio: float, output: Output) -> Iterator[Chunk]:
    """A tensor of theta_0 with what the adapter puts in its place and adds to it, at the ratio."""
    weight, whole = adapter.base[name], adapter.whole.get(name)
    round_ = output.narrow(name)
    if name in adapter.added and ratio:
        left, right = lora.factors(*adapter.added[name], ratio)
        for rows in lora.row_blocks(weight):
            place = rows.start * weight.shape[1], rows.stop * weight.shape[1]
            make = partial(_merged, weight, whole, ratio, output, round_, left[rows.start : rows.stop], right)
            yield Chunk(Span(weight, *place), Span(whole, *place) if whole else None, make)
    elif whole:
        yield from Averaged(weight, whole, ratio, output).chunks()
    else:
        for span in _spans(weight, weight.elements):
            yield Chunk(span, None, lambda values, _: _as(output, round_, weight, "theta-0", values))


def _spans(tensor: TensorInfo, last: int, first: int = 0) -> Iterator[Span]:
    return (Span(tensor, start, min(start + SIZE, last)) for start in range(first, last, SIZE))


def fp64(span: Span) -> np.ndarray:
    """The values of a span, (values,)."""
    stored = as_floats(span.tensor.read(span.first, span.last), span.tensor.dtype)
    return widen(stored, span.tensor.dtype).astype(np.float64)


def _kept(tensor: TensorInfo, output: Output, first: int = 0) -> Iterator[Chunk]:
    round_ = output.narrow(tensor.name)
    for span in _spans(tensor, tensor.elements, first):
        yield Chunk(None, span, lambda _, values: _as(output, round_, tensor, "theta", values))


def _scaled(tensor: TensorInfo, ratio: float, output: Output, round_: Narrow, _, values: Stored) -> Stored:
    seen, to = output.sample(_finite(tensor, "theta", values), tensor.dtype), output.type_of(tensor.dtype)
    made = lora.scaled(as_floats(values, tensor.dtype), tensor.dtype, ratio, to, round_)
    output.count(np.zeros_like(seen), seen, made, to, ratio)
    return made


def _merged(
    weight: TensorInfo,
    whole: TensorInfo | None,
    ratio: float,
    output: Output,
    round_: Narrow,
    left: np.ndarray,
    right: np.ndarray,
    low: Stored,
    high: Stored,
) -> Stored:
    low, kind = _finite(weight, "theta-0", low), whole.dtype if whole else weight.dtype
    high, to = _finite(whole, "theta", high) if whole else None, output.type_of(kind)
    exact = lora.merged_rows(low, weight.dtype, left, right, high, kind, ratio)
    sums = round_(exact, to)
    if not all_finite(sums, to):
        raise UserError(f"{weight.name} of theta-0 ({weight.path}) and the adapter exceed {to}.")
    base = output.sample(low, weight.dtype).astype(np.float64)
    step = output.sample(exact, "F64") - base  # ratio (theta - theta_0)
    theta = base + step / ratio
    output.count(base, theta, sums, to, ratio, stored=widen(narrow(theta, to), to))
    return sums


def _as(output: Output, round_: Narrow, tensor: TensorInfo, owner: str, values: Stored) -> Stored:
    """Values that are one model's own, in the output's type."""
    values, to = _finite(tensor, owner, values), output.type_of(tensor.dtype)
    if owner == "theta-0" and tensor.dtype in STORAGE:
        output.keep(len(values))
    if to == tensor.dtype:
        return values
    made = round_(widen(values, tensor.dtype).astype(np.float64), to)
    if not all_finite(made, to):
        raise _too_large(tensor, to)
    return made


def _finite(tensor: TensorInfo, owner: str, values: Stored) -> Stored:
    """The same values as floats; UserError if one is NaN or Inf."""
    if tensor.dtype not in STORAGE:
        return values
    values = as_floats(values, tensor.dtype)
    if not all_finite(values, tensor.dtype):
        raise not_finite(tensor, owner)
    return values


def not_finite(tensor: TensorInfo, owner: str) -> UserError:
    """The error of a tensor that holds NaN or Inf."""
    return UserError(f"{tensor.name} of {owner} ({tensor.path}) holds NaN or Inf.")


def _too_large(tensor: TensorInfo, to: str) -> UserError:
    return UserError(f"{tensor.name} has values too large for the output's type, {to}.")
