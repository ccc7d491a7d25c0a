"""Training with a `Mitigation`: the loop that distillation, RSF and DPO share, and a method's changes to alignment."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch

from ..config import Optimiser
from ..models.batches import Batch
from ..models.loading import load_model
from .iterations import read_training, training_file
from .loop import fit
from .mitigations.mitigation import Mitigation


def fit_mitigated(
    mitigation: Mitigation,
    model: torch.nn.Module,
    theta_0: torch.nn.Module | None,
    batches: Iterable,
    loss: Callable,
    settings: Optimiser,
    *,
    steps: int,
    tokens: Callable[..., Batch] = lambda batch: batch,
    optimiser: torch.optim.Optimizer | None = None,
    first_step: int = 0,
) -> Iterator[float]:
    """`llm.training.loop.fit` with a method's penalty and hooks; the yielded losses have the penalty in them.

    Args:
        model: as the method has wrapped it.
        theta_0: may be None where the method changes nothing.
        tokens: (batch) -> the token ids that penalties are computed on.
    """

    def total(model, batch):
        plain = loss(model, batch)
        return plain if mitigation.penalty is None else plain + mitigation.penalty(model, theta_0, tokens(batch))

    going_on = {"optimiser": optimiser, "first_step": first_step}
    losses = fit(
        model,
        batches,
        total,
        settings,
        steps=steps,
        gradients=lambda model: mitigation.gradients(model, theta_0),
        **going_on,
    )
    for value in losses:
        mitigation.after_step(model, theta_0)
        yield value


@dataclass(frozen=True)
class Change:
    """How a method changes every iteration of alignment.

    make: (iteration, run) -> a fresh `Mitigation`. folder: theta_0's.
    """

    make: Callable[[int, int], Mitigation]
    folder: Path

    @cached_property
    def theta_0(self) -> torch.nn.Module:
        return load_model(self.folder).requires_grad_(False)

    @cached_property
    def remembers(self) -> bool:
        """Whether an iteration needs the training file of the one before."""
        return self.make(1, 1).memory is not None

    def at(self, iteration: int, out: Path, run: int = 1) -> Mitigation:
        """The method as it goes on at an iteration, with what those before have left in its memory."""
        mitigation = self.make(iteration, run)
        if mitigation.memory is not None and iteration > 1:
            read_training(training_file(out, iteration - 1), memory=mitigation.memory)
        return mitigation


def mitigation_at(change: Change | None, iteration: int, out: Path, run: int = 1) -> Mitigation:
    """The method of an iteration; plain training where there is none."""
    return Mitigation() if change is None else change.at(iteration, out, run)
