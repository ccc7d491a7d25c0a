"""Soups of models in folders (`averaging.soup`): a tensor's weighted mean, read in a stream, and what must fit for that."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ...errors import UserError
from ...models.folder import ModelFolder
from ...models.safetensors import TensorInfo
from ..soup import Soup, weighted
from . import lora
from .arithmetic import STORAGE
from .chunks import Span, fp64, not_finite
from .pairing import Tensors, pair

ADAPTERS = "allowed with --with are models only, or with --full adapters on theta-0 only"


@dataclass(frozen=True)
class Share:
    """What one model of a soup has of a tensor: `tensor`, or where that is None theta_0's values, and a product of low rank.

    owner: the model's name. low_rank: (left, right), in fp64, with left @ right added; None for none.
    """

    owner: str
    tensor: TensorInfo | None
    low_rank: tuple[np.ndarray, np.ndarray] | None = None

    def values(self, first: int, last: int, theta_0: np.ndarray | None) -> np.ndarray:
        """Those from `first` to `last`, (values,) in fp64; theta_0's, in fp64, are given. UserError for NaN or Inf."""
        if self.tensor is not None:
            found = fp64(Span(self.tensor, first, last))
            if not np.isfinite(found).all():
                raise not_finite(self.tensor, self.owner)
        else:
            assert theta_0 is not None
            found = theta_0
        if self.low_rank is None:
            return found
        left, right = self.low_rank
        start, width = first // right.shape[1], right.shape[1]
        rows = (left[start : -(-last // width)] @ right).reshape(-1)
        return found + rows[first - start * width : last - start * width]


@dataclass(frozen=True)
class SoupTensor:
    """A tensor of a soup."""

    shares: Sequence[Share]
    weights: Sequence[float]

    def values(self, first: int, last: int, theta_0: np.ndarray | None) -> np.ndarray:
        """The weighted mean of the values from `first` to `last`, (values,) in fp64; theta_0: its own, None where it has none."""
        return weighted((share.values(first, last, theta_0) for share in self.shares), self.weights)

    def same(self, first: int, last: int) -> np.ndarray:
        """Stored values of a type that is not averaged, which must be the same in all models."""
        found = [share.tensor.read(first, last) for share in self.shares if share.tensor is not None]
        if not all(np.array_equal(found[0], other) for other in found):
            assert self.shares[0].tensor is not None
            tensor = self.shares[0].tensor
            raise UserError(f"{tensor.name}, of type {tensor.dtype}, differs and cannot be averaged.")
        return found[0]


def of_models(
    soup: Soup, theta: ModelFolder, others: Sequence[ModelFolder], names: Tensors
) -> Callable[[str], SoupTensor | None]:
    """Tensor name -> its `SoupTensor`, None without others; UserError for models without the tensors, shapes and tied heads of theta."""
    found = []
    for other in others:
        if other.is_adapter:
            raise UserError(f"{other.name} is {str(other.path)!r}, an adapter; {ADAPTERS}.")
        pairing = pair(other, theta, False)
        odd = sorted(pairing.theta.keys() ^ names.keys())
        if odd or pairing.untied:
            head = odd[0] if odd else "the head"
            raise UserError(
                f"{head} is a matrix of its own in some of the models only; allowed with --with are models with heads of one kind."
            )
        found.append(pairing.theta_0)

    def make(name: str) -> SoupTensor | None:
        if not others:
            return None
        shares = [Share("theta", names[name])]
        shares += [Share(other.name, tensors[name]) for other, tensors in zip(others, found, strict=True)]
        return SoupTensor(shares, soup.all_weights)

    return make


def of_adapters(
    soup: Soup, base: ModelFolder, theta: lora.Adapter, others: Sequence[ModelFolder], union: bool, always: bool = False
) -> Callable[[str], SoupTensor | None]:
    """Tensor name -> its `SoupTensor`, None without others and where no adapter acts on it, unless `always` is set and values are
    averaged; UserError for what are no adapters that can be merged.
    """
    adapters: dict[str, lora.Adapter] = {"theta": theta}
    for other in others:
        if not other.is_adapter:
            raise UserError(f"{other.name} is {str(other.path)!r}, no adapter, but theta is one; {ADAPTERS}.")
        adapters[other.name] = adapter = lora.read_adapter(base, other, union)
        _check_like(theta, adapter, other)

    def make(name: str) -> SoupTensor | None:
        changed = bool(others) and any(name in one.added or name in one.whole for one in adapters.values())
        if not changed and not (always and theta.base[name].dtype in STORAGE):
            return None
        shares = [
            Share(
                owner,
                adapter.whole.get(name),
                lora.factors(*adapter.added[name], 1.0) if name in adapter.added else None,
            )
            for owner, adapter in adapters.items()
        ]
        return SoupTensor(shares, soup.all_weights)

    return make


def _check_like(theta: lora.Adapter, other: lora.Adapter, folder: ModelFolder) -> None:
    """UserError unless the two adapters make models of one shape, with heads tied alike."""
    if other.unmergeable:
        raise UserError(f"{other.unmergeable[0]} of {folder.name} belongs to no single tensor of theta-0.")
    if (theta.untied, theta.tied) != (other.untied, other.tied):
        raise UserError(
            f"The head is tied to the embeddings with one of theta's adapter and that of {folder.name}, and not with the other; "
            "allowed with --with are adapters that leave it alike."
        )
    for name in theta.whole.keys() | other.whole.keys():
        shapes = [_shape(adapter.whole, name, adapter.base) for adapter in (theta, other)]
        if shapes[0] != shapes[1]:
            raise UserError(f"{name} has shape {shapes[0]} in theta and {shapes[1]} in {folder.name}.")


def _shape(whole: Mapping[str, TensorInfo], name: str, base: Tensors) -> tuple[int, ...]:
    return whole.get(name, base[name]).shape
