"""The commands that make a run's models and measure them on the way, stage by stage."""

from pathlib import Path
from typing import Annotated

import typer

from .options import Eta, Out, Preset, Rate, Rlhf, Seed, known_rlhf
from .runs import backend, run_of


def show(preset: Preset = "microcosm", seed: Seed = 0, count: Annotated[int, typer.Option(min=1)] = 2) -> None:
    """Print samples of everything the models read: documents, conversations, alignment prompts, test items."""
    from ..stages.show import samples

    print(samples(run_of(preset, seed, Path("out"), "MicrocosmPreset"), count))


def pretrain(
    preset: Preset = "microcosm",
    seed: Seed = 0,
    out: Out = Path("out"),
    shipped: Annotated[Path | None, typer.Option(help="take shipped weights from this folder instead")] = None,
) -> None:
    """theta_pre: train from random weights, or take shipped, fetched or public ones."""
    backend(preset, seed, out).pretrain(shipped)


def sft(preset: Preset = "microcosm", seed: Seed = 0, out: Out = Path("out")) -> None:
    """theta_0: instruction tuning."""
    backend(preset, seed, out).sft()


def reward(preset: Preset = "microcosm", seed: Seed = 0, out: Out = Path("out")) -> None:
    """Preference pairs and the reward model fitted to them; prints its held-out accuracy."""
    backend(preset, seed, out).reward()


def align(
    preset: Preset = "microcosm",
    seed: Seed = 0,
    out: Out = Path("out"),
    rlhf: Rlhf = "rsf",
    lr: Rate = "own",
    eta: Eta = "own",
) -> None:
    """theta: best of n (rsf), dpo or ppo; goes on where a killed run stopped."""
    backend(preset, seed, out).align(rlhf, lr, eta)


def baseline(preset: Preset = "microcosm", seed: Seed = 0, out: Out = Path("out")) -> None:
    """Measure theta_0 and the chance floors."""
    from ..evidence.rows import write_rows

    stages = backend(preset, seed, out)
    write_rows(stages.run.folder / "rows" / "baseline.jsonl", stages.baseline())


def trajectory(
    preset: Preset = "microcosm", seed: Seed = 0, out: Out = Path("out"), rlhf: Rlhf = "rsf", lr: Rate = "own"
) -> None:
    """Measure every iteration of alignment."""
    from ..evidence.rows import write_rows
    from ..stages.trajectory import measure_trajectory

    stages = backend(preset, seed, out)
    rows = measure_trajectory(stages.evaluator(), rlhf, lr)
    write_rows(stages.run.folder / "rows" / rlhf / lr / "trajectory.jsonl", rows)


def movement(
    to: Annotated[Path, typer.Option(help="the JSON file to write")],
    preset: Preset = "microcosm",
    seed: Seed = 0,
    out: Out = Path("out"),
    rlhf: Annotated[
        list[str],
        typer.Option(parser=known_rlhf, metavar="NAME", help="algorithms whose theta is there, and whose AMA"),
    ] = ("rsf",),
) -> None:
    """Measure how far alignment moved each layer, and each token's embedding."""
    from ..files import write_json
    from ..stages.movement import measure_movement

    write_json(to, measure_movement(run_of(preset, seed, out, "LocalPreset"), list(rlhf)))
