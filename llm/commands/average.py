"""`alignment-tax average`: two model folders in, their average out."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import UserError
from .model_options import Progress, Theta0, in_panel

_ratios, _regression = in_panel("Ratios"), in_panel("Regression averaging")


def average_command(
    theta_0: Theta0,
    theta: Annotated[Path, typer.Option("--theta", help="Model folder after RLHF, or LoRA adapter.")],
    out: Annotated[Path, typer.Option("--out", help="Folder to write; must not exist.")],
    alpha: Annotated[float | None, _ratios(help="Share of theta, from 0 to 1.")] = None,
    alphas: Annotated[str | None, _ratios(help="A ratio per part, such as 0.9,0.8,0.7.")] = None,
    part: Annotated[str | None, _ratios(help="Average one part only: input, middle, output or number.")] = None,
    alphas_file: Annotated[Path | None, _ratios(help="Ratios that `adapt` has written (JSON).")] = None,
    parts: Annotated[int | None, _ratios(help="Number of parts; 3, or as many as --alphas.")] = None,
    level: Annotated[str | None, _ratios(help="A ratio per part, layer or module.")] = None,
    embeddings: Annotated[str | None, _ratios(help="first (default), last, mean, own, theta or theta_0.")] = None,
    norm: Annotated[str | None, _ratios(help="Final norm: likewise; default mean.")] = None,
    head: Annotated[str | None, _ratios(help="Output head, if not tied: likewise.")] = None,
    vocab: Annotated[
        str, typer.Option(help="same, or union: average shared rows, keep those that theta adds.")
    ] = "same",
    method: Annotated[
        str,
        in_panel("Method")(
            help="ma, (1 - alpha) theta_0 + alpha theta; slerp, on the sphere; trim, fapm, breadcrumbs, dare: a part of the changes; "
            "lines, reverse-lines, ma-matrices: ratios by layer; extrapolate; ties, dots: with --theta-pre; regmean: by regression on the "
            "models' own samples."
        ),
    ] = "ma",
    option: Annotated[
        list[str] | None,
        in_panel("Method")(
            metavar="KEY=VALUE", help="Of the method, such as keep=0.1 (repeatable); default: its source's."
        ),
    ] = None,
    theta_pre: Annotated[
        Path | None, in_panel("Method")(help="With ties and dots: the model folder that theta-0 was tuned from.")
    ] = None,
    extrapolate: Annotated[
        bool, in_panel("Method")("--extrapolate", help="Allow --alpha up to 2, beyond theta (as --method extrapolate).")
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
    seed: Annotated[int | None, _regression(help="Of what the models write; 0.")] = None,
    full: Annotated[bool, typer.Option("--full", help="Write a full model from an adapter.")] = False,
    ignore_config: Annotated[
        list[str] | None, typer.Option(metavar="KEY", help="Let config.json differ in this key (repeatable).")
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Refuse an adapter of another base, and tokenizers that differ.")
    ] = False,
    with_code: Annotated[
        bool, typer.Option("--with-code", help="Copy theta's Python files, which are else left out.")
    ] = False,
) -> None:
    """Average two models, tensor by tensor, in a stream."""
    from ..averaging.files.average import average_files
    from ..methods import METHODS

    if vocab not in ("same", "union"):
        raise UserError(f"vocab is {vocab!r}, allowed are same, union.")
    if extrapolate:
        if method not in ("ma", "extrapolate"):
            raise UserError(f"method is {method!r}, allowed with --extrapolate is ma.")
        method = "extrapolate"
    choices = {"level": level, "embeddings": embeddings, "norm": norm, "head": head}
    choices = {key: choice for key, choice in choices.items() if choice is not None}
    ratios: dict[str, Any] = {
        "alpha": alpha,
        "alphas": alphas,
        "part": part,
        "alphas_file": alphas_file,
        "parts": parts,
    }
    given: dict[str, Any] = {
        "strength": strength,
        "samples": samples,
        "prompts": prompts,
        "count": count,
        "ridge": ridge,
    }
    given |= {"device": device, "seed": seed}
    given = {key: value for key, value in given.items() if value not in (None, [])}
    if method == "regmean":
        recipe, regression = _by_regression(ratios | choices | {"option": option, "theta_pre": theta_pre}, given)
    elif given:
        raise UserError(f"{next(iter(given))} is given, allowed is with method regmean.")
    else:
        most = METHODS[method].most if method in METHODS else 1.0
        recipe, regression = _recipe(**ratios, choices=choices, most=most), None
    with Progress() as bars:
        if regression is not None:
            regression = replace(regression, progress=lambda done, total: bars.show("layer", done, total))
        report = average_files(
            theta_0,
            theta,
            out,
            recipe,
            union=vocab == "union",
            full=full,
            method=method,
            options=_options(option or ()),
            theta_pre=theta_pre,
            ignore_config=ignore_config or (),
            strict=strict,
            code=with_code,
            regression=regression,
            progress=lambda done, total: bars.show("B", done, total, unit_scale=True),
        )
    for label, ratio, count, values in report.coverage():
        print(f"{label:16} alpha {ratio:<8g} {count:6} tensors {values:16,} values")
    for note in report.notes:
        print(note)
    print(f"wrote {out}")


def _by_regression(others: dict[str, Any], given: dict[str, Any]):
    """(the recipe of what regression leaves, the regression); UserError for options of other methods."""
    from ..averaging import ratios as recipes
    from ..grouping import Grouping

    chosen = [key for key, value in others.items() if value not in (None, [])]
    if chosen:
        raise UserError(f"{chosen[0].replace('_', '-')} is given, allowed with method regmean is strength.")
    if "strength" not in given:
        raise UserError("strength is missing, allowed with method regmean are numbers from 0 (theta).")
    regression = _regression_of(given)
    return recipes.uniform(regression.setting.alpha, Grouping()), regression


def _regression_of(given: dict[str, Any]):
    from ..averaging.files.own_samples import Drawing
    from ..averaging.files.regression import Regression
    from ..averaging.whole.regression import Setting
    from ..models.loading import device_of

    setting = Setting(**{key: given[key] for key in ("strength", "ridge") if key in given})
    texts = {key: given[key] for key in ("prompts", "count", "seed") if key in given}
    return Regression(
        setting, Drawing(tuple(given.get("samples", ())), **texts), device=device_of(given.get("device", "auto"))
    )


def _recipe(
    alpha: float | None,
    alphas: str | None,
    part: str | None,
    alphas_file: Path | None,
    parts: int | None,
    choices: dict[str, Any],
    most: float,
):
    """The recipe of the options; UserError unless exactly one way to give ratios is used."""
    from ..averaging import ratios as recipe
    from ..grouping import Grouping

    options = {"--alpha": alpha, "--alphas": alphas, "--alphas-file": alphas_file}
    given = [name for name, value in options.items() if value is not None]
    if len(given) != 1:
        found = " and ".join(given) or "none"
        raise UserError(f"The ratios are given by {found}, allowed is one of {', '.join(options)}.")
    if part is not None and alpha is None:
        raise UserError(f"part is {part!r}, allowed is with --alpha only.")
    if alphas_file is not None:
        if parts is not None or choices:
            raise UserError(
                "alphas-file is given, which has its own grouping; leave out --parts, --level, "
                "--embeddings, --norm and --head."
            )
        return recipe.from_file(alphas_file)
    grouping = Grouping(**choices) if parts is None else Grouping(parts=parts, **choices)
    if part is not None:
        return recipe.one_part(part, alpha, grouping)
    return recipe.in_order(alphas, grouping, parts) if alphas is not None else recipe.uniform(alpha, grouping, most)


def _options(given: Sequence[str]) -> dict[str, str]:
    """KEY=VALUE as {key: value}; UserError for anything else, or a key that is given twice."""
    found: dict[str, str] = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not equals or not key or not value or key in found:
            raise UserError(f"option is {text!r}, allowed are KEY=VALUE, each key once.")
        found[key] = value
    return found
