"""The order of PPO's iterations: forward, and back to an earlier one after a collapse (paper.md section 3)."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ....config import Collapse
from ...iterations import is_made, model_before, read_log
from .experience import AnyPpo


@dataclass(frozen=True)
class Trail:
    """What a run of PPO has on disk, and how it makes more of it; iterations are counted from 1.

    theta_0, reward: the models that the first is made from. out: of the models and their logs, with "restarts" and
    "collapse". training: (iteration) -> the file or folder from which training goes on behind it. make: (iteration,
    restarts), makes it from the one before. forget: (iteration), what training before it needed may go.
    """

    theta_0: Path | str
    reward: Path | str
    out: Path
    training: Callable[[int], Path]
    make: Callable[[int, int], None]
    forget: Callable[[int], None]

    def is_current(self, iteration: int, restarts: int) -> bool:
        """Whether an iteration's model need not be made again."""
        models = (model_before(self.theta_0, self.out, iteration), self.reward)
        made_from = [path for model in models if (path := Path(model) / "config.json").is_file()]
        return is_made(self.out, iteration, *made_from) and read_log(self.out, iteration)["restarts"] >= restarts


def walk(iterations: int, settings: Collapse, trail: Trail) -> Iterator[int]:
    """Make all iterations that are not there yet, yielding after each how many there now are.

    When one looks like a collapse, training starts again `back` iterations earlier, at most `restarts` times.
    """
    iteration, restarts = 1, 0
    while iteration <= iterations:
        if not trail.is_current(iteration, restarts):
            iteration, restarts = _from_training(trail, iteration, restarts)
            trail.make(iteration, restarts)
        log = read_log(trail.out, iteration)
        restarts = log["restarts"]
        if log["collapse"] and restarts < settings.restarts:
            restarts += 1
            iteration = max(0, iteration - settings.back)
        yield iteration
        iteration += 1
        trail.forget(_first_needed(iteration, restarts, settings))


def _first_needed(iteration: int, restarts: int, settings: Collapse) -> int:
    """The first training file that may be read again, if this iteration comes next: were it and each one that is started again to
    collapse at once, training would go back `back` - 1 further every time.
    """
    return iteration - 1 - max(0, settings.restarts - restarts) * (settings.back - 1)


def _from_training(trail: Trail, iteration: int, restarts: int) -> tuple[int, int]:
    """(iteration, restarts) to go on with: those given, or an earlier one where the training file between has been lost."""
    first = iteration
    while first > 1 and not trail.training(first - 1).exists():
        first -= 1
    return (iteration, restarts) if first == iteration else (first, read_log(trail.out, first)["restarts"])


def is_restart(logs: list[dict], restarts: int) -> bool:
    """Whether there have been more restarts than before the last of the iterations in `logs`: training begins again."""
    return restarts > (logs[-1]["restarts"] if logs else 0)


def complete_log(
    found: dict, earlier: list[dict], restarts: int, settings: AnyPpo, policy_loss: float, critic_loss: float
) -> dict:
    """The log of an iteration: what was found of its replies, its settings and losses, and whether it is a collapse.

    After a restart the critic is a fresh one, and the policy, which was not updated, has no loss.
    """
    restarted = is_restart(earlier, restarts)
    log = found | {
        "iteration": len(earlier) + 1,
        "lr": settings.optimiser.lr,
        "eta": settings.eta,
        "restarts": restarts,
        "fresh_critic": restarted or not earlier,
        "policy_loss": None if restarted else policy_loss,
        "critic_loss": critic_loss,
    }
    return log | {"collapse": collapse([*earlier, log], settings.collapse)}


def collapse(logs: list[dict], settings: Collapse) -> str | None:
    """Why the last iteration looks like a collapse beside the `window` before it, in words; None if it does not.

    Args:
        logs: of iterations 1 to the last, each with the mean "reward" and "length" (tokens) of the replies, the share
            "unfinished" of those that were cut off, "critic_loss", and "fresh_critic": a critic that has learned nothing
            yet, whose loss is not looked at.
    """
    *earlier, last = logs
    usual = earlier[-settings.window :]
    if not usual:
        return None
    reward, length, unfinished = (_mean(usual, key) for key in ("reward", "length", "unfinished"))
    if last["reward"] < reward - settings.reward_drop:
        return f"the mean reward fell from {reward:.2f} to {last['reward']:.2f}"
    if last["length"] < length * settings.shortest:
        return f"the mean length fell from {length:.1f} to {last['length']:.1f} tokens"
    if last["unfinished"] > unfinished + settings.cut_off:
        return f"the share of unfinished replies rose from {unfinished:.2f} to {last['unfinished']:.2f}"
    settled = [log for log in usual if not log["fresh_critic"]]
    if settled and not last["fresh_critic"]:
        loss = _mean(settled, "critic_loss")
        if last["critic_loss"] > loss * settings.critic_loss:
            return f"the critic's loss rose from {loss:.3f} to {last['critic_loss']:.3f}"
    return None


def _mean(logs: list[dict], key: str) -> float:
    return float(np.mean([log[key] for log in logs]))
