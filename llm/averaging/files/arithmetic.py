"""Merged values of raw safetensors data, with numpy alone: importing torch would take longer.

They are computed in fp64 and rounded to the output's type (through fp32 for the 16-bit ones), as in `live.py`, so that folders
and models in memory get the same bits. bf16, which numpy lacks, is the upper half of fp32; a library for it would be one more
dependency of the light install.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from ..merge import Merge
from ..merge.linear import LINEAR

# The types that are averaged -> how numpy holds them.
STORAGE = {name: np.dtype(kind) for name, kind in {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}.items()}
_EXPONENT = {"F64": 0x7FF0000000000000, "F32": 0x7F800000, "F16": 0x7C00, "BF16": 0x7F80}
_BLOCK = 1 << 15  # values at a time: temporaries stay in cache, and Python's share of the time is small


class NotFinite(ValueError):
    """Its argument is where NaN or Inf was found: "theta_0", "theta" or, with types that differ, their "sum"."""


def mix(
    theta_0: np.ndarray,
    dtype_0: str,
    theta: np.ndarray,
    dtype: str,
    ratio: float,
    out: np.ndarray | None = None,
    merge: Merge = LINEAR,
    state: Any = None,
    first: int = 0,
    theta_pre: np.ndarray | None = None,
    to: str | None = None,
    round_: Callable[[np.ndarray, str], np.ndarray] | None = None,
    exact: np.ndarray | None = None,
) -> np.ndarray:
    """Both merged at the ratio, for stored values (n,) of types `dtype_0` and `dtype`, in `to`, by default `dtype`.

    Where the method has such ends, ratio 0 and 1 copy, bit by bit, if the types are the same. out: where to write, may be `theta`
    if its type is `to`. state: what `merge.prepare` gave for the tensor that the values belong to. first: their place in it.
    theta_pre: its values in fp64, of methods that take it. round_: fp64 values -> stored ones of a type, by default `narrow`.
    exact: where to write the merged values as they are before they are rounded, fp64, unless they are copied.
    Raises NotFinite if a value is NaN or Inf, but for infinities that both have, as buffers may; `out` is spoiled then.
    """
    to, round_ = to or dtype, round_ or narrow
    out = np.empty(len(theta), STORAGE[to]) if out is None or to != dtype else out
    for start in range(0, len(theta), _BLOCK):
        block = slice(start, start + _BLOCK)
        low, high = theta_0[block], theta[block]
        if merge.copies(ratio):
            values, kind = (high, dtype) if ratio else (low, dtype_0)
            result = values if kind == to else round_(_fp64(values, kind), to)
        else:
            models = (_fp64(low, dtype_0), _fp64(high, dtype), *([] if theta_pre is None else [theta_pre[block]]))
            with np.errstate(invalid="ignore"):
                unrounded = merge.mix(models, ratio, state, first + start)
                result = round_(unrounded, to)
            if exact is not None:
                exact[block] = unrounded
        # Between two finite values of one type lie finite ones, so there the result shows whether both sources are finite.
        if merge.copies(ratio) or merge.by_place or not dtype_0 == dtype == to or not all_finite(result, to):
            for values, kind, owner in ((low, dtype_0, "theta_0"), (high, dtype, "theta"), (result, to, "sum")):
                if not all_finite(values, kind):
                    averaged = merge.is_linear and ratio <= 1  # else a difference of infinities is in it
                    both = _infinite_in_both(low, dtype_0, high, dtype) if averaged else np.False_
                    if not (np.isfinite(_fp64(values, kind)) | both).all():
                        raise NotFinite(owner)
        out[block] = result
    return out


def _infinite_in_both(low: np.ndarray, dtype_0: str, high: np.ndarray, dtype: str) -> np.ndarray:
    wide = _fp64(low, dtype_0)
    return np.isinf(wide) & (wide == _fp64(high, dtype))


def _fp64(stored: np.ndarray, dtype: str) -> np.ndarray:
    return widen(stored, dtype).astype(np.float64)


def widen(stored: np.ndarray, dtype: str) -> np.ndarray:
    """Stored values of any shape as floats that numpy can compute with, exactly."""
    if dtype == "BF16":
        return np.left_shift(stored, 16, dtype=np.uint32).view(np.float32)
    return stored


def narrow(values: np.ndarray, dtype: str) -> np.ndarray:
    """fp64 values as stored ones of `dtype`, rounded to nearest, ties to even; too large ones become Inf."""
    with np.errstate(over="ignore"):
        if dtype in ("F64", "F32"):
            return values.astype(STORAGE[dtype])
        single = values.astype(np.float32)
        if dtype == "F16":
            return single.astype(STORAGE[dtype])
    bits = single.view("<u4")
    odd = bits >> 16
    odd &= 1
    bits += odd
    bits += 0x7FFF  # the upper halves are then rounded to nearest, ties to even
    bits >>= 16
    return bits.astype("<u2")


def all_finite(stored: np.ndarray, dtype: str) -> bool:
    """Whether stored values hold neither NaN nor Inf, read from their exponents."""
    bits = stored.view(f"<u{stored.dtype.itemsize}")
    mask = bits.dtype.type(_EXPONENT[dtype])
    return (bits & mask).max(initial=0) != mask


def as_floats(bits: np.ndarray, dtype: str) -> np.ndarray:
    """Whole numbers read from a file as `dtype` is stored here (no copy)."""
    return bits.view(STORAGE[dtype])
