"""`alignment-tax average`: two model folders in, their average out."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import UserError
from .model_options import Progress, folder_of, in_panel

_ratios = in_panel("Ratios")
_written = in_panel("What is written")
_checks = in_panel("Checks")
_method, _regression = in_panel("Method"), in_panel("Regression averaging")
_FOLDERS = ("theta_0", "theta")
_OF_REGRESSION = ("strength", "samples", "prompts", "count", "ridge", "device")


def average_command(
    out: Annotated[Path, typer.Option("--out", help="Folder to write; must not exist.")],
    theta_0: Annotated[
        str | None,
        typer.Option("--theta-0", metavar="MODEL", help="Model before RLHF: a folder, or ORG/NAME in the hub's cache."),
    ] = None,
    theta: Annotated[
        str | None,
        typer.Option("--theta", metavar="MODEL", help="Model after RLHF, likewise, or a LoRA adapter on theta-0."),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option("--config", help="YAML of these options (theta_0: ..), or mergekit's, linear or slerp."),
    ] = None,
    alpha: Annotated[float | None, _ratios(help="Share of theta, from 0 to 1.")] = None,
    alphas: Annotated[
        str | None, _ratios(help="A ratio per part, such as 0.9,0.8,0.7; or over the layers, 0..1.")
    ] = None,
    part: Annotated[str | None, _ratios(help="Average one part only: input, middle, output or number.")] = None,
    alphas_file: Annotated[Path | None, _ratios(help="Ratios that `adapt` has written (JSON).")] = None,
    parts: Annotated[int | None, _ratios(help="Number of parts; 3, or as many as --alphas.")] = None,
    level: Annotated[str | None, _ratios(help="A ratio per part, layer or module.")] = None,
    embeddings: Annotated[str | None, _ratios(help="first (default), last, mean, own, theta or theta_0.")] = None,
    norm: Annotated[str | None, _ratios(help="Final norm: likewise; default mean.")] = None,
    head: Annotated[str | None, _ratios(help="Output head, if not tied: likewise.")] = None,
    only: Annotated[
        str | None, _ratios(help="Regular expression: other tensors stay theta's, as with 'mlp|attn'.")
    ] = None,
    vocab: Annotated[
        str | None, typer.Option(help="same (default), or union: average shared rows, keep those that theta adds.")
    ] = None,
    method: Annotated[
        str | None,
        _method(
            help="ma (default), (1 - alpha) theta_0 + alpha theta; slerp, on the sphere; trim, fapm, breadcrumbs, dare: a part of the "
            "changes; lines, reverse-lines, ma-matrices: ratios by layer; extrapolate; ties, dots: with --theta-pre; regmean: by "
            "regression on the models' own samples."
        ),
    ] = None,
    option: Annotated[
        list[str] | None,
        _method(metavar="KEY=VALUE", help="Of the method, such as keep=0.1 (repeatable); default: its source's."),
    ] = None,
    theta_pre: Annotated[
        Path | None, _method(help="With ties and dots: the model folder that theta-0 was tuned from.")
    ] = None,
    extrapolate: Annotated[
        bool, _method("--extrapolate", help="Allow --alpha up to 2, beyond theta (as --method extrapolate).")
    ] = False,
    strength: Annotated[float | None, _regression(help="lambda, how much theta_0 counts: 0 is theta.")] = None,
    samples: Annotated[
        list[Path] | None,
        _regression(help='JSONL of theta-0\'s {"text"} and of theta\'s {"prompt", "reply"}; without, both write some.'),
    ] = None,
    prompts: Annotated[
        Path | None, _regression(help='JSONL of {"prompt"} for theta to reply to; without, theta-0 writes them.')
    ] = None,
    count: Annotated[int | None, _regression(help="Samples that each model writes; 128.")] = None,
    ridge: Annotated[
        float | None, _regression(help="Pull to plain averaging, a share of the inputs' mean square; 0.1.")
    ] = None,
    device: Annotated[str | None, _regression(help="Where the layers run: auto (default), cpu, cuda, ..")] = None,
    dtype: Annotated[str | None, _written(help="auto (default: theta's), float32, bfloat16 or float16.")] = None,
    rounding: Annotated[
        str | None, _written(help="nearest (default), or stochastic: right on average (docs/precision.md).")
    ] = None,
    seed: Annotated[
        int | None, _written(help="Of stochastic rounding, and of what the models write; default 0.")
    ] = None,
    full: Annotated[bool, _written("--full", help="Write a full model from an adapter.")] = False,
    with_code: Annotated[
        bool, _written("--with-code", help="Copy theta's Python files, which are else left out.")
    ] = False,
    ignore_config: Annotated[
        list[str] | None, _checks(metavar="KEY", help="Let config.json differ in this key (repeatable).")
    ] = None,
    strict: Annotated[
        bool, _checks("--strict", help="Refuse an adapter of another base, and tokenizers that differ.")
    ] = False,
) -> None:
    """Average two models, tensor by tensor, in a stream."""
    given = {
        key: value
        for key, value in locals().items()
        if key not in ("out", "config") and value is not None and value is not False
    }
    options, text = _with_config(given, config)
    from ..averaging.files.average import average_files
    from ..averaging.files.card import Origin
    from ..averaging.files.output import Output

    missing = [key for key in _FOLDERS if key not in options]
    if missing:
        raise UserError(
            f"{missing[0].replace('_', '-')} is not given; give --{missing[0].replace('_', '-')} or --config."
        )
    models = {key: folder_of(key.replace("_", "-"))(options.pop(key)) for key in _FOLDERS}
    if options.get("vocab", "same") not in ("same", "union"):
        raise UserError(f"vocab is {options['vocab']!r}, allowed are same, union.")
    origin = Origin(_command(given, models, config), text)
    chosen = _method_of(options)
    recipe, regression = _by_regression(options) if chosen == "regmean" else (_recipe(options, chosen), None)
    rounded = ("dtype", "rounding") if regression else ("dtype", "rounding", "seed")
    with Progress() as bars:
        if regression is not None:
            regression = replace(regression, progress=lambda done, total: bars.show("layer", done, total))
        report = average_files(
            models["theta_0"],
            models["theta"],
            out,
            recipe,
            union=options.get("vocab") == "union",
            full=options.get("full", False),
            method=chosen,
            options=_key_values(options.get("option", ())),
            theta_pre=Path(options["theta_pre"]) if "theta_pre" in options else None,
            ignore_config=options.get("ignore_config", ()),
            strict=options.get("strict", False),
            code=options.get("with_code", False),
            regression=regression,
            output=Output(**{key: options[key] for key in rounded if key in options}),
            origin=origin,
            progress=lambda done, total: bars.show("B", done, total, unit_scale=True),
        )
    for label, ratio, count, values in report.coverage():
        print(f"{label:16} alpha {ratio:<8g} {count:6} tensors {values:16,} values")
    print(report.rounded)
    for note in report.notes:
        print(note)
    print(f"wrote {out}")


def _with_config(given: dict[str, Any], config: Path | None) -> tuple[dict[str, Any], str]:
    """(all options, the recipe's text); UserError for an option that is given in both."""
    if config is None:
        return dict(given), ""
    from ..averaging.recipe_file import read_recipe

    found = read_recipe(config)
    both = sorted(found.keys() & given.keys())
    if both:
        raise UserError(f"{config}: {both[0]} is given on the command line, too; allowed is one of them.")
    return found | given, config.read_text("utf-8-sig")


def _command(given: Mapping[str, Any], models: Mapping[str, Path], config: Path | None) -> str:
    """The command for the card: folders and files by their names alone."""
    from ..models.cache import model_name

    words = ["alignment-tax", "average"]
    for key, value in [*given.items(), *([("config", config)] if config else [])]:
        option = f"--{key.replace('_', '-')}"
        if key in models:
            words += [option, model_name(models[key])]
        elif value is True:
            words.append(option)
        else:
            for one in value if isinstance(value, list) else [value]:
                words += [
                    option,
                    one.name if isinstance(one, Path) else f"{one:g}" if isinstance(one, float) else str(one),
                ]
    return shlex.join(words)


def _method_of(options: Mapping[str, Any]) -> str:
    """The name of the method; UserError for options of another one."""
    method = str(options.get("method", "ma"))
    if options.get("extrapolate"):
        if method not in ("ma", "extrapolate"):
            raise UserError(f"method is {method!r}, allowed with --extrapolate is ma.")
        method = "extrapolate"
    given = [key for key in _OF_REGRESSION if key in options]
    if given and method != "regmean":
        raise UserError(f"{given[0]} is given, allowed is with method regmean.")
    return method


def _key_values(given: Sequence[str] | Mapping[str, Any]) -> dict[str, Any]:
    """KEY=VALUE as {key: value}; UserError for anything else, or a key that is given twice."""
    if isinstance(given, Mapping):
        return dict(given)
    found: dict[str, Any] = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not equals or not key or not value or key in found:
            raise UserError(f"option is {text!r}, allowed are KEY=VALUE, each key once.")
        found[key] = value
    return found


def _by_regression(options: Mapping[str, Any]):
    """(the recipe of what regression leaves, the regression); UserError for options of other methods."""
    from ..averaging import ratios as recipes
    from ..averaging.files.own_samples import Drawing
    from ..averaging.files.regression import Regression
    from ..averaging.whole.regression import Setting
    from ..grouping import Grouping
    from ..models.loading import device_of

    others = (
        "alpha",
        "alphas",
        "part",
        "alphas_file",
        "parts",
        "level",
        "embeddings",
        "norm",
        "head",
        "only",
        "option",
        "theta_pre",
    )
    chosen = [key for key in others if key in options]
    if chosen:
        raise UserError(f"{chosen[0].replace('_', '-')} is given, allowed with method regmean is strength.")
    if "strength" not in options:
        raise UserError("strength is missing, allowed with method regmean are numbers from 0 (theta).")
    numbers: dict[str, Any] = {key: float(options[key]) for key in ("strength", "ridge") if key in options}
    texts = {key: options[key] for key in ("count", "seed") if key in options}
    texts |= {"prompts": Path(options["prompts"])} if "prompts" in options else {}
    drawing = Drawing(tuple(map(Path, options.get("samples", ()))), **texts)
    regression = Regression(Setting(**numbers), drawing, device=device_of(options.get("device", "auto")))
    return recipes.uniform(regression.setting.alpha, Grouping()), regression


def _recipe(options: Mapping[str, Any], method: str):
    """The recipe of the options; UserError unless exactly one way to give ratios is used."""
    from ..averaging import ratios as recipe

    ways = ("alpha", "alphas", "alphas_file")
    given = [f"--{key.replace('_', '-')}" for key in ways if key in options]
    if len(given) != 1:
        found = " and ".join(given) or "none"
        raise UserError(f"The ratios are given by {found}, allowed is one of --alpha, --alphas, --alphas-file.")
    made = _ratios_of(options, recipe, method)
    return replace(made, only=str(options["only"])) if "only" in options else made


def _ratios_of(options: Mapping[str, Any], recipe, method: str):
    from ..grouping import Grouping
    from ..methods import METHODS

    alpha, part, parts = (options.get(key) for key in ("alpha", "part", "parts"))
    choices = {key: options[key] for key in ("level", "embeddings", "norm", "head") if key in options}
    if part is not None and alpha is None:
        raise UserError(f"part is {part!r}, allowed is with --alpha only.")
    if "alphas_file" in options:
        if parts is not None or choices:
            raise UserError(
                "alphas-file is given, which has its own grouping; leave out --parts, --level, "
                "--embeddings, --norm and --head."
            )
        return recipe.from_file(Path(options["alphas_file"]))
    grouping = Grouping(**choices) if parts is None else Grouping(parts=parts, **choices)
    if part is not None:
        return recipe.one_part(str(part), alpha, grouping)
    if "alphas" in options:
        return recipe.in_order(options["alphas"], grouping, parts)
    return recipe.uniform(alpha, grouping, METHODS[method].most if method in METHODS else 1.0)
