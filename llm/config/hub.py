"""The kind of preset `data: hub`: the paper's own models, of billions of parameters, trained on GPUs by `llm.training.distributed` on data
from the Hugging Face hub or from local folders (paper.md section 3). Settings of the trainers: `llm.config.trainers`."""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from ..data.benchmarks import BENCHMARKS
from ..data.hub.templates import NAMES
from ..methods import METHODS
from .base import Algorithm, Count, Items, Lengths, Positive, Rate, Settings, Share, Work, refused
from .preset import Preset, PublicModel
from .trainers import DpoSettings, Hardware, PpoSettings, RewardSettings, RsfSettings, SftSettings

RANDOM = "random"


class HubModels(Settings):
    """Hub ids or local folders: `pretrained`, from which everything is trained; or a `theta_0` that is there already, from which all else
    is; or all that are needed.

    `random` is a model of the preset's sizes with random weights, for tests.
    """

    pretrained: str | None = None
    theta_0: str | None = None
    theta: str | None = None
    reward: str | None = None  # a reward model, which judges theta and AMA's samples

    @model_validator(mode="after")
    def _either_or(self) -> Self:
        given = tuple(key for key in ("pretrained", "theta_0", "theta", "reward") if getattr(self, key) is not None)
        if given not in (("pretrained",), ("theta_0",), ("theta_0", "theta", "reward")):
            raise refused(
                f"{', '.join(given) or 'no model'} is not allowed; "
                "allowed are pretrained alone, theta_0 alone, or theta_0, theta and reward"
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

    def work(self, lengths: Lengths, alphas: tuple[float, ...], variants: int) -> Work:
        """The samples, once, and the ratios of each mean ratio and variant of an entry."""
        lengths = lengths.replying(self.max_new_tokens)
        learned = Work(trained=self.draw * self.epochs * min(self.block, lengths.whole))
        return lengths.sampled * (self.prompts * self.samples) + learned * (len(alphas) * variants)


@dataclass(frozen=True)
class Compared:
    """How AlpacaEval's instructions are answered: `system` is said before each. by_gpt4: replies are compared with GPT-4 Turbo's,
    which come with the instructions, else with theta_0's.
    """

    temperature: float
    max_new_tokens: int
    system: str | None = None
    by_gpt4: bool = False


# github.com/avalonstrel/Mitigating-the-Alignment-Tax-of-RLHF, scripts/eval_pairrm. Different on purpose: it samples from the 50 likeliest
# tokens, transformers' default, and shows PairRM both replies in one order only.
AUTHORS = Compared(0.7, 300, "You are a helpful, honest and respectful chatbot.", by_gpt4=True)


class HubEvaluate(Settings):
    """What is measured: the reward of sampled replies, PairRM's win rate over theta_0 or GPT-4 Turbo, and lm-eval's tasks."""

    prompts: Items  # of held-out HH-RLHF
    alpaca_prompts: Annotated[int, Field(ge=0)]  # of AlpacaEval, answered and compared; 0 for none
    evaluation: Literal["ours", "authors"] = "ours"  # how they are answered, and what with they are compared
    ranker: str  # PairRM, which compares them: a hub id or a local folder; `random`, for tests: the longer reply is preferred
    temperature: Positive
    max_new_tokens: Count
    tasks: Annotated[tuple[str, ...], Field(min_length=1)]  # an ability is their mean (`llm.data.benchmarks`)
    limit: Items | None  # items of each task; null: all
    answer_tokens: Count | None  # new tokens of an answer; null: lm-eval's own, 256
    # Cut the beginning of the tasks' prompts that are too long for the model's context, as lm-eval does; else they end the run.
    cut: bool = True
    batch: Count  # sequences a GPU at a time, by transformers
    # What writes and reads; auto: vLLM where the hardware samples by it and it is installed, else transformers.
    sampler: Literal["auto", "transformers", "vllm"] = "auto"

    @property
    def compared(self) -> Compared:
        return Compared(self.temperature, self.max_new_tokens) if self.evaluation == "ours" else AUTHORS

    @model_validator(mode="after")
    def _authors_compare(self) -> Self:
        if self.evaluation == "authors" and not self.alpaca_prompts:
            raise refused(
                "evaluation = authors is not allowed with alpaca_prompts = 0; allowed are at least 1, or ours"
            )
        return self

    @model_validator(mode="after")
    def _tasks_are_known(self) -> Self:
        for task in self.tasks:
            if task not in BENCHMARKS:
                raise refused(f"tasks = {task!r} is an unknown name; allowed are {', '.join(BENCHMARKS)}")
        return self


class HubPreset(Preset):
    """Everything about the size of a run on the paper's models. Sections of stages that are not run may be left out."""

    data: Literal["hub"]
    model: PublicModel
    architecture: Literal[
        "LlamaForCausalLM", "MistralForCausalLM", "GemmaForCausalLM", "Olmo2ForCausalLM", "Qwen2ForCausalLM"
    ]
    models: HubModels
    reward_model: PublicModel | None = None  # sizes of the reward model, where they are not the model's
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

    left_out: ClassVar[dict[str, tuple]] = {  # what needs theta_pre, or all layers at once
        "inputs": ("differences",),
        "positions": ("reply",),
    }

    @property
    def needs_gpus(self) -> bool:
        return True

    @property
    def is_trained(self) -> bool:
        """Whether theta and the reward model are trained here, not only averaged and measured."""
        return self.models.theta is None

    @property
    def judge(self) -> PublicModel:
        """The sizes of the reward model."""
        return self.reward_model or self.model

    @property
    def context(self) -> int:
        """Tokens of the longest text that is measured: an engine of vLLM keeps room for one, which in a context of 131072 takes many GB."""
        return min(self.model.context, 8192)

    def measured_by_vllm(self, installed: bool) -> bool:
        """Whether vLLM measures, which is installed here or not."""
        by_itself = self.evaluate.sampler == "auto" and self.hardware.sampler == "vllm" and installed
        return by_itself or self.evaluate.sampler == "vllm"

    @property
    def averaging_methods(self) -> tuple[str, ...]:
        return tuple(name for name in super().averaging_methods if METHODS[name].hub)

    @property
    def training_methods(self) -> tuple[str, ...]:
        return tuple(name for name in super().training_methods if METHODS[name].hub)

    @property
    def algorithms(self) -> tuple[str, ...]:
        return (
            (self.aligned_by,) if self.aligned_by else tuple(name for name in super().algorithms if METHODS[name].hub)
        )

    def iterations(self, rlhf: str) -> int:
        """How many models an algorithm leaves behind; a theta that is there already is the only one."""
        there = not self.is_trained and rlhf in self.algorithms
        return 1 if there else super().iterations(rlhf)

    @model_validator(mode="after")
    def _template_is_known(self) -> Self:
        if self.template not in NAMES:
            raise refused(f"template = {self.template!r} is an unknown name; allowed are {', '.join(NAMES)}")
        return self

    @model_validator(mode="after")
    def _rows_fit_into_the_context(self) -> Self:
        """A run would find out only when it comes to them."""
        rows: dict[str, Any] = {
            "sft.block": self.sft and self.sft.block,
            "warm_start.block": self.warm_start and self.warm_start.block,
            "reward.sft.block": self.reward and self.reward.sft.block,
            "reward.bradley_terry.length": self.reward and self.reward.bradley_terry.length,
            "dpo.length": self.dpo and self.dpo.length,
            "rsf.writing: prompt_tokens + max_new_tokens": self.rsf and self.rsf.writing.tokens,
            "ppo.writing: prompt_tokens + max_new_tokens": self.ppo and self.ppo.writing.tokens,
        }
        for key, tokens in rows.items():
            if tokens is not None and tokens > self.model.context:
                raise refused(
                    f"{key} = {tokens} is not allowed with model.context = {self.model.context}; allowed are at most as many"
                )
        return self

    @model_validator(mode="after")
    def _stages_go_with_models(self) -> Self:
        stages = ("sft", "warm_start", "reward", "rsf", "ppo", "dpo")
        given = [key for key in stages if getattr(self, key) is not None]
        first = "pretrained" if self.models.pretrained else "theta_0" if self.is_trained else "theta"
        needed = {"pretrained": ["sft", "reward"], "theta_0": ["reward"], "theta": ["aligned_by"]}[first]
        for key in needed:
            if getattr(self, key) is None:
                raise refused(f"the key {key} is missing; it must be given with models.{first}")
        if first == "theta_0" and self.sft is not None:
            raise refused("sft is not allowed with models.theta_0, which is tuned already")
        if self.ppo is not None and self.warm_start is None:
            raise refused("the key warm_start is missing; it must be given with ppo, which starts from it")
        if self.reward_model and self.is_trained:
            raise refused(f"reward_model is not allowed with models.{first}, from which the reward model is made")
        if given and not self.is_trained:
            raise refused(f"{given[0]} is not allowed with models.theta, which is trained already")
        if self.aligned_by and self.is_trained:
            raise refused(
                f"aligned_by = {self.aligned_by} is not allowed with models.{first}, whose theta is made here"
            )
        return self
