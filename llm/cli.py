"""The command line: `alignment-tax ...`, in a checkout also `python -m llm ...`.

Each command imports what it needs when it runs, so that `--help` and the light commands start at once. A `UserError`
is printed as one sentence with exit code 2.
"""

import sys
from typing import Annotated

import typer

from . import version
from .bench.adapt import bench_adapt
from .bench.average import bench_average
from .bench.generate import bench_generate
from .bench.train import bench_train
from .commands import adapt, average, benchmarks, fetch, front, plan, results, training
from .errors import UserError, not_installed

NAME = "alignment-tax"
app = typer.Typer(
    help="Train, align, average and evaluate language models: the alignment tax and how averaging lowers it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
bench = typer.Typer(help="Measure time and memory.", no_args_is_help=True)
for name, command in {
    "average": bench_average,
    "adapt": bench_adapt,
    "generate": bench_generate,
    "train": bench_train,
}.items():
    bench.command(name)(command)
PANELS = {
    "Your models": {
        "average": average.average_command,
        "adapt": adapt.adapt_command,
        "front": front.front_command,
        "benchmark": benchmarks.benchmark_command,
        "replies": benchmarks.replies_command,
        "win-rate": benchmarks.win_rate_command,
        "fetch": fetch.fetch_command,
    },
    "Experiments": {
        "plan": plan.plan,
        "tiny": plan.tiny,
        "show": training.show,
        "pretrain": training.pretrain,
        "sft": training.sft,
        "reward": training.reward,
        "align": training.align,
        "baseline": training.baseline,
        "trajectory": training.trajectory,
        "movement": training.movement,
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
    try:
        app(prog_name=NAME)
    except (UserError, ModuleNotFoundError) as error:
        sentence = error if isinstance(error, UserError) else not_installed(error)
        if sentence is None:
            raise
        print(f"error: {sentence}", file=sys.stderr)
        sys.exit(2)
