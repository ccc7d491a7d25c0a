"""The kinds of presets that our own training loop runs (`llm.training.loop`), in memory.

`data: microcosm` is a small synthetic world, and a model trained in it from nothing; `data: smollm2` one small public model that
has been instruction-tuned already, on fetched data (`python -m llm fetch`).
"""

from abc import abstractmethod
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from ..data.microcosm.source import KINDS as MICROCOSM_KINDS
from ..data.microcosm.source import Microcosm
from ..data.smollm.source import KINDS as SMOLLM_KINDS
from ..data.smollm.source import SmollmSource, smollm_source
from ..methods import METHODS
from .base import Count, Items, Lengths, Mixture, Rate, Settings, Share, Work, refused
from .preset import Preset, PublicModel, Shape
from .sections import Ama, Distil, Dpo, Optimiser, Oracle, Ppo, Preferences, Renewal, Reward, Rsf, Trained, Until
from .world import World


class Evaluate(Settings):
    """How much is measured of each model; every kind of preset adds items of the abilities that its data have."""

    prompts: Items
    qa: Items
    reading: Items
    batch: Count
    keep_items: bool  # whether rows hold what each item contributed, not only groups of items (`llm.evidence.groups`)

    @property
    def counts(self) -> dict[str, int]:
        """Ability (a list of `llm.data.records.AbilityItems`) -> items; those that a preset's data lack are left out."""
        return self.model_dump(exclude={"prompts", "batch", "keep_items"})


class LocalPreset(Preset):
    """Models small enough to be trained and measured in memory by our own loop (`llm.training.loop`)."""

    device: Literal["cpu", "gpu"]  # where models are trained and measured
    threads: Count  # of the steps that all others wait for, up to alignment; the others run side by side, with one each
    thin_parts: Count  # 1: single parts at all of a sweep's ratios; k: at every k-th of them, from the first
    thin_layers: Count  # k: overlap of tasks is measured at every k-th layer, from the first
    prompts: Mixture  # of alignment prompts, by kind
    max_new_tokens: Count
    generation_batch: Count
    preferences: Preferences
    reward: Reward
    renewal: Renewal | None  # null: all pairs are drawn before anything is aligned
    rsf: Rsf
    dpo: Dpo
    ama: Ama
    oracle: Oracle
    evaluate: Evaluate
    until: Until | None = None  # what alignment is trained to; null: for its iterations

    @property
    def stops(self) -> bool:
        return self.until is not None

    @property
    def needs_gpus(self) -> bool:
        return self.device == "gpu"

    @property
    def keeps_items(self) -> bool:
        return self.evaluate.keep_items

    @abstractmethod
    def source(self, seed: int, out: Path) -> Any:
        """The data of one seed (`llm.data.records.Source`). `out`: the folder of all runs, where fetched data lie too."""

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


class Initialise(Settings):
    """Scales of the first weights (`llm.models.save.build_model`)."""

    weights: Rate
    embeddings: Rate
    query_key: Annotated[float, Field(gt=0)]
    value_output: Annotated[float, Field(gt=0)]
    look_back: Annotated[float, Field(gt=0)]
    silent: Annotated[int, Field(ge=0)]  # layers that begin without an output


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

    @model_validator(mode="after")
    def _first_layer_is_not_silent(self) -> Self:
        if self.initialise.silent > self.layers - 2:
            raise refused(
                f"initialise.silent = {self.initialise.silent} is not allowed with layers = {self.layers}; "
                f"allowed are 0 to {self.layers - 2}: the first and the last one are not"
            )
        return self


class Phase(Settings):
    """A stretch of pre-training on one mixture of document kinds; it ends at its targets or at `max_tokens`."""

    name: str
    mixture: Mixture
    targets: dict[str, Share]
    max_tokens: Count
    optimiser: Optimiser


class Pretrain(Trained):
    """attempts: how often the first phase begins, from other random weights each time, before it is given up."""

    attempts: Count = 1
    rows: Count
    row_length: Count
    check_every: Count
    check_items: Count
    phases: Annotated[tuple[Phase, ...], Field(min_length=1)]

    @property
    def batch(self) -> int:
        return self.rows

    def work(self, lengths: Lengths) -> Work:
        return Work(
            trained=sum(phase.max_tokens for phase in self.phases) + (self.attempts - 1) * self.phases[0].max_tokens
        )


class Sft(Trained):
    mixture: Mixture
    steps: Count
    batch: Count
    optimiser: Optimiser

    def work(self, lengths: Lengths) -> Work:
        return Work(trained=self.steps * self.batch * lengths.whole)


class MicrocosmEvaluate(Evaluate):
    translation: Items


class MicrocosmPreset(LocalPreset):
    """Everything about the size of a run in the microcosm."""

    data: Literal["microcosm"]
    world: World
    device: Literal["cpu"]  # a GPU has little to do for models this small
    model: Model
    pretrain: Pretrain
    sft: Sft
    ppo: Ppo
    distil: Distil
    evaluate: MicrocosmEvaluate

    takes_numbers_of_sweeps: ClassVar[bool] = True

    def source(self, seed: int, out: Path) -> Microcosm:
        return Microcosm(seed, self.world.size)

    @model_validator(mode="after")
    def _kinds_are_known(self) -> Self:
        for phase in self.pretrain.phases:
            check_kinds(f"pretrain.phases.{phase.name}.mixture", phase.mixture, MICROCOSM_KINDS["document"])
            check_kinds(f"pretrain.phases.{phase.name}.targets", phase.targets, MICROCOSM_KINDS["check"])
        check_kinds("sft.mixture", self.sft.mixture, MICROCOSM_KINDS["conversation"])
        check_kinds("prompts", self.prompts, MICROCOSM_KINDS["prompt"])
        return self


class SmollmEvaluate(Evaluate):
    text: Items  # pieces of ordinary text


class SmollmPreset(LocalPreset):
    """Everything about the size of a run on a public model. It is theta_0 as it is: there is no pre-training and no tuning."""

    data: Literal["smollm2"]
    pretrained: str  # the model: a name of `python -m llm fetch`, a local folder, or a hub id (`llm.fetch.catalogue`)
    model: PublicModel
    evaluate: SmollmEvaluate

    @property
    def averaging_methods(self) -> tuple[str, ...]:
        return tuple(name for name in super().averaging_methods if not METHODS[name].theta_pre)  # which is theta_0 here

    @property
    def training_methods(self) -> tuple[str, ...]:
        return ()  # there are no pre-training documents, and no section `distil`

    def source(self, seed: int, out: Path) -> SmollmSource:
        return smollm_source(seed, out)

    @model_validator(mode="after")
    def _kinds_are_known(self) -> Self:
        check_kinds("prompts", self.prompts, SMOLLM_KINDS["prompt"])
        return self

    @model_validator(mode="after")
    def _prompts_have_no_validation_part(self) -> Self:
        if self.until is not None:
            raise refused(
                "until is not allowed with data smollm2, whose prompts have no validation part; allowed is null"
            )
        return self

    @model_validator(mode="after")
    def _theta_0_writes_every_reply(self) -> Self:
        if self.preferences.written_share:
            raise refused(
                f"preferences.temperatures = {self.preferences.temperatures} is not allowed: the shares sum to "
                f"{1 - self.preferences.written_share:g}; allowed is 1, since only theta_0 writes replies"
            )
        return self
