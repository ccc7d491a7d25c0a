"""One reply of a model to each of many prompts, in its chat format."""

from collections.abc import Sequence
from dataclasses import dataclass

from ...errors import UserError


@dataclass(frozen=True)
class Sampling:
    """tokens: new ones of a reply at most. temperature: 0 for the likeliest reply. batch: prompts at a time."""

    tokens: int
    temperature: float
    batch: int
    seed: int

    def __post_init__(self) -> None:
        for key in ("tokens", "batch"):
            if getattr(self, key) < 1:
                raise UserError(f"{key} is {getattr(self, key)}, allowed are whole numbers from 1.")
        if not 0 <= self.temperature < float("inf"):
            raise UserError(f"temperature is {self.temperature}, allowed are finite numbers from 0.")


def replies_to(prompts: Sequence[str], model, tokenizer, sampling: Sampling) -> list[str]:
    """The same prompts and seed give every model the same random numbers, so that comparisons are paired."""
    import torch

    from ...averaging.ama.sampling import write_replies

    written = write_replies(
        model,
        tokenizer,
        list(prompts),
        tokens=sampling.tokens,
        temperature=sampling.temperature,
        rng=torch.Generator().manual_seed(sampling.seed) if sampling.temperature > 0 else None,
        batch=sampling.batch,
    )
    return [reply for reply, _ in written]
