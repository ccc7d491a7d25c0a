"""Sweeps: what is compared, over algorithms, learning rates, ways to average and ways to train."""

from itertools import product
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from ..errors import UserError
from ..grouping import PART_NAMES, Grouping
from .base import Algorithm, AveragingMethod, Count, Positive, Rate, Settings, Share, TrainingMethod, refused, short
from .preset import Shape


class GroupingSettings(Settings):
    """How tensors are grouped; the choices are those of `llm.grouping.Grouping`."""

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

    def fits(self, model: Shape) -> bool:
        """Whether a model has all the groups: a head that is tied to the embeddings has no ratio of its own."""
        return not (self.head == "own" and model.tied_embeddings)

    def of_model(self, model: Shape) -> Grouping:
        """The grouping of a preset's model; UserError if it does not fit."""
        if not self.fits(model):
            raise UserError(
                "grouping.head = 'own' is not allowed with tied embeddings, which the head is; "
                "allowed are first, last, mean, theta, theta_0"
            )
        return self.of_layers(model.layers)


class AveragingEntry(Settings):
    """One family of averaged models: every combination of its lists is one setting."""

    method: AveragingMethod
    label: str
    alphas: Annotated[tuple[Share, ...], Field(min_length=1)]
    grouping: GroupingSettings
    part_names: tuple[str, ...] = ()  # which groups `part` averages one at a time; other methods have none
    offsets: tuple[tuple[float, ...], ...] = ()  # what `pattern` adds to alpha, group by group; likewise
    chosen_by: tuple[Literal["reward", "gold_reward"], ...] = ()  # the rewards that `oracle` asks; likewise
    samples: tuple[
        Count | Literal["all"], ...
    ] = ()  # how many `ama` learns from, of those kept; none given: `ama.draw`
    regularisers: tuple[Annotated[float, Field(ge=0)], ...] = ()  # of `ama`, its coefficients; none given: no penalty

    @model_validator(mode="after")
    def _options_are_the_methods(self) -> Self:
        for key, method in {"part_names": "part", "offsets": "pattern", "chosen_by": "oracle"}.items():
            if bool(getattr(self, key)) != (self.method == method):
                raise refused(
                    f"{key} = {list(getattr(self, key))} is not allowed with method {self.method}; "
                    f"`{method}` needs at least one, other methods have none"
                )
        for key in ("samples", "regularisers"):
            if getattr(self, key) and self.method != "ama":
                raise refused(
                    f"{key} = {list(getattr(self, key))} is not allowed with method {self.method}; "
                    "only `ama` may have any"
                )
        if self.method == "adamerging" and self.grouping.parts != "layers":
            raise refused(
                f"grouping.parts = {self.grouping.parts} is not allowed with method adamerging, "
                "which has a ratio for each layer; allowed is layers"
            )
        for alpha, added in ((alpha, added) for alpha in self.alphas for row in self.offsets for added in row):
            if not 0 <= alpha + added <= 1:
                raise refused(f"offsets = {added:g} is not allowed with alpha = {alpha:g}; allowed are sums in [0, 1]")
        return self

    @model_validator(mode="after")
    def _parts_are_groups(self) -> Self:
        allowed = self.grouping.names
        for name in self.part_names:
            if name not in allowed:
                raise refused(f"part_names = {name!r} is an unknown name; allowed are {', '.join(allowed)}")
        return self


TRAINING_OPTIONS = {  # what each method that changes training must be given, and nothing else
    "distilled": (),
    "l1": ("strengths",),
    "l2": ("strengths",),
    "kd": ("strengths",),
    "lora": ("ranks", "targets", "lora_alphas"),
    "sma": ("strengths", "interval"),
    "er": ("strengths",),
    "kl": ("strengths",),
}


class TrainingEntry(Settings):
    """One family of models trained from theta_0: every strength, or rank, is one setting.

    All methods imitate RSF's samples, but for `kl`, which is PPO with other penalties eta.
    """

    method: TrainingMethod
    label: str
    strengths: tuple[Annotated[float, Field(ge=0)], ...] = ()  # lambda; of `sma` the average's decay, of `kl` eta
    interval: Count | None = None  # steps from reset to reset
    ranks: tuple[Count, ...] = ()
    targets: Literal["mlp", "mlp+attention"] | None = None  # the matrices that get adapters
    lora_alphas: tuple[Positive, ...] = ()  # each goes with every rank

    @model_validator(mode="after")
    def _options_are_the_methods(self) -> Self:
        needed = TRAINING_OPTIONS[self.method]
        for key in ("strengths", "interval", "ranks", "targets", "lora_alphas"):
            value = getattr(self, key)
            if (value not in ((), None)) != (key in needed):
                raise refused(
                    f"{key} = {short(value)} is not allowed with method {self.method}, "
                    f"which must be given {', '.join(needed) or 'no option'}"
                )
        if self.method == "sma" and max(self.strengths) > 1:
            raise refused(
                f"strengths = {max(self.strengths):g} is not allowed with method sma; allowed are decays in [0, 1]"
            )
        return self

    def settings(self) -> list[dict]:
        """What identifies each model of the entry beyond its method, as the rows say it."""
        varied = {"strength": self.strengths, "rank": self.ranks, "lora_alpha": self.lora_alphas}
        lists = {key: values for key, values in varied.items() if values}
        options = {"interval": self.interval, "targets": self.targets}
        fixed = {key: value for key, value in options.items() if value is not None}
        return [dict(zip(lists, values)) | fixed for values in product(*lists.values())]


class Sweep(Settings):
    """What is compared: algorithms, learning rates (the preset's own is `null`), and what is averaged after, or trained at, each.

    Training entries imitate the samples that RSF chose, so they go with `rlhf: [rsf]` alone; those of method `kl` are PPO
    itself and go with `rlhf: [ppo]`.
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
                raise refused(
                    f"averaging and training have the label {label!r} more than once; allowed are different labels"
                )
        return self

    @model_validator(mode="after")
    def _training_has_its_algorithm(self) -> Self:
        for entry in self.training:
            allowed = "ppo" if entry.method == "kl" else "rsf"
            if self.rlhf != (allowed,):
                raise refused(
                    f"rlhf = {list(self.rlhf)} is not allowed with training entries of method {entry.method}; "
                    f"allowed is ['{allowed}']"
                )
        return self

    def entry(self, label: str) -> AveragingEntry:
        """The averaging entry of that label; UserError if there is none."""
        return _labelled(self.averaging, label, self.name)

    def training_entry(self, label: str) -> TrainingEntry:
        """The training entry of that label; UserError if there is none."""
        return _labelled(self.training, label, self.name)


def _labelled(entries: tuple, label: str, sweep: str):
    for entry in entries:
        if entry.label == label:
            return entry
    known = ", ".join(entry.label for entry in entries) or "none"
    raise UserError(f"entry = {label!r} is not in the sweep {sweep}; allowed are {known}")
