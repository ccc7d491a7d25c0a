"""What the commands on runs share: options, each refused by one sentence where its value is not allowed, and the run itself."""

from dataclasses import replace
from math import inf, nan
from pathlib import Path
from typing import Annotated

import typer

from ..errors import UserError
from ..methods import known, names

LARGEST_SEED = 2**32 - 1


def _seed(text: str | int) -> int:
    try:
        seed = int(text)
    except ValueError:
        seed = -1
    if not 0 <= seed <= LARGEST_SEED:
        raise UserError(f"seed = {text!r} is not allowed; give a whole number from 0 to {LARGEST_SEED}")
    return seed


def _rate(text: str) -> str:
    if not 0 < _number(text, own=1) <= 1:
        raise UserError(f"lr = {text!r} is not allowed; give `own` or a number in (0, 1]")
    return text


def _eta(text: str) -> str:
    if not 0 <= _number(text, own=0) < inf:
        raise UserError(f"eta = {text!r} is not allowed; give `own` or a finite number from 0")
    return text


def _number(text: str, own: float) -> float:
    """NaN for what is no number."""
    try:
        return own if text == "own" else float(text)
    except ValueError:
        return nan


def known_rlhf(text: str) -> str:
    """An algorithm of alignment; UserError otherwise."""
    return known(text, "rlhf", "alignment").name


Preset = Annotated[str, typer.Option(help="name of a preset in llm/presets, or a YAML file")]
Seed = Annotated[
    int, typer.Option(parser=_seed, metavar="INTEGER", help="the seed of the world and of every random choice")
]
Out = Annotated[Path, typer.Option(help="folder of all runs")]
Rlhf = Annotated[
    str,
    typer.Option(parser=known_rlhf, metavar="NAME", help=f"algorithm of alignment: {', '.join(names('alignment'))}"),
]
Rate = Annotated[str, typer.Option(parser=_rate, metavar="NUMBER", help="its learning rate, or `own` for the preset's")]
Eta = Annotated[str, typer.Option(parser=_eta, metavar="NUMBER", help="ppo's KL penalty, or `own` for the preset's")]
Gpus = Annotated[
    int | None, typer.Option(min=1, help="GPUs to train a preset of the paper's models on; default: as many as it says")
]
Sweep = Annotated[str, typer.Argument(help="name of a sweep in llm/sweeps, or a YAML file")]
Results = Annotated[Path, typer.Argument(help="folder of result rows")]


def run_of(name: str, seed: int, out: Path, kind: str = "Preset", asks: str = "this command"):
    """A run of a preset. kind: the class of `llm.config` that `asks` needs it to be of; UserError for another."""
    from .. import config
    from ..run import Run

    preset, kind_of = config.load_preset(name), getattr(config, kind)
    if not isinstance(preset, kind_of):
        known = ", ".join(other for other in config.names("presets") if isinstance(config.load_preset(other), kind_of))
        raise UserError(f"preset = {name!r} is not allowed with {asks}; allowed are {known}")
    return Run(preset, seed, out)


def backend(preset: str, seed: int, out: Path, gpus: int | None = None):
    """The backend (`llm.stages.backend`) of a run of any preset. gpus: to train on; None for as many as the preset says."""
    from ..stages.backend import backend_of

    run = run_of(preset, seed, out, *(() if gpus is None else ("HubPreset", "--gpus")))
    if gpus is None:
        return backend_of(run)
    from ..plan.hub import with_gpus

    return backend_of(replace(run, preset=with_gpus(run.preset, gpus)))
