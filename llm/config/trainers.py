"""What the trainers are told: the numbers of a stage, which are the experiment's, and the hardware, which are not.

Results depend on the first only (up to rounding): every batch is the global one, and the hardware says how it is split.
"""

import math
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from .base import Count, Positive, Rate, Settings, Share, refused
from .sections import Collapse, Optimiser

Launcher = Literal["none", "ddp", "fsdp"]
Trainer = Literal["sft", "reward", "dpo", "rsf", "ppo"]


class Hardware(Settings):
    """How the work is split. launcher: `none` for this process alone, else the recipe of `accelerate launch`."""

    device: Literal["gpu", "cpu"]
    launcher: Launcher
    processes: Count  # of one machine, one GPU each
    per_device_batch: Count  # rows that go through the model together when it learns
    generation_batch: Count  # replies that are written, or judged, together by one process
    dtype: Literal["bf16", "fp32"]  # of the computation and of saved models; what is trained is kept in fp32
    checkpointing: bool  # activations are computed again instead of kept: less memory, about a third slower
    checkpoint_steps: Count  # between two states that a killed run can go on from
    sampler: Literal["transformers", "vllm"]


class Adam(Settings):
    """AdamW with a linear warm-up over a share of the steps and then a cosine to 0, or a constant rate."""

    lr: Rate
    warmup_share: Annotated[float, Field(ge=0, lt=1)]
    schedule: Literal["cosine", "constant"]
    betas: tuple[Share, Share]
    weight_decay: Annotated[float, Field(ge=0)]
    clip: Positive

    def optimiser(self, steps: int) -> Optimiser:
        """The same schedule in the words of our own loop, which counts the warm-up in steps."""
        return Optimiser(
            lr=self.lr,
            betas=self.betas,
            weight_decay=self.weight_decay,
            clip=self.clip,
            warmup_steps=math.ceil(self.warmup_share * steps),
            final_share=0.0 if self.schedule == "cosine" else 1.0,
        )


class Descent(Settings):
    """How often everything is learned, and in what steps."""

    batch: Count  # rows a step, over all processes
    epochs: Count
    optimiser: Adam


class Lora(Settings):
    """Train low-rank changes only (`llm.training.mitigations.lora`); they are merged into an ordinary model at the end."""

    rank: Count
    lora_alpha: Positive
    dropout: Annotated[float, Field(ge=0, lt=1)]
    targets: Literal["mlp", "mlp+attention"]


class Training(Settings):
    """What every trainer has. lora: None to train all weights."""

    lora: Lora | None


class SftSettings(Training):
    """Instruction tuning on conversations, laid end to end and cut into blocks."""

    block: Count  # tokens
    loss_on: Literal["all", "replies"]
    descent: Descent


class RewardSettings(Training):
    """Bradley-Terry on pairs of replies."""

    length: Count  # tokens of prompt and reply; longer pairs are left out
    descent: Descent


class DpoSettings(Training):
    """Direct preference optimisation on pairs of replies."""

    beta: Positive
    length: Count
    iterations: Count  # models left behind, equally spaced over the steps
    descent: Descent


class Writing(Settings):
    """How replies are sampled. prompt_tokens: longer prompts are left out."""

    temperature: Positive
    max_new_tokens: Count
    prompt_tokens: Count


class RsfSettings(Training):
    """Best of n, iterated; the descent is run anew in each iteration."""

    iterations: Count
    prompts: Count  # an iteration
    samples: Count  # n, a prompt
    writing: Writing
    descent: Descent


class PpoSettings(Training):
    """Proximal policy optimisation; `llm.config.Ppo` explains the keys. The schedules span all iterations."""

    iterations: Count
    prompts: Count  # replies collected an iteration, one a prompt
    epochs: Count
    batch: Count
    eta: Annotated[float, Field(ge=0)]
    gamma: Share
    gae_lambda: Share
    clip: Positive
    value_clip: Positive
    baseline: float
    writing: Writing
    optimiser: Adam
    critic_optimiser: Adam
    collapse: Collapse

    @model_validator(mode="after")
    def _temperature_is_one(self) -> Self:
        if self.writing.temperature != 1:
            raise refused(
                f"writing.temperature = {self.writing.temperature:g} is not allowed with ppo, which compares "
                "probabilities at temperature 1; allowed is 1"
            )
        return self
