"""The commands that make a run's models and measure them on the way, stage by stage."""

from pathlib import Path
from typing import Annotated

import typer

from llm.commands.options import Eta, Out, Preset, Rate, Rlhf, Seed
from llm.commands.runs import evaluator_of, run_of


def show(preset: Preset = "microcosm", seed: Seed = 0, count: Annotated[int, typer.Option(min=1)] = 2) -> None:
    """Print samples of everything the models read: documents, conversations, alignment prompts, test items."""
    from llm.show import samples

    print(samples(run_of(preset, seed, Path("out")), count))


def pretrain(
    preset: Preset = "microcosm",
    seed: Seed = 0,
    out: Out = Path("out"),
    shipped: Annotated[Path | None, typer.Option(help="take shipped weights from this folder instead")] = None,
) -> None:
    """theta_pre: train from random weights, or copy shipped ones."""
    from llm.files import write_json
    from llm.stages import pretrain as stage

    run = run_of(preset, seed, out)
    if shipped is None:
        write_json(run.folder / "pretrained.json", stage.pretrain(run, run.folder / "pretrained"))
    else:
        stage.take_shipped(run, shipped, run.folder / "pretrained")


def sft(preset: Preset = "microcosm", seed: Seed = 0, out: Out = Path("out")) -> None:
    """theta_0: instruction tuning."""
    from llm.stages import sft as stage

    run = run_of(preset, seed, out)
    stage.sft(run, run.folder / "pretrained", run.folder / "theta_0")


def reward(preset: Preset = "microcosm", seed: Seed = 0, out: Out = Path("out")) -> None:
    """Preference pairs and the reward model fitted to them; prints its held-out accuracy."""
    from llm.files import up_to_date, write_json
    from llm.stages import reward as stage

    run = run_of(preset, seed, out)
    pairs = run.folder / "preferences.json"
    if not up_to_date(pairs, run.folder / "theta_0" / "config.json"):
        stage.preferences(run, run.folder / "theta_0", pairs)
    judged = stage.train_reward(run, run.folder / "theta_0", pairs, run.folder / "reward")
    write_json(run.folder / "reward.json", judged)
    print(f"reward model: accuracy {judged['accuracy']:.3f}, correlation with gold {judged['correlation']:.3f}")


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

    stage.align(run_of(preset, seed, out), rlhf, lr, eta)


def baseline(preset: Preset = "microcosm", seed: Seed = 0, out: Out = Path("out")) -> None:
    """Measure theta_0 and the chance floors."""
    from llm.results import write_rows
    from llm.stages import trajectory as stage

    run = run_of(preset, seed, out)
    write_rows(run.folder / "rows" / "baseline.jsonl", stage.measure_baseline(evaluator_of(run)))


def trajectory(
    preset: Preset = "microcosm", seed: Seed = 0, out: Out = Path("out"), rlhf: Rlhf = "rsf", lr: Rate = "own"
) -> None:
    """Measure every iteration of alignment."""
    from llm.results import write_rows
    from llm.stages import trajectory as stage

    run = run_of(preset, seed, out)
    rows = stage.measure_trajectory(evaluator_of(run), rlhf, lr)
    write_rows(run.folder / "rows" / rlhf / lr / "trajectory.jsonl", rows)
