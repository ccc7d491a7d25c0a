"""`alignment-tax average`: two model folders in, their average out."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from .average_options import arguments_of, command_line, models_of, with_config
from .model_options import Progress, ThetaPre, Weight, With, in_panel

_ratios = in_panel("Ratios")
_written = in_panel("What is written")
_checks = in_panel("Checks")
_method, _regression = in_panel("Method"), in_panel("Regression averaging")


def average_command(
    out: Annotated[Path, typer.Option("--out", help="Folder to write; must not exist.")],
    theta_0: Annotated[
        str | None,
        typer.Option(
            "--theta-0",
            metavar="MODEL",
            help="Model before RLHF: a folder, or ORG/NAME or ORG/NAME@REVISION in the hub's cache.",
        ),
    ] = None,
    theta: Annotated[
        str | None,
        typer.Option("--theta", metavar="MODEL", help="Model after RLHF, likewise, or a LoRA adapter on theta-0."),
    ] = None,
    with_: With = None,
    weight: Weight = None,
    config: Annotated[
        Path | None,
        typer.Option("--config", help="YAML of these options (theta_0: ..), or mergekit's: linear, slerp or ties."),
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
    theta_pre: ThetaPre = None,
    extrapolate: Annotated[
        bool, _method("--extrapolate", help="Allow ratios up to 2, beyond theta (as --method extrapolate).")
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
    layers: Annotated[
        str | None, _regression(help="equal (default), or increasing: lambda falls from layer to layer, as with lines.")
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
    """Average two models, tensor by tensor, in a stream.

    Such as: alignment-tax average --theta-0 sft/ --theta rlhf/ --alpha 0.8 --out averaged/
    """
    given = {
        key.rstrip("_"): value
        for key, value in locals().items()
        if key not in ("out", "config") and value is not None and value is not False
    }
    report = _average(given, out, config)
    coverage = report.coverage()
    width = max([16, *(len(label) for label, *_ in coverage)])
    for label, ratio, count, values in coverage:
        print(f"{label:{width}} alpha {ratio:<8g} {count:6} tensors {values:16,} values")
    for line in (report.rounded, *report.notes, f"wrote {out}"):
        print(line)


def _average(given: dict[str, Any], out: Path, config: Path | None):
    """The report on what `given` options, and those of the recipe, have made; bars show how far it is."""
    options, text = with_config(given, config)
    models = models_of(options)
    how = arguments_of(options)
    command = command_line(given, models, config, out)
    from ..averaging.files.average import average_files
    from ..averaging.files.card import Origin

    with Progress() as bars:
        if how["regression"] is not None:
            shown = lambda done, total: bars.show("layer", done, total)
            how["regression"] = replace(how["regression"], progress=shown)
        return average_files(
            models["theta_0"],
            models["theta"],
            out,
            theta_pre=models.get("theta_pre"),
            origin=Origin(command, text),
            progress=lambda done, total: bars.show("B", done, total, unit_scale=True),
            **how,
        )
