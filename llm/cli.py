"""The command line: `python -m llm ...`, also installed as `alignment-tax`.

Each command imports what it needs when it runs, so that `--help` and the light commands start at once. A `UserError`
is printed as one sentence with exit code 2.
"""

import sys

import typer

from .bench.adapt import bench_adapt
from .bench.average import bench_average
from .bench.generate import bench_generate
from .bench.train import bench_train
from .commands import comparisons, plan, results, tiny, training
from .commands.adapt import adapt_command
from .commands.average import average_command
from .commands.benchmarks import add_to as add_benchmarks
from .commands.fetch import fetch_command
from .commands.front import front_command
from .errors import UserError, not_installed

YOUR_MODELS = "Your own models"
app = typer.Typer(
    help="Train, align, average and evaluate language models: the alignment tax and how averaging lowers it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("average", rich_help_panel=YOUR_MODELS)(average_command)
app.command("adapt", rich_help_panel=YOUR_MODELS)(adapt_command)
app.command("front", rich_help_panel=YOUR_MODELS)(front_command)
add_benchmarks(app, YOUR_MODELS)
app.command("fetch", rich_help_panel=YOUR_MODELS)(fetch_command)
bench = typer.Typer(help="Measure time and memory.", no_args_is_help=True)
bench.command("average")(bench_average)
bench.command("adapt")(bench_adapt)
bench.command("generate")(bench_generate)
bench.command("train")(bench_train)
app.add_typer(bench, name="bench", rich_help_panel=YOUR_MODELS)
for command in (
    plan.plan,
    tiny.tiny,
    training.show,
    training.pretrain,
    training.sft,
    training.reward,
    training.align,
    training.baseline,
    training.trajectory,
    training.movement,
    comparisons.sweep,
    comparisons.mitigate,
    results.collect,
    results.table,
    results.claims,
    results.span,
):
    app.command()(command)


def main() -> None:
    try:
        app()
    except (UserError, ModuleNotFoundError) as error:
        sentence = error if isinstance(error, UserError) else not_installed(error)
        if sentence is None:
            raise
        print(f"error: {sentence}", file=sys.stderr)
        sys.exit(2)
