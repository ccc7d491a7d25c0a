"""`alignment-tax front`: the front between two models, measured and drawn, with a recommended ratio."""

from pathlib import Path
from typing import Annotated

import typer

from .model_options import (
    Config,
    Device,
    Progress,
    RewardCommand,
    RewardModel,
    Seed,
    Tasks,
    Theta,
    Theta0,
    ThetaPre,
    Weight,
    With,
    folder_of,
    in_panel,
    settings_from,
    task_names,
)

_regression = in_panel("Regression averaging")


def front_command(
    theta_0: Theta0,
    theta: Theta,
    tasks: Tasks,
    out: Annotated[
        Path, typer.Option("--out", help="Folder to write; a run goes on in it, with more tasks or methods.")
    ],
    reward_model: RewardModel = None,
    reward_command: RewardCommand = None,
    prompts: Annotated[Path | None, typer.Option(help="Prompts of the task `reward`: JSONL, or a line each.")] = None,
    alphas: Annotated[
        str | None,
        typer.Option(
            help="FIRST:LAST:STEP, or numbers and commas; default 0:1:0.1, of extrapolate 1.1:1.5:0.1. Not of regmean."
        ),
    ] = None,
    method: Annotated[
        str,
        typer.Option(
            help="Comma-separated: ma (one ratio), ama (chosen per part; needs --data), part (one alone: `part` in --config), extrapolate (the alphas above 1), or others of `average`."
        ),
    ] = "ma",
    keep: Annotated[float, typer.Option(help="Share of the rise in reward that a recommended model must keep.")] = 0.95,
    samples: Annotated[int, typer.Option(help="Replies a prompt.")] = 1,
    with_: With = None,
    weight: Weight = None,
    theta_pre: ThetaPre = None,
    data: Annotated[
        Path | None, typer.Option(help="With method ama: JSONL of theta's samples, as for `adapt`.")
    ] = None,
    strength: Annotated[
        str | None,
        _regression(help="Lambdas, with commas: how much theta_0 counts, 0 is theta; default 10,3,1,0.3,0.1."),
    ] = None,
    layers: Annotated[
        str | None,
        _regression(help="equal (default), increasing (lambda falls from layer to layer), or both by a comma."),
    ] = None,
    train_prompts: Annotated[
        Path | None, _regression(help="Prompts for theta to reply to; without, those of --prompts (better not).")
    ] = None,
    own_samples: Annotated[
        list[Path] | None,
        _regression(help="Samples of both models, as for `average --samples`; without, both write some."),
    ] = None,
    config: Config = None,
    seed: Seed = 0,
    device: Device = "auto",
) -> None:
    """Measure models between theta_0 and theta, draw alignment against ability, and recommend a ratio.

    The recommended ratio has the largest gain in ability among those that surely keep --keep of the rise in alignment.

    Items, a line each: {"prompt", "choices", "answer"} (accuracy), {"prompt", "answers"} (F1), {"prompt", "reference"} (BLEU).
    One of the first: {"prompt": "2 + 2 =", "choices": ["3", "4"], "answer": "4"}
    Prompts: {"prompt"}, text or messages, {"messages"} or {"instruction"}; or a .txt.
    docs/your-models.md has the table, docs/front.yaml what --config may set.

    Such as: alignment-tax front --theta-0 sft/ --theta rlhf/ --tasks items.jsonl --prompts prompts.jsonl --reward-model rm/
    --method ma,regmean --train-prompts train-prompts.jsonl --out front/

    Regression averaging (regmean) kept most ability in what was measured here (docs/results.md).
    """
    from ..averaging.ama.settings import Sources
    from ..averaging.soup import Soup
    from ..evaluation.front.points import in_words, points_of
    from ..evaluation.front.run import front_files
    from ..evaluation.front.settings import FrontSettings

    given = {"tasks": task_names(tasks), "method": method, "seed": seed, "keep": keep, "samples": samples}
    given |= {"alphas": alphas, "strength": strength, "layers": layers}
    settings = settings_from(FrontSettings, config, {key: one for key, one in given.items() if one is not None})
    others = Soup(tuple(map(folder_of("with"), with_ or ())), tuple(weight or ()))
    pre = theta_pre and folder_of("theta-pre")(theta_pre)
    own = tuple(own_samples or ()), train_prompts
    sources = Sources(theta_0, theta, data, prompts, reward_model, reward_command, others, pre or None, *own)
    print(in_words(points_of(settings)))
    with Progress() as bars:
        print(front_files(sources, out, settings, device=device, progress=bars.steps("model")))
    print(f"wrote {out / 'report.html'}")
