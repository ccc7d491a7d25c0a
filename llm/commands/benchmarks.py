"""`alignment-tax benchmark`, `replies` and `win-rate`: a model folder on the paper's tasks, and against another model."""

from pathlib import Path
from typing import Annotated

import typer

from .model_options import Device, Dtype, Seed, folder_of

Model = Annotated[
    Path,
    typer.Argument(
        parser=folder_of("model"),
        metavar="MODEL",
        help="A folder, or ORG/NAME or ORG/NAME@REVISION in the hub's cache.",
    ),
]
To = Annotated[Path, typer.Option("--to", help="File to write; it must not exist yet.")]
Batch = Annotated[int, typer.Option(help="Sequences at a time.")]
Name = Annotated[
    str | None, typer.Option(help="Name of the model in what is written; default: the hub's, or its folder's.")
]
Rlhf = Annotated[str, typer.Option(help="How the model was aligned: rsf, dpo, ppo; none if not, or not known.")]


def benchmark_command(
    model: Model,
    to: To,
    tasks: Annotated[str, typer.Option(help="Comma-separated names, or all.")] = "all",
    limit: Annotated[int | None, typer.Option(help="First items of each task.")] = None,
    tokens: Annotated[int | None, typer.Option(help="New tokens of an answer; default: lm-eval's.")] = None,
    data: Annotated[Path | None, typer.Option(help="Folder of TASK.jsonl or TASK.parquet, instead of the hub.")] = None,
    chat: Annotated[bool, typer.Option(help="Ask in the chat format, or as plain text.")] = False,
    cut: Annotated[bool, typer.Option(help="Cut the beginning of prompts that are too long.")] = False,
    backend: Annotated[str, typer.Option(help="hf (transformers) or vllm.")] = "hf",
    batch: Batch = 16,
    dtype: Dtype = "auto",
    device: Device = "auto",
    name: Name = None,
    rlhf: Rlhf = "none",
    seed: Seed = 0,
) -> None:
    """Measure a model on the paper's tasks by lm-eval, and write result rows.

    Tasks: arc_easy, arc_challenge, race, piqa (their mean: qa), squad_v1_f1, drop (reading_f1), wmt14-fr-en (bleu); squad_v2_f1 in the place of squad_v1_f1.
    """
    from ..data.benchmarks import parse_tasks
    from ..models.cache import shown_name

    names, called = parse_tasks(tasks), name or shown_name(model)
    _check(to, called, seed, rlhf)
    from time import perf_counter

    import numpy as np

    from ..evaluation.benchmarks.harness import check_folder, check_how, from_folder
    from ..evaluation.benchmarks.suite import SuiteSettings, load_suite

    check_folder(model)
    check_how(batch, dtype, device, backend)
    suite = load_suite(SuiteSettings(names, limit, tokens, data, chat, cut))
    lm = from_folder(model, batch=batch, dtype=dtype, device=device, backend=backend)
    start = perf_counter()
    measured = suite.measure(lm, np.random.default_rng(seed))
    _write(to, called, seed, rlhf, {}, measured, perf_counter() - start)


def replies_command(
    model: Model,
    instructions: Annotated[Path, typer.Option(help='AlpacaEval\'s JSON of {"instruction"}, or JSONL of {"prompt"}.')],
    to: To,
    tokens: Annotated[int, typer.Option(help="New tokens of a reply.")] = 2048,
    temperature: Annotated[float, typer.Option(help="0 for the likeliest reply.")] = 1.0,
    system: Annotated[str | None, typer.Option(help="A system turn before each instruction.")] = None,
    batch: Batch = 16,
    dtype: Dtype = "auto",
    device: Device = "auto",
    name: Name = None,
    seed: Seed = 0,
) -> None:
    """Write a model's replies as AlpacaEval reads them, for `win-rate` or a judge with your own key."""
    from ..evaluation.benchmarks.alpaca import Sampling, read_instructions, replies_to, write_outputs
    from ..evaluation.benchmarks.harness import load_folder
    from ..models.cache import shown_name

    _check_new(to)
    sampling, prompts = Sampling(tokens, temperature, batch, seed, system), read_instructions(instructions)
    replies = replies_to([one.text for one in prompts], *load_folder(model, dtype, device), sampling)
    write_outputs(to, name or shown_name(model), prompts, replies)
    print(f"wrote {to}; to have GPT-4 judge it: alpaca_eval --model_outputs {to}")


def win_rate_command(
    outputs: Annotated[Path, typer.Argument(help="Replies of a model, from `replies`.")],
    rival: Annotated[Path, typer.Argument(help="Replies of another to the same instructions.")],
    to: To,
    ranker: Annotated[
        str, typer.Option(help="PairRM: a local folder, or a name on the hub.")
    ] = "llm-blender/PairRM-hf",
    batch: Batch = 8,
    device: Device = "auto",
    rlhf: Rlhf = "none",
    seed: Seed = 0,
) -> None:
    """Compare two models' replies by PairRM, in both orders, and write the win rate as a result row."""
    from time import perf_counter

    from ..evaluation.benchmarks.alpaca import paired, read_outputs
    from ..evaluation.benchmarks.pairrm import PairRM, win_rate

    own, other, start = read_outputs(outputs), read_outputs(rival), perf_counter()
    _check(to, own.generator, seed, rlhf)
    measured = {"win_rate": win_rate(PairRM(ranker, batch, device), *paired(own, other))}
    setting = {"ranker": Path(ranker).name, "rival": other.generator}
    _write(to, own.generator, seed, rlhf, setting, measured, perf_counter() - start)


def _check(to: Path, name: str, seed: int, rlhf: str) -> None:
    """Refuse at once what would be refused when the rows are written."""
    from ..evidence.rows import parse_row

    _check_new(to)
    named = {"preset": name, "seed": seed, "rlhf": rlhf, "method": "model", "setting": {}, "metric": "qa"}
    found = {"split": "test", "value": 0.0, "stderr": None, "n": 1, "seconds": 0.0, "version": "0"}
    parse_row(named | found, "the rows to write")


def _check_new(path: Path) -> None:
    from ..errors import UserError

    if path.exists():
        raise UserError(f"to is {str(path)!r}, which exists; give a new file.")


def _write(to: Path, name: str, seed: int, rlhf: str, setting: dict, measured: dict, seconds: float) -> None:
    from ..evaluation.measurement import named_rows
    from ..evidence.rows import write_rows

    write_rows(to, named_rows(name, seed, rlhf, "model", setting, measured, seconds))
    for metric, found in measured.items():
        error = "" if found.stderr is None else f" +- {found.stderr:.4f}"
        print(f"{metric:14} {found.value:9.4f}{error} over {found.n} items")
    print(f"wrote {to}")
