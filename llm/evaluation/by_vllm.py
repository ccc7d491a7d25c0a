"""A model measured by one engine of vLLM, replies and lm-eval's tasks, in a process of its own.

The engine reads a folder. So a model from memory, such as an average, is written aside first, into the run's folder, and removed when it is
measured, or by the next run on the same machine if this one is killed.
"""

import os
import shutil
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..config import HubPreset
from ..data.records import Prompt
from ..files import remove_partial
from ..models.chat import end_id, ids_of_prompts
from ..models.save import save_model
from ..run import Run
from ..training.distributed.vllm_writer import Asked, Reply, apart, is_installed, replies_of, require_vllm
from .benchmarks.harness import from_folder
from .benchmarks.suite import SuiteSettings, load_suite
from .measurement import Measurement

DTYPES = {"bf16": "bfloat16", "fp32": "float32"}
Replies = list[tuple[str, bool]]  # (reply, whether it ended by itself)


class Texts(NamedTuple):
    """A reply to each prompt."""

    prompts: Sequence[Prompt]
    temperature: float
    max_new_tokens: int


def is_taken(preset: HubPreset) -> bool:
    """Whether the preset's models are measured by vLLM; UserError where it asks for it and has not got it."""
    if preset.evaluate.sampler == "vllm":
        require_vllm()
    return preset.measured_by_vllm(is_installed())


def read_model(
    run: Run[HubPreset], model, tokenizer, asked: Sequence[Texts], tasks: SuiteSettings | None = None
) -> tuple[list[Replies], dict[str, Measurement]]:
    """`read` of a model from memory."""
    # nodes of a cluster know each other's processes by no number
    place = run.folder / f"measured-{socket.gethostname()}"
    remove_partial(place)
    aside = place.with_name(f".{place.name}.partial-{os.getpid()}")
    aside.mkdir(parents=True)
    try:
        save_model(model, tokenizer, aside / "model")
        return read(run, aside / "model", tokenizer, asked, tasks)
    finally:
        shutil.rmtree(aside)


def read(
    run: Run[HubPreset],
    folder: Path,
    tokenizer,
    asked: Sequence[Texts],
    tasks: SuiteSettings | None = None,
    *purpose: int,
) -> tuple[list[Replies], dict[str, Measurement]]:
    """The replies to all that is asked, and, if they are given, lm-eval's tasks. purpose: numbers that tell random streams apart."""
    end, seeds, bleu = end_id(tokenizer), run.rng("evaluate", "vllm", *purpose), run.rng("evaluate", "bleu")
    wanted = []
    for one in asked:
        numbers = seeds.integers(2**31, size=len(one.prompts)).tolist()
        prompts = list(zip(ids_of_prompts(tokenizer, one.prompts), numbers, strict=True))
        wanted.append(Asked(prompts, 1, one.temperature, one.max_new_tokens, end))
    engine = (folder, DTYPES[run.preset.hardware.dtype], run.preset.context)
    written, measured = apart(0, read_folder, *engine, wanted, tasks, bleu)
    decoded = [
        [(tokenizer.decode(ids, skip_special_tokens=True), finished) for ((ids, finished, _),) in replies]
        for replies in written
    ]
    return decoded, measured


def read_folder(
    folder: Path,
    dtype: str,
    length: int,
    asked: Sequence[Asked],
    tasks: SuiteSettings | None,
    bleu: np.random.Generator,
    memory: float,
) -> tuple[list[list[list[Reply]]], dict[str, Measurement]]:
    """In the process of the engine. length: tokens of the longest text; memory: the engine's share of the GPU's."""
    lm = from_folder(folder, batch=1, dtype=dtype, backend="vllm", memory=memory, length=length)
    replies = [replies_of(lm.model, one) for one in asked]
    return replies, load_suite(tasks).measure(lm, bleu) if tasks else {}
