"""Replies and what a reward model says of them, on the device that the preset's hardware names."""

import json
from pathlib import Path

import numpy as np
import torch

from ..averaging.ama.sampling import rewards
from ..config import HubPreset
from ..data.records import Turn, messages
from ..models.conversations import Message, context_ids, end_id, pad_id
from ..models.generate import generate
from ..models.loading import OnProcessor, device_of, load_scorer
from ..run import Run
from ..training.distributed.data import pairs

Prompt = tuple[Turn, ...]
Reply = tuple[str, bool]  # and whether it ended by itself


def device(preset: HubPreset) -> torch.device:
    return device_of("cpu" if preset.hardware.device == "cpu" else "auto")


def dtype(preset: HubPreset) -> str:
    return {"bf16": "bfloat16", "fp32": "float32"}[preset.hardware.dtype]


def write(
    model, tokenizer, prompts: list[Prompt], tokens: int, temperature: float, rng: torch.Generator, batch: int
) -> list[Reply]:
    """A reply to each prompt, by the same random numbers whichever model it is; it ends with the token that the chat template puts there."""
    replies = generate(
        OnProcessor(model),
        [context_ids(tokenizer, messages(prompt)) for prompt in prompts],
        max_new_tokens=tokens,
        end_id=end_id(tokenizer),
        pad_id=pad_id(tokenizer),
        temperature=temperature,
        rng=rng,
        batch_size=batch,
    )
    return [(tokenizer.decode(reply.ids, skip_special_tokens=True), reply.finished) for reply in replies]


def load_judge(preset: HubPreset, folder: Path) -> tuple:
    """(reward model, its tokenizer)."""
    return load_scorer(folder, dtype(preset), device(preset))


def said(prompt: Prompt, reply: str) -> list[Message]:
    """A prompt and its reply as messages."""
    return messages((*prompt, Turn("assistant", reply)))


def scores(judge: tuple, prompts: list[Prompt], replies: list[Reply], batch: int) -> np.ndarray:
    """Learned rewards, (prompts,); `judge` from `load_judge`."""
    talks = [(said(prompt, reply), finished) for prompt, (reply, finished) in zip(prompts, replies, strict=True)]
    return rewards(*judge, talks, batch)


def accuracy(run: Run[HubPreset], reward: Path) -> dict[str, float]:
    """ "accuracy": the share of held-out pairs whose chosen reply has the higher reward; "n": how many pairs."""
    rows = [json.loads(line) for line in pairs(run, "test").read_text().splitlines()]
    prompts = [tuple(Turn(**turn) for turn in row["prompt"]) for row in rows]
    judge, batch = load_judge(run.preset, reward), run.preset.evaluate.batch
    chosen, rejected = (
        scores(judge, prompts, [(row[side], True) for row in rows], batch) for side in ("chosen", "rejected")
    )
    return {"accuracy": float((chosen > rejected).mean()), "n": len(rows)}
