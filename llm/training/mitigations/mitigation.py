"""What a method may change in training: the loss, the model, the batches, the gradients, or the weights after a step."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NoReturn

import torch

from ...errors import UserError
from ...models.batches import Batch
from .memory import Memory

Example = tuple[list[int], list[float]]  # token ids, and how much the prediction of each counts
Penalty = Callable[[torch.nn.Module, torch.nn.Module, Batch], torch.Tensor]  # (model, theta_0, batch) -> scalar
Hook = Callable[[torch.nn.Module, torch.nn.Module], None]  # (model, theta_0)


def _lacking(*asked: object) -> NoReturn:
    raise UserError("a method that changes training asks for general text or theta_pre, which this run does not have")


@dataclass(frozen=True)
class Materials:
    """What a method may ask for.

    document: a fresh pre-training document. seed: for random choices of its own. reference: (kind, count) -> examples of general text,
    the same at every call and in every iteration: "free", theta_0's own samples, which it writes from its first token, or "documents".
    pretrained: () -> theta_pre. pad_id: of batches made of these. iteration: of alignment, from 1; 0 for a run of its own.
    """

    document: Callable[[], Example]
    seed: int
    reference: Callable[[str, int], list[Example]] = _lacking
    pretrained: Callable[[], torch.nn.Module] = _lacking
    pad_id: int = 0
    iteration: int = 0


def _same(given):
    return given


def _nothing(model: torch.nn.Module, theta_0: torch.nn.Module) -> None:
    return None


def _first(start: torch.nn.Module, models: list[torch.nn.Module]) -> torch.nn.Module:
    return models[0]


@dataclass(frozen=True)
class Mitigation:
    """One training run's changes; what is left out stays as in plain training.

    penalty: added to the loss. wrap: theta_0 -> the model to train. merge: the trained one -> a plain model. mix: the
    examples of a batch -> those that are trained on instead. gradients: before each step, once the loss's gradients are there and
    before they are clipped. after_step: once after each step.
    A `Mitigation` may remember what happened, so each run gets a new one; what the next iteration of alignment has to know stands
    in its `memory`, and is put back there before that begins.
    runs: training runs an iteration, from the same model, in RSF on samples of their own. combine: (the model before, what the runs have
    made of it) -> the model after the iteration. finish: makes the last model the one that is measured, where training goes on with
    another. goes_on: whether DPO's optimiser and its schedule go on from stretch to stretch; else each stretch has them anew.
    """

    penalty: Penalty | None = None
    wrap: Callable[[torch.nn.Module], torch.nn.Module] = _same
    merge: Callable[[torch.nn.Module], torch.nn.Module] = _same
    mix: Callable[[list[Example]], list[Example]] = _same
    gradients: Hook = _nothing
    after_step: Hook = _nothing
    memory: Memory | None = None
    runs: int = 1
    combine: Callable[[torch.nn.Module, list[torch.nn.Module]], torch.nn.Module] = _first
    finish: Hook = _nothing
    goes_on: bool = True


def distilled(setting: dict, materials: Materials) -> Mitigation:
    """Plain training, which the others are compared with."""
    return Mitigation()


def differences(model: torch.nn.Module, theta_0: torch.nn.Module) -> Iterator[torch.Tensor]:
    """theta - theta_0, parameter by parameter, with gradient; tied parameters come once."""
    for parameter, start in zip(model.parameters(), theta_0.parameters(), strict=True):
        yield parameter - start.detach()
