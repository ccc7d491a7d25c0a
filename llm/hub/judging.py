"""Replies and what a reward model says of them, on the device that the preset's hardware names."""

import json
from functools import cache
from pathlib import Path

import numpy as np
import torch

from llm.averaging.conversations import Message
from llm.averaging.loading import OnProcessor, device_of, load_scorer
from llm.averaging.sampling import rewards
from llm.chat import write_replies
from llm.config import HubPreset
from llm.data.records import Turn, messages
from llm.hub.data import pairs
from llm.run import Run

Prompt = tuple[Turn, ...]
Reply = tuple[str, bool]  # and whether it ended by itself


def device(preset: HubPreset) -> torch.device:
    return device_of("cpu" if preset.hardware.device == "cpu" else "auto")


def dtype(preset: HubPreset) -> str:
    return {"bf16": "bfloat16", "fp32": "float32"}[preset.hardware.dtype]


def write(model, tokenizer, prompts: list[Prompt], tokens: int, temperature: float, rng: torch.Generator, batch: int) -> list[Reply]:
    """A reply to each prompt, by the same random numbers whichever model it is."""
    return write_replies(
        OnProcessor(model), tokenizer, prompts, max_new_tokens=tokens, temperature=temperature, rng=rng, batch_size=batch
    )


@cache
def scorer(preset: HubPreset, folder: Path) -> tuple:
    """(reward model, its tokenizer), loaded once."""
    return load_scorer(folder, dtype(preset), device(preset))


def said(prompt: Prompt, reply: str) -> list[Message]:
    """A prompt and its reply as messages."""
    return messages((*prompt, Turn("assistant", reply)))


def scores(preset: HubPreset, reward: Path, prompts: list[Prompt], replies: list[Reply]) -> np.ndarray:
    """Learned rewards, (prompts,)."""
    talks = [(said(prompt, reply), finished) for prompt, (reply, finished) in zip(prompts, replies, strict=True)]
    return rewards(*scorer(preset, reward), talks, preset.evaluate.batch)


def accuracy(run: Run[HubPreset], reward: Path) -> dict[str, float]:
    """"accuracy": the share of held-out pairs whose chosen reply has the higher reward; "n": how many pairs."""
    rows = [json.loads(line) for line in pairs(run, "test").read_text().splitlines()]
    prompts = [tuple(Turn(**turn) for turn in row["prompt"]) for row in rows]
    chosen, rejected = (scores(run.preset, reward, prompts, [(row[side], True) for row in rows]) for side in ("chosen", "rejected"))
    return {"accuracy": float((chosen > rejected).mean()), "n": len(rows)}
