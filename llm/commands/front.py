"""`alignment-tax front`: the front between two models, measured and drawn, with a recommended ratio."""

from pathlib import Path
from typing import Annotated

import typer

from .model_options import Config, Device, Progress, Seed, Theta, Theta0, settings_from


def front_command(
    theta_0: Theta0,
    theta: Theta,
    tasks: Annotated[
        str, typer.Option(help="Comma-separated: FILE.jsonl, NAME=FILE.jsonl, or names of lm-eval tasks.")
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder to write; a stopped run goes on in it.")],
    reward_model: Annotated[Path | None, typer.Option(help="Folder of a reward model, for the task `reward`.")] = None,
    prompts: Annotated[Path | None, typer.Option(help='With --reward-model: JSONL of {"prompt"}.')] = None,
    alphas: Annotated[str, typer.Option(help="FIRST:LAST:STEP, or numbers and commas.")] = "0:1:0.1",
    method: Annotated[
        str,
        typer.Option(
            help="ma (one ratio), ama (chosen per part), part, or another of `average` that needs no third model."
        ),
    ] = "ma",
    data: Annotated[
        Path | None, typer.Option(help="With --method ama: JSONL of theta's samples, as for `adapt`.")
    ] = None,
    config: Config = None,
    seed: Seed = 0,
    device: Device = "auto",
) -> None:
    """Measure models between theta_0 and theta, draw alignment against ability, and recommend a ratio.

    The recommended ratio has the largest gain in ability at no significant loss of alignment. docs/front.yaml lists what
    --config may set.
    """
    from ..averaging.ama.settings import Sources
    from ..evaluation.front.run import front_files
    from ..evaluation.front.settings import FrontSettings

    named = tuple(task.strip() for task in tasks.split(",") if task.strip())
    given = {"tasks": named, "alphas": alphas, "method": method, "seed": seed}
    settings = settings_from(FrontSettings, config, given)
    with Progress() as bars:

        def show(label: str, done: int, total: int) -> None:
            bars.show("model", done, total)
            if done < total:
                bars.write(f"model {done + 1}/{total}: {label}")

        sources = Sources(theta_0, theta, data, prompts, reward_model)
        print(front_files(sources, out, settings, device=device, progress=show))
    print(f"wrote {out / 'report.html'}")
