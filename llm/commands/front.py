"""`python -m llm front`: the front between two models, measured and drawn, with a recommended ratio."""

from pathlib import Path
from typing import Annotated

import typer

from .model_options import Device, Dtype, Seed, Theta, Theta0, in_panel

_tasks, _path, _ama = map(in_panel, ("Tasks", "Models between", "With --method ama"))


def front_command(
    theta_0: Theta0,
    theta: Theta,
    tasks: Annotated[
        str, typer.Option(help="Comma-separated: FILE.jsonl, NAME=FILE.jsonl, or names of lm-eval tasks.")
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder to write; a stopped run goes on in it.")],
    reward_model: Annotated[Path | None, _tasks(help="Folder of a reward model, for the task `reward`.")] = None,
    prompts: Annotated[Path | None, _tasks(help='With --reward-model: JSONL of {"prompt"}.')] = None,
    alignment: Annotated[str, _tasks(help="The task that must not be lost.")] = "reward",
    chat: Annotated[bool, _tasks(help="Local items in the chat format, or as plain text.")] = True,
    task_tokens: Annotated[int, _tasks(help="New tokens of an answer to local items.")] = 64,
    tokens: Annotated[int, _tasks(help="New tokens of a rewarded reply.")] = 196,
    temperature: Annotated[float, _tasks(help="Of rewarded replies.")] = 1.0,
    limit: Annotated[int | None, _tasks(help="First items of each lm-eval task.")] = None,
    task_folder: Annotated[Path | None, _tasks(help="Folder of further lm-eval task files.")] = None,
    alphas: Annotated[str, _path(help="FIRST:LAST:STEP, or numbers and commas.")] = "0:1:0.1",
    method: Annotated[str, _path(help="ma (one ratio), ama (chosen per part), part.")] = "ma",
    part: Annotated[str | None, _path(help="With --method part: input, middle, output or a number.")] = None,
    parts: Annotated[int, _path(help="K, contiguous parts of the layers.")] = 3,
    level: Annotated[str, _path(help="A ratio per part, layer or module.")] = "part",
    embeddings: Annotated[str, _path(help="first, last, mean, own, theta or theta_0.")] = "first",
    norm: Annotated[str | None, _path(help="Final norm; default mean (part: theta).")] = None,
    head: Annotated[str | None, _path(help="Output head; default mean (part: theta).")] = None,
    data: Annotated[Path | None, _ama(help="JSONL of theta's samples, as for `adapt`.")] = None,
    keep: Annotated[int, _ama(help="Samples kept, by reward.")] = 5000,
    draw: Annotated[int, _ama(help="Samples drawn from those kept.")] = 2000,
    epochs: Annotated[float, _ama(help="Passes over the samples.")] = 1.0,
    lr: Annotated[float, _ama(help="Adam's learning rate on s.")] = 0.05,
    max_length: Annotated[int, _ama(help="Tokens of prompt and reply.")] = 512,
    batch: Annotated[int, typer.Option(help="Sequences at a time.")] = 16,
    confidence: Annotated[float, typer.Option(help="Of the intervals and of the test.")] = 0.95,
    resamples: Annotated[int, typer.Option(help="Of the bootstrap.")] = 1000,
    seed: Seed = 0,
    dtype: Dtype = "auto",
    device: Device = "auto",
    name: Annotated[str | None, typer.Option(help="Preset in the rows; default: the folder of theta.")] = None,
    rlhf: Annotated[str, typer.Option(help="How theta was aligned: rsf, dpo, ppo; none if not known.")] = "none",
) -> None:
    """Measure models between theta_0 and theta, draw alignment against ability, and recommend a ratio.

    The recommended ratio has the largest gain in ability at no significant loss of alignment.
    """
    from ..averaging.ama.settings import AdaptSettings
    from ..evaluation.front.measure import Sweep, parse_alphas
    from ..evaluation.front.run import FrontSettings, Inputs, front_files
    from ..grouping import Grouping

    rest = "theta" if method == "part" else "mean"
    adapt = AdaptSettings(
        alpha=1.0, keep=keep, draw=draw, epochs=epochs, batch=batch, lr=lr, max_length=max_length, seed=seed
    )
    sweep = Sweep(
        method,
        parse_alphas(alphas),
        Grouping(parts, level, embeddings, norm or rest, head or rest),
        part,
        adapt if method == "ama" else None,
    )
    settings = FrontSettings(
        tasks=[task.strip() for task in tasks.split(",") if task.strip()],
        alignment=alignment,
        chat=chat,
        task_tokens=task_tokens,
        tokens=tokens,
        temperature=temperature,
        batch=batch,
        limit=limit,
        task_folder=task_folder,
        confidence=confidence,
        resamples=resamples,
        seed=seed,
        dtype=dtype,
        name=name or theta.resolve().name,
        rlhf=rlhf,
    )
    inputs = Inputs(theta_0, theta, reward_model, prompts, data)
    with _Progress() as progress:
        print(front_files(inputs, out, sweep, settings, device=device, progress=progress.show))
    print(f"wrote {out / 'report.html'}")


class _Progress:
    """A bar on standard error, on a terminal only, and a line a model on standard output."""

    def __enter__(self) -> "_Progress":
        self._bar = None
        return self

    def __exit__(self, *_) -> None:
        if self._bar is not None:
            self._bar.close()

    def show(self, label: str, done: int, total: int) -> None:
        from tqdm import tqdm

        if self._bar is None:
            self._bar = tqdm(total=total, unit="model", disable=None)
        self._bar.update(done - self._bar.n)
        if done < total:
            tqdm.write(f"model {done + 1}/{total}: {label}")
