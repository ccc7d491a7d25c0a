"""Checks of arguments: each raises one sentence naming the argument, its value and what is allowed."""

from collections.abc import Sequence
from fractions import Fraction
from numbers import Integral, Rational, Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

Number = int | float | Fraction


def integer(name: str, value: object, low: int, high: int | None = None) -> int:
    """`value` as an int in [low, high]; TypeError if it is not an integer, ValueError if out of range."""
    allowed = f"an integer of at least {low}" if high is None else f"an integer in [{low}, {high}]"
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{name} must be {allowed}, not {value!r}.")
    if int(value) < low or (high is not None and int(value) > high):
        raise ValueError(f"{name} must be {allowed}, not {value!r}.")
    return int(value)


def real(name: str, value: object, low: float, high: float) -> Number:
    """`value`, a finite real number in [low, high]; fractions stay fractions."""
    allowed = f"a number in [{low:g}, {high:g}]"
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be {allowed}, not {value!r}.")
    number: Any = value  # numbers.Real has no order that a type checker knows
    if not low <= number <= high:
        raise ValueError(f"{name} must be {allowed}, not {value!r}.")
    return number


def reals(name: str, value: Any, low: float, high: float) -> Any:
    """`value`, a number as `real` has it, or an array of numbers in [low, high] as floats."""
    if not isinstance(value, np.ndarray | list | tuple):
        return real(name, value, low, high)
    array = np.asarray(value)
    if array.dtype.kind not in "iuf":
        raise TypeError(f"{name} must be numbers in [{low:g}, {high:g}], not {value!r}.")
    if not np.all((array >= low) & (array <= high)):
        raise ValueError(f"{name} must be numbers in [{low:g}, {high:g}], not {value!r}.")
    return array.astype(float)


def finite(name: str, value: Any) -> Any:
    """`value`, a finite real number or an array of them; fractions stay fractions."""
    array = isinstance(value, np.ndarray)
    if isinstance(value, bool) or not (value.dtype.kind in "iuf" if array else isinstance(value, Real)):
        raise TypeError(f"{name} must be finite real numbers, not {value!r}.")
    if not isinstance(value, Rational) and not np.all(np.isfinite(value)):
        raise ValueError(f"{name} must be finite real numbers, not {value!r}.")
    return value


def matrix(name: str, value: Any) -> NDArray:
    """`value` as a matrix of finite floats; ValueError otherwise."""
    found = np.asarray(value, dtype=float)
    if found.ndim != 2 or not found.size or not np.isfinite(found).all():
        raise ValueError(f"{name} must be a matrix of finite numbers; its shape is {found.shape}.")
    return found


def probabilities(name: str, value: Any) -> NDArray:
    """`value`, one probability or an array of them, as an array of floats in [0, 1]."""
    return np.asarray(reals(name, value, 0, 1), dtype=float)


def probability(name: str, value: object) -> float:
    """`value` as a float in [0, 1]."""
    return float(real(name, value, 0, 1))


def inside(name: str, value: object) -> float:
    """`value` as a float in (0, 1); ValueError or TypeError otherwise."""
    found = probability(name, value)
    if not 0 < found < 1:
        raise ValueError(f"{name} must be inside (0, 1) here, not {value!r}.")
    return found


def labels(n_classes: object, n_labels: object) -> tuple[int, int]:
    """(K, M): the number of classes, K >= 2, and of labels for failed votes, M >= K (default K)."""
    k = integer("n_classes", n_classes, 2)
    return k, k if n_labels is None else integer("n_labels", n_labels, k)


def generator(rng: object) -> np.random.Generator:
    """`rng` itself; anything but a Generator is an error, so that no seed is used twice unnoticed."""
    if not isinstance(rng, np.random.Generator):
        raise TypeError(f"rng must be a numpy.random.Generator (numpy.random.default_rng(seed)), not {rng!r}.")
    return rng


def groups(counts: Sequence, weights: Sequence) -> tuple[list[int], list[Fraction]]:
    """Feature groups as lists of equal length: counts >= 0, and weights as *exact* fractions.

    A float counts as the binary fraction that it is: 0.1 is not 1/10. Hand in fractions.Fraction where ties
    between decimal weights matter.
    """
    counts, weights = _as_list("counts", counts), _as_list("weights", weights)
    if len(counts) != len(weights):
        raise ValueError(f"counts and weights must have the same length, not {len(counts)} and {len(weights)}.")
    return [integer("counts", count, 0) for count in counts], [_fraction(weight) for weight in weights]


def many(weights: Sequence) -> bool:
    """Whether any group's weight is an array, one number for each of many questions."""
    return any(isinstance(weight, np.ndarray) and weight.ndim for weight in weights)


def _as_list(name: str, values: object) -> list:
    if isinstance(values, str) or not isinstance(values, Sequence | np.ndarray) or np.ndim(values) != 1:
        raise TypeError(f"{name} must be a one-dimensional sequence of numbers, one per group, not {values!r}.")
    return list(values)


def _fraction(weight: object) -> Fraction:
    if isinstance(weight, Fraction):
        return weight
    if isinstance(weight, Rational | Integral) and not isinstance(weight, bool):
        return Fraction(int(weight.numerator), int(weight.denominator))
    return Fraction(float(finite("weights", weight)))
