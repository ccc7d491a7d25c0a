"""Options that several commands on model folders share."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

Theta0 = Annotated[Path, typer.Option("--theta-0", help="Model folder before RLHF.")]
Theta = Annotated[Path, typer.Option("--theta", help="Model folder after RLHF, or a LoRA adapter on theta-0.")]
Seed = Annotated[int, typer.Option(help="Of every random choice.")]
Dtype = Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ..")]


def in_panel(title: str) -> partial:
    """`typer.Option` for options that the help shows under a title of their own."""
    return partial(typer.Option, rich_help_panel=title)
