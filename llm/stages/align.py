"""Alignment, from theta_0 to theta, by any of the algorithms; a new one is a stage file and an entry in `llm.methods`."""

from pathlib import Path
from typing import Any

from ..config import Algorithm, Preset
from ..errors import UserError
from ..methods import METHODS, code_of
from ..run import LocalRun, Run
from ..training.iterations import iteration_folder
from .stopping import Target, read_theta, theta_file


def align(run: LocalRun, rlhf: Algorithm, rate: str, eta: str = "own") -> None:
    """Make theta, and a model after every iteration; goes on where a killed run stopped.

    Args:
        rate: the learning rate, as text or `own` for the preset's; it names the folder.
        eta: PPO's KL penalty, likewise.
    """
    require_known(run.preset, rlhf, eta)
    changed = {} if eta == "own" else {"eta": number(eta)}
    align_changed(run, rlhf, rate, aligned_folder(run, rlhf, rate, eta), **changed)


def align_changed(run: LocalRun, rlhf: Algorithm, rate: str, out: Path, **changed: Any) -> None:
    """One run of an algorithm into `out`, to its last iteration or, where the preset says so, to the common reward.

    changed: what the algorithm's code is called with beside the preset's and the method's own.
    """
    method, target = METHODS[rlhf], target_of(run, rlhf, out)
    given = {**method.given, **changed} | ({"reached": target.reached} if target else {})
    code_of(method)(run, run.folder / "theta_0", run.folder / method.learns_from, out, number(rate), **given)
    if target:
        last = run.preset.iterations(rlhf)
        target.finish(next((i for i in range(1, last + 1) if target.reached(i)), last))


def target_of(run: LocalRun, rlhf: Algorithm, out: Path) -> Target | None:
    """What the models in `out` are to reach; None where the preset trains for a number of iterations."""
    if not run.preset.stops:
        return None
    gold = METHODS[rlhf].given.get("judge") == "gold"
    own = aligned_folder(run, "rsf-gold" if gold else "rsf", "own")
    return Target(run, out, out == own, "gold_reward" if gold else "reward", theta_file(own))


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


def last_iteration(run: Run, rlhf: Algorithm, out: Path) -> int:
    """Which of the models in `out` is theta."""
    return read_theta(theta_file(out)) if run.preset.stops else run.preset.iterations(rlhf)


def theta_folder(run: Run, rlhf: Algorithm, rate: str, eta: str = "own") -> Path:
    """The model that is theta: after the last iteration, or the first that has the common reward."""
    out = aligned_folder(run, rlhf, rate, eta)
    return iteration_folder(out, last_iteration(run, rlhf, out))


def other_runs(run: Run, theta: Path) -> dict[str, Path]:
    """{"run2": theta of the second run of the same alignment at the same rate, ...}, of those that are there."""
    rlhf, rate = theta.parent.parent.name, theta.parent.name
    found: dict[str, Path] = {}
    for name in run.preset.algorithms:
        stream = METHODS[name].given.get("stream", 1)
        if METHODS[name].section != rlhf or stream == 1:
            continue
        out = aligned_folder(run, name, rate)
        if not run.preset.stops or theta_file(out).is_file():
            other = iteration_folder(out, last_iteration(run, name, out))
            found |= {f"run{stream}": other} if (other / "config.json").is_file() else {}
    return found
