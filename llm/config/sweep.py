"""Sweeps: what is compared, over algorithms, learning rates, ways to average and ways to train; and what of it a preset can run."""

from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import Field, ValidationInfo, field_validator, model_validator

from ..errors import UserError, short
from ..grouping import PART_NAMES, Grouping
from ..methods import METHODS, Method
from .base import Algorithm, Name, Rate, Settings, method_of, refused
from .local import LocalPreset
from .preset import Preset, Shape

MOST_PARTS = 1000  # more layers than any model has; names of more would be made before a model refuses them


class GroupingSettings(Settings):
    """How tensors are grouped; the choices are those of `llm.grouping.Grouping`."""

    parts: (
        Annotated[int, Field(ge=1, le=MOST_PARTS)] | Literal["layers"]
    )  # "layers": as many parts as the model has layers
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


class Entry(Settings):
    """One family of models: every combination of its options' values is one setting (`llm.methods.Method.options`)."""

    method: str
    label: Name
    options: dict[str, tuple[Any, ...]] = Field(default={}, validate_default=True)

    def __hash__(self) -> int:  # options are no hashable type
        return hash((self.method, self.label))

    @property
    def spec(self) -> Method:
        """The method's entry of the table."""
        return METHODS[self.method]

    def settings(self) -> list[dict[str, Any]]:
        """What identifies each model of the entry beyond its method and alpha, as its rows have it."""
        return self.spec.settings_of(self.options)

    @field_validator("options")
    @classmethod
    def _options_are_the_methods(cls, given: dict[str, tuple], info: ValidationInfo) -> dict[str, tuple]:
        method = METHODS.get(info.data.get("method", ""))
        if method is None:  # refused already
            return given
        for key, values in given.items():
            if key not in method.options:
                allowed = ", ".join(method.options) or "no option"
                raise refused(
                    f"{key} = {short(list(values))} is not allowed with method {method.name}; allowed is {allowed}"
                )
        for key, option in method.options.items():
            if option.needed and not given.get(key):
                raise refused(f"{key} is missing; method {method.name} needs a list of {option.allowed}")
        return {key: tuple(map(_reader(method, key), given[key])) for key in method.options if given.get(key)}


def _reader(method: Method, key: str):
    option = method.options[key]

    def read(value: Any) -> Any:
        try:
            return option.read(value)
        except ValueError:
            raise refused(
                f"{key} = {short(value)} is not allowed with method {method.name}; allowed are {option.allowed}"
            ) from None

    return read


class AveragingEntry(Entry):
    """One family of averaged models: every alpha goes with every combination of options."""

    method: Annotated[str, method_of("averaging")]
    alphas: tuple[Annotated[float, Field(ge=0)], ...] = Field(default=(), validate_default=True)
    grouping: GroupingSettings

    @property
    def runs(self) -> int:
        """How many runs of one alignment its models are made of; above 1 it has an option `runs`."""
        return max(setting.get("runs", 1) for setting in self.settings())

    @field_validator("alphas")
    @classmethod
    def _alphas_are_the_methods(cls, given: tuple, info: ValidationInfo) -> tuple:
        method = METHODS.get(info.data.get("method", ""))
        if method is None:  # refused already
            return given
        wanted = not method.whole or "alpha" in method.setting
        if wanted and not given:
            raise refused(f"alphas are missing; method {method.name} needs a list of numbers in [0, {method.most:g}]")
        if given and not wanted:
            raise refused(f"alphas = {short(list(given))} are not allowed with method {method.name}; it has no ratio")
        for alpha in given:
            if alpha > method.most:
                allowed = f"numbers in [0, {method.most:g}]"
                raise refused(f"alphas = {alpha:g} is not allowed with method {method.name}; allowed are {allowed}")
        return given

    @model_validator(mode="after")
    def _grouping_is_the_methods(self) -> Self:
        wanted = self.spec.parts
        if wanted and self.grouping.parts != wanted:
            raise refused(
                f"grouping.parts = {self.grouping.parts} is not allowed with method {self.method}; allowed is {wanted}"
            )
        for key in (key for key, option in self.spec.options.items() if option.of_groups):
            for name in self.options.get(key, ()):
                if name not in self.grouping.names:
                    allowed = ", ".join(self.grouping.names)
                    raise refused(f"options.{key} = {name!r} is an unknown name; allowed are {allowed}")
        for place in self.options.get("embeddings", ()):
            if place != self.grouping.embeddings:
                given = self.grouping.embeddings
                raise refused(
                    f"grouping.embeddings = {given} is not allowed with options.embeddings = {place}; allowed is {place}"
                )
        for alpha, added in (
            (alpha, added) for alpha in self.alphas for row in self.options.get("offsets", ()) for added in row
        ):
            if not 0 <= alpha + added <= 1:
                raise refused(f"offsets = {added:g} is not allowed with alpha = {alpha:g}; allowed are sums in [0, 1]")
        return self


class TrainingEntry(Entry):
    """One family of models trained from theta_0.

    What it is trained by says the method (`how`): RSF's samples, PPO with other penalties eta, or the sweep's algorithm itself.
    """

    method: Annotated[str, method_of("training")]

    def trainings(self) -> list[dict[str, Any]]:
        """The settings' different trainings, each of which may give several models (`llm.methods.Method.afterwards`)."""
        every = [self.spec.trained_by(setting) for setting in self.settings()]
        return [setting for place, setting in enumerate(every) if setting not in every[:place]]


class Sweep(Settings):
    """What is compared: algorithms, learning rates (the preset's own is `null`), and what is averaged after, or trained at, each.

    Training entries go with the algorithms of their method alone: those that imitate the samples that RSF chose with RSF, `kl` with PPO.
    """

    name: Name
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
            if not set(self.rlhf) <= set(entry.spec.after):
                raise refused(
                    f"rlhf = {list(self.rlhf)} is not allowed with training entries of method {entry.method}; "
                    f"allowed is {list(entry.spec.after)}"
                )
        return self

    def entry(self, label: str) -> AveragingEntry:
        """The averaging entry of that label; UserError if there is none."""
        return _labelled(self.averaging, label, self.name)

    def training_entry(self, label: str) -> TrainingEntry:
        """The training entry of that label; UserError if there is none."""
        return _labelled(self.training, label, self.name)


E = TypeVar("E", bound=Entry)


def _labelled(entries: tuple[E, ...], label: str, sweep: str) -> E:
    for entry in entries:
        if entry.label == label:
            return entry
    known = ", ".join(entry.label for entry in entries) or "none"
    raise UserError(f"entry = {label!r} is not in the sweep {sweep}; allowed are {known}")


def runnable(sweep: Sweep, preset: Preset) -> Sweep:
    """The sweep without what the preset has no section, no ratio or no method for; its lists may be empty (`why_empty`).

    Learning rates that are numbers are laid out for the microcosm, so other kinds run sweeps at their own rate alone. Where models
    are slow to measure, a preset takes fewer ratios of single parts (`thin_parts`), and fewer entries (`entries`).
    """
    every = sweep.learning_rates
    rates = every if preset.takes_numbers_of_sweeps else [lr for lr in every if lr is None]
    methods = preset.averaging_methods
    chosen = (preset.entries or {}).get(sweep.name, [e.label for e in sweep.averaging])
    possible = [e for e in sweep.averaging if e.method in methods and e.grouping.fits(preset.model)]
    averaging = [e for e in possible if e.label in chosen]
    rlhf = tuple(rlhf for rlhf in sweep.rlhf if rlhf in preset.algorithms)
    iterations = min((preset.iterations(name) for name in rlhf), default=0)
    within = [short for e in averaging if (short := _within(e, iterations, preset.left_out)) is not None]
    kept = {
        "rlhf": rlhf,
        "learning_rates": tuple(rates),
        "averaging": tuple(_thinned(entry, preset) for entry in within),
        "training": tuple(entry for entry in sweep.training if entry.method in preset.training_methods),
    }
    return sweep.model_copy(update=kept)


def _within(entry: AveragingEntry, iterations: int, left_out: dict[str, tuple]) -> AveragingEntry | None:
    """The entry without models of more iterations than there are, and without values that are left out; None where it has no other."""
    options = dict(entry.options)
    for key, values in entry.options.items():
        counts = key in ("iteration", "last")
        options[key] = tuple(v for v in values if v not in left_out.get(key, ()) and not (counts and v > iterations))
        if not options[key]:
            return None
    return entry.model_copy(update={"options": options})


def _thinned(entry: AveragingEntry, preset: Preset) -> AveragingEntry:
    if entry.method != "part" or not isinstance(preset, LocalPreset):
        return entry
    return entry.model_copy(update={"alphas": entry.alphas[:: preset.thin_parts]})


def has_baseline(sweep: Sweep, preset: Preset) -> bool:
    """Whether theta_0's rows belong to a sweep: every number has one row, so they stand beside those of the preset's first algorithm
    at its own rate alone.
    """
    return sweep.trajectory and preset.algorithms[0] in sweep.rlhf and None in sweep.learning_rates


def why_empty(sweep: Sweep, preset: Preset) -> str | None:
    """Half a sentence about a preset that can run nothing of a sweep; None if it can."""
    part = runnable(sweep, preset)
    if not part.rlhf:
        return f"whose models are aligned by {', '.join(preset.algorithms)}"
    if not part.learning_rates:
        return "which is run at its own learning rates"
    if part.trajectory or part.averaging or part.training:
        return None
    if any(entry.method in preset.averaging_methods for entry in sweep.averaging):
        return "whose head is tied to its embeddings"
    return f"which has none of the methods {', '.join(dict.fromkeys(e.method for e in (*sweep.averaging, *sweep.training)))}"
