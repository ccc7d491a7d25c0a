"""What a method may change in training: the loss, the model, the batches, or the weights after a step."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from ...models.batches import Batch

Example = tuple[list[int], list[float]]  # token ids, and how much the prediction of each counts
Penalty = Callable[[torch.nn.Module, torch.nn.Module, Batch], torch.Tensor]  # (model, theta_0, batch) -> scalar


@dataclass(frozen=True)
class Materials:
    """What a method may ask for: fresh pre-training documents, and a seed for random first weights of its own."""

    document: Callable[[], Example]
    seed: int


def _same(given):
    return given


def _nothing(model: torch.nn.Module, theta_0: torch.nn.Module) -> None:
    return None


@dataclass(frozen=True)
class Mitigation:
    """One training run's changes; what is left out stays as in plain training.

    penalty: added to the loss. wrap: theta_0 -> the model to train. merge: the trained one -> a plain model. mix: the
    examples of a batch -> those that are trained on instead. after_step: (model, theta_0), once after each step.
    A `Mitigation` may remember what happened, so each run gets a new one.
    """

    penalty: Penalty | None = None
    wrap: Callable[[torch.nn.Module], torch.nn.Module] = _same
    merge: Callable[[torch.nn.Module], torch.nn.Module] = _same
    mix: Callable[[list[Example]], list[Example]] = _same
    after_step: Callable[[torch.nn.Module, torch.nn.Module], None] = _nothing


def distilled(setting: dict, materials: Materials) -> Mitigation:
    """Plain training, which the others are compared with."""
    return Mitigation()


def differences(model: torch.nn.Module, theta_0: torch.nn.Module) -> Iterator[torch.Tensor]:
    """theta - theta_0, parameter by parameter, with gradient; tied parameters come once."""
    for parameter, start in zip(model.parameters(), theta_0.parameters(), strict=True):
        yield parameter - start.detach()
