"""The command line: `python -m llm ...`, also installed as `alignment-tax`.

Each command imports what it needs when it runs, so that `--help` and the light commands start at once. A `UserError`
is printed as one sentence with exit code 2.
"""

import sys
from math import inf, nan
from pathlib import Path
from typing import Annotated, get_args

import typer

from llm.averaging.bench import bench_average
from llm.averaging.bench_adapt import bench_adapt
from llm.averaging.cli_adapt import adapt_command
from llm.averaging.cli_average import average_command
from llm.averaging.cli_front import front_command
from llm.bench.generate import bench_generate
from llm.bench.train import bench_train
from llm.errors import UserError
from llm.fetch.cli import fetch_command

LARGEST_SEED = 2**32 - 1
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
app.command("fetch", rich_help_panel=YOUR_MODELS)(fetch_command)
bench = typer.Typer(help="Measure time and memory.", no_args_is_help=True)
bench.command("average")(bench_average)
bench.command("adapt")(bench_adapt)
bench.command("generate")(bench_generate)
bench.command("train")(bench_train)
app.add_typer(bench, name="bench", rich_help_panel=YOUR_MODELS)


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


def _rlhf(text: str) -> str:
    from llm.config import Algorithm

    known = get_args(Algorithm)
    if text not in known:
        raise UserError(f"rlhf = {text!r} is unknown; allowed are {', '.join(known)}")
    return text


Preset = Annotated[str, typer.Option(help="name of a preset in llm/presets, or a YAML file")]
Seed = Annotated[int, typer.Option(parser=_seed, metavar="INTEGER", help="the seed of the world and of every random choice")]
Out = Annotated[Path, typer.Option(help="folder of all runs")]
Rlhf = Annotated[str, typer.Option(parser=_rlhf, metavar="NAME", help="algorithm of alignment: rsf, dpo or ppo")]
Rate = Annotated[str, typer.Option(parser=_rate, metavar="NUMBER", help="its learning rate, or `own` for the preset's")]
Eta = Annotated[str, typer.Option(parser=_eta, metavar="NUMBER", help="ppo's KL penalty, or `own` for the preset's")]


def main() -> None:
    try:
        app()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


@app.command()
def show(preset: Preset = "microcosm", seed: Seed = 0, count: Annotated[int, typer.Option(min=1)] = 2) -> None:
    """Print samples of everything the models read: documents, conversations, alignment prompts, test items."""
    from llm.show import samples

    print(samples(_run(preset, seed, Path("out")), count))


@app.command()
def pretrain(
    preset: Preset = "microcosm",
    seed: Seed = 0,
    out: Out = Path("out"),
    shipped: Annotated[Path | None, typer.Option(help="take shipped weights from this folder instead")] = None,
) -> None:
    """theta_pre: train from random weights, or copy shipped ones."""
    from llm.files import write_json
    from llm.stages import pretrain as stage

    run = _run(preset, seed, out)
    if shipped is None:
        write_json(run.folder / "pretrained.json", stage.pretrain(run, run.folder / "pretrained"))
    else:
        stage.take_shipped(run, shipped, run.folder / "pretrained")


@app.command()
def sft(preset: Preset = "microcosm", seed: Seed = 0, out: Out = Path("out")) -> None:
    """theta_0: instruction tuning."""
    from llm.stages import sft as stage

    run = _run(preset, seed, out)
    stage.sft(run, run.folder / "pretrained", run.folder / "theta_0")


@app.command()
def reward(preset: Preset = "microcosm", seed: Seed = 0, out: Out = Path("out")) -> None:
    """Preference pairs and the reward model fitted to them; prints its held-out accuracy."""
    from llm.files import up_to_date, write_json
    from llm.stages import reward as stage

    run = _run(preset, seed, out)
    pairs = run.folder / "preferences.json"
    if not up_to_date(pairs, run.folder / "theta_0" / "config.json"):
        stage.preferences(run, run.folder / "theta_0", pairs)
    judged = stage.train_reward(run, run.folder / "theta_0", pairs, run.folder / "reward")
    write_json(run.folder / "reward.json", judged)
    print(f"reward model: accuracy {judged['accuracy']:.3f}, correlation with gold {judged['correlation']:.3f}")


@app.command()
def align(
    preset: Preset = "microcosm",
    seed: Seed = 0,
    out: Out = Path("out"),
    rlhf: Rlhf = "rsf",
    lr: Rate = "own",
    eta: Eta = "own",
) -> None:
    """theta: best of n (rsf), dpo or ppo; goes on where a killed run stopped."""
    from llm.stages import align as stage

    stage.align(_run(preset, seed, out), rlhf, lr, eta)


@app.command()
def baseline(preset: Preset = "microcosm", seed: Seed = 0, out: Out = Path("out")) -> None:
    """Measure theta_0 and the chance floors."""
    from llm.results import write_rows
    from llm.stages import trajectory as stage

    run = _run(preset, seed, out)
    write_rows(run.folder / "rows" / "baseline.jsonl", stage.measure_baseline(_evaluator(run)))


@app.command()
def trajectory(
    preset: Preset = "microcosm", seed: Seed = 0, out: Out = Path("out"), rlhf: Rlhf = "rsf", lr: Rate = "own"
) -> None:
    """Measure every iteration of alignment."""
    from llm.results import write_rows
    from llm.stages import trajectory as stage

    run = _run(preset, seed, out)
    rows = stage.measure_trajectory(_evaluator(run), rlhf, lr)
    write_rows(run.folder / "rows" / rlhf / lr / "trajectory.jsonl", rows)


@app.command()
def sweep(
    name: Annotated[str, typer.Argument(help="name of a sweep in llm/sweeps, or a YAML file")],
    entry: Annotated[str, typer.Option(help="label of the sweep's entry to measure")],
    preset: Preset = "microcosm",
    seed: Seed = 0,
    out: Out = Path("out"),
    rlhf: Rlhf = "rsf",
    lr: Rate = "own",
) -> None:
    """Average theta_0 and theta in every way that an entry of a sweep lists, and measure each."""
    from llm.config import load_sweep
    from llm.results import write_rows
    from llm.stages import adapt, average, oracle
    from llm.stages.align import number, theta_folder

    run, chosen = _run(preset, seed, out), load_sweep(name).entry(entry)
    evaluator, folder = _evaluator(run), run.folder / "ama" / rlhf / lr
    theta, found = theta_folder(run, rlhf, lr), []
    if chosen.method in ("ama", "adamerging"):
        found = adapt.ratios_of(run, theta, chosen, folder)
    elif chosen.method == "oracle":
        found = oracle.oracle_ratios(evaluator, theta, chosen, folder)
    rows = average.measure_averages(evaluator, theta, rlhf, chosen, number(lr), found)
    write_rows(run.folder / "rows" / rlhf / lr / f"{chosen.label}.jsonl", rows)


@app.command()
def mitigate(
    name: Annotated[str, typer.Argument(help="name of a sweep in llm/sweeps, or a YAML file")],
    entry: Annotated[str, typer.Option(help="label of the sweep's training entry")],
    preset: Preset = "microcosm",
    seed: Seed = 0,
    out: Out = Path("out"),
    lr: Rate = "own",
) -> None:
    """Train theta_0 on RSF's samples in every way that a training entry of a sweep lists, and measure each model.

    Of method kl, which is PPO, the models must be there (align --eta).
    """
    from llm.config import load_sweep
    from llm.results import write_rows
    from llm.stages.align import number
    from llm.stages.mitigate import measure_trained
    from llm.stages.penalty import measure_penalties

    run, compared = _run(preset, seed, out), load_sweep(name)
    chosen = compared.training_entry(entry)
    if chosen.method == "kl":
        rows = measure_penalties(_evaluator(run), chosen, lr)
    else:
        trained = run.folder / "mitigations" / lr
        rows = measure_trained(_evaluator(run), run.folder / "rsf" / "own", chosen, number(lr), trained)
    write_rows(run.folder / "rows" / compared.rlhf[0] / lr / f"{chosen.label}.jsonl", rows)


@app.command()
def collect(
    sources: Annotated[list[Path], typer.Argument(help="row files")],
    to: Annotated[Path, typer.Option(help="the file that gets all their rows")],
) -> None:
    """Check rows and put them into one file."""
    from llm.results import collect_rows

    collect_rows(sources, to)


@app.command()
def table(
    results: Annotated[Path, typer.Argument(help="folder of result rows")],
    into: Annotated[Path | None, typer.Option(help="put it between the table's marks in this Markdown page")] = None,
) -> None:
    """Print a short table of what was found."""
    from llm.files import put_between
    from llm.table import summary

    found = summary(results)
    print(found)
    if into:
        put_between(into, "table", f"```\n{found}\n```")


@app.command()
def claims(
    results: Annotated[Path, typer.Argument(help="folder of result rows")],
    theory: Annotated[Path, typer.Option(help="folder of the theory's tables")] = Path("results/theory"),
    to: Annotated[Path | None, typer.Option(help="write every line of every claim into this JSON file")] = None,
    into: Annotated[Path | None, typer.Option(help="put a table between the claims' marks in this Markdown page")] = None,
) -> None:
    """Say which of the paper's claims hold in the rows: the ledger of claims."""
    from llm.claims import render
    from llm.claims.ledger import ledger
    from llm.files import put_between, write_text

    found = ledger(results, theory)
    if to:
        write_text(to, render.as_json(found))
    if into:
        put_between(into, "claims", render.markdown(found, into.parent / "figures"))
    print(render.text(found))


@app.command()
def span(results: Annotated[Path, typer.Argument(help="folder of result rows")]) -> None:
    """Print whether the sweep of each mitigation spans its range, from no effect to theta_0's reward."""
    from llm.span import spans, table

    print(table(spans(results)))


def _run(preset: str, seed: int, out: Path):
    from llm.config import load_preset
    from llm.run import Run

    return Run(load_preset(preset), seed, out)


def _evaluator(run):
    from llm.stages.evaluate import Evaluator

    return Evaluator(run, run.folder / "theta_0", run.folder / "reward")
