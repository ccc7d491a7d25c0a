"""Presets: how big a run is. A preset is complete, so whoever reads it has read every number of a run; its file may name
another one and say what differs (`llm.config.files`).

What presets of all kinds have stands here; a kind is a file of its own, named by the key `data` (`llm.config.kinds`)."""

from abc import abstractmethod
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self, get_args

from pydantic import Field, model_validator

from ..data.records import Source
from ..errors import UserError
from .base import Algorithm, AveragingMethod, Count, Items, Mixture, Settings, TrainingMethod, refused
from .sections import Ama, Dpo, Oracle, Preferences, Reward, Rsf


class Shape(Settings):
    """What averaging needs to know of a model."""

    layers: Count
    tied_embeddings: bool  # whether the output head is the embeddings


class PublicModel(Shape):
    """The sizes of a model that others have trained, written down so that they are known before it is downloaded."""

    hidden_size: Count
    intermediate_size: Count
    heads: Count
    kv_heads: Count
    head_size: Annotated[int, Field(ge=2, multiple_of=2)]  # rotary positions turn pairs of numbers
    vocabulary: Count
    context: Count  # tokens

    @model_validator(mode="after")
    def _heads_share_keys_evenly(self) -> Self:
        if self.heads % self.kv_heads:
            raise refused(
                f"kv_heads = {self.kv_heads} is not allowed with heads = {self.heads}; allowed are its divisors"
            )
        return self


class Preset(Settings):
    """What presets of all kinds have."""

    name: str
    data: str
    model: Shape

    # What of the sweeps a kind can run (`llm.config.runnable`)
    takes_numbers_of_sweeps: ClassVar[bool] = False  # learning rates other than the preset's own
    averaging_methods: ClassVar[tuple[AveragingMethod, ...]] = ("ma", "part", "pattern", "ama")
    training_methods: ClassVar[tuple[TrainingMethod, ...]] = ()

    @property
    @abstractmethod
    def needs_gpus(self) -> bool:
        """Whether a run is planned for GPUs, and not for a computer's cores."""

    @property
    def keeps_items(self) -> bool:
        """Whether result rows hold what each item contributed."""
        return False

    @property
    def algorithms(self) -> tuple[Algorithm, ...]:
        """The algorithms of alignment that the preset has a section for."""
        return tuple(name for name in get_args(Algorithm) if getattr(self, name, None) is not None)

    def iterations(self, rlhf: Algorithm) -> int:
        """How many models an algorithm leaves behind; UserError if the preset has no section for it."""
        if rlhf not in self.algorithms:
            raise UserError(
                f"rlhf = {rlhf!r} is not allowed with preset = {self.name}; allowed are {', '.join(self.algorithms)}"
            )
        return getattr(self, rlhf).iterations


class Evaluate(Settings):
    """How much is measured of each model; every kind of preset adds items of the abilities that its data have."""

    prompts: Items
    qa: Items
    reading: Items
    batch: Count
    keep_items: bool  # whether rows hold what each item contributed, so that models of a single seed can be compared item by item

    @property
    def counts(self) -> dict[str, int]:
        """Ability (a list of `llm.data.records.AbilityItems`) -> items; those that a preset's data lack are left out."""
        return self.model_dump(exclude={"prompts", "batch", "keep_items"})


class LocalPreset(Preset):
    """Models small enough to be trained and measured in memory by our own loop (`llm.training.loop`)."""

    device: Literal["cpu", "gpu"]  # where models are trained and measured
    threads: Count  # of the steps that all others wait for, up to alignment; the others run side by side, with one each
    thin_parts: Count  # 1: single parts at all of a sweep's ratios; k: at every k-th of them, from the first
    prompts: Mixture  # of alignment prompts, by kind
    max_new_tokens: Count
    generation_batch: Count
    preferences: Preferences
    reward: Reward
    rsf: Rsf
    dpo: Dpo
    ama: Ama
    oracle: Oracle
    evaluate: Evaluate

    averaging_methods: ClassVar[tuple[AveragingMethod, ...]] = get_args(AveragingMethod)

    @property
    def needs_gpus(self) -> bool:
        return self.device == "gpu"

    @property
    def keeps_items(self) -> bool:
        return self.evaluate.keep_items

    @abstractmethod
    def source(self, seed: int, out: Path) -> Source:
        """The data of one seed. `out`: the folder of all runs, where fetched data lie too."""

    @model_validator(mode="after")
    def _reward_has_no_more_layers_than_the_model(self) -> Self:
        if self.reward.layers and self.reward.layers > self.model.layers:
            raise refused(
                f"reward.layers = {self.reward.layers} is not allowed; allowed are 1 to {self.model.layers}, the model's"
            )
        return self

    @model_validator(mode="after")
    def _dpo_has_a_step_an_iteration(self) -> Self:
        steps = -(-self.preferences.pairs // self.dpo.batch) * self.dpo.epochs
        if self.dpo.iterations > steps:
            wanted = self.dpo.iterations
            raise refused(f"dpo.iterations = {wanted} is not allowed; allowed are 1 to {steps}, the number of steps")
        return self


def check_kinds(key: str, given: dict[str, float], allowed: tuple[str, ...]) -> None:
    """Refuse the first name of a mixture that is not among those allowed."""
    for kind in given:
        if kind not in allowed:
            raise refused(f"{key} = {kind!r} is an unknown name; allowed are {', '.join(allowed)}")
