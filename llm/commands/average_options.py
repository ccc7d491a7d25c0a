"""From the options of `average`, on the command line or in a recipe, to the arguments of `average_files`."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..errors import UserError
from .model_options import folder_of

_OF_REGRESSION = ("strength", "samples", "prompts", "count", "ridge", "layers", "device")
_NOT_OF_REGRESSION = (
    "alpha alphas rule part alphas_file parts level embeddings norm head only option theta_pre with".split()
)

# What is no method of `average`, but is done with it -> how.
_ELSEWHERE = {
    "ama": "; its ratios, which `adapt` finds, are given by --alphas-file",
    "part": "; one part alone is averaged by --part and --alpha",
}


def with_config(given: dict[str, Any], config: Path | None) -> tuple[dict[str, Any], str]:
    """(all options, the recipe's text); UserError for an option that is given in both."""
    if config is None:
        return dict(given), ""
    from ..averaging.recipe_file import read_recipe

    found = read_recipe(config)
    both = sorted(found.keys() & given.keys())
    if both:
        raise UserError(f"{config}: {both[0]} is given on the command line, too; allowed is one of them.")
    return found | given, config.read_text("utf-8-sig")


def models_of(options: dict[str, Any]) -> dict[str, Path]:
    """theta_0's, theta's and, if it is given, theta_pre's folder, taken out of the options; UserError for one that is missing."""
    for key in ("theta_0", "theta"):
        if key not in options:
            name = key.replace("_", "-")
            raise UserError(f"{name} is not given; give --{name} or --config.")
    keys = [key for key in ("theta_0", "theta", "theta_pre") if key in options]
    return {key: folder_of(key.replace("_", "-"))(str(options[key])) for key in keys}


def arguments_of(options: Mapping[str, Any]) -> dict[str, Any]:
    """Keywords of `average_files` from the options but for models; UserError for what is not allowed."""
    from ..averaging.files.output import Output
    from ..averaging.soup import Soup

    if options.get("vocab", "same") not in ("same", "union"):
        raise UserError(f"vocab = {options['vocab']!r} is not allowed; allowed are same, union.")
    method = _method_of(options)
    recipe, regression = _by_regression(options) if method == "regmean" else (_recipe(options, method), None)
    weights = tuple(_number("weight", weight) for weight in options.get("weight", ()))
    return {
        "recipe": recipe,
        "union": options.get("vocab") == "union",
        "full": options.get("full", False),
        "method": method,
        "options": _key_values(options.get("option", ())),
        "soup": Soup(tuple(folder_of("with")(str(other)) for other in options.get("with", ())), weights),
        "ignore_config": options.get("ignore_config", ()),
        "strict": options.get("strict", False),
        "code": options.get("with_code", False),
        "regression": regression,
        "output": Output(**{key: options[key] for key in ("dtype", "rounding", "seed") if key in options}),
    }


def _number(key: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UserError(f"{key} = {value!r} is not allowed; allowed are numbers above 0.")
    return float(value)


def command_line(given: Mapping[str, Any], models: Mapping[str, Path], config: Path | None, out: Path) -> str:
    """The command for the card: absolute paths, and files, by their names alone."""
    from ..models.cache import shown_name

    words = ["alignment-tax", "average"]
    for key, value in [*given.items(), *([("config", config)] if config else [])]:
        option = f"--{key.replace('_', '-')}"
        if key in models:
            words += [option, shown_name(models[key])]
        elif key == "with":
            words += [text for one in value for text in (option, shown_name(folder_of(key)(one)))]
        elif value is True:
            words.append(option)
        else:
            for one in value if isinstance(value, list) else [value]:
                text = one.name if isinstance(one, Path) else str(one)
                words += [option, text.removesuffix(".0") if isinstance(one, float) else text]
    return shlex.join([*words, "--out", out.name])


def _method_of(options: Mapping[str, Any]) -> str:
    """The name of the method; UserError for one that makes no average here, and for options of another one."""
    from ..averaging.schedule import one_ratio_methods

    method = str(options.get("method", "ma"))
    if options.get("extrapolate"):
        if method not in ("ma", "extrapolate"):
            raise UserError(f"method = {method!r} is not allowed with --extrapolate; allowed is ma.")
        method = "extrapolate"
    allowed = [*one_ratio_methods(), "regmean"]
    if method not in allowed:
        raise UserError(
            f"method = {method!r} is not allowed; allowed are {', '.join(allowed)}{_ELSEWHERE.get(method, '')}."
        )
    if "seed" in options and method != "regmean" and options.get("rounding") != "stochastic":
        raise UserError(f"seed = {options['seed']} is not allowed without --rounding stochastic or method regmean.")
    given = [key for key in _OF_REGRESSION if key in options]
    if given and method != "regmean":
        raise UserError(f"{given[0]} is not allowed without method regmean.")
    return method


def _key_values(given: Sequence[str] | Mapping[str, Any]) -> dict[str, Any]:
    """KEY=VALUE as {key: value}; UserError for anything else, or a key that is given twice."""
    if isinstance(given, Mapping):
        return dict(given)
    found: dict[str, Any] = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not equals or not key or not value or key in found:
            raise UserError(f"option = {text!r} is not allowed; allowed are KEY=VALUE, each key once.")
        found[key] = value
    return found


def _by_regression(options: Mapping[str, Any]):
    """(the recipe of what regression leaves, the regression); UserError for options of other methods."""
    from ..averaging.files.own_samples import Drawing
    from ..averaging.files.regression import Regression
    from ..averaging.whole.regression import Setting
    from ..models.loading import device_of

    chosen = [key for key in _NOT_OF_REGRESSION if key in options]
    if chosen:
        raise UserError(f"{chosen[0].replace('_', '-')} is not allowed with method regmean; allowed is strength.")
    if "strength" not in options:
        raise UserError("strength is missing with method regmean; allowed are numbers from 0 (theta).")
    how: dict[str, Any] = {key: float(options[key]) for key in ("strength", "ridge") if key in options}
    how |= {"layers": options["layers"]} if "layers" in options else {}
    texts = {key: options[key] for key in ("count", "seed") if key in options}
    useless = [key for key in texts if key != "seed" or options.get("rounding") != "stochastic"]
    if "samples" in options and useless:
        raise UserError(
            f"{useless[0]} = {texts[useless[0]]} is not allowed with --samples, which are all that is read."
        )
    texts |= {"prompts": Path(options["prompts"])} if "prompts" in options else {}
    drawing = Drawing(tuple(map(Path, options.get("samples", ()))), **texts)
    regression = Regression(Setting(**how), drawing, device=device_of(options.get("device", "auto")))
    return regression.rest, regression


def _recipe(options: Mapping[str, Any], method: str):
    """The recipe of the options; UserError unless exactly one way to give ratios is used."""
    from ..averaging import ratios as recipe

    ways = {"alpha": "--alpha", "alphas": "--alphas", "alphas_file": "--alphas-file", "rule": "--config"}
    given = [name for key, name in ways.items() if key in options]
    if len(given) != 1:
        found = " and ".join(given) or "none"
        raise UserError(f"The ratios are given by {found}; allowed is one of --alpha, --alphas, --alphas-file.")
    made = _ratios_of(options, recipe, method)
    return replace(made, only=str(options["only"])) if "only" in options else made


def _ratios_of(options: Mapping[str, Any], recipe, method: str):
    from ..grouping import Grouping
    from ..methods import METHODS

    alpha, part, parts = (options.get(key) for key in ("alpha", "part", "parts"))
    choices = {key: options[key] for key in ("level", "embeddings", "norm", "head") if key in options}
    if part is not None and alpha is None:
        raise UserError(f"part = {part!r} is not allowed without --alpha.")
    if "rule" in options:
        if parts is not None or choices:
            raise UserError("The recipe of --config has ratios of its own; leave out --parts, --level and the like.")
        return recipe.Recipe(Grouping(), 1.0, rule=options["rule"])
    if "alphas_file" in options:
        if parts is not None or choices:
            raise UserError(
                "alphas-file is given, which has its own grouping; leave out --parts, --level, "
                "--embeddings, --norm and --head."
            )
        return recipe.from_file(Path(options["alphas_file"]))
    grouping = Grouping(**choices) if parts is None else Grouping(parts=parts, **choices)
    most, beyond = METHODS[method].most, METHODS["extrapolate"].most
    if method == "ma" and alpha is not None and 1 < alpha <= beyond:
        raise UserError(
            f"alpha = {alpha} is not allowed; allowed are numbers from 0 (theta_0) to 1 (theta), and with --extrapolate to {beyond:g}."
        )
    if part is not None:
        return recipe.one_part(str(part), alpha, grouping, most)
    if "alphas" in options:
        return recipe.in_order(options["alphas"], grouping, parts, most)
    if useless := [key for key in ("parts", "level") if key in options]:
        raise UserError(
            f"{useless[0]} = {options[useless[0]]!r} is not allowed without --alphas or --part: one --alpha is that of all parts."
        )
    if useless := [key for key in choices if choices[key] not in ("theta", "theta_0")]:
        raise UserError(
            f"{useless[0]} = {choices[useless[0]]!r} is not allowed with one --alpha, that of all parts; allowed are theta and theta_0."
        )
    return recipe.uniform(alpha, grouping, most)
