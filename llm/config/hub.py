"""The kind of preset `data: hub`: the paper's own models, of billions of parameters, trained on GPUs by `llm.trainers` on data
from the Hugging Face hub or from local folders (paper.md section 3)."""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from llm.config.base import Algorithm, Items, Settings, TrainingMethod, refused
from llm.config.hub_sections import Finetuning, Hardware, HubAma, HubDpo, HubPpo, HubReward, HubRsf
from llm.config.preset import Preset, PublicModel


class HubModels(Settings):
    """Hub ids or local folders: either `pretrained`, from which everything is trained, or two models that are there already."""

    pretrained: str | None = None
    theta_0: str | None = None
    theta: str | None = None
    reward: str | None = None  # a reward model that is there already, to judge models that are

    @model_validator(mode="after")
    def _either_or(self) -> Self:
        given = tuple(key for key in ("pretrained", "theta_0", "theta", "reward") if getattr(self, key) is not None)
        if given not in (("pretrained",), ("theta_0", "theta", "reward")):
            raise refused(f"{', '.join(given) or 'no model'} given is not allowed; "
                           "allowed are pretrained alone, or theta_0, theta and reward")  # fmt: skip
        return self


class HubEvaluate(Settings):
    """What is measured: the reward of sampled replies, and the abilities as lm-eval tasks, each ability the mean of its tasks."""

    prompts: Items  # of held-out HH-RLHF
    alpaca_prompts: int  # of AlpacaEval, compared with theta_0's replies by PairRM; 0 for none
    temperature: Annotated[float, Field(gt=0)]
    max_new_tokens: Annotated[int, Field(ge=1)]
    tasks: dict[Literal["qa", "reading", "translation"], Annotated[tuple[str, ...], Field(min_length=1)]]
    limit: Annotated[int, Field(ge=2)] | None  # items of each task; null: all
    batch: Annotated[int, Field(ge=1)]  # sequences a GPU


class HubPreset(Preset):
    """Everything about the size of a run on the paper's models. Sections of stages that are not run may be left out."""

    data: Literal["hub"]
    model: PublicModel
    models: HubModels
    template: str  # of chats: a name of `llm.data.hub.templates`
    data_dir: str | None  # a folder that holds the data sets' files (`llm.data.hub.place`); null: the hub
    hardware: Hardware
    sft: Finetuning | None = None  # on ShareGPT
    warm_start: Finetuning | None = None  # on HH-RLHF's chosen replies, before PPO
    reward: HubReward | None = None
    rsf: HubRsf | None = None
    ppo: HubPpo | None = None
    dpo: HubDpo | None = None
    aligned_by: Algorithm | None = None  # how a theta that is there already was made
    ama: HubAma
    evaluate: HubEvaluate

    training_methods: ClassVar[tuple[TrainingMethod, ...]] = ("kl",)

    @property
    def is_trained(self) -> bool:
        """Whether the models are trained here, not only averaged and measured."""
        return self.models.pretrained is not None

    @property
    def algorithms(self) -> tuple[Algorithm, ...]:
        return super().algorithms if self.is_trained else (self.aligned_by,)

    def iterations(self, rlhf: Algorithm) -> int:
        """How many models an algorithm leaves behind; a theta that is there already is the only one."""
        return super().iterations(rlhf) if self.is_trained else 1

    @model_validator(mode="after")
    def _stages_go_with_models(self) -> Self:
        stages = ("sft", "warm_start", "reward", "rsf", "ppo", "dpo")
        given = [key for key in stages if getattr(self, key) is not None]
        needed = ["sft", "reward"] if self.is_trained else ["aligned_by"]
        for key in needed:
            if getattr(self, key) is None:
                raise refused(f"the key {key} is missing; it must be given with models.{'pretrained' if self.is_trained else 'theta'}")
        if self.ppo is not None and self.warm_start is None:
            raise refused("the key warm_start is missing; it must be given with ppo, which starts from it")
        if given and not self.is_trained:
            raise refused(f"{given[0]} is not allowed with models.theta, which is trained already")
        if self.aligned_by and self.is_trained:
            raise refused(f"aligned_by = {self.aligned_by} is not allowed with models.pretrained, whose theta is made here")
        return self
