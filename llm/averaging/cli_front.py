"""`python -m llm front`: the front between two models, measured and drawn, with a recommended ratio."""

from pathlib import Path
from typing import Annotated

import typer

_TASKS, _PATH, _AMA = "Tasks", "Models between", "With --method ama"


def front_command(
    theta_0: Annotated[Path, typer.Option("--theta-0", help="Model folder before RLHF.")],
    theta: Annotated[
        Path, typer.Option("--theta", help="Model folder after RLHF, or a LoRA adapter on theta-0.")
    ],
    tasks: Annotated[
        str, typer.Option(help="Comma-separated: FILE.jsonl, NAME=FILE.jsonl, or names of lm-eval tasks.")
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder to write; a stopped run goes on in it.")],
    reward_model: Annotated[
        Path | None,
        typer.Option(help="Folder of a reward model, for the task `reward`.", rich_help_panel=_TASKS),
    ] = None,
    prompts: Annotated[
        Path | None, typer.Option(help='With --reward-model: JSONL of {"prompt"}.', rich_help_panel=_TASKS)
    ] = None,
    alignment: Annotated[
        str, typer.Option(help="The task that must not be lost.", rich_help_panel=_TASKS)
    ] = "reward",
    chat: Annotated[
        bool, typer.Option(help="Local items in the chat format, or as plain text.", rich_help_panel=_TASKS)
    ] = True,
    task_tokens: Annotated[
        int, typer.Option(help="New tokens of an answer to local items.", rich_help_panel=_TASKS)
    ] = 64,
    tokens: Annotated[
        int, typer.Option(help="New tokens of a rewarded reply.", rich_help_panel=_TASKS)
    ] = 196,
    temperature: Annotated[float, typer.Option(help="Of rewarded replies.", rich_help_panel=_TASKS)] = 1.0,
    limit: Annotated[
        int | None, typer.Option(help="First items of each lm-eval task.", rich_help_panel=_TASKS)
    ] = None,
    task_folder: Annotated[
        Path | None, typer.Option(help="Folder of further lm-eval task files.", rich_help_panel=_TASKS)
    ] = None,
    alphas: Annotated[
        str, typer.Option(help="FIRST:LAST:STEP, or numbers and commas.", rich_help_panel=_PATH)
    ] = "0:1:0.1",
    method: Annotated[
        str, typer.Option(help="ma (one ratio), ama (chosen per part), part.", rich_help_panel=_PATH)
    ] = "ma",
    part: Annotated[
        str | None,
        typer.Option(help="With --method part: input, middle, output or a number.", rich_help_panel=_PATH),
    ] = None,
    parts: Annotated[int, typer.Option(help="K, contiguous parts of the layers.", rich_help_panel=_PATH)] = 3,
    level: Annotated[
        str, typer.Option(help="A ratio per part, layer or module.", rich_help_panel=_PATH)
    ] = "part",
    embeddings: Annotated[
        str, typer.Option(help="first, last, mean, own, theta or theta_0.", rich_help_panel=_PATH)
    ] = "first",
    norm: Annotated[
        str | None, typer.Option(help="Final norm; default mean (part: theta).", rich_help_panel=_PATH)
    ] = None,
    head: Annotated[
        str | None, typer.Option(help="Output head; default mean (part: theta).", rich_help_panel=_PATH)
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="JSONL of theta's samples, as for `adapt`.", rich_help_panel=_AMA)
    ] = None,
    keep: Annotated[int, typer.Option(help="Samples kept, by reward.", rich_help_panel=_AMA)] = 5000,
    draw: Annotated[int, typer.Option(help="Samples drawn from those kept.", rich_help_panel=_AMA)] = 2000,
    epochs: Annotated[float, typer.Option(help="Passes over the samples.", rich_help_panel=_AMA)] = 1.0,
    lr: Annotated[float, typer.Option(help="Adam's learning rate on s.", rich_help_panel=_AMA)] = 0.05,
    max_length: Annotated[int, typer.Option(help="Tokens of prompt and reply.", rich_help_panel=_AMA)] = 512,
    batch: Annotated[int, typer.Option(help="Sequences at a time.")] = 16,
    confidence: Annotated[float, typer.Option(help="Of the intervals and of the test.")] = 0.95,
    resamples: Annotated[int, typer.Option(help="Of the bootstrap.")] = 1000,
    seed: Annotated[int, typer.Option(help="Of every random choice.")] = 0,
    dtype: Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.")] = "auto",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ..")] = "auto",
    name: Annotated[
        str | None, typer.Option(help="Preset in the rows; default: the folder of theta.")
    ] = None,
    rlhf: Annotated[
        str, typer.Option(help="How theta was aligned: rsf, dpo, ppo; none if not known.")
    ] = "none",
) -> None:
    """Measure models between theta_0 and theta, draw alignment against ability, and recommend a ratio.

    The recommended ratio has the largest gain in ability at no significant loss of alignment.
    """
    from llm.averaging.adapt_settings import AdaptSettings
    from llm.averaging.front import Sweep, parse_alphas
    from llm.averaging.front_files import FrontSettings, Inputs, front_files
    from llm.averaging.groups import Grouping

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
        tasks=[task.strip() for task in tasks.split(",") if task.strip()], alignment=alignment, chat=chat,
        task_tokens=task_tokens, tokens=tokens, temperature=temperature, batch=batch, limit=limit,
        task_folder=task_folder, confidence=confidence, resamples=resamples, seed=seed, dtype=dtype,
        name=name or theta.resolve().name, rlhf=rlhf,
    )  # fmt: skip
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
