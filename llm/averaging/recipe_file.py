"""Recipes of `average` as YAML: the options of the command by their names, or a linear or slerp recipe of mergekit's.

A recipe of mergekit's is read where it means the same: two models, one weight (or `t`) for all tensors.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..config.files import read_yaml
from ..errors import UserError

KEYS: dict[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("theta_0", "theta", "part", "level", "embeddings", "norm", "head", "only"), (str, int)),
    **dict.fromkeys(("vocab", "method", "dtype", "rounding", "alphas_file", "theta_pre", "prompts", "device"), str),
    **dict.fromkeys(("alpha", "strength", "ridge"), (int, float)),
    "alphas": (str, list),
    **dict.fromkeys(("parts", "seed", "count"), int),
    **dict.fromkeys(("full", "strict", "with_code", "extrapolate"), bool),
    **dict.fromkeys(("ignore_config", "samples"), list),
    "option": (dict, list),
}
_MERGEKIT = ("merge_method", "models", "base_model", "parameters", "dtype", "out_dtype")


def read_recipe(path: Path) -> dict[str, Any]:
    """Option -> value, of `KEYS`. Raises UserError for keys and values that are not allowed, and for recipes of mergekit's that mean
    something else here.
    """
    if not path.is_file():
        raise UserError(f"config is {str(path)!r}, which is no file.")
    found = read_yaml(path)
    if not isinstance(found, dict) or not found:
        raise UserError(f"{path} holds {found!r:.80}, allowed are keys with values.")
    recipe = _from_mergekit(path, found) if "merge_method" in found else found
    for key, value in recipe.items():
        if key not in KEYS:
            raise UserError(
                f"{path}: {key} is an unknown key; allowed are {', '.join(KEYS)}, or a recipe of mergekit's."
            )
        wanted = KEYS[key]
        if not isinstance(value, wanted) or (isinstance(value, bool) and wanted is not bool):
            raise UserError(
                f"{path}: {key} is {value!r:.80}, which the option --{key.replace('_', '-')} does not allow."
            )
    if isinstance(recipe.get("alphas"), list):
        recipe = recipe | {"alphas": ",".join(map(str, recipe["alphas"]))}
    return recipe


def _from_mergekit(path: Path, found: Mapping[str, Any]) -> dict[str, Any]:
    method, models = found["merge_method"], found.get("models")
    for key in found:
        if key not in _MERGEKIT:
            raise UserError(f"{path}: {key} of mergekit's recipes is not read; allowed are {', '.join(_MERGEKIT)}.")
    if method not in ("linear", "slerp"):
        raise UserError(f"{path}: merge_method is {method!r}, allowed are linear, slerp.")
    if (
        not isinstance(models, list)
        or len(models) != 2
        or not all(isinstance(one, dict) and "model" in one for one in models)
    ):
        raise UserError(f"{path}: models is {models!r:.80}, allowed are two with the key model each.")
    names, common = [str(one["model"]) for one in models], found.get("parameters") or {}
    if method == "slerp":
        base = str(found.get("base_model"))
        if base not in names or names[0] == names[1]:
            raise UserError(f"{path}: base_model is {base!r}, allowed with slerp are {' and '.join(names)}.")
        _only(path, common, "t")
        recipe: dict[str, Any] = {
            "theta_0": base,
            "theta": next(name for name in names if name != base),
            "method": "slerp",
        }
        recipe["alpha"] = _number(path, "t", common.get("t"))
    else:
        _only(path, common, "normalize", "weight")
        weights = [_weight(path, one, common) for one in models]
        if common.get("normalize", True) is not True and sum(weights) != 1:
            raise UserError(f"{path}: normalize is false and the weights' sum {sum(weights):g}, allowed is 1.")
        if min(weights) < 0 or not sum(weights):
            raise UserError(f"{path}: weights are {weights}, allowed are numbers from 0, not both 0.")
        recipe = {"theta_0": names[0], "theta": names[1], "method": "ma", "alpha": weights[1] / sum(weights)}
    dtype = found.get("out_dtype") or found.get("dtype")
    return recipe | ({"dtype": dtype} if dtype else {})


def _weight(path: Path, model: Mapping[str, Any], common: Mapping[str, Any]) -> float:
    own = model.get("parameters") or {}
    _only(path, own, "weight")
    return _number(path, "weight", own.get("weight", common.get("weight")))


def _only(path: Path, parameters: Mapping[str, Any], *known: str) -> None:
    odd = next((key for key in parameters if key not in known), None)
    if odd is not None:
        raise UserError(f"{path}: parameter {odd} is not read; allowed are {', '.join(known)}.")


def _number(path: Path, key: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UserError(f"{path}: {key} is {value!r:.80}, allowed is one number for all tensors.")
    return float(value)
