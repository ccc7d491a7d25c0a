"""`python -m llm adapt`: two model folders and samples in, the ratios that suit the samples best out."""

from pathlib import Path
from typing import Annotated

import typer

_SAMPLES, _GROUPS, _DESCENT = "Samples", "Groups", "Optimisation"


def adapt_command(
    theta_0: Annotated[Path, typer.Option("--theta-0", help="Model folder before RLHF.")],
    theta: Annotated[
        Path, typer.Option("--theta", help="Model folder after RLHF, or a LoRA adapter on theta-0.")
    ],
    alpha: Annotated[float, typer.Option(help="Mean of the ratios: the share of theta, from 0 to 1.")],
    out: Annotated[Path, typer.Option("--out", help="JSON file to write; for `average --alphas-file`.")],
    data: Annotated[
        Path | None,
        typer.Option(
            help='JSONL of theta\'s samples: {"prompt", "reply"} or {"messages"}, and "reward" if known.',
            rich_help_panel=_SAMPLES,
        ),
    ] = None,  # fmt: skip
    prompts: Annotated[
        Path | None, typer.Option(help='Instead of --data: JSONL of {"prompt"}.', rich_help_panel=_SAMPLES)
    ] = None,
    reward_model: Annotated[
        Path | None, typer.Option(help="With --prompts: folder of a reward model.", rich_help_panel=_SAMPLES)
    ] = None,
    samples: Annotated[
        int, typer.Option(help="With --prompts: replies a prompt.", rich_help_panel=_SAMPLES)
    ] = 8,
    tokens: Annotated[
        int, typer.Option(help="With --prompts: new tokens a reply at most.", rich_help_panel=_SAMPLES)
    ] = 196,
    temperature: Annotated[
        float, typer.Option(help="With --prompts: sampling temperature.", rich_help_panel=_SAMPLES)
    ] = 1.0,
    keep: Annotated[int, typer.Option(help="Samples kept, by reward.", rich_help_panel=_SAMPLES)] = 5000,
    draw: Annotated[
        int, typer.Option(help="Samples drawn from those kept.", rich_help_panel=_SAMPLES)
    ] = 2000,
    max_length: Annotated[
        int,
        typer.Option(help="Tokens of prompt and reply; longer replies are cut.", rich_help_panel=_SAMPLES),
    ] = 512,
    parts: Annotated[
        int, typer.Option(help="K, contiguous parts of the layers.", rich_help_panel=_GROUPS)
    ] = 3,
    level: Annotated[
        str, typer.Option(help="A ratio per part, layer or module.", rich_help_panel=_GROUPS)
    ] = "part",
    embeddings: Annotated[
        str, typer.Option(help="first, last, mean, own, theta or theta_0.", rich_help_panel=_GROUPS)
    ] = "first",
    norm: Annotated[
        str, typer.Option(help="Final norm: as for embeddings.", rich_help_panel=_GROUPS)
    ] = "mean",
    head: Annotated[
        str, typer.Option(help="Output head: as for embeddings.", rich_help_panel=_GROUPS)
    ] = "mean",
    epochs: Annotated[float, typer.Option(help="Passes over the samples.", rich_help_panel=_DESCENT)] = 1.0,
    batch: Annotated[int, typer.Option(help="Samples a step.", rich_help_panel=_DESCENT)] = 8,
    lr: Annotated[float, typer.Option(help="Adam's learning rate on s.", rich_help_panel=_DESCENT)] = 0.05,
    warmup: Annotated[
        float,
        typer.Option(help="Share of the steps that warm up; a cosine follows.", rich_help_panel=_DESCENT),
    ] = 0.03,
    parameterisation: Annotated[
        str, typer.Option(help="sigmoid, or paper (eq. 11).", rich_help_panel=_DESCENT)
    ] = "sigmoid",
    eps: Annotated[
        float, typer.Option(help="With paper: bounds the ratios' spread.", rich_help_panel=_DESCENT)
    ] = 0.0,
    regulariser: Annotated[
        float,
        typer.Option(
            help="Weight that keeps the middle near alpha; the authors' is 1e-4.", rich_help_panel=_DESCENT
        ),
    ] = 0.0,  # fmt: skip
    squared: Annotated[
        bool, typer.Option("--squared", help="With regulariser: squares.", rich_help_panel=_DESCENT)
    ] = False,
    check: Annotated[
        int,
        typer.Option(help="Samples on which found and equal ratios are compared.", rich_help_panel=_DESCENT),
    ] = 256,
    seed: Annotated[int, typer.Option(help="Of every random choice.")] = 0,
    dtype: Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.")] = "auto",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ..")] = "auto",
    save_every: Annotated[int, typer.Option(help="Steps between two saved states.")] = 10,
) -> None:
    """AMA: find the ratio of each part, with mean alpha, that makes theta's best replies likeliest.

    Run it again after a stop and it goes on where it was.
    """
    from llm.averaging.adapt_files import Sources, adapt_files
    from llm.averaging.adapt_settings import AdaptSettings
    from llm.averaging.groups import Grouping

    settings = AdaptSettings(
        alpha=alpha,
        grouping=Grouping(parts, level, embeddings, norm, head),
        keep=keep,
        draw=draw,
        epochs=epochs,
        batch=batch,
        lr=lr,
        warmup=warmup,
        max_length=max_length,
        parameterisation=parameterisation,
        eps=eps,
        regulariser=regulariser,
        squared=squared,
        check=check,
        seed=seed,
        dtype=dtype,
        samples=samples,
        tokens=tokens,
        temperature=temperature,
    )
    sources = Sources(theta_0, theta, data, prompts, reward_model)
    with _Progress() as progress:
        found = adapt_files(
            sources, out, settings, device=device, save_every=save_every, progress=progress.show
        )
    _print(found, out)


class _Progress:
    """A bar on standard error, on a terminal only, and a line a step on standard output."""

    def __enter__(self) -> "_Progress":
        self._bars = {}
        return self

    def __exit__(self, *_) -> None:
        for bar in self._bars.values():
            bar.close()

    def show(self, phase: str, done: int, total: int, state) -> None:
        from tqdm import tqdm

        if phase not in self._bars:
            self._bars[phase] = tqdm(total=total, unit=phase.removesuffix("s"), disable=None)
        self._bars[phase].update(done - self._bars[phase].n)
        if state is not None:
            step = state.path[-1]
            ratios = "  ".join(f"{group} {ratio:.4f}" for group, ratio in step["alphas"].items())
            tqdm.write(f"step {done}/{total}  loss {step['loss']:.5f}  {ratios}")


def _print(found: dict, out: Path) -> None:
    loss = found["loss"]
    for group, ratio in found["groups"].items():
        print(f"{group:16} alpha {ratio:.4f}")
    error = "" if loss["gain_stderr"] is None else f" +- {loss['gain_stderr']:.5f}"
    print(f"-log-likelihood a token on {loss['n']} of the samples: equal ratios {loss['equal']:.5f}, these "
          f"{loss['found']:.5f}, gain {loss['gain']:.5f}{error}")  # fmt: skip
    if found["samples"]["left_out"]:
        print(f"{found['samples']['left_out']} samples were left out: their prompts alone reach max-length")
    print(f"wrote {out}")
