"""Settings: YAML files read into frozen, complete, validated models. Presets say how big, sweeps say what is compared.

Nothing has a default here: a preset is complete, so whoever reads it has read every number of a run.
"""

from importlib import resources
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from llm.errors import UserError

Count = Annotated[int, Field(ge=1)]
Rate = Annotated[float, Field(gt=0, le=1)]
Share = Annotated[float, Field(ge=0, le=1)]
Mixture = Annotated[dict[str, Annotated[float, Field(ge=0)]], Field(min_length=1)]


class Settings(BaseModel):
    """Base of all settings: frozen, and no key may be unknown."""

    model_config = ConfigDict(frozen=True, extra="forbid")


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
    phases: tuple[Phase, ...]


class Sft(Settings):
    mixture: Mixture
    steps: Count
    batch: Count
    optimiser: Optimiser


class Preferences(Settings):
    """Where compared replies come from, and how noisy the labels are."""

    pairs: Count
    test_pairs: Count
    temperatures: Annotated[dict[float, Share], Field(min_length=1)]  # of replies by theta_0; the rest is written
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


class Ama(Settings):
    prompts: Count
    samples: Count
    keep: Count
    draw: Count
    steps: Count
    batch: Count
    lr: Rate


class Evaluate(Settings):
    prompts: Count
    qa: Count
    reading: Count
    translation: Count
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
    ama: Ama
    evaluate: Evaluate


class GroupingSettings(Settings):
    """How tensors are grouped; the choices are those of `llm.averaging.groups.Grouping`."""

    parts: Count
    embeddings: Literal["first", "last", "mean", "own", "theta", "theta_0"]
    norm: Literal["first", "last", "mean", "own", "theta", "theta_0"]
    head: Literal["first", "last", "mean", "own", "theta", "theta_0"]


class AveragingEntry(Settings):
    """One family of averaged models: every combination of its lists is one setting."""

    method: Literal["ma", "part", "ama"]
    label: str
    alphas: Annotated[tuple[Share, ...], Field(min_length=1)]
    grouping: GroupingSettings
    part_names: tuple[str, ...] = ()


class Sweep(Settings):
    """What is compared: RSF's learning rates (the preset's own is `null`) and what is averaged after each."""

    name: str
    learning_rates: Annotated[tuple[Rate | None, ...], Field(min_length=1)]
    averaging: tuple[AveragingEntry, ...]

    def entry(self, label: str) -> AveragingEntry:
        """The averaging entry of that label; UserError if there is none."""
        for entry in self.averaging:
            if entry.label == label:
                return entry
        known = ", ".join(entry.label for entry in self.averaging)
        raise UserError(f"entry = {label!r} is not in the sweep {self.name}; allowed are {known}")


def load_preset(name: str) -> Preset:
    """A preset by the name of its file in llm/presets, or by the path of a YAML file."""
    return _load(Preset, "presets", name)


def load_sweep(name: str) -> Sweep:
    """A sweep by the name of its file in llm/sweeps, or by the path of a YAML file."""
    return _load(Sweep, "sweeps", name)


def names(folder: Literal["presets", "sweeps"]) -> list[str]:
    """The names that come with the package."""
    return sorted(p.name.removesuffix(".yaml") for p in resources.files("llm").joinpath(folder).iterdir())


def _load(kind: type[Settings], folder: str, name: str):
    path = Path(name) if name.endswith((".yaml", ".yml")) else resources.files("llm").joinpath(folder, f"{name}.yaml")
    if not path.is_file():
        known = ", ".join(names(folder))
        raise UserError(f"{folder[:-1]} = {name!r} is unknown; allowed are {known}, or the path of a YAML file")
    try:
        return kind(**(yaml.safe_load(path.read_text()) or {}))
    except yaml.YAMLError as error:
        raise UserError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    except ValidationError as error:
        raise UserError(f"{path}: {_sentence(error)}") from None


def _sentence(error: ValidationError) -> str:
    first = error.errors()[0]
    key = ".".join(map(str, first["loc"]))
    value = "" if first["type"] == "missing" else f" = {first['input']!r}"
    return f"{key}{value}: {first['msg']}"
