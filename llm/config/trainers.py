"""What the trainers are told: the numbers of a stage, which are the experiment's, and the hardware, which are not.

Training depends on the first only (up to rounding): every batch is the global one, and the hardware says how it is split. Which replies are
sampled depends on `generation_batch`, `sampler` and `dtype`, too.
"""

import math
from typing import Annotated, Any, ClassVar, Literal, Self, cast

from pydantic import Field, model_validator

from .base import Count, Lengths, Positive, Rate, Settings, Share, Work, refused
from .sections import BestOfN, Optimiser, Proximal, Trained

Launcher = Literal["none", "fsdp"]
Trainer = Literal["sft", "reward", "dpo", "rsf", "ppo"]


class Hardware(Settings):
    """How the work is split. launcher: `none` for this process alone, else the recipe of `accelerate launch`."""

    device: Literal["gpu", "cpu"]
    launcher: Launcher
    processes: Count  # of one machine, one GPU each; a batch that they do not divide takes fewer (`of_batch`)
    per_device_batch: Count  # rows that go through the model together when it learns, at most
    generation_batch: Count  # replies that are written, or judged, together by one process
    dtype: Literal["bf16", "fp32"]  # of the computation and of saved models; what is trained is kept in fp32
    checkpointing: bool  # activations are computed again instead of kept: less memory, about a third slower
    # Between two states that a killed descent can go on from; 0: one after every step. PPO has one after every iteration.
    checkpoint_minutes: Annotated[float, Field(ge=0)]
    sampler: Literal["transformers", "vllm"]  # by which RSF writes

    @model_validator(mode="after")
    def _several_processes_are_launched(self) -> Self:
        if self.launcher == "none" and self.processes != 1:
            raise refused(f"processes = {self.processes} is not allowed with launcher = none; allowed is 1")
        return self

    def of_batch(self, rows: int) -> "Hardware":
        """With as many of the processes as divide a global batch of so many rows, all with equal shares."""
        return self.model_copy(update={"processes": largest_divisor(rows, self.processes)})


def largest_divisor(number: int, most: int) -> int:
    """The largest divisor of a number >= 1 that is at most `most` >= 1."""
    return next(k for k in range(min(number, most), 0, -1) if number % k == 0)


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
        same = self.model_dump(include={"lr", "betas", "weight_decay", "clip"})
        final = 0.0 if self.schedule == "cosine" else 1.0
        return Optimiser(**same, warmup_steps=math.ceil(self.warmup_share * steps), final_share=final)


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


class Training(Trained):
    """What every trainer has. lora: None to train all weights. rows: those of a step, over all processes."""

    lora: Lora | None

    @property
    def rows(self) -> int:
        return cast(Any, self).descent.batch  # all but PPO have one


class SftSettings(Training):
    """Instruction tuning on conversations, laid end to end and cut into blocks."""

    block: Count  # tokens
    loss_on: Literal["all", "replies"]
    descent: Descent


class RewardSettings(Training):
    """Bradley-Terry on pairs of replies."""

    length: Count  # tokens of prompt and reply; longer pairs are left out
    descent: Descent


class Writing(Settings):
    """How replies are sampled. prompt_tokens: longer prompts are left out."""

    temperature: Positive
    max_new_tokens: Count
    prompt_tokens: Count

    @property
    def tokens(self) -> int:
        """Of the longest prompt with its reply."""
        return self.prompt_tokens + self.max_new_tokens


class Aligning(Training):
    """What every trainer of an algorithm of alignment has.

    Its methods: `work` (over all GPUs); `longest`, tokens of the longest example; and `memory`, bytes of a GPU, from those of
    learning alone, of sampling alone (policy, reward model, cache), and of a model that only reads.
    """

    starts_warm: ClassVar[bool] = False  # from theta_0 tuned on HH-RLHF's chosen replies (`HubPreset.warm_start`)
    # Whether an iteration writes so many replies that an engine of vLLM saves more time than it takes to start (`docs/gpu.md`).
    fills_an_engine: ClassVar[bool] = False

    def on(self, hardware: Hardware) -> Hardware:
        """The hardware as the algorithm takes it."""
        return hardware if self.fills_an_engine else hardware.model_copy(update={"sampler": "transformers"})

    @property
    def states(self) -> int:
        """States of training that are on the disk at a time, the one that is being written among them."""
        return 2


class DpoSettings(Aligning):
    """Direct preference optimisation on pairs of replies."""

    beta: Positive
    length: Count
    iterations: Count  # models left behind, equally spaced over the steps
    descent: Descent

    @property
    def longest(self) -> int:
        return 2 * self.length

    def work(self, lengths: Lengths) -> Work:
        """theta_0 reads every pair once, before it learns."""
        tokens = 2 * lengths.pairs * lengths.whole
        return Work(trained=tokens * self.descent.epochs, read=tokens)

    def memory(self, learning: float, sampling: float, model: float) -> float:
        return learning


class RsfSettings(BestOfN, Aligning):
    """Best of n, iterated; the descent is run anew in each iteration."""

    writing: Writing
    descent: Descent

    fills_an_engine: ClassVar[bool] = True

    @property
    def longest(self) -> int:
        return self.writing.tokens

    def work(self, lengths: Lengths) -> Work:
        return self._work(lengths.replying(self.writing.max_new_tokens), self.descent.epochs)

    def memory(self, learning: float, sampling: float, model: float) -> float:
        """Sampling, scoring and learning take turns."""
        return max(learning, sampling)


Descending = SftSettings | RewardSettings | DpoSettings | RsfSettings  # one model learns, in a descent


class PpoSettings(Proximal, Aligning):
    """Proximal policy optimisation. The schedules span all iterations."""

    baseline: float
    measured_every: (
        Count  # iterations; other models than these and the last are removed when training no longer needs them
    )
    writing: Writing
    optimiser: Adam
    critic_optimiser: Adam

    starts_warm: ClassVar[bool] = True

    @property
    def rows(self) -> int:
        return self.batch

    @property
    def states(self) -> int:
        """As far back as restarts may go (`llm.training.rlhf.ppo.restarts`)."""
        return 2 + self.collapse.restarts * (self.collapse.back - 1)

    @property
    def longest(self) -> int:
        return self.writing.tokens

    def work(self, lengths: Lengths) -> Work:
        return super().work(lengths.replying(self.writing.max_new_tokens))

    def memory(self, learning: float, sampling: float, model: float) -> float:
        """Everything at once, theta_0 included."""
        return learning + sampling + model

    @model_validator(mode="after")
    def _temperature_is_one(self) -> Self:
        if self.writing.temperature != 1:
            raise refused(
                f"writing.temperature = {self.writing.temperature:g} is not allowed with ppo, which compares "
                "probabilities at temperature 1; allowed is 1"
            )
        return self
