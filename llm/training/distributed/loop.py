"""The loop of our own trainers on accelerate: a step of a global batch, however many processes and passes share it.

Losses are means over tokens, and every token of a global batch counts the same wherever it is read. So a pass is weighted by its share
of the batch's tokens; accelerate averages over processes and passes, whose number is multiplied in again.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from ...config import Optimiser
from ..loop import rate_at
from .batches import Split


@dataclass(frozen=True)
class Objective:
    """What is learned from rows.

    collate: rows -> what the module takes. count: row -> tokens that count. loss: (module, collated) -> means over these
    tokens, (parts,), whose sum is descended.
    """

    collate: Callable
    count: Callable
    loss: Callable


@dataclass(frozen=True)
class Learner:
    """A module and its optimiser, both prepared by the accelerator, and the schedule of each of the optimiser's groups."""

    accelerator: object
    module: object
    optimiser: object
    schedules: tuple[Optimiser, ...]


def fit(
    learner: Learner,
    batches: Iterable[list],
    objective: Objective,
    split: Split,
    *,
    steps: int,
    first_step: int = 0,
    frozen: Iterable = (),
) -> Iterator[list[float]]:
    """A step on each global batch, the same in every process, yielding the parts of its loss, means over its tokens.

    Args:
        batches: at most per_device * accumulation * processes rows each; a smaller one leaves some passes without weight.
        steps: how long the schedules last. first_step: where in them this begins.
        frozen: parameters that stay as they are, the optimiser's memory of them too.

    Raises:
        FloatingPointError: the loss is not finite.
    """
    accelerator, fixed = learner.accelerator, list(frozen)
    learner.module.train()
    for step, batch in enumerate(batches, start=first_step):
        for group, schedule in zip(learner.optimiser.param_groups, learner.schedules, strict=True):
            group["lr"] = rate_at(step, steps, schedule)
        total = float(sum(objective.count(row) for row in batch))
        found = [
            _pass(learner, rows or batch[:1], objective, bool(rows) / total, split, fixed)
            for rows in passes(batch, split, accelerator.num_processes, accelerator.process_index)
        ]
        values = accelerator.reduce(sum(found), "sum").tolist()
        if not all(map(math.isfinite, values)):
            raise FloatingPointError(f"loss = {values} at step {step}; allowed are finite numbers")
        yield values
    learner.module.eval()


def passes(batch: list, split: Split, processes: int, process: int) -> list[list]:
    """The rows of one process, pass by pass; the rows of a pass of all processes stand together in the batch, as with TRL."""
    size, stride = split.per_device, split.per_device * processes
    starts = [i * stride + process * size for i in range(split.accumulation)]
    return [batch[start : start + size] for start in starts]


def _pass(learner: Learner, rows: list, objective: Objective, weight: float, split: Split, frozen: list):
    """Forward, backward, and the step after the last pass; what the rows add to the means, (parts,).

    weight: of a token; 0 where the process has no rows, and goes through the motions with some others'.
    """
    accelerator, optimiser = learner.accelerator, learner.optimiser
    with accelerator.accumulate(learner.module):
        parts = (
            objective.loss(learner.module, objective.collate(rows)) * sum(objective.count(row) for row in rows) * weight
        )
        accelerator.backward(parts.sum() * accelerator.num_processes * split.accumulation)
        if accelerator.sync_gradients:
            for group, schedule in zip(optimiser.param_groups, learner.schedules, strict=True):
                accelerator.clip_grad_norm_(group["params"], schedule.clip)
            for parameter in frozen:
                parameter.grad = None
        optimiser.step()
        optimiser.zero_grad()
    return parts.detach().float()
