"""What the commands begin with; torch is loaded here, at a command's call, and not before."""

from pathlib import Path

from ..errors import UserError


def run_of(preset: str, seed: int, out: Path):
    """A run of any preset."""
    from ..config import Preset

    return _run(Preset, preset, seed, out)


def microcosm_run(preset: str, seed: int, out: Path):
    """For what only the microcosm has."""
    from ..config import MicrocosmPreset

    return _run(MicrocosmPreset, preset, seed, out)


def local_run(preset: str, seed: int, out: Path):
    """For what our own loop's presets have."""
    from ..config import LocalPreset

    return _run(LocalPreset, preset, seed, out)


def stages_of(run):
    """The stages of the run's kind of preset: `llm.stages.local` or `llm.stages.hub.stages`, modules with the same functions."""
    from ..config import HubPreset

    if isinstance(run.preset, HubPreset):
        from ..stages.hub import stages
    else:
        from ..stages import local as stages
    return stages


def _run(kind: type, name: str, seed: int, out: Path):
    from ..config import load_preset, names
    from ..run import Run

    preset = load_preset(name)
    if not isinstance(preset, kind):
        known = ", ".join(other for other in names("presets") if isinstance(load_preset(other), kind))
        raise UserError(f"preset = {name!r} is not allowed with this command; allowed are {known}")
    return Run(preset, seed, out)
