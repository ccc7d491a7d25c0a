"""The order of PPO's iterations: forward, and back to an earlier one after a collapse (paper.md section 3)."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ....config import Collapse


@dataclass(frozen=True)
class Trail:
    """What a run of PPO has on disk, and how it makes more of it; iterations are counted from 1.

    is_current: (iteration, restarts) -> whether its model need not be made again. has_training: whether training can go on from
    behind it. make: (iteration, restarts), makes it from the one before. log: what it said, with "restarts" and "collapse".
    forget: (iteration), what training before it needed may go.
    """

    is_current: Callable[[int, int], bool]
    has_training: Callable[[int], bool]
    make: Callable[[int, int], None]
    log: Callable[[int], dict]
    forget: Callable[[int], None]


def walk(iterations: int, settings: Collapse, trail: Trail) -> Iterator[int]:
    """Make all iterations that are not there yet, yielding after each how many now stand.

    When one looks like a collapse, training starts again `back` iterations earlier, at most `restarts` times.
    """
    iteration, restarts = 1, 0
    while iteration <= iterations:
        if not trail.is_current(iteration, restarts):
            iteration, restarts = _from_training(trail, iteration, restarts)
            trail.make(iteration, restarts)
        log = trail.log(iteration)
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
    while first > 1 and not trail.has_training(first - 1):
        first -= 1
    return (iteration, restarts) if first == iteration else (first, trail.log(first)["restarts"])
