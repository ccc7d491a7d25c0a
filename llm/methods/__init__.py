"""Every method once: what it is called, what it is given, which rows it writes, how its models are ordered, how it looks.

Allowed names in sweeps, the settings that readers of rows know, families, legends and the words of claims all derive from
the table (`llm.methods.table`). A new method is a file of its own and an entry there. The table lies on the ground floor, so an entry names
its code by a string, "module:function" below `llm`, which is imported when the method is used (`code_of`).
"""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from ..errors import UserError
from .method import GROUPING, SHARED, Kind, Look, Method, Option, Order
from .table import METHODS, ON_POLICY, register

__all__ = [
    "GROUPING",
    "METHODS",
    "ON_POLICY",
    "SHARED",
    "Kind",
    "Look",
    "Method",
    "Option",
    "Order",
    "code_of",
    "family",
    "known",
    "looks",
    "names",
    "register",
]


def names(*kinds: Kind) -> tuple[str, ...]:
    """The methods of some kinds, in the order of the table."""
    return tuple(name for name, method in METHODS.items() if method.kind in kinds)


def known(name: str, key: str = "method", *kinds: Kind) -> Method:
    """The method of that name; UserError that names `key`, the value and what is allowed otherwise."""
    allowed = names(*kinds) if kinds else tuple(METHODS)
    if name not in allowed:
        raise UserError(f"{key} = {name!r} is unknown; allowed are {', '.join(allowed)}")
    return METHODS[name]


def code_of(method: Method) -> Any:
    """The function or object that an entry's `code` names."""
    module, _, attribute = method.code.partition(":")
    return getattr(import_module(f"..{module}", __package__), attribute)


def family(method: str, setting: Mapping[str, Any]) -> str:
    """The name of a row's family: its method and, where a method is measured in several ways, the way."""
    found = known(method)
    return found.family(setting) if found.family else method


def looks() -> dict[str, Look]:
    """Family -> look, of every method."""
    return {name: look for method in METHODS.values() for name, look in method.looks.items()}
