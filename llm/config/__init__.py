"""Settings: YAML files read into frozen, complete, validated models. Presets say how big, sweeps say what is compared.

Only what is a list of options, of which a method takes some and not others, and stages that a preset does not run may be left out.
"""

from .base import Algorithm
from .files import AnyPreset, load_preset, load_sweep, names
from .hub import HubPreset
from .local import Initialise, LocalPreset, MicrocosmPreset, Model, Phase, SmollmPreset
from .preset import Preset, PublicModel, Shape
from .sections import Collapse, Dpo, Optimiser, Ppo, Until
from .sweep import AveragingEntry, GroupingSettings, Sweep, TrainingEntry, has_baseline, runnable, why_empty
