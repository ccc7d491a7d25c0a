"""Ways to merge two models, one file each: how a tensor's values follow from theta_0's, theta's and a ratio.

A new one is a file here and an entry in `llm.methods` whose code is "averaging.merge.FILE:NAME"; it is then called by its name
there in `average --method`, and FILE in `average(..., merge="FILE")`, for models in memory and for folders alike.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from ...errors import UserError
from ...methods import METHODS, code_of

_HERE = "averaging.merge."


@dataclass(frozen=True)
class Merge:
    """A method, written with operators alone, so that it serves numpy's arrays (folders) and torch's (models in memory).

    formula: the merged weight in words, for the model card.
    apply: (theta_0, theta, ratio, state) -> merged values; blocks (values,) of a tensor in fp64, which it leaves as they are,
        and 0 < ratio < 1: at 0 and 1 theta_0 and theta are copied bit by bit.
    prepare: (blocks, name) -> the state of one tensor, which all of its blocks get: blocks are its pairs (theta_0, theta) in
        order, to be read once. None where a method needs no state: folders are then read once, else twice. What the method's
        `options` in the table are given by an entry of a sweep goes to it as keywords (`with_options`).
    """

    formula: str
    apply: Callable[[Any, Any, float, Any], Any]
    prepare: Callable[..., Any] | None = None

    def with_options(self, options: Mapping[str, Any]) -> "Merge":
        """The same with values for the options of `prepare`."""
        return replace(self, prepare=partial(self.prepare, **options)) if options else self


def merge_named(name: str) -> Merge:
    """The registered method of that name; UserError for any other."""
    own = [method for method in reversed(METHODS) if METHODS[method].code.startswith(_HERE)]
    known = {merge_of(method): METHODS[method] for method in own}
    if name not in known:
        raise UserError(f"merge is {name!r}, allowed are {', '.join(sorted(known))}.")
    return code_of(known[name])


def merge_of(method: str) -> str:
    """The name of what is behind a method of the table: "linear" for "ma", and where the ratios are searched for."""
    code = METHODS[method].code
    return code.removeprefix(_HERE).partition(":")[0] if code.startswith(_HERE) else "linear"


def plain_methods() -> list[str]:
    """The methods of the table that take one ratio for the whole model and nothing else."""
    return [name for name, method in METHODS.items() if method.code.startswith(_HERE) and not method.options]
