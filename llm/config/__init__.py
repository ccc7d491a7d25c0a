"""Settings: YAML files read into frozen, complete, validated models. Presets say how big, sweeps say what is compared.

Only what is a list of options, of which a method takes some and not others, and stages that a preset does not run may be left out.
"""

from .base import Algorithm
from .files import load_preset, load_sweep, names
from .hub import HubPreset
from .kinds import AnyPreset
from .microcosm import Initialise, MicrocosmPreset, Model, Phase
from .preset import LocalPreset, Preset, PublicModel, Shape
from .runnable import has_baseline, runnable, why_empty
from .sections import Collapse, Dpo, Optimiser, Ppo, eta_name
from .smollm import SmollmPreset
from .sweep import TRAINING_OPTIONS, AveragingEntry, GroupingSettings, Sweep, TrainingEntry

__all__ = [
    "TRAINING_OPTIONS",
    "Algorithm",
    "AnyPreset",
    "AveragingEntry",
    "Collapse",
    "Dpo",
    "GroupingSettings",
    "HubPreset",
    "Initialise",
    "LocalPreset",
    "MicrocosmPreset",
    "Model",
    "Optimiser",
    "Phase",
    "Ppo",
    "Preset",
    "PublicModel",
    "Shape",
    "SmollmPreset",
    "Sweep",
    "TrainingEntry",
    "eta_name",
    "has_baseline",
    "load_preset",
    "load_sweep",
    "names",
    "runnable",
    "why_empty",
]
