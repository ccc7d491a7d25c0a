"""Several RLHF runs from one theta_0 as one theta: their weighted mean, a soup (Wortsman et al., arXiv 2203.05482)."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from math import isfinite
from operator import add
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UserError

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Soup:
    """others: the model folders beside theta, none by default. weights: theta's and theirs, above 0, equal if none are given; they are
    divided by their sum. Raises UserError for other weights, or another number of them.
    """

    others: tuple[Path, ...] = ()
    weights: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        given, wanted = list(self.weights), 1 + len(self.others)
        if given and not self.others:
            raise UserError(f"weight = {given[0]:g} is not allowed without --with.")
        if given and len(given) != wanted:
            raise UserError(
                f"weight is given {len(given)} times; allowed is {wanted}: theta's and one for each --with."
            )
        wrong = [weight for weight in given if not (isfinite(weight) and weight > 0)]
        if wrong:
            raise UserError(f"weight = {wrong[0]:g} is not allowed; allowed are numbers above 0.")

    @property
    def shares(self) -> tuple[float, ...]:
        """theta's share and the others', of the sum 1."""
        return tuple(weight / sum(self.all_weights) for weight in self.all_weights)

    @property
    def all_weights(self) -> tuple[float, ...]:
        """theta's weight and the others', as they are given, or 1."""
        return self.weights or (1.0,) * (1 + len(self.others))

    @property
    def names(self) -> list[str]:
        """What the other models are called in messages."""
        return [f"with {number}" for number in range(1, len(self.others) + 1)]


def repeated(theta: Path, soup: Soup) -> list[str]:
    """Notes on folders that are given more than once."""
    seen: dict[Path, str] = {}
    found = []
    for name, path in zip(["theta", *soup.names], [theta, *soup.others], strict=True):
        first = seen.setdefault(path.resolve(), name)
        if first != name:
            found.append(f"{name} is the folder that {first} is, which so counts twice.")
    return found


def weighted(values: Iterable, weights: Sequence[float]):
    """sum of weight * value / sum of weights; numpy's arrays or torch's tensors, in fp64 for what is equal in all to stay."""
    return reduce(add, (weight * one for weight, one in zip(weights, values, strict=True))) / sum(weights)


def mean(states: Sequence[Mapping[str, "Tensor"]], weights: Sequence[float] = ()) -> dict[str, "Tensor"]:
    """The weighted mean (weights: equal by default) of state dicts of one model's shape, tensor by tensor, in fp64 and rounded to the
    first one's types.

    What is no floating-point number must be the same in all: UserError.
    """
    found = {}
    for name, first in states[0].items():
        tensors = [state[name] for state in states]
        if first.is_floating_point():
            found[name] = weighted((tensor.double() for tensor in tensors), weights or (1.0,) * len(states)).to(
                first.dtype
            )
        elif all((first == tensor).all() for tensor in tensors):
            found[name] = first
        else:
            raise UserError(f"{name}, of type {first.dtype}, differs and cannot be averaged.")
    return found
