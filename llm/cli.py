"""The command line: `alignment-tax ...`, in a checkout also `python -m llm ...`.

Each command imports what it needs when it runs, so that `--help` and the light commands start at once. Bad input and
failures of the disk are printed as one sentence with exit code 2.
"""

import os
import signal
import sys
from collections.abc import Callable
from io import TextIOWrapper
from typing import Annotated

import typer
import typer.core

from . import version
from .bench.adapt import bench_adapt
from .bench.average import bench_average
from .bench.generate import bench_generate
from .bench.precision import bench_precision
from .bench.speed import bench_speed
from .bench.train import bench_train
from .commands import adapt, average, benchmarks, fetch, front, plan, results, tax, training
from .errors import UserError, told_in_a_sentence
from .files import put_in_place

NAME = "alignment-tax"


class _Commands(typer.core.TyperGroup):
    """The commands, whose options' wrong values are refused in the project's words, not in those of the library that reads them."""

    def invoke(self, ctx):
        try:
            return super().invoke(ctx)
        except typer.BadParameter as error:
            from pydantic import ValidationError

            from .config.words import of_option

            if not isinstance(error.__cause__, ValidationError) or error.param is None:
                raise
            read = getattr(error.param, "type_descriptor", None)
            bounds = (getattr(error.param, side, None) for side in ("min", "max"))
            name = max(error.param.opts, key=len).lstrip("-")
            raise UserError(of_option(name, error.__cause__, getattr(read, "annotation", None), *bounds)) from None


app = typer.Typer(
    cls=_Commands,
    help="Train, align, average and evaluate language models: the alignment tax and how averaging lowers it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
bench = typer.Typer(help="Measure time and memory.", no_args_is_help=True)
BENCHES: dict[str, Callable] = {
    "average": bench_average,
    "adapt": bench_adapt,
    "generate": bench_generate,
    "train": bench_train,
    "precision": bench_precision,
    "speed": bench_speed,
}
for name, command in BENCHES.items():
    bench.command(name)(command)
PANELS: dict[str, dict[str, Callable]] = {
    "Your models": {
        "average": average.average_command,
        "adapt": adapt.adapt_command,
        "front": front.front_command,
        "tax": tax.tax_command,
        "benchmark": benchmarks.benchmark_command,
        "replies": benchmarks.replies_command,
        "win-rate": benchmarks.win_rate_command,
        "fetch": fetch.fetch_command,
    },
    "Experiments": {
        "plan": plan.plan,
        "check": plan.check,
        "tiny": plan.tiny,
        "show": training.show,
        "pretrain": training.pretrain,
        "sft": training.sft,
        "reward": training.reward,
        "warm-start": training.warm_start,
        "align": training.align,
        "baseline": training.baseline,
        "trajectory": training.trajectory,
        "movement": training.movement,
        "overlap": training.overlap,
        "sweep": training.sweep,
        "mitigate": training.mitigate,
    },
    "Results": {"collect": results.collect, "table": results.table, "claims": results.claims, "span": results.span},
}
for panel, commands in PANELS.items():
    for name, command in commands.items():
        app.command(name, rich_help_panel=panel)(command)
app.add_typer(bench, name="bench", rich_help_panel="Experiments")


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"{NAME} {version()}")
        raise typer.Exit


@app.callback()
def _options(
    show_version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print name and version.")
    ] = False,
) -> None:
    pass


def main() -> None:
    _open_streams()
    put_in_place.clear()
    for stop in ("SIGTERM", "SIGHUP"):  # so that what is half written is removed
        number = getattr(signal, stop, None)  # Windows has no SIGHUP
        if number and signal.getsignal(number) != signal.SIG_IGN:  # as nohup has it
            signal.signal(number, lambda number, _: sys.exit(128 + number))
    try:
        _run()
    except SystemExit as stop:
        if stop.code in (129, 130, 143):  # SIGHUP, SIGINT and SIGTERM
            left = any(path.exists() for path in put_in_place)
            print(f"stopped; {'the same command goes on' if left else 'nothing was written'}", file=sys.stderr)
        raise


@told_in_a_sentence
def _run() -> None:
    try:
        try:
            _check_names()
            app(prog_name=NAME)
        finally:
            sys.stdout.flush()
    except BrokenPipeError:  # nobody reads any more
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def _open_streams() -> None:
    """Give standard streams that are closed the null device: else the next file that is opened would get what is meant for them."""
    for name, mode in {"stdin": "r", "stdout": "w", "stderr": "w"}.items():
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a name that it cannot show is no reason to stop


def _check_names() -> None:
    """UserError for a name that is no UTF-8, before anything is written: rows, cards and reports could not hold it."""
    for text in (*sys.argv, os.getcwd()):
        try:
            text.encode()
        except UnicodeEncodeError:
            raise UserError(f"{text!r} is no UTF-8; give names that are.") from None
