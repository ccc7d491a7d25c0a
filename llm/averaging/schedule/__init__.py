"""Rules that give every tensor a ratio by its name and one number alpha, one file each.

A new one is a file here with a function (names, tied, alpha, **options) -> {name: (label, ratio)}, and an entry in `llm.methods` whose
code is "averaging.schedule.FILE:FUNCTION". tied: name -> the tensor that it is the same as. label: which tensors share a ratio, for
the report. The merge is linear interpolation.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from ...errors import UserError
from ...grouping import Grouping
from ...methods import METHODS, Method, code_of
from ..merge import Merge, merge_named, merged_methods
from ..merge.linear import LINEAR
from ..ratios import Recipe

_HERE = "averaging.schedule."


def schedules() -> list[str]:
    """The methods that are rules."""
    return [name for name, method in METHODS.items() if method.code.startswith(_HERE)]


def one_ratio_methods() -> list[str]:
    """The methods that make a model of two folders at one ratio: merges, and rules."""
    return [*merged_methods(), *schedules()]


def rule_named(name: str, options: Mapping[str, Any] | None = None) -> partial:
    """The rule of that name with values for its options, the others at their defaults."""
    return partial(code_of(METHODS[name]), **(METHODS[name].defaults | dict(options or {})))


def applied(name: str, options: Mapping[str, Any], recipe: Recipe) -> tuple[Recipe, Merge]:
    """What a method, with values for some of its options, makes of a recipe, and how tensors are merged then.

    Raises UserError for an unknown method or option, a value that is not allowed, or a recipe that a rule cannot be used with.
    """
    allowed = one_ratio_methods()
    if name not in allowed:
        raise UserError(f"method = {name!r} is not allowed; allowed are {', '.join(allowed)}.")
    given = checked(METHODS[name], options)
    if name not in schedules():
        return recipe, merge_named(name, given)
    if not isinstance(recipe.alphas, float) or recipe.grouping not in (Grouping(), replace(Grouping(), parts=1)):
        raise UserError(f"method is {name!r}, which has a rule for its ratios; allowed with it is one ratio alone.")
    return replace(recipe, rule=rule_named(name, given)), LINEAR


def checked(method: Method, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options as the method takes them; UserError for an unknown one, or a value that is not allowed."""
    found = {}
    for key, value in options.items():
        if key not in method.options:
            raise UserError(
                f"{key} is {value!r}, which is no option of method {method.name}; allowed are "
                f"{', '.join(method.options) or 'none'}."
            )
        try:
            found[key] = method.options[key].read(value)
        except ValueError:
            raise UserError(
                f"{key} = {value!r} is not allowed with method {method.name}; allowed are {method.options[key].allowed}."
            ) from None
    return found


def setting_of(method: Method, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options as rows have them: those given, and of the others those that every row has, at their defaults."""
    needed = {key: value for key, value in method.defaults.items() if method.options[key].needed}
    return needed | checked(method, options)
