"""The kind of preset `data: microcosm`: a small synthetic world, and a model trained in it from nothing."""

from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self, get_args

from pydantic import Field, model_validator

from ..data.microcosm.source import KINDS, Microcosm
from .base import Count, Items, Mixture, Rate, Settings, Share, TrainingMethod, refused
from .preset import Evaluate, LocalPreset, Shape, check_kinds
from .sections import Distil, Optimiser, Ppo


class Initialise(Settings):
    """Scales of the first weights (`llm.models.save.build_model`)."""

    weights: Rate
    embeddings: Rate
    query_key: Annotated[float, Field(gt=0)]
    value_output: Annotated[float, Field(gt=0)]
    look_back: Annotated[float, Field(gt=0)]


class Model(Shape):
    """A `LlamaForCausalLM` made from nothing."""

    hidden_size: Count
    intermediate_size: Count
    heads: Count
    context: Count
    initialise: Initialise

    @model_validator(mode="after")
    def _heads_are_even(self) -> Self:
        if self.hidden_size % (2 * self.heads):
            raise refused(
                f"hidden_size = {self.hidden_size} is not allowed with heads = {self.heads}; "
                "allowed are multiples of 2 heads (rotary positions turn pairs of numbers)"
            )
        return self


class Phase(Settings):
    """A stretch of pre-training on one mixture of document kinds; it ends at its targets or at `max_tokens`."""

    name: str
    mixture: Mixture
    targets: dict[str, Share]
    max_tokens: Count
    optimiser: Optimiser


class Pretrain(Settings):
    rows: Count
    row_length: Count
    check_every: Count
    check_items: Count
    phases: Annotated[tuple[Phase, ...], Field(min_length=1)]


class Sft(Settings):
    mixture: Mixture
    steps: Count
    batch: Count
    optimiser: Optimiser


class MicrocosmEvaluate(Evaluate):
    translation: Items


class MicrocosmPreset(LocalPreset):
    """Everything about the size of a run in the microcosm."""

    data: Literal["microcosm"]
    device: Literal["cpu"]  # a GPU has little to do for models this small
    model: Model
    pretrain: Pretrain
    sft: Sft
    ppo: Ppo
    distil: Distil
    evaluate: MicrocosmEvaluate

    takes_numbers_of_sweeps: ClassVar[bool] = True
    training_methods: ClassVar[tuple[TrainingMethod, ...]] = get_args(TrainingMethod)

    def source(self, seed: int, out: Path) -> Microcosm:
        return Microcosm(seed)

    @model_validator(mode="after")
    def _kinds_are_known(self) -> Self:
        for phase in self.pretrain.phases:
            check_kinds(f"pretrain.phases.{phase.name}.mixture", phase.mixture, KINDS["document"])
            check_kinds(f"pretrain.phases.{phase.name}.targets", phase.targets, KINDS["check"])
        check_kinds("sft.mixture", self.sft.mixture, KINDS["conversation"])
        check_kinds("prompts", self.prompts, KINDS["prompt"])
        return self
