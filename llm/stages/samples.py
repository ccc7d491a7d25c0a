"""What theta_0 and theta write by themselves, for averages that need to know what their inputs are like
(`llm.averaging.whole`); drawn once a model and kept beside it, so that every method learns from the same samples."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from ..averaging.whole.free import KINDS as FREE
from ..averaging.whole.free import opening, write
from ..config.sections import OWN_LENGTH
from ..data.records import Prompt
from ..errors import UserError
from ..files import by_one, read_made, up_to_date, write_json
from ..models.batches import Tokens
from ..models.chat import context_of, ids_of_prompts
from ..models.loading import load_model, load_tokenizer
from ..run import LocalRun, Run

KINDS = (*FREE, "replies")
BLOCK = 256  # samples are drawn in blocks, so that the first ones do not depend on how many are asked for


class Means(NamedTuple):
    """How the models of a run write. prompts: (block, how many) -> training prompts. length: most tokens of a reply. batch: texts at a time."""

    device: torch.device
    prompts: Callable[[int, int], Sequence[Prompt]]
    length: int
    batch: int


def means_of(run: LocalRun) -> Means:
    """Of our own loop."""

    def prompts(block: int, count: int) -> list[Prompt]:
        drawn = run.source.prompts("train", run.preset.prompts, count, run.rng("samples", "replies", block))
        return [prompt.text for prompt in drawn]

    return Means(run.device, prompts, run.preset.max_new_tokens, run.preset.generation_batch)


def own_samples(
    run: Run,
    theta_0: Path,
    theta: Path,
    kind: str,
    count: int,
    length: int = OWN_LENGTH,
    means: Callable[[Any], Means] = means_of,
) -> list[Tokens]:
    """The first `count` samples: "free" ones of theta_0 from its first token, "chat" ones of it behind the template's user prefix, or
    "replies" of theta to training prompts.

    length: most new tokens of a sample that is no reply. Blocks lie in `samples` in the run's folder, and are drawn anew where the
    model is newer. Raises UserError for another kind, or a count or length below 1.
    """
    if kind not in KINDS:
        raise UserError(f"kind = {kind!r} is unknown; allowed are {', '.join(KINDS)}")
    for key, value in (("samples", count), ("length", length)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise UserError(f"{key} = {value!r} is not allowed; allowed are whole numbers from 1")
    writer = theta if kind == "replies" else theta_0
    name = "-".join(writer.resolve().relative_to(run.folder.resolve()).parts)
    found: list[Tokens] = []
    for block in range(-(-count // BLOCK)):
        file = run.folder / "samples" / name / f"{kind}{'' if kind == 'replies' else f'-{length}'}-{block}.json"
        with by_one(file):
            if not up_to_date(file, writer / "config.json"):
                write_json(file, [one._asdict() for one in _drawn(run, means(run), writer, kind, block, length)])
        found += read_made(file, _tokens)
    return found[:count]


def _drawn(run: Run, means: Means, writer: Path, kind: str, block: int, length: int) -> list[Tokens]:
    model, tokenizer = load_model(writer, means.device), load_tokenizer(writer)
    if kind == "replies":
        contexts, length = ids_of_prompts(tokenizer, means.prompts(block, BLOCK)), means.length
    else:
        contexts = [opening(tokenizer, kind)] * BLOCK
        length = min(length, context_of(model.config) - len(contexts[0]))
    return write(model, tokenizer, contexts, length, run.torch_rng("samples", kind, block), means.batch)


def _tokens(rows: list[dict]) -> list[Tokens]:
    """What was kept; ValueError and its like for anything else."""
    found = [Tokens(row["context"], row["reply"]) for row in rows]
    if not all(type(token) is int for sample in found for ids in sample for token in ids):
        raise ValueError("a token is no number")
    return found
