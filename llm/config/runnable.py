"""Which part of a sweep a preset can run: sweeps are shared by all kinds of presets, and what one cannot run is left out."""

from .preset import LocalPreset, Preset
from .sweep import AveragingEntry, Sweep


def runnable(sweep: Sweep, preset: Preset) -> Sweep:
    """The sweep without what the preset has no section, no ratio or no method for; its lists may be empty (`why_empty`).

    Learning rates that are numbers are laid out for the microcosm, so other kinds run sweeps at their own rate alone. Where models
    are slow to measure, a preset takes fewer ratios of single parts (`thin_parts`).
    """
    rates = (
        sweep.learning_rates if preset.takes_numbers_of_sweeps else [lr for lr in sweep.learning_rates if lr is None]
    )
    return sweep.model_copy(
        update={
            "rlhf": tuple(rlhf for rlhf in sweep.rlhf if rlhf in preset.algorithms),
            "learning_rates": tuple(rates),
            "averaging": tuple(
                _thinned(entry, preset)
                for entry in sweep.averaging
                if entry.method in preset.averaging_methods and entry.grouping.fits(preset.model)
            ),
            "training": tuple(entry for entry in sweep.training if entry.method in preset.training_methods),
        }
    )


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
