"""`python -m theory` writes results/theory/*.csv; `python -m theory bench` measures speed and errors."""

import multiprocessing
import os
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from tempfile import TemporaryFile
from typing import Annotated

import numpy as np
import typer
from tqdm import tqdm

from .tables import TABLES
from .write import write_table

app = typer.Typer(add_completion=False)
# Of each table's process, which is spawned so that numpy sees them: matrices here are too small for more threads, which
# multiply the CPU time and, on another number of cores, change the last bit.
ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@app.callback(invoke_without_command=True)
def tables(
    context: typer.Context,
    out: Annotated[Path, typer.Option(help="Folder that the CSV files are written into.")] = Path("results/theory"),
    seed: Annotated[int, typer.Option(min=0, help="Seed of the sampled numbers.")] = 0,
    jobs: Annotated[int, typer.Option(min=1, help="Tables computed at the same time.")] = 2,
) -> None:
    """Compute every table of the theory, one CSV file each. A seed repeats its bytes on one machine."""
    if context.invoked_subcommand is not None:
        return
    try:
        out.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=out):
            pass
    except OSError as error:
        raise typer.BadParameter(f"out = {out} cannot be written: {error.strerror}.", param_hint="--out") from None
    os.environ |= {name: os.environ.get(name, "1") for name in ONE_THREAD}
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as pool:
        running = [pool.submit(write_table, name, out, seed) for name in TABLES]
        for done in tqdm(as_completed(running), total=len(running), unit="table"):
            done.result()


@app.command("bench")
def bench(
    points: Annotated[
        int, typer.Option(min=1, help="Points (K, p, x) compared with 40 digits; each takes a second.")
    ] = 500,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the points.")] = 0,
) -> None:
    """Compare F_p with scipy's multivariate normal and 40 digits, exact accuracies with Monte Carlo."""
    from . import bench as benchmark  # it takes scipy.stats, which is slow to import

    rng = np.random.default_rng(seed)
    _show(
        "F_p over 1000 x against scipy.stats.multivariate_normal.cdf at one x (seconds a point)", benchmark.speed_rows()
    )
    _show("Times as ratios", benchmark.ratio_rows(rng))
    _show("Exact accuracy at a ratio where every set of votes is a score of its own", benchmark.generic_rows())
    _show("Exact accuracy against Monte Carlo with a standard error of 1e-6 (scaled)", benchmark.exact_rows(rng))
    rows = list(tqdm(benchmark.accuracy_rows(benchmark.draw_points(points, rng)), total=points, unit="point"))
    worst = {error: max(row[error] for row in rows) for error in ("error", "log_error")}
    typer.echo(
        f"{points} points against 40 digits: largest error of F_p {worst['error']:.1e}, "
        f"of log_F_p {worst['log_error']:.1e}"
    )


def _show(title: str, rows: Iterable[dict]) -> None:
    typer.echo(title)
    for row in rows:
        typer.echo("  " + "  ".join(f"{key} {_short(value)}" for key, value in row.items()))


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    app()
