"""Ways to merge two models tensor by tensor, one file each: how a tensor's values follow from theta_0's, theta's and a ratio.

A new one is a file here and an entry in `llm.methods` whose code is "averaging.merge.FILE:NAME"; it is called by the entry's name,
in `average --method NAME` and `average(..., method="NAME")`, for models in memory and for folders alike.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from ...errors import UserError
from ...methods import METHODS, Method, code_of

_HERE = "averaging.merge."
_OF_GROUPS = {"part", "offsets"}  # options that say which group gets which ratio: recipes have them, not merges


@dataclass(frozen=True)
class Blocks:
    """The values of one tensor in order, block by block: (theta_0, theta), or (theta_0, theta, theta_pre), each (values,) in
    fp64. They are read anew in each loop."""

    read: Callable[[], Iterator[tuple]]

    def __iter__(self) -> Iterator[tuple]:
        return self.read()


@dataclass(frozen=True)
class Merge:
    """A method.

    formula: the merged weight in words, for the model card.
    apply: (theta_0, theta, ratio, state) -> merged values; blocks (values,) of a tensor in fp64, which it leaves as they are.
        Written with operators alone, so that it serves numpy's arrays (folders) and torch's (models in memory).
    prepare: (blocks, name) -> the state of one tensor, which all of its blocks get. None where a method needs no state: folders
        are then read once, else once more for each loop over the blocks. What the method's `options` in the table are given goes to
        it as keywords (`with_options`).
    by_place: whether values are chosen one by one. Then all blocks are numpy's, and `apply` is (blocks of the models, ratio, state,
        first) -> merged values, where `first` is the place of the block's first value in its tensor.
    starts, ends: whether ratio 0 is theta_0 and ratio 1 theta, which are then copied bit by bit.
    most: the largest ratio. third: whether it takes theta_pre too.
    is_linear: whether the merged values are (1 - ratio) theta_0 + ratio theta at any ratio.
    fixed: names of tensors that stay theta_0's (at ratio 0) or theta's (at 1), whatever the method has as its ends.
    """

    formula: str
    apply: Callable[..., Any]
    prepare: Callable[..., Any] | None = None
    by_place: bool = False
    starts: bool = True
    ends: bool = True
    most: float = 1.0
    third: bool = False
    is_linear: bool = False
    fixed: Collection[str] = ()

    def of(self, name: str) -> "Merge":
        """How the tensor of that name is merged: by linear interpolation's ends, which are copies, if it is fixed."""
        return replace(self, starts=True, ends=True, third=False, is_linear=True) if name in self.fixed else self

    def with_options(self, options: Mapping[str, Any]) -> "Merge":
        """The same with values for the options of `prepare`."""
        return replace(self, prepare=partial(self.prepare, **options)) if options else self

    def copies(self, ratio: float) -> bool:
        """Whether the merged tensor is theta_0's (at 0) or theta's (at 1)."""
        return (ratio == 0 and self.starts) or (ratio == 1 and self.ends)

    def mix(self, blocks: tuple, ratio: float, state: Any, first: int) -> Any:
        """Merged values of a block, as `apply` gives them."""
        return self.apply(blocks, ratio, state, first) if self.by_place else self.apply(*blocks, ratio, state)


def merged_methods() -> dict[str, Method]:
    """Name -> entry of the methods that merge tensor by tensor at one ratio for each."""
    return {
        name: method
        for name, method in METHODS.items()
        if method.code.startswith(_HERE) and not _OF_GROUPS & set(method.options)
    }


def merge_named(name: str, options: Mapping[str, Any] | None = None) -> Merge:
    """How the method of that name merges, with values for its options (the others at their defaults); UserError for any other."""
    known = merged_methods()
    if name not in known:
        raise UserError(f"method = {name!r} is not allowed; allowed are {', '.join(known)}.")
    return code_of(known[name]).with_options(known[name].defaults | dict(options or {}))
