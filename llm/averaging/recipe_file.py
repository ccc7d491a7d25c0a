"""Recipes of `average` as YAML: the options of the command by their names, or a recipe of mergekit's that means the same."""

from pathlib import Path
from typing import Any

from ..config.files import read_yaml
from ..errors import UserError
from .mergekit import options_of

KEYS: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("theta_0", "theta", "part", "level", "embeddings", "norm", "head", "only"), (str, int)),
    **dict.fromkeys(
        ("vocab", "method", "dtype", "rounding", "alphas_file", "theta_pre", "prompts", "layers", "device"), (str,)
    ),
    **dict.fromkeys(("alpha", "strength", "ridge"), (int, float)),
    "alphas": (str, list),
    **dict.fromkeys(("parts", "seed", "count"), (int,)),
    **dict.fromkeys(("full", "strict", "with_code", "extrapolate"), (bool,)),
    **dict.fromkeys(("ignore_config", "samples", "with", "weight"), (list,)),
    "option": (dict, list),
}
_LISTED: dict[str, tuple[type, ...]] = {"weight": (int, float, str), "alphas": (int, float, str)}  # others hold texts
_ALLOWED = {
    str: "a text",
    float: "a number",
    int: "a whole number",
    bool: "true or false",
    list: "a list",
    dict: "KEY: VALUE",
}


def read_recipe(path: Path) -> dict[str, Any]:
    """Option -> value, of `KEYS`, in which - may stand for _, and a text for a list of one; "rule" for ratios that a recipe of
    mergekit's has for each tensor (`mergekit.py`).

    Raises UserError for keys and values that are not allowed, and for recipes of mergekit's that mean something else here.
    """
    if not path.is_file():
        raise UserError(f"config is {str(path)!r}, which is no file.")
    found = read_yaml(path)
    if not isinstance(found, dict) or not found:
        raise UserError(f"{path} holds {found!r:.80}; allowed are keys with values.")
    recipe = options_of(path, found) if "merge_method" in found else found
    rule = {"rule": recipe.pop("rule")} if "merge_method" in found and "rule" in recipe else {}
    for key in [key for key in recipe if isinstance(key, str) and "-" in key]:
        if (name := key.replace("-", "_")) in recipe:
            raise UserError(f"{path}: {name} and {key} are both given; allowed is one of them.")
        recipe[name] = recipe.pop(key)
    for key, value in recipe.items():
        if key not in KEYS:
            raise UserError(
                f"{path}: {key} is an unknown key; allowed are {', '.join(KEYS)}, or a recipe of mergekit's."
            )
        wanted = KEYS[key]
        if isinstance(value, str) and list in wanted and str not in wanted:
            recipe[key] = [value]
        else:
            _require(value, wanted, f"{path}: {key}")
        for one in value if isinstance(value, list) else ():
            _require(one, _LISTED.get(key, (str,)), f"{path}: an entry of {key}")
    if isinstance(recipe.get("alphas"), list):
        recipe = recipe | {"alphas": ",".join(map(str, recipe["alphas"]))}
    return recipe | rule


def _require(value: Any, kinds: tuple[type, ...], said: str) -> None:
    """UserError for a value of no such kind; true and false are no numbers."""
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        allowed = " or ".join(name for kind, name in _ALLOWED.items() if kind in kinds)
        raise UserError(f"{said} = {value!r:.80} is not allowed; allowed is {allowed}.")
