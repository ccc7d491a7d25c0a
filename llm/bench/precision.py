"""`alignment-tax bench precision`: what averaging in bf16 makes of updates as small as its steps; the table of docs/precision.md."""

from typing import Annotated

import typer

from ..errors import UserError
from ..models.cache import local_model


def bench_precision(
    values: Annotated[int, typer.Option(min=1000, help="How many weights.")] = 400_000,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    theta_0: Annotated[
        str | None, typer.Option("--theta-0", metavar="MODEL", help="With --theta: a pair of models instead.")
    ] = None,
    theta: Annotated[
        str | None, typer.Option("--theta", metavar="MODEL", help="Likewise; both are rounded to bf16.")
    ] = None,
) -> None:
    """Effective ratios of averages saved in bf16, of normal weights and normal updates, or of a pair of models."""
    from .staircase import of_pair, table

    if (theta_0 is None) != (theta is None):
        raise UserError("theta-0 and theta are allowed together only.")
    if theta_0 is None or theta is None:
        print(table(values, seed))
    else:
        print(of_pair(local_model(theta_0, "theta-0"), local_model(theta, "theta")))
