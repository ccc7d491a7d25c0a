"""Alignment, from theta_0 to theta, by any of the algorithms; a new one is a stage file and a line in the table."""

from collections.abc import Callable
from pathlib import Path

from ..config import Algorithm, Preset
from ..errors import UserError
from ..run import LocalRun, Run
from ..training.iterations import iteration_folder
from .dpo import dpo
from .ppo import ppo
from .rsf import rsf

# name -> the stage, and what of the stage `reward` it learns from
ALGORITHMS: dict[Algorithm, tuple[Callable[..., None], str]] = {
    "rsf": (rsf, "reward"),
    "dpo": (dpo, "preferences.json"),
    "ppo": (ppo, "reward"),
}


def align(run: LocalRun, rlhf: Algorithm, rate: str, eta: str = "own") -> None:
    """Make theta, and a model after every iteration; goes on where a killed run stopped.

    Args:
        rate: the learning rate, as text or `own` for the preset's; it names the folder.
        eta: PPO's KL penalty, likewise.
    """
    require_known(run.preset, rlhf, eta)
    stage, source = ALGORITHMS[rlhf]
    changed = {} if eta == "own" else {"eta": number(eta)}
    out = aligned_folder(run, rlhf, rate, eta)
    stage(run, run.folder / "theta_0", run.folder / source, out, number(rate), **changed)


def require_known(preset: Preset, rlhf: Algorithm, eta: str) -> None:
    """UserError for an algorithm that the preset has no section for, or a KL penalty of an algorithm that has none."""
    preset.iterations(rlhf)
    if eta != "own" and rlhf != "ppo":
        raise UserError(
            f"eta = {eta!r} is not allowed with rlhf = {rlhf}; allowed is `own`, since only ppo has a penalty"
        )


def aligned_folder(run: Run, rlhf: Algorithm, rate: str, eta: str = "own") -> Path:
    """Where the iterations lie."""
    folder = run.folder / rlhf / rate
    return folder if eta == "own" else folder / f"eta{eta}"


def number(text: str) -> float | None:
    """A learning rate or a penalty; None for `own`, the preset's."""
    return None if text == "own" else float(text)


def theta_folder(run: Run, rlhf: Algorithm, rate: str, eta: str = "own") -> Path:
    """The model after the last iteration."""
    return iteration_folder(aligned_folder(run, rlhf, rate, eta), run.preset.iterations(rlhf))
