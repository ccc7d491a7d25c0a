"""Sums that do not depend on the order of their terms, so that models in memory and in folders get the same bits."""

from collections.abc import Iterable
from fractions import Fraction

import numpy as np

_HALF = 27  # bits of the lower half of a mantissa of 53


def total(blocks: Iterable[np.ndarray]) -> tuple[float, int]:
    """(sum, number) of all values of the blocks, in fp64; the exact sum, rounded once, or NaN where a value is not finite."""
    halves: dict[int, list[int]] = {}  # exponent -> sums of the upper and the lower halves of mantissas
    number, finite = 0, True
    for values in blocks:
        number += len(values)
        finite = finite and bool(np.isfinite(values).all())
        if not finite:
            continue
        mantissas, exponents = np.frexp(values[values != 0])
        if not len(mantissas):
            continue
        whole = np.ldexp(mantissas, 53).astype(np.int64)
        least, place = int(exponents.min()), exponents - exponents.min()
        for half, part in enumerate((whole >> _HALF, whole & ((1 << _HALF) - 1))):
            sums = np.bincount(place, weights=part.astype(np.float64))  # exact below 2^53: up to 2^26 values of 27 bits
            for exponent in np.flatnonzero(sums):
                halves.setdefault(least + int(exponent), [0, 0])[half] += int(sums[exponent])
    exact = sum(
        (Fraction((high << _HALF) + low) * Fraction(2) ** (exponent - 53) for exponent, (high, low) in halves.items()),
        Fraction(0),
    )
    return (float(exact) if finite else float("nan")), number
