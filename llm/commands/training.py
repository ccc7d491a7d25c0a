"""The commands that make a run's models, stage by stage and by the entries of a sweep, and measure them."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from ..errors import UserError
from .options import Eta, Gpus, Out, Preset, Rate, Rlhf, Seed, Sweep, backend, known_rlhf, run_of


def show(
    preset: Preset = "microcosm",
    seed: Seed = 0,
    count: Annotated[int, typer.Option(min=1, help="samples of each kind")] = 2,
    out: Out = Path("out"),
    averaged: Annotated[
        str | None,
        typer.Option(
            parser=known_rlhf, metavar="NAME", help="instead what averages with this algorithm's theta reply, into --to"
        ),
    ] = None,
    to: Annotated[Path | None, typer.Option(help="the JSON file to write, with --averaged")] = None,
) -> None:
    """Print samples of everything the models read: documents, conversations, alignment prompts, test items."""
    if (averaged is None) != (to is None):
        given = "--to" if to else "--averaged"
        raise UserError(
            f"show: {given} alone is not allowed; allowed are both of --averaged NAME and --to FILE, or none"
        )
    if averaged is None:
        from ..stages.show import samples

        print(samples(run_of(preset, seed, out, "MicrocosmPreset"), count))
        return
    from .. import version
    from ..files import write_json
    from ..stages.backend import backend_of
    from ..stages.replies import sample_replies

    run = run_of(preset, seed, out, "LocalPreset")
    made_by = f"alignment-tax show --averaged {averaged} --preset {preset} --seed {seed} --count {count} --to {to}"
    found = sample_replies(backend_of(run).evaluator(), averaged, count)
    write_json(to, {"made_by": made_by, "version": version(), **found})


def pretrain(
    preset: Preset = "microcosm",
    seed: Seed = 0,
    out: Out = Path("out"),
    shipped: Annotated[Path | None, typer.Option(help="take shipped weights from this folder instead")] = None,
) -> None:
    """theta_pre: train from random weights, or take shipped, fetched or public ones."""
    backend(preset, seed, out).pretrain(shipped)


def sft(preset: Preset = "microcosm", seed: Seed = 0, out: Out = Path("out"), gpus: Gpus = None) -> None:
    """theta_0: instruction tuning."""
    backend(preset, seed, out, gpus).sft()


def reward(preset: Preset = "microcosm", seed: Seed = 0, out: Out = Path("out"), gpus: Gpus = None) -> None:
    """Preference pairs and the reward model fitted to them; prints its held-out accuracy."""
    backend(preset, seed, out, gpus).reward()


def warm_start(preset: Preset = "microcosm", seed: Seed = 0, out: Out = Path("out"), gpus: Gpus = None) -> None:
    """What PPO begins with, of presets with a section `warm_start`: theta_0 tuned on the chosen replies."""
    backend(preset, seed, out, gpus).warm_start()


def align(
    preset: Preset = "microcosm",
    seed: Seed = 0,
    out: Out = Path("out"),
    rlhf: Rlhf = "rsf",
    lr: Rate = "own",
    eta: Eta = "own",
    gpus: Gpus = None,
) -> None:
    """theta: best of n (rsf), dpo or ppo; goes on where a killed run stopped."""
    backend(preset, seed, out, gpus).align(rlhf, lr, eta)


def baseline(preset: Preset = "microcosm", seed: Seed = 0, out: Out = Path("out")) -> None:
    """Measure theta_0 and the chance floors."""
    from ..evidence.rows import write_rows

    stages = backend(preset, seed, out)
    write_rows(stages.run.folder / "rows" / "baseline.jsonl", stages.baseline())


def trajectory(
    preset: Preset = "microcosm", seed: Seed = 0, out: Out = Path("out"), rlhf: Rlhf = "rsf", lr: Rate = "own"
) -> None:
    """Measure every iteration of alignment."""
    from ..stages.align import theta_folder
    from ..stages.trajectory import measure_trajectory

    stages = backend(preset, seed, out)
    run, evaluator = stages.run, stages.evaluator()
    models, to = [theta_folder(run, rlhf, lr)], run.folder / "rows" / rlhf / lr / "trajectory.jsonl"
    _write_kept(to, evaluator, models, partial(measure_trajectory, evaluator, rlhf, lr))


def movement(
    to: Annotated[Path, typer.Option(help="the JSON file to write")],
    preset: Preset = "microcosm",
    seed: Seed = 0,
    out: Out = Path("out"),
    rlhf: Annotated[
        list[str],
        typer.Option(parser=known_rlhf, metavar="NAME", help="algorithms whose theta is there, and whose AMA"),
    ] = ["rsf"],  # noqa: B006 - it is only read
) -> None:
    """Measure how far alignment moved each layer, and each token's embedding."""
    from ..files import write_json
    from ..stages.movement import measure_movement

    write_json(to, measure_movement(run_of(preset, seed, out, "LocalPreset"), rlhf))


def overlap(
    to: Annotated[Path, typer.Option(help="the JSON file to write")],
    preset: Preset = "microcosm",
    seed: Seed = 0,
    out: Out = Path("out"),
    rlhf: Annotated[
        list[str], typer.Option(parser=known_rlhf, metavar="NAME", help="algorithms whose theta is there")
    ] = ["rsf"],  # noqa: B006 - it is only read
) -> None:
    """Measure, layer by layer, how far abilities and alignment use the same directions, and what averaging it alone does."""
    from ..files import write_json
    from ..stages.backend import backend_of
    from ..stages.overlap import measure_overlap

    run = run_of(preset, seed, out, "LocalPreset")
    write_json(to, measure_overlap(backend_of(run).evaluator(), rlhf))


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
    from ..stages.align import number, other_runs, theta_folder
    from ..stages.average import measure_averages

    stages = backend(preset, seed, out)
    run = stages.run
    chosen, theta = runnable(load_sweep(name), run.preset).entry(entry), theta_folder(run, rlhf, lr)
    evaluator = stages.evaluator()
    found = stages.ratios(evaluator, theta, rlhf, chosen, run.folder / "ama" / rlhf / lr)
    models, to = [theta, *other_runs(run, theta).values()], run.folder / "rows" / rlhf / lr / f"{chosen.label}.jsonl"
    measure = partial(measure_averages, evaluator, theta, rlhf, chosen, number(lr), found, models=stages.models)
    _write_kept(to, evaluator, models, measure)


def mitigate(
    name: Sweep,
    entry: Annotated[str, typer.Option(help="label of the sweep's training entry")],
    preset: Preset = "microcosm",
    seed: Seed = 0,
    out: Out = Path("out"),
    lr: Rate = "own",
    rlhf: Annotated[
        str | None,
        typer.Option(
            parser=known_rlhf, metavar="NAME", help="algorithm that the method goes with; its first if left out"
        ),
    ] = None,
) -> None:
    """Train theta_0 in every way that a training entry of a sweep lists, and measure each model.

    Of method kl, which is PPO, the models must be there (align --eta).
    """
    from ..config import load_sweep
    from ..evidence.rows import write_rows
    from ..stages.backend import backend_of
    from ..stages.mitigate import measure_trained

    chosen = load_sweep(name).training_entry(entry)
    rlhf = _one_of(rlhf or chosen.spec.after[0], chosen.method, chosen.spec.after)
    run = run_of(preset, seed, out, "Preset" if chosen.spec.how == "penalty" else "MicrocosmPreset")
    rows = measure_trained(backend_of(run).evaluator(), chosen, lr, rlhf)
    write_rows(run.folder / "rows" / rlhf / lr / f"{chosen.label}.jsonl", rows)


def _write_kept(to: Path, evaluator, models: list[Path], measure: Callable) -> None:
    """Write the rows that `measure(keep=...)` gives; those of each model are kept until all are there.

    models: what is measured or averaged, beside theta_0.
    """
    from ..evaluation.keeping import Kept
    from ..evidence.rows import write_rows

    kept = Kept.beside(to, evaluator.run.preset, evaluator.theta_0, evaluator.reward, *models)
    write_rows(to, measure(keep=kept))
    kept.forget()


def _one_of(rlhf: str, method: str, allowed: tuple[str, ...]) -> str:
    if rlhf not in allowed:
        raise UserError(f"rlhf = {rlhf!r} is not allowed with method {method}; allowed are {', '.join(allowed)}")
    return rlhf
