"""The commands that make what an entry of a sweep lists, and measure it."""

from pathlib import Path
from typing import Annotated

import typer

from .options import Out, Preset, Rate, Rlhf, Seed, Sweep
from .runs import backend, run_of


def sweep(
    name: Sweep,
    entry: Annotated[str, typer.Option(help="label of the sweep's entry to measure")],
    preset: Preset = "microcosm",
    seed: Seed = 0,
    out: Out = Path("out"),
    rlhf: Rlhf = "rsf",
    lr: Rate = "own",
) -> None:
    """Average theta_0 and theta in every way that an entry of a sweep lists, and measure each."""
    from ..config import load_sweep, runnable
    from ..evidence.rows import write_rows
    from ..stages.align import number, theta_folder
    from ..stages.average import measure_averages

    stages = backend(preset, seed, out)
    run = stages.run
    chosen, theta = runnable(load_sweep(name), run.preset).entry(entry), theta_folder(run, rlhf, lr)
    evaluator = stages.evaluator()
    found = stages.ratios(evaluator, theta, rlhf, chosen, run.folder / "ama" / rlhf / lr)
    rows = measure_averages(evaluator, theta, rlhf, chosen, number(lr), found)
    write_rows(run.folder / "rows" / rlhf / lr / f"{chosen.label}.jsonl", rows)


def mitigate(
    name: Sweep,
    entry: Annotated[str, typer.Option(help="label of the sweep's training entry")],
    preset: Preset = "microcosm",
    seed: Seed = 0,
    out: Out = Path("out"),
    lr: Rate = "own",
) -> None:
    """Train theta_0 in every way that a training entry of a sweep lists, and measure each model.

    Of method kl, which is PPO, the models must be there (align --eta).
    """
    from ..config import load_sweep
    from ..evidence.rows import write_rows
    from ..stages.backend import backend_of
    from ..stages.mitigate import measure_trained

    chosen = load_sweep(name).training_entry(entry)
    run = run_of(preset, seed, out, "Preset" if chosen.spec.after == "ppo" else "MicrocosmPreset")
    rows = measure_trained(backend_of(run).evaluator(), chosen, lr)
    write_rows(run.folder / "rows" / chosen.spec.after / lr / f"{chosen.label}.jsonl", rows)
