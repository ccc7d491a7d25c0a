"""Settings: YAML files read into frozen, complete, validated models. Presets say how big, sweeps say what is compared.

Nothing has a default here: a preset is complete, so whoever reads it has read every number of a run.
"""

from importlib import resources
from pathlib import Path
from typing import Annotated, Literal, Self

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from llm.averaging.groups import PART_NAMES, Grouping
from llm.data.microcosm.source import KINDS
from llm.errors import UserError


def _refused(sentence: str) -> PydanticCustomError:
    return PydanticCustomError("refused", "{sentence}", {"sentence": sentence})


def _with_weight(mixture: dict[str, float]) -> dict[str, float]:
    if sum(mixture.values()) == 0:
        raise _refused("all weights are 0; allowed are weights of which at least one is above 0")
    return mixture


def _shares(shares: dict[float, float]) -> dict[float, float]:
    if sum(shares.values()) > 1:
        raise _refused(f"the shares sum to {sum(shares.values()):g}; allowed is at most 1")
    return shares


def _check_kinds(key: str, given: dict[str, float], allowed: tuple[str, ...]) -> None:
    for kind in given:
        if kind not in allowed:
            raise _refused(f"{key} = {kind!r} is an unknown name; allowed are {', '.join(allowed)}")


Algorithm = Literal["rsf", "dpo", "ppo"]  # of alignment: `llm.stages.align`
Count = Annotated[int, Field(ge=1)]
Items = Annotated[int, Field(ge=2)]  # a standard error needs two
Positive = Annotated[float, Field(gt=0)]
Rate = Annotated[float, Field(gt=0, le=1)]
Share = Annotated[float, Field(ge=0, le=1)]
Mixture = Annotated[dict[str, Annotated[float, Field(ge=0)]], Field(min_length=1), AfterValidator(_with_weight)]


class Settings(BaseModel):
    """Base of all settings: frozen, and no key may be unknown."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _keys_are_known(cls, given: object) -> object:
        for key in given if isinstance(given, dict) else ():
            if key not in cls.model_fields:
                allowed = ", ".join(cls.model_fields)
                raise _refused(f"{key} = {_short(given[key])} is an unknown key; allowed are {allowed}")
        return given


class Initialise(Settings):
    """Scales of the first weights (`llm.model.build_model`)."""

    weights: Rate
    embeddings: Rate
    query_key: Annotated[float, Field(gt=0)]
    value_output: Annotated[float, Field(gt=0)]
    look_back: Annotated[float, Field(gt=0)]


class Model(Settings):
    """A `LlamaForCausalLM` made from nothing."""

    hidden_size: Count
    intermediate_size: Count
    layers: Count
    heads: Count
    context: Count
    tied_embeddings: bool
    initialise: Initialise

    @model_validator(mode="after")
    def _heads_are_even(self) -> Self:
        if self.hidden_size % (2 * self.heads):
            raise _refused(f"hidden_size = {self.hidden_size} is not allowed with heads = {self.heads}; "
                           "allowed are multiples of 2 heads (rotary positions turn pairs of numbers)")  # fmt: skip
        return self


class Optimiser(Settings):
    """AdamW, with linear warm-up and then a constant rate or a cosine to `final_share` of it."""

    lr: Rate
    betas: tuple[Share, Share]
    weight_decay: Annotated[float, Field(ge=0)]
    clip: Annotated[float, Field(gt=0)]
    warmup_steps: Annotated[int, Field(ge=0)]
    final_share: Share


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


class Preferences(Settings):
    """Where compared replies come from, and how noisy the labels are."""

    pairs: Count
    test_pairs: Count
    # temperature -> share of the replies that theta_0 writes at it; the rest is by the source's own writers
    temperatures: Annotated[dict[Positive, Share], Field(min_length=1), AfterValidator(_shares)]
    noise_scale: Annotated[float, Field(gt=0)]  # P(label agrees) = sigmoid(noise_scale * |gold difference|)


class Reward(Settings):
    batch: Count
    epochs: Count
    optimiser: Optimiser


class Rsf(Settings):
    iterations: Count
    prompts: Count
    samples: Count
    temperature: Annotated[float, Field(gt=0)]
    epochs: Count
    batch: Count
    optimiser: Optimiser


class Dpo(Settings):
    """Direct preference optimisation; the optimiser's cosine spans the whole run."""

    beta: Positive  # how strongly the policy is held to theta_0 (the paper's KL coefficient)
    iterations: Count  # checkpoints, equally spaced over the epochs
    epochs: Count
    batch: Count  # pairs a step
    optimiser: Optimiser


class Collapse(Settings):
    """When PPO counts as collapsed: an iteration against the mean of the `window` before it; and what is done then."""

    window: Count
    reward_drop: Positive  # a mean reward lower by more than this
    shortest: Share  # replies shorter than this share of the usual length
    cut_off: Share  # a share of unfinished replies higher by more than this
    critic_loss: Annotated[float, Field(gt=1)]  # a critic's loss higher by more than this factor
    back: Count  # iterations that a restart goes back
    restarts: Annotated[int, Field(ge=0)]  # at most


class Ppo(Settings):
    """Proximal policy optimisation; the optimisers' cosines span all iterations."""

    iterations: Count
    prompts: Count  # replies collected an iteration, one a prompt
    epochs: Count  # over the replies of an iteration
    batch: Count
    eta: Annotated[float, Field(ge=0)]  # KL penalty in the reward
    gamma: Share
    gae_lambda: Share
    clip: Positive  # of the ratio of policies
    value_clip: Positive  # of the critic's change, in the unit of the reward
    baseline: float | Literal["theta_0"]  # taken from every reward; theta_0: the mean reward of its replies
    optimiser: Optimiser
    critic_optimiser: Optimiser
    collapse: Collapse


class Distil(Settings):
    """Fine-tuning of theta_0 on all samples that RSF chose, with or without a mitigation."""

    epochs: Count
    batch: Count
    optimiser: Optimiser


class Ama(Settings):
    """How ratios are optimised. AdaMerging takes `draw` labelled items instead of samples, and the rest as it is."""

    prompts: Count
    samples: Count
    keep: Count
    draw: Count
    steps: Count
    batch: Count
    lr: Rate


class Oracle(Settings):
    """Search of Omega on a lattice: every point on `screen` prompts, the best `finalists` of them on `prompts`."""

    step: Rate  # between neighbouring ratios
    screen: Items
    finalists: Count
    prompts: Items

    @model_validator(mode="after")
    def _screen_is_part_of_the_prompts(self) -> Self:
        if self.screen > self.prompts:
            raise _refused(f"screen = {self.screen} is not allowed with prompts = {self.prompts}; "
                           "allowed is at most as many")  # fmt: skip
        return self


class Evaluate(Settings):
    prompts: Items
    qa: Items
    reading: Items
    translation: Items
    batch: Count


class Preset(Settings):
    """Everything about the size of a run."""

    name: str
    data: Literal["microcosm"]
    model: Model
    pretrain: Pretrain
    sft: Sft
    prompts: Mixture  # of alignment prompts, by kind
    max_new_tokens: Count
    generation_batch: Count
    preferences: Preferences
    reward: Reward
    rsf: Rsf
    dpo: Dpo
    ppo: Ppo
    distil: Distil
    ama: Ama
    oracle: Oracle
    evaluate: Evaluate

    @model_validator(mode="after")
    def _kinds_are_known(self) -> Self:
        for phase in self.pretrain.phases:
            _check_kinds(f"pretrain.phases.{phase.name}.mixture", phase.mixture, KINDS["document"])
            _check_kinds(f"pretrain.phases.{phase.name}.targets", phase.targets, KINDS["check"])
        _check_kinds("sft.mixture", self.sft.mixture, KINDS["conversation"])
        _check_kinds("prompts", self.prompts, KINDS["prompt"])
        return self

    @model_validator(mode="after")
    def _dpo_has_a_step_an_iteration(self) -> Self:
        steps = -(-self.preferences.pairs // self.dpo.batch) * self.dpo.epochs
        if self.dpo.iterations > steps:
            wanted = self.dpo.iterations
            raise _refused(f"dpo.iterations = {wanted} is not allowed; allowed are 1 to {steps}, the number of steps")
        return self


class GroupingSettings(Settings):
    """How tensors are grouped; the choices are those of `llm.averaging.groups.Grouping`."""

    parts: Count | Literal["layers"]  # "layers": as many parts as the model has layers
    embeddings: Literal["first", "last", "mean", "own", "theta", "theta_0"]
    norm: Literal["first", "last", "mean", "own", "theta", "theta_0"]
    head: Literal["first", "last", "mean", "own", "theta", "theta_0"]

    @property
    def names(self) -> tuple[str, ...]:
        """The groups with a ratio of their own; of three parts by the paper's names."""
        labels = [] if self.parts == "layers" else [f"part{k + 1}" for k in range(self.parts)]
        named = [PART_NAMES[label] for label in labels] if self.parts == 3 else labels
        return (*named, *(key for key in ("embeddings", "norm", "head") if getattr(self, key) == "own"))

    def of_layers(self, layers: int) -> Grouping:
        """The grouping of a model of so many layers."""
        return Grouping(**self.model_dump() | ({"parts": layers} if self.parts == "layers" else {}))


class AveragingEntry(Settings):
    """One family of averaged models: every combination of its lists is one setting."""

    method: Literal["ma", "part", "pattern", "ama", "adamerging", "oracle"]
    label: str
    alphas: Annotated[tuple[Share, ...], Field(min_length=1)]
    grouping: GroupingSettings
    part_names: tuple[str, ...] = ()  # which groups `part` averages one at a time; other methods have none
    offsets: tuple[tuple[float, ...], ...] = ()  # what `pattern` adds to alpha, group by group; likewise
    chosen_by: tuple[Literal["reward", "gold_reward"], ...] = ()  # the rewards that `oracle` asks; likewise

    @model_validator(mode="after")
    def _options_are_the_methods(self) -> Self:
        for key, method in {"part_names": "part", "offsets": "pattern", "chosen_by": "oracle"}.items():
            if bool(getattr(self, key)) != (self.method == method):
                raise _refused(f"{key} = {list(getattr(self, key))} is not allowed with method {self.method}; "
                               f"`{method}` needs at least one, other methods have none")  # fmt: skip
        if self.method == "adamerging" and self.grouping.parts != "layers":
            raise _refused(f"grouping.parts = {self.grouping.parts} is not allowed with method adamerging, "
                           "which has a ratio for each layer; allowed is layers")  # fmt: skip
        for alpha, added in ((alpha, added) for alpha in self.alphas for row in self.offsets for added in row):
            if not 0 <= alpha + added <= 1:
                raise _refused(f"offsets = {added:g} is not allowed with alpha = {alpha:g}; "
                               "allowed are sums in [0, 1]")  # fmt: skip
        return self

    @model_validator(mode="after")
    def _parts_are_groups(self) -> Self:
        allowed = self.grouping.names
        for name in self.part_names:
            if name not in allowed:
                raise _refused(f"part_names = {name!r} is an unknown name; allowed are {', '.join(allowed)}")
        return self


TRAINING_OPTIONS = {  # what each method that changes training must be given, and nothing else
    "distilled": (),
    "l1": ("strengths",),
    "l2": ("strengths",),
    "kd": ("strengths",),
    "lora": ("ranks", "targets", "lora_alpha"),
    "sma": ("strengths", "interval"),
    "er": ("strengths",),
}


class TrainingEntry(Settings):
    """One family of models trained from theta_0 on RSF's samples: every strength, or rank, is one setting."""

    method: Literal["distilled", "l1", "l2", "kd", "lora", "sma", "er"]
    label: str
    strengths: tuple[Annotated[float, Field(ge=0)], ...] = ()  # lambda; of `sma` the average's decay
    interval: Count | None = None  # steps from reset to reset
    ranks: tuple[Count, ...] = ()
    targets: Literal["mlp", "mlp+attention"] | None = None  # the matrices that get adapters
    lora_alpha: Positive | None = None

    @model_validator(mode="after")
    def _options_are_the_methods(self) -> Self:
        needed = TRAINING_OPTIONS[self.method]
        for key in ("strengths", "interval", "ranks", "targets", "lora_alpha"):
            value = getattr(self, key)
            if (value not in ((), None)) != (key in needed):
                raise _refused(f"{key} = {_short(value)} is not allowed with method {self.method}, "
                               f"which must be given {', '.join(needed) or 'no option'}")  # fmt: skip
        if self.method == "sma" and max(self.strengths) > 1:
            raise _refused(f"strengths = {max(self.strengths):g} is not allowed with method sma; "
                           "allowed are decays in [0, 1]")  # fmt: skip
        return self

    def settings(self) -> list[dict]:
        """What identifies each model of the entry beyond its method, as the rows say it."""
        varied = {"strength": self.strengths} if self.strengths else {"rank": self.ranks} if self.ranks else {}
        options = {key: getattr(self, key) for key in ("interval", "targets", "lora_alpha")}
        fixed = {key: value for key, value in options.items() if value is not None}
        return [{key: value, **fixed} for key, values in varied.items() for value in values] or [{}]


class Sweep(Settings):
    """What is compared: algorithms, learning rates (the preset's own is `null`), and what is averaged after, or trained at, each.

    Training entries imitate the samples that RSF chose, so they go with `rlhf: [rsf]` alone.
    """

    name: str
    rlhf: Annotated[tuple[Algorithm, ...], Field(min_length=1)]
    learning_rates: Annotated[tuple[Rate | None, ...], Field(min_length=1)]
    trajectory: bool  # whether the rows of alignment itself are part of it; each row belongs to one sweep
    averaging: tuple[AveragingEntry, ...]
    training: tuple[TrainingEntry, ...]

    @model_validator(mode="after")
    def _labels_differ(self) -> Self:
        labels = [entry.label for entry in (*self.averaging, *self.training)]
        for label in labels:
            if labels.count(label) > 1:
                raise _refused(f"averaging and training have the label {label!r} more than once; "
                               "allowed are different labels")  # fmt: skip
        return self

    @model_validator(mode="after")
    def _training_imitates_rsf(self) -> Self:
        if self.training and self.rlhf != ("rsf",):
            raise _refused(f"rlhf = {list(self.rlhf)} is not allowed with training entries; allowed is ['rsf']")
        return self

    def entry(self, label: str) -> AveragingEntry:
        """The averaging entry of that label; UserError if there is none."""
        return _labelled(self.averaging, label, self.name)

    def training_entry(self, label: str) -> TrainingEntry:
        """The training entry of that label; UserError if there is none."""
        return _labelled(self.training, label, self.name)


def load_preset(name: str) -> Preset:
    """A preset by the name of its file in llm/presets, or by the path of a YAML file."""
    return _load(Preset, "presets", name)


def load_sweep(name: str) -> Sweep:
    """A sweep by the name of its file in llm/sweeps, or by the path of a YAML file."""
    return _load(Sweep, "sweeps", name)


def _labelled(entries: tuple, label: str, sweep: str):
    for entry in entries:
        if entry.label == label:
            return entry
    known = ", ".join(entry.label for entry in entries) or "none"
    raise UserError(f"entry = {label!r} is not in the sweep {sweep}; allowed are {known}")


def names(folder: Literal["presets", "sweeps"]) -> list[str]:
    """The names that come with the package."""
    files = resources.files("llm").joinpath(folder).iterdir()
    return sorted(p.name.removesuffix(".yaml") for p in files if p.name.endswith(".yaml"))


def _load(kind: type[Settings], folder: str, name: str):
    path = Path(name) if name.endswith((".yaml", ".yml")) else resources.files("llm").joinpath(folder, f"{name}.yaml")
    if not path.is_file():
        known = ", ".join(names(folder))
        raise UserError(f"{folder[:-1]} = {name!r} is unknown; allowed are {known}, or the path of a YAML file")
    try:
        return kind.model_validate(yaml.safe_load(path.read_text()))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    except ValidationError as error:
        raise UserError(f"{path}: {_sentence(error)}") from None


def _sentence(error: ValidationError) -> str:
    """The first problem: key, value, what is allowed."""
    first = error.errors()[0]
    key = ".".join(map(str, first["loc"]))
    if first["type"] == "missing":
        return f"the key {key} is missing; every key must be given"
    if first["type"] == "refused":
        return f"{key}: {first['msg']}" if key else first["msg"]
    return f"{key or 'the file'} = {_short(first['input'])} is not allowed: {first['msg']}"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
