"""Sections of presets of the paper's models (paper.md section 3). Every `batch` is the global one: what a GPU gets at a time, and how
often gradients are accumulated, follow from it and from the number of processes (`Hardware.micro_batch`)."""

from typing import Annotated, Literal

from pydantic import Field

from llm.config.base import Algorithm, Count, Positive, Rate, Settings, Share
from llm.config.sections import Collapse
from llm.errors import UserError


class Adam(Settings):
    """AdamW with linear warm-up over a share of the steps, then a constant rate or a cosine to 0."""

    lr: Rate
    warmup_share: Share
    schedule: Literal["cosine", "constant"]
    betas: tuple[Share, Share]
    weight_decay: Annotated[float, Field(ge=0)]
    clip: Positive


class Finetuning(Settings):
    """Imitation of conversations."""

    epochs: Count
    batch: Count  # conversations a step
    block: Count  # tokens of an example; longer ones are cut
    optimiser: Adam


class BradleyTerry(Settings):
    epochs: Count
    batch: Count  # pairs a step
    block: Count
    optimiser: Adam


class HubReward(Settings):
    """The reward model: a tuning step, then the Bradley-Terry fit."""

    sft: Finetuning
    bradley_terry: BradleyTerry


class Lora(Settings):
    """Low-rank adapters in place of training all weights."""

    rank: Count
    lora_alpha: Positive
    dropout: Share
    targets: Literal["mlp", "mlp+attention"]


class HubRsf(Settings):
    iterations: Count
    prompts: Count  # an iteration
    samples: Count  # a prompt, of which the best is imitated
    temperature: Positive
    max_new_tokens: Count
    epochs: Count
    batch: Count
    block: Count
    optimiser: Adam
    lora: Lora | None


class HubPpo(Settings):
    """As `llm.config.sections.Ppo`, which explains the keys."""

    iterations: Count
    prompts: Count  # replies collected an iteration
    temperature: Positive
    max_new_tokens: Count
    epochs: Count
    batch: Count
    block: Count
    eta: Annotated[float, Field(ge=0)]
    gamma: Share
    gae_lambda: Share
    clip: Positive
    value_clip: Positive
    baseline: float
    optimiser: Adam
    critic_optimiser: Adam
    collapse: Collapse
    lora: Lora | None

    def name_of(self, eta: float) -> str:
        """What folders and the graph call a penalty: `own` for the preset's."""
        return "own" if eta == self.eta else f"{eta:g}"


class HubDpo(Settings):
    beta: Positive
    iterations: Count  # checkpoints, equally spaced over the epochs; the last one is theta
    epochs: Count
    batch: Count  # pairs a step
    block: Count
    optimiser: Adam


class HubAma(Settings):
    """How ratios are optimised (`llm.averaging.adapt_settings.AdaptSettings` explains the keys)."""

    prompts: Count
    samples: Count  # a prompt
    max_new_tokens: Count
    temperature: Positive
    keep: Count
    draw: Count
    epochs: Count
    batch: Count
    block: Count
    lr: dict[Algorithm, Rate]  # for the theta of each algorithm
    warmup_share: Share
    eps: Share


class Hardware(Settings):
    """What a run is planned for; `python -m llm plan --gpus --memory-gb` asks about other machines."""

    gpus: Count
    memory_gb: Positive  # of each GPU, in 2**30 bytes
    launcher: Literal["fsdp", "zero3"]
    dtype: Literal["bfloat16"]
    micro_batch: Count  # sequences that a GPU reads at a time, where the global batch allows

    def accumulation(self, batch: int, gpus: int | None = None) -> tuple[int, int]:
        """(sequences a GPU at a time, steps of accumulation) of a global batch, whose product with the GPUs is the batch exactly.

        The batch a GPU is the largest divisor that does not exceed `micro_batch`. Raises UserError where the GPUs do not divide the
        batch.
        """
        gpus = gpus or self.gpus
        if batch % gpus:
            raise UserError(f"gpus = {gpus} is not allowed with a global batch of {batch}; allowed are its divisors")
        share = batch // gpus
        own = max(size for size in range(1, min(share, self.micro_batch) + 1) if share % size == 0)
        return own, share // own
