"""What the commands begin with; torch is loaded here, at a command's call, and not before."""

from pathlib import Path

from ..errors import UserError


def run_of(name: str, seed: int, out: Path, kind: str = "Preset"):
    """A run of a preset. kind: the class of `llm.config` that it has to be of; UserError for another."""
    from .. import config
    from ..run import Run

    preset, kind_of = config.load_preset(name), getattr(config, kind)
    if not isinstance(preset, kind_of):
        known = ", ".join(other for other in config.names("presets") if isinstance(config.load_preset(other), kind_of))
        raise UserError(f"preset = {name!r} is not allowed with this command; allowed are {known}")
    return Run(preset, seed, out)


def backend(preset: str, seed: int, out: Path):
    """The backend (`llm.stages.backend`) of a run of any preset."""
    from ..stages.backend import backend_of

    return backend_of(run_of(preset, seed, out))
