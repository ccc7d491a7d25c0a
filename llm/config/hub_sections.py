"""Sections of presets of the paper's models that are not settings of a trainer (`llm.config.trainers`): models, AMA, measuring."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from ..data.benchmarks import BENCHMARKS
from .base import Algorithm, Count, Items, Positive, Rate, Settings, Share, refused
from .trainers import RewardSettings, SftSettings

RANDOM = "random"


class HubModels(Settings):
    """Hub ids or local folders: either `pretrained`, from which everything is trained, or models that are there already.

    `random` is a model of the preset's sizes with random weights, for tests.
    """

    pretrained: str | None = None
    theta_0: str | None = None
    theta: str | None = None
    reward: str | None = None  # a reward model, which judges theta and AMA's samples

    @model_validator(mode="after")
    def _either_or(self) -> Self:
        given = tuple(key for key in ("pretrained", "theta_0", "theta", "reward") if getattr(self, key) is not None)
        if given not in (("pretrained",), ("theta_0", "theta", "reward")):
            raise refused(
                f"{', '.join(given) or 'no model'} is not allowed; "
                "allowed are pretrained alone, or theta_0, theta and reward"
            )
        return self


class HubReward(Settings):
    """The reward model: a tuning step, then the Bradley-Terry fit."""

    sft: SftSettings
    bradley_terry: RewardSettings


class HubAma(Settings):
    """How ratios are optimised (`llm.averaging.ama.settings.AdaptSettings` explains the keys)."""

    prompts: Count
    samples: Count  # a prompt
    max_new_tokens: Count
    temperature: Positive
    keep: Count
    draw: Count
    epochs: Count
    batch: Count
    block: Count  # tokens of prompt and reply
    lr: dict[Algorithm, Rate]  # for the theta of each algorithm
    warmup_share: Share
    eps: Share


class HubEvaluate(Settings):
    """What is measured: the reward of sampled replies, PairRM's win rate over theta_0, and lm-eval's tasks."""

    prompts: Items  # of held-out HH-RLHF
    alpaca_prompts: Annotated[
        int, Field(ge=0)
    ]  # of AlpacaEval, answered and compared with theta_0's replies; 0 for none
    ranker: str  # PairRM, which compares them: a hub id or a local folder
    temperature: Positive
    max_new_tokens: Count
    tasks: Annotated[
        tuple[str, ...], Field(min_length=1)
    ]  # an ability is the mean of its tasks (`llm.data.benchmarks`)
    limit: Items | None  # items of each task; null: all
    answer_tokens: Count | None  # new tokens of an answer; null: lm-eval's own, 256
    batch: Count  # sequences a GPU at a time

    @model_validator(mode="after")
    def _tasks_are_known(self) -> Self:
        for task in self.tasks:
            if task not in BENCHMARKS:
                raise refused(f"tasks = {task!r} is an unknown name; allowed are {', '.join(BENCHMARKS)}")
        return self
