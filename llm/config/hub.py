"""The kind of preset `data: hub`: the paper's own models, of billions of parameters, trained on GPUs by `llm.training.distributed` on data
from the Hugging Face hub or from local folders (paper.md section 3)."""

from typing import ClassVar, Literal, Self

from pydantic import model_validator

from ..data.hub.templates import NAMES
from .base import Algorithm, Positive, TrainingMethod, refused
from .hub_sections import HubAma, HubEvaluate, HubModels, HubReward
from .preset import Preset, PublicModel
from .trainers import DpoSettings, Hardware, PpoSettings, RsfSettings, SftSettings


class HubPreset(Preset):
    """Everything about the size of a run on the paper's models. Sections of stages that are not run may be left out."""

    data: Literal["hub"]
    model: PublicModel
    architecture: Literal["LlamaForCausalLM", "MistralForCausalLM", "GemmaForCausalLM"]
    models: HubModels
    template: str  # of chats: a name of `llm.data.hub.templates`
    data_dir: str | None  # a folder that holds the data sets' files (`llm.data.hub.place`); null: the hub
    hardware: Hardware
    memory_gb: Positive  # of each GPU, in 2**30 bytes
    sft: SftSettings | None = None  # on ShareGPT
    warm_start: SftSettings | None = None  # on HH-RLHF, before PPO
    reward: HubReward | None = None
    rsf: RsfSettings | None = None
    ppo: PpoSettings | None = None
    dpo: DpoSettings | None = None
    aligned_by: Algorithm | None = None  # how a theta that is there already was made
    ama: HubAma
    evaluate: HubEvaluate

    training_methods: ClassVar[tuple[TrainingMethod, ...]] = ("kl",)

    @property
    def needs_gpus(self) -> bool:
        return True

    @property
    def is_trained(self) -> bool:
        """Whether the models are trained here, not only averaged and measured."""
        return self.models.pretrained is not None

    @property
    def algorithms(self) -> tuple[Algorithm, ...]:
        return super().algorithms if self.is_trained else (self.aligned_by,)

    def iterations(self, rlhf: Algorithm) -> int:
        """How many models an algorithm leaves behind; a theta that is there already is the only one."""
        there = not self.is_trained and rlhf in self.algorithms
        return 1 if there else super().iterations(rlhf)

    @model_validator(mode="after")
    def _template_is_known(self) -> Self:
        if self.template not in NAMES:
            raise refused(f"template = {self.template!r} is an unknown name; allowed are {', '.join(NAMES)}")
        return self

    @model_validator(mode="after")
    def _stages_go_with_models(self) -> Self:
        stages = ("sft", "warm_start", "reward", "rsf", "ppo", "dpo")
        given = [key for key in stages if getattr(self, key) is not None]
        needed = ["sft", "reward"] if self.is_trained else ["aligned_by"]
        for key in needed:
            if getattr(self, key) is None:
                raise refused(
                    f"the key {key} is missing; it must be given with models.{'pretrained' if self.is_trained else 'theta'}"
                )
        if self.ppo is not None and self.warm_start is None:
            raise refused("the key warm_start is missing; it must be given with ppo, which starts from it")
        if given and not self.is_trained:
            raise refused(f"{given[0]} is not allowed with models.theta, which is trained already")
        if self.aligned_by and self.is_trained:
            raise refused(
                f"aligned_by = {self.aligned_by} is not allowed with models.pretrained, whose theta is made here"
            )
        return self
