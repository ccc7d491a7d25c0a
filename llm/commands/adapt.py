"""`python -m llm adapt`: two model folders and samples in, the ratios that suit the samples best out."""

from pathlib import Path
from typing import Annotated

import typer

from .model_options import Device, Dtype, Seed, Theta, Theta0, in_panel

_samples, _groups, _descent = map(in_panel, ("Samples", "Groups", "Optimisation"))


def adapt_command(
    theta_0: Theta0,
    theta: Theta,
    alpha: Annotated[float, typer.Option(help="Mean of the ratios: the share of theta, from 0 to 1.")],
    out: Annotated[Path, typer.Option("--out", help="JSON file to write; for `average --alphas-file`.")],
    data: Annotated[
        Path | None,
        _samples(help='JSONL of theta\'s samples: {"prompt", "reply"} or {"messages"}, and "reward" if known.'),
    ] = None,
    prompts: Annotated[Path | None, _samples(help='Instead of --data: JSONL of {"prompt"}.')] = None,
    reward_model: Annotated[Path | None, _samples(help="With --prompts: folder of a reward model.")] = None,
    samples: Annotated[int, _samples(help="With --prompts: replies a prompt.")] = 8,
    tokens: Annotated[int, _samples(help="With --prompts: new tokens a reply at most.")] = 196,
    temperature: Annotated[float, _samples(help="With --prompts: sampling temperature.")] = 1.0,
    keep: Annotated[int, _samples(help="Samples kept, by reward.")] = 5000,
    draw: Annotated[int, _samples(help="Samples drawn from those kept.")] = 2000,
    max_length: Annotated[int, _samples(help="Tokens of prompt and reply; longer replies are cut.")] = 512,
    parts: Annotated[int, _groups(help="K, contiguous parts of the layers.")] = 3,
    level: Annotated[str, _groups(help="A ratio per part, layer or module.")] = "part",
    embeddings: Annotated[str, _groups(help="first, last, mean, own, theta or theta_0.")] = "first",
    norm: Annotated[str, _groups(help="Final norm: as for embeddings.")] = "mean",
    head: Annotated[str, _groups(help="Output head: as for embeddings.")] = "mean",
    epochs: Annotated[float, _descent(help="Passes over the samples.")] = 1.0,
    batch: Annotated[int, _descent(help="Samples a step.")] = 8,
    lr: Annotated[float, _descent(help="Adam's learning rate on s.")] = 0.05,
    warmup: Annotated[float, _descent(help="Share of the steps that warm up; a cosine follows.")] = 0.03,
    parameterisation: Annotated[str, _descent(help="sigmoid, or paper (eq. 11).")] = "sigmoid",
    eps: Annotated[float, _descent(help="With paper: bounds the ratios' spread.")] = 0.0,
    regulariser: Annotated[
        float, _descent(help="Weight that keeps the middle near alpha; the authors' is 1e-4.")
    ] = 0.0,
    squared: Annotated[bool, _descent("--squared", help="With regulariser: squares.")] = False,
    check: Annotated[int, _descent(help="Samples on which found and equal ratios are compared.")] = 256,
    seed: Seed = 0,
    dtype: Dtype = "auto",
    device: Device = "auto",
    save_every: Annotated[int, typer.Option(help="Steps between two saved states.")] = 10,
) -> None:
    """AMA: find the ratio of each part, with mean alpha, that makes theta's best replies likeliest.

    Run it again after a stop and it goes on where it was.
    """
    from ..averaging.ama.run import Sources, adapt_files
    from ..averaging.ama.settings import AdaptSettings
    from ..grouping import Grouping

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
        found = adapt_files(sources, out, settings, device=device, save_every=save_every, progress=progress.show)
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
    print(
        f"-log-likelihood a token on {loss['n']} of the samples: equal ratios {loss['equal']:.5f}, these "
        f"{loss['found']:.5f}, gain {loss['gain']:.5f}{error}"
    )
    if found["samples"]["left_out"]:
        print(f"{found['samples']['left_out']} samples were left out: their prompts alone reach max-length")
    print(f"wrote {out}")
