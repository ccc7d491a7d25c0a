"""Alignment, from theta_0 to theta, by any of the algorithms; a new one is a stage file and a line in the table."""

from collections.abc import Callable
from pathlib import Path

from llm.config import Algorithm
from llm.run import Run
from llm.stages.dpo import dpo
from llm.stages.iterations import iteration_folder
from llm.stages.ppo import ppo
from llm.stages.rsf import rsf

# name -> the stage, and what of the stage `reward` it learns from
ALGORITHMS: dict[Algorithm, tuple[Callable[[Run, Path, Path, Path, float | None], None], str]] = {
    "rsf": (rsf, "reward"),
    "dpo": (dpo, "preferences.json"),
    "ppo": (ppo, "reward"),
}


def align(run: Run, rlhf: Algorithm, rate: str) -> None:
    """Make theta, and a model after every iteration; goes on where a killed run stopped.

    Args:
        rate: the learning rate, as text or `own` for the preset's; it names the folder.
    """
    stage, source = ALGORITHMS[rlhf]
    stage(run, run.folder / "theta_0", run.folder / source, aligned_folder(run, rlhf, rate), learning_rate(rate))


def aligned_folder(run: Run, rlhf: Algorithm, rate: str) -> Path:
    """Where the iterations lie."""
    return run.folder / rlhf / rate


def learning_rate(rate: str) -> float | None:
    """None for `own`, the preset's."""
    return None if rate == "own" else float(rate)


def iterations(run: Run, rlhf: Algorithm) -> int:
    return getattr(run.preset, rlhf).iterations


def theta_folder(run: Run, rlhf: Algorithm, rate: str) -> Path:
    """The model after the last iteration."""
    return iteration_folder(aligned_folder(run, rlhf, rate), iterations(run, rlhf))
