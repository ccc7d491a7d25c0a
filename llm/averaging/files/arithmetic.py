"""The weighted sum on raw safetensors data, with numpy alone: importing torch would take longer.

Sums are done in fp64 and rounded to the output's type (through fp32 for the 16-bit ones), as in `weights.py`;
for two bf16 models in fp32 where that is exact enough (see `_mix_bf16`).
"""

import numpy as np

# The types that are averaged -> how numpy holds them. bf16, which numpy lacks, is the upper half of fp32.
STORAGE = {"F64": np.dtype("<f8"), "F32": np.dtype("<f4"), "F16": np.dtype("<f2"), "BF16": np.dtype("<u2")}
_EXPONENT = {"F64": 0x7FF0000000000000, "F32": 0x7F800000, "F16": 0x7C00, "BF16": 0x7F80}
_BLOCK = 1 << 17  # values at a time (even): temporaries stay in cache, and Python's share of the time is small
_UPPER, _SIGNLESS = np.uint32(0xFFFF0000), np.uint32(0x7FFF7FFF)  # of two bf16 values in one word
_SAFE = 12 << 7  # 2^12, as a difference of bf16 bits


class NotFinite(ValueError):
    """Its argument says where NaN or Inf is: "theta_0", "theta" or, with types that differ, their "sum"."""


def mix(
    theta_0: np.ndarray, dtype_0: str, theta: np.ndarray, dtype: str, ratio: float, out: np.ndarray | None = None
) -> np.ndarray:
    """(1 - ratio) theta_0 + ratio theta, for stored values (n,) of types `dtype_0` and `dtype`, in `dtype`.

    Ratio 0 and 1 copy, bit by bit, if the types are the same. Other values are those of fp64, rounded; of two
    bf16 models within one unit in the last place of that. out: where to write, may be `theta`.
    Raises NotFinite if a value is NaN or Inf; `out` is spoiled then.
    """
    out = np.empty_like(theta) if out is None else out
    same = dtype_0 == dtype
    scratch = np.empty((3, min(_BLOCK, len(theta)) // 2), "<u4")
    for start in range(0, len(theta), _BLOCK):
        block = slice(start, start + _BLOCK)
        low, high, result = theta_0[block], theta[block], out[block]
        if same and dtype == "BF16" and 0 < ratio < 1 and len(result) % 2 == 0:
            _mix_bf16(low, high, ratio, result, scratch[:, : len(result) // 2])
            continue
        for values, kind, owner in ((low, dtype_0, "theta_0"), (high, dtype, "theta")):
            if not all_finite(values, kind):
                raise NotFinite(owner)
        if same and ratio in (0, 1):
            result[:] = high if ratio else low
        else:
            result[:] = _mix_fp64(low, dtype_0, high, dtype, ratio)
            if not same and not all_finite(result, dtype):
                raise NotFinite("sum")
    return out


def _mix_fp64(theta_0: np.ndarray, dtype_0: str, theta: np.ndarray, dtype: str, ratio: float) -> np.ndarray:
    sum_ = np.multiply(widen(theta_0, dtype_0), 1 - ratio, dtype=np.float64)
    sum_ += np.multiply(widen(theta, dtype), ratio, dtype=np.float64)
    return narrow(sum_, dtype)


def _mix_bf16(theta_0: np.ndarray, theta: np.ndarray, ratio: float, out: np.ndarray, scratch: np.ndarray) -> None:
    """The sum of finite bf16 values, two of them in each 32-bit word: each half is an fp32 number in place.

    With M the largest |value| of the block, the fp32 sum is wrong by at most 2^-23 M + 2^-24 |sum|: 2^-24 M by the
    rounding of the products, since the ratios add up to 1, as much by that of the ratios, and the rest by that of
    the sum. Where |sum| is at least 2^-12 M this is less than half a unit in the last place of bf16
    (2^-9 |sum| and more), so the rounded result is at most one unit away from fp64's; smaller ones, where the two
    terms nearly cancel, are done anew in fp64. (The error from underflow, 2^-149, is far below bf16's smallest.)
    """
    lows, highs, outs = theta_0.view("<u4"), theta.view("<u4"), out.view("<u4")
    largest = [_largest(words, scratch[0]) for words in (lows, highs)]
    for bits, owner in zip(largest, ("theta_0", "theta"), strict=True):
        if bits >= _EXPONENT["BF16"]:
            raise NotFinite(owner)
    share_0 = np.float32(1 - ratio) if ratio < 0.5 else np.float32(1) - np.float32(ratio)
    share = np.float32(1) - share_0  # exact, so that the two add up to 1
    sums, upper, other = scratch
    np.left_shift(lows, 16, out=sums)
    np.left_shift(highs, 16, out=other)
    _sum_and_round(sums, share_0, other, share)
    np.right_shift(sums, 16, out=sums)
    np.bitwise_and(lows, _UPPER, out=upper)
    np.bitwise_and(highs, _UPPER, out=other)
    _sum_and_round(upper, share_0, other, share)
    np.bitwise_and(upper, _UPPER, out=upper)
    np.bitwise_or(sums, upper, out=sums)
    np.bitwise_and(sums, _SIGNLESS, out=other)
    small = np.flatnonzero(other.view("<u2") < max(0, max(largest) - _SAFE))
    redone = _mix_fp64(theta_0[small], "BF16", theta[small], "BF16", ratio)
    outs[:] = sums  # after `redone`, since out may be theta
    out[small] = redone


def _sum_and_round(values: np.ndarray, share: np.float32, others: np.ndarray, share_of_others: np.float32) -> None:
    """values <- share * values + share_of_others * others, fp32 in 32-bit words; its upper half is rounded bf16."""
    sums, terms = values.view("<f4"), others.view("<f4")
    np.multiply(sums, share, out=sums)
    np.multiply(terms, share_of_others, out=terms)
    np.add(sums, terms, out=sums)
    _add_half(values, others)


def _add_half(bits: np.ndarray, scratch: np.ndarray) -> None:
    """Add to fp32 numbers' bits what makes their upper halves rounded to nearest, ties to even."""
    np.right_shift(bits, 16, out=scratch)
    np.bitwise_and(scratch, 1, out=scratch)
    np.add(scratch, 0x7FFF, out=scratch)
    np.add(bits, scratch, out=bits)


def _largest(words: np.ndarray, scratch: np.ndarray) -> int:
    """The bits of the largest |value| among bf16 values, two in a word."""
    np.bitwise_and(words, _SIGNLESS, out=scratch)
    return int(scratch.view("<u2").max())


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
    _add_half(bits, np.empty_like(bits))
    return np.right_shift(bits, 16, out=bits).astype(np.uint16)


def all_finite(stored: np.ndarray, dtype: str) -> bool:
    """Whether stored values hold neither NaN nor Inf, read from their exponents."""
    bits = stored.view(f"<u{stored.dtype.itemsize}")
    mask = bits.dtype.type(_EXPONENT[dtype])
    return (bits & mask).max(initial=0) != mask


def as_floats(bits: np.ndarray, dtype: str) -> np.ndarray:
    """Whole numbers read from a file as `dtype` is stored here (no copy)."""
    return bits.view(STORAGE[dtype])
