"""One call for averages of state dicts, live modules and model folders: `llm.averaging.average`."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..grouping import Grouping
from ..methods import METHODS
from .ratios import Recipe, in_order, resolve, uniform
from .schedule import applied
from .soup import Soup

Ratios = float | Sequence[float] | Mapping[str, float]


def average(
    theta_0,
    theta,
    ratios: Ratios,
    *,
    grouping: Grouping | None = None,
    out: str | PathLike | None = None,
    union: bool = False,
    full: bool = False,
    method: str = "ma",
    options: Mapping[str, Any] | None = None,
    theta_pre=None,
    others: Sequence[str | PathLike] = (),
    weights: Sequence[float] = (),
    ignore_config: Collection[str] = (),
    strict: bool = False,
    code: bool = False,
    dtype: str = "auto",
    rounding: str = "nearest",
    seed: int = 0,
):
    """The average of two models, each tensor once at its own ratio.

    Args:
        theta_0, theta: the models before and after RLHF: two state dicts; a module as theta, with a module or a
            state dict as theta_0; or two local model folders, or names of models in the hub's cache, of which theta may be a
            LoRA adapter.
        ratios: theta's share, in [0, 1]: one number; a sequence with one per group, in the order of `grouping`;
            group label -> ratio; or, but for folders, tensor name -> ratio for every tensor.
        grouping: what has a ratio in common; by default the layers in as many equal parts as a sequence has
            ratios (a mapping: three), the embeddings with the first, final norm and head at the mean.
        out, union, full, ignore_config, strict, code: of folders only, as in `files.average_files`: the new folder; whether
            vocabularies may differ in size; whether an adapter becomes a full model; keys of config.json that may differ;
            whether doubts about tokenizers or an adapter's base are errors; whether theta's Python files are copied.
        method: "ma", (1 - ratio) theta_0 + ratio theta, "slerp", "trim" or another merge or rule of the table of methods
            (`averaging.merge`, `averaging.schedule`); options: values of its options, the others at their sources' defaults.
        theta_pre: of methods that take it, a third model, as theta_0.
        others, weights: of folders only: further runs from theta_0, and theta's weight and theirs (equal by default); their
            weighted mean takes theta's place (`averaging.soup`).
        dtype, rounding, seed: of folders only: the type of what is written ("auto": theta's, "float32", "bfloat16", "float16"),
            and rounding to it, "nearest" or "stochastic", by random numbers of the seed and each tensor's name.

    Returns a new state dict, in theta's dtypes; the module theta, its weights overwritten; or the report on the
    folder that was written. Tied weights take the embeddings' ratio. Ratio 0 gives theta_0 and 1 theta exactly, where the
    method's docstring does not say otherwise.

    Raises UserError if the models do not fit each other or the ratios, or a ratio is outside [0, 1].
    """
    models, output = (theta_0, theta, theta_pre), (dtype, rounding, seed)
    how = {"union": union, "full": full, "ignore_config": ignore_config, "strict": strict, "code": code}
    folders = [isinstance(model, (str, PathLike)) for model in models[:2]]
    if all(folders):
        if out is None:
            raise UserError("out = None is not allowed with model folders; allowed is the folder to write.")
        recipe, how = _recipe(ratios, grouping, method), how | {"method": method, "options": options}
        return _of_folders(models, Path(out), recipe, others, weights, output, how)
    if any(folders) or out is not None or output != ("auto", "nearest", 0) or others or weights or any(how.values()):
        raise UserError(
            "out, union and full are allowed, as are ignore_config, strict, code, dtype, rounding, seed, others and weights, if theta_0 "
            "and theta are both folders, and folders only then."
        )
    return _in_memory(models, ratios, grouping, method, options or {})


def _of_folders(
    models: tuple,
    out: Path,
    recipe: Recipe,
    others: Sequence,
    weights: Sequence[float],
    output: tuple,
    how: dict[str, Any],
):
    from ..models.cache import local_model
    from .files.average import average_files
    from .files.output import Output

    theta_0, theta = (local_model(model, name) for model, name in zip(models, ("theta-0", "theta")))
    third = None if models[2] is None else local_model(models[2], "theta-pre")
    soup = Soup(tuple(local_model(str(other), "with") for other in others), tuple(weights))
    return average_files(theta_0, theta, out, recipe, theta_pre=third, soup=soup, output=Output(*output), **how)


def _in_memory(models: tuple, ratios: Ratios, grouping: Grouping | None, method: str, options: Mapping[str, Any]):
    from torch.nn import Module

    from .live import average as average_states
    from .live import check_finite, mix_, tied

    theta_0, theta = models[:2]
    given = [model for model in models if model is not None]
    kinds = [type(model).__name__ for model in given if not isinstance(model, (Mapping, Module))]
    if kinds or (isinstance(theta_0, Module) and not isinstance(theta, Module)):
        found = kinds[0] if kinds else "a module as theta_0 with a state dict as theta"
        raise UserError(f"{found} cannot be averaged; allowed are state dicts, modules as theta, and folders.")
    left, right, third = (model.state_dict() if isinstance(model, Module) else model for model in models)
    by_name = isinstance(ratios, Mapping) and ratios.keys() <= right.keys()
    recipe = Recipe(Grouping(), {}) if by_name else _recipe(ratios, grouping, method)
    recipe, merge = applied(method, options, recipe)
    if third is not None and not merge.third:
        taking = ", ".join(name for name, one in METHODS.items() if one.theta_pre)
        raise UserError(f"theta_pre is not allowed with method {method}; allowed is it with {taking}")
    if not isinstance(ratios, Mapping) or not by_name:
        resolved = resolve(recipe, right, tied(right))
        ratios, merge = resolved.ratios, replace(merge, fixed=resolved.fixed)
    if not isinstance(theta, Module):
        return average_states(left, right, ratios, merge, third)
    copied = {name for name, ratio in ratios.items() if merge.of(name).copies(ratio)}
    both = {name: high for name, high in right.items() if name in left and left[name].shape == high.shape}
    check_finite(left, {name: high for name, high in both.items() if name not in copied})
    mix_(theta, left, right, ratios, merge, third)
    return theta


def _recipe(ratios: Ratios, grouping: Grouping | None, method: str) -> Recipe:
    most = METHODS[method].most if method in METHODS else 1.0
    if isinstance(ratios, Mapping):
        return Recipe(grouping or Grouping(), dict(ratios), most=most)
    if isinstance(ratios, Sequence) and not isinstance(ratios, str):
        return in_order(ratios, grouping or Grouping(), grouping.parts if grouping else None, most)
    return uniform(ratios, replace(grouping or Grouping(), parts=1, level="part"), most)
