"""AMA, adaptive model averaging: one ratio a group, chosen where high-reward samples of theta are likeliest.

Called HMA, heterogeneous model averaging, in the EMNLP 2024 version of the paper (arXiv 2309.06256, eq. 8 to 11). Adam works
on free numbers s behind the ratios (`parameterise.py`); the gradient by the ratios is exact (`gradient.py`).
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from math import isfinite

import torch

from ...errors import UserError
from ...grouping import labels, ratios
from ..live import mix_
from .gradient import Gradient, ratio_gradient
from .parameterise import placement


@dataclass(frozen=True)
class AmaResult:
    """The ratios found, group -> ratio; the numbers s behind them, (groups,); the path to them: {"step", "loss", "alphas"} before each step."""

    alphas: dict[str, float]
    s: list[float]
    path: list[dict]


@dataclass(frozen=True)
class AmaState:
    """All that a later call needs to go on, after `len(path)` steps; plain numbers, so that JSON keeps it exactly.

    s: the free numbers, (groups,). first, second: Adam's running moments of their gradient, (groups,); none before the first step.
    """

    s: list[float]
    first: list[float] = field(default_factory=list)
    second: list[float] = field(default_factory=list)
    path: list[dict] = field(default_factory=list)


def optimise_ratios(
    model,
    theta_0: Mapping[str, torch.Tensor],
    theta: Mapping[str, torch.Tensor],
    assignment: Mapping[str, str],
    alpha: float,
    batches: Iterable[dict],
    *,
    steps: int,
    lr: float | Callable[[int], float],
    parameterisation: str = "sigmoid",
    eps: float = 0.0,
    regulariser: Callable[[torch.Tensor], torch.Tensor] | None = None,
    state: AmaState | None = None,
    progress: Callable[[AmaState], None] | None = None,
) -> AmaResult:
    """Adam on s, from equal ratios; `model` ends with the averaged weights.

    Args:
        model: a live causal language model; its weights are overwritten.
        theta_0, theta: state dicts that share no memory with it.
        assignment: tensor name -> group (`grouping.assign`).
        alpha: the mean of the groups' ratios, in [0, 1].
        batches: one a step: {"input_ids", "attention_mask", "labels"}, labels -100 where a token is not of the reply.
        lr: Adam's rate on s, or step -> rate.
        parameterisation, eps: "sigmoid", or "paper" (eq. 11) with its eps >= 0 (`parameterise.placement`).
        regulariser: (ratios of the groups,) -> penalty added to the loss.
        state: where an earlier call stopped, as its `progress` got it; `batches` then begins with the next step's.
        progress: called with the state after each step.

    Raises:
        UserError: alpha outside [0, 1], an unknown parameterisation, fewer batches than steps, a loss that is not finite.
    """
    result = descend(
        lambda alphas, batch: ratio_gradient(model, theta_0, theta, assignment, alphas, batch),
        labels(assignment),
        batches,
        placement(parameterisation, eps, alpha),
        steps=steps,
        lr=lr,
        regulariser=regulariser,
        state=state,
        progress=progress,
    )
    mix_(model, theta_0, theta, ratios(assignment, result.alphas))
    return result


def descend(
    gradient: Gradient,
    groups: list[str],
    batches: Iterable,
    place: Callable[[torch.Tensor], torch.Tensor],
    *,
    steps: int,
    lr: float | Callable[[int], float],
    regulariser: Callable[[torch.Tensor], torch.Tensor] | None = None,
    of_numbers: Callable[[torch.Tensor], torch.Tensor] | None = None,
    state: AmaState | None = None,
    progress: Callable[[AmaState], None] | None = None,
) -> AmaResult:
    """Minimise the loss over the ratios of `groups` that `place` allows, from those of s = 0 or from `state`.

    gradient: (group -> ratio, batch) -> (loss, its slopes (groups,)).
    batches: one a step, beginning with the first step that is left.
    place: s -> ratios (`parameterise.placement`).
    lr: Adam's rate on s, or step (0, 1, ..) -> rate. regulariser, of_numbers: of the ratios and of s, added to the loss.
    Raises UserError for fewer batches than steps, or a loss that is not finite.
    """
    s, adam, path = _start(len(groups), state)
    batches = iter(batches)
    for step in range(len(path), steps):
        batch = next(batches, None)
        if batch is None:
            raise UserError(f"batches ended after {step} of {steps} steps; give one batch a step.")
        alphas = place(s)
        loss, slopes = gradient(_named(groups, alphas), batch)
        if not isfinite(loss):
            raise UserError(f"the loss is {loss} at step {step}; allowed are finite numbers, so look at the weights.")
        path.append({"step": step, "loss": loss, "alphas": _named(groups, alphas)})
        penalties = [of(value) for of, value in ((regulariser, alphas), (of_numbers, s)) if of]
        objective = alphas @ slopes + sum(penalties)
        adam.param_groups[0]["lr"] = lr(step) if callable(lr) else lr
        adam.zero_grad()
        objective.backward()
        adam.step()
        if progress:
            progress(_state(s, adam, path))
    return AmaResult(_named(groups, place(s.detach())), s.tolist(), path)


def _start(count: int, state: AmaState | None) -> tuple[torch.Tensor, torch.optim.Adam, list[dict]]:
    s = torch.tensor(state.s if state else [0.0] * count, dtype=torch.float64, requires_grad=True)
    adam = torch.optim.Adam([s])
    if state and state.path:
        memory = {"exp_avg": state.first, "exp_avg_sq": state.second}
        adam.state[s] = {key: torch.tensor(values, dtype=torch.float64) for key, values in memory.items()}
        adam.state[s]["step"] = torch.tensor(float(len(state.path)))
    return s, adam, list(state.path) if state else []


def _state(s: torch.Tensor, adam: torch.optim.Adam, path: list[dict]) -> AmaState:
    memory = adam.state[s]
    return AmaState(s.tolist(), memory["exp_avg"].tolist(), memory["exp_avg_sq"].tolist(), path)


def _named(groups: list[str], alphas: torch.Tensor) -> dict[str, float]:
    return dict(zip(groups, alphas.detach().tolist(), strict=True))
