"""`alignment-tax bench precision`: what averaging in bf16 makes of updates as small as its steps; the table of docs/precision.md."""

from typing import Annotated

import typer


def bench_precision(
    values: Annotated[int, typer.Option(min=1000, help="How many weights.")] = 400_000,
    seed: Annotated[int, typer.Option(min=0)] = 0,
) -> None:
    """Effective ratios of averages saved in bf16, of normal weights and normal updates."""
    from .staircase import table

    print(table(values, seed))
