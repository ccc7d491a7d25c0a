"""Sums that do not depend on the order of their terms, so that models in memory and in folders get the same bits."""

from collections.abc import Iterable
from fractions import Fraction

import numpy as np

_FRACTION = 52  # bits that fp64 stores of a mantissa
_HALF = 26
_SIGN = 1 << 11  # behind the exponent


class Sum:
    """The sum of fp64 values that are added in blocks: exact, and rounded once at the end."""

    def __init__(self) -> None:
        self.number, self._finite = 0, True
        self._mantissas: dict[int, int] = {}  # sign and exponent -> the sum of mantissas, whole numbers below 2^53

    def add(self, values: np.ndarray) -> None:
        """values: (values,), at most 2^26 of them."""
        self.number += len(values)
        bits = np.ascontiguousarray(values, np.float64).view(np.uint64)
        keys, half = (bits >> np.uint64(_FRACTION)).view(np.int64), np.uint64((1 << _HALF) - 1)
        counts = np.bincount(keys, minlength=1)
        low, high = (  # whole numbers below 2^53, and so exact
            np.bincount(keys, part.view(np.int64).astype(np.float64))
            for part in (bits & half, bits >> np.uint64(_HALF) & half)
        )
        for key in map(int, np.flatnonzero(counts)):
            leading = int(counts[key]) << _FRACTION if key % _SIGN else 0  # subnormal ones have no leading 1
            self._mantissas[key] = self._mantissas.get(key, 0) + leading + (int(high[key]) << _HALF) + int(low[key])
            self._finite = self._finite and key % _SIGN != _SIGN - 1

    @property
    def value(self) -> float:
        """NaN where a value was not finite."""
        exact = Fraction(0)
        for key, mantissas in self._mantissas.items():
            negative, exponent = divmod(key, _SIGN)
            power = Fraction(2) ** (max(exponent, 1) - 1023 - _FRACTION)
            exact += (-mantissas if negative else mantissas) * power
        return float(exact) if self._finite else float("nan")


def total(blocks: Iterable[np.ndarray]) -> tuple[float, int]:
    """(sum, number) of all values of the blocks, in fp64; the exact sum, rounded once, or NaN where a value is not finite."""
    found = Sum()
    for values in blocks:
        found.add(values)
    return found.value, found.number
