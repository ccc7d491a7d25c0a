"""Alignment, from theta_0 to theta, by any of the algorithms; a new one is a stage file and an entry in `llm.methods`."""

from pathlib import Path

from ..config import Algorithm, Preset
from ..errors import UserError
from ..methods import METHODS, code_of
from ..run import LocalRun, Run
from ..training.iterations import iteration_folder


def align(run: LocalRun, rlhf: Algorithm, rate: str, eta: str = "own") -> None:
    """Make theta, and a model after every iteration; goes on where a killed run stopped.

    Args:
        rate: the learning rate, as text or `own` for the preset's; it names the folder.
        eta: PPO's KL penalty, likewise.
    """
    require_known(run.preset, rlhf, eta)
    method = METHODS[rlhf]
    changed = {} if eta == "own" else {"eta": number(eta)}
    out = aligned_folder(run, rlhf, rate, eta)
    code_of(method)(run, run.folder / "theta_0", run.folder / method.learns_from, out, number(rate), **changed)


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
