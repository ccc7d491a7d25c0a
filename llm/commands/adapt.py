"""`alignment-tax adapt`: two model folders and samples in, the ratios that suit the samples best out."""

from pathlib import Path
from typing import Annotated

import typer

from .model_options import Config, Device, Progress, RewardCommand, RewardModel, Seed, Theta, Theta0, settings_from


def adapt_command(
    theta_0: Theta0,
    theta: Theta,
    alpha: Annotated[float, typer.Option(help="Mean of the ratios: the share of theta, from 0 to 1.")],
    out: Annotated[Path, typer.Option("--out", help="JSON file to write; for `average --alphas-file`.")],
    data: Annotated[
        Path | None,
        typer.Option(help='JSONL of theta\'s samples: {"prompt", "reply"} or {"messages"}, and "reward" if known.'),
    ] = None,
    prompts: Annotated[Path | None, typer.Option(help="Instead of --data: prompts, JSONL, or a line each.")] = None,
    reward_model: RewardModel = None,
    reward_command: RewardCommand = None,
    config: Config = None,
    seed: Seed = 0,
    device: Device = "auto",
) -> None:
    """AMA: find the ratio of each part, with mean alpha, that makes theta's best replies likeliest.

    Run it again after a stop and it goes on where it was. docs/adapt.yaml lists what --config may set.

    Such as: alignment-tax adapt --theta-0 sft/ --theta rlhf/ --alpha 0.8 --prompts train-prompts.jsonl --reward-model rm/
    --out ratios.json
    """
    from ..averaging.ama.run import adapt_files
    from ..averaging.ama.settings import AdaptSettings, Sources

    settings = settings_from(AdaptSettings, config, {"alpha": alpha, "seed": seed})
    with Progress() as bars:

        def show(phase: str, done: int, total: int, state) -> None:
            bars.show(phase.removesuffix("s"), done, total)
            if state is not None:
                step = state.path[-1]
                ratios = "  ".join(f"{group} {ratio:.4f}" for group, ratio in step["alphas"].items())
                bars.write(f"step {done}/{total}  loss {step['loss']:.5f}  {ratios}")

        sources = Sources(theta_0, theta, data, prompts, reward_model, reward_command)
        _print(adapt_files(sources, out, settings, device=device, progress=show), out)


def _print(found: dict, out: Path) -> None:
    loss = found["loss"]
    for group, ratio in found["groups"].items():
        print(f"{group:16} alpha {ratio:.4f}")
    error = "" if loss["gain_stderr"] is None else f" +- {loss['gain_stderr']:.5f}"
    print(
        f"-log-likelihood a token on {loss['n']} of the samples they were fitted to: equal ratios {loss['equal']:.5f}, these "
        f"{loss['found']:.5f}, gain {loss['gain']:.5f}{error}"
    )
    if found["samples"]["left_out"]:
        print(f"{found['samples']['left_out']} samples were left out: their prompts alone reach max-length")
    print(f"wrote {out}")
