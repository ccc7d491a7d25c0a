"""Settings: YAML files read into frozen, complete, validated models. Presets say how big, sweeps say what is compared.

Only what is a list of options, of which a method takes some and not others, may be left out.
"""

from llm.config.base import Algorithm
from llm.config.files import load_preset, load_sweep, names
from llm.config.preset import Collapse, Dpo, Initialise, Model, Optimiser, Phase, Ppo, Preset
from llm.config.sweep import TRAINING_OPTIONS, AveragingEntry, GroupingSettings, Sweep, TrainingEntry

__all__ = [
    "TRAINING_OPTIONS", "Algorithm", "AveragingEntry", "Collapse", "Dpo", "GroupingSettings", "Initialise", "Model", "Optimiser",
    "Phase", "Ppo", "Preset", "Sweep", "TrainingEntry", "load_preset", "load_sweep", "names",
]  # fmt: skip
