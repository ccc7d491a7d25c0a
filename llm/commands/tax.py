"""`alignment-tax tax`: what alignment has cost, measured on two models as they are."""

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
    settings_from,
    task_names,
)


def tax_command(
    theta_0: Theta0,
    theta: Theta,
    out: Annotated[Path, typer.Option("--out", help="Folder to write; must not exist.")],
    tasks: Tasks = "",
    prompts: Annotated[Path | None, typer.Option(help="Prompts to reply to: JSONL, or a line each.")] = None,
    reward_model: RewardModel = None,
    reward_command: RewardCommand = None,
    samples: Annotated[int, typer.Option(help="Replies a prompt; from 2 on also their likeness, and pass@k.")] = 1,
    config: Config = None,
    seed: Seed = 0,
    device: Device = "auto",
) -> None:
    """Measure the alignment tax of theta against theta_0: abilities item by item, replies, next tokens, weights.

    Writes one page (report.html) and one JSON file (tax.json).

    Items, a line each: {"prompt", "choices", "answer"} (accuracy), {"prompt", "answers"} (F1), {"prompt", "reference"} (BLEU).
    One of the first: {"prompt": "2 + 2 =", "choices": ["3", "4"], "answer": "4"}
    Prompts: {"prompt"}, text or messages, {"messages"} or {"instruction"}; or a .txt.
    docs/your-models.md has the table, docs/tax.yaml what --config may set.

    Such as: alignment-tax tax --theta-0 sft/ --theta rlhf/ --tasks items.jsonl --out tax/
    """
    from ..averaging.ama.settings import Sources
    from ..evaluation.tax.run import TaxSettings, tax_files

    settings = settings_from(TaxSettings, config, {"tasks": task_names(tasks), "samples": samples, "seed": seed})
    sources = Sources(theta_0, theta, None, prompts, reward_model, reward_command)
    with Progress() as bars:
        for verdict in tax_files(sources, out, settings, device=device, progress=bars.steps("step")):
            print(verdict)
    print(f"wrote {out / 'report.html'}")
