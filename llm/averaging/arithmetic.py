"""The weighted sum on raw safetensors data, with numpy alone: importing torch would take longer.

Sums are done in fp64 and rounded to the output's type (through fp32 for the 16-bit ones), as in `average.py`.
"""

import numpy as np

# The types that are averaged -> how numpy holds them. bf16, which numpy lacks, is the upper half of fp32.
STORAGE = {"F64": np.dtype("<f8"), "F32": np.dtype("<f4"), "F16": np.dtype("<f2"), "BF16": np.dtype("<u2")}
_EXPONENT = {"F64": 0x7FF0000000000000, "F32": 0x7F800000, "F16": 0x7C00, "BF16": 0x7F80}
BLOCK = 1 << 15  # the best number of values at a time: temporaries stay in a core's cache


def mix(theta_0: np.ndarray, dtype_0: str, theta: np.ndarray, dtype: str, ratio: float) -> np.ndarray:
    """(1 - ratio) theta_0 + ratio theta, for stored values (n,) of types `dtype_0` and `dtype`, in `dtype`.

    Ratio 0 and 1 copy, bit by bit, if the types are the same. Values must be finite.
    """
    if dtype_0 == dtype and ratio in (0, 1):
        return theta if ratio else theta_0
    sum_ = np.multiply(widen(theta_0, dtype_0), 1 - ratio, dtype=np.float64)
    sum_ += np.multiply(widen(theta, dtype), ratio, dtype=np.float64)
    return narrow(sum_, dtype)


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
    bits = single.view(np.uint32)
    odd = bits >> 16
    odd &= 1
    odd += 0x7FFF
    bits += odd
    return np.right_shift(bits, 16, out=bits).astype(np.uint16)


def all_finite(stored: np.ndarray, dtype: str) -> bool:
    """Whether stored values hold neither NaN nor Inf, read from their exponents."""
    bits = stored.view(f"<u{stored.dtype.itemsize}")
    mask = bits.dtype.type(_EXPONENT[dtype])
    return (bits & mask).max(initial=0) != mask


def as_floats(bits: np.ndarray, dtype: str) -> np.ndarray:
    """Whole numbers read from a file as `dtype` is stored here (no copy)."""
    return bits.view(STORAGE[dtype])
