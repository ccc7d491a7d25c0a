"""`alignment-tax average`: two model folders in, their average out."""

from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import UserError
from .model_options import Progress, Theta, Theta0, in_panel

_ratios = in_panel("Ratios")


def average_command(
    theta_0: Theta0,
    theta: Theta,
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
    merge: Annotated[
        str, typer.Option(help="linear, (1 - alpha) theta_0 + alpha theta; or slerp, on the sphere.")
    ] = "linear",
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

    if vocab not in ("same", "union"):
        raise UserError(f"vocab is {vocab!r}, allowed are same, union.")
    choices = {"level": level, "embeddings": embeddings, "norm": norm, "head": head}
    choices = {key: choice for key, choice in choices.items() if choice is not None}
    recipe = _recipe(alpha, alphas, part, alphas_file, parts, choices)
    with Progress() as bars:
        report = average_files(
            theta_0,
            theta,
            out,
            recipe,
            union=vocab == "union",
            full=full,
            merge=merge,
            ignore_config=ignore_config or (),
            strict=strict,
            code=with_code,
            progress=lambda done, total: bars.show("B", done, total, unit_scale=True),
        )
    for label, ratio, count, values in report.coverage():
        print(f"{label:16} alpha {ratio:<8g} {count:6} tensors {values:16,} values")
    for note in report.notes:
        print(note)
    print(f"wrote {out}")


def _recipe(
    alpha: float | None,
    alphas: str | None,
    part: str | None,
    alphas_file: Path | None,
    parts: int | None,
    choices: dict[str, Any],
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
    return recipe.in_order(alphas, grouping, parts) if alphas is not None else recipe.uniform(alpha, grouping)
