"""Adam on the free numbers s behind the ratios: the loop of AMA, whatever makes its gradients (eq. 3, 9,
11).
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from math import isfinite

import torch

from ...errors import UserError

Gradient = Callable[[dict[str, float], dict], tuple[float, torch.Tensor]]


@dataclass(frozen=True)
class AmaResult:
    """The ratios found, group -> ratio, and the path to them: {"step", "loss", "alphas"} before each step."""

    alphas: dict[str, float]
    path: list[dict]


@dataclass(frozen=True)
class AmaState:
    """All that a later call needs to go on, after `len(path)` steps; plain numbers, so that JSON keeps
    it exactly.

    s: the free numbers, (groups,). first, second: Adam's running moments of their gradient, (groups,).
    """

    s: list[float]
    first: list[float]
    second: list[float]
    path: list[dict] = field(default_factory=list)


def descend(
    gradient: Gradient,
    groups: list[str],
    alpha: float,
    batches: Iterable[dict],
    place: Callable[[torch.Tensor, float], torch.Tensor],
    *,
    steps: int,
    lr: float | Callable[[int], float],
    regulariser: Callable[[torch.Tensor], torch.Tensor] | None = None,
    state: AmaState | None = None,
    progress: Callable[[AmaState], None] | None = None,
) -> AmaResult:
    """Minimise the loss over the ratios of `groups` with mean `alpha`, from equal ratios or from `state`.

    gradient: (group -> ratio, batch) -> (loss, its slopes (groups,)).
    batches: one a step, beginning with the first step that is left.
    place: (s, alpha) -> ratios (`parameterise.placement`).
    lr: Adam's rate on s, or step (0, 1, ..) -> rate.
    Raises UserError for an alpha outside [0, 1], fewer batches than steps, or a loss that is not finite.
    """
    if not 0 <= alpha <= 1:
        raise UserError(f"alpha is {alpha}, allowed are numbers from 0 to 1.")
    s, adam, path = _start(len(groups), state)
    batches = iter(batches)
    for step in range(len(path), steps):
        batch = next(batches, None)
        if batch is None:
            raise UserError(f"batches ended after {step} of {steps} steps; give one batch a step.")
        alphas = place(s, alpha)
        loss, slopes = gradient(_named(groups, alphas), batch)
        if not isfinite(loss):
            raise UserError(f"the loss is {loss} at step {step}; allowed are finite numbers, so look at the weights.")
        path.append({"step": step, "loss": loss, "alphas": _named(groups, alphas)})
        objective = alphas @ slopes + (regulariser(alphas) if regulariser else 0.0)
        adam.param_groups[0]["lr"] = lr(step) if callable(lr) else lr
        adam.zero_grad()
        objective.backward()
        adam.step()
        if progress:
            progress(_state(s, adam, path))
    return AmaResult(_named(groups, place(s.detach(), alpha)), path)


def shares(assignment: Mapping[str, str], groups: list[str]) -> dict[str, torch.Tensor]:
    """Label -> how much of each group's ratio it takes, (groups,) adding up to 1, for labels that are
    not fixed.

    A group takes its own, "mean" takes 1/G of each, and a part's norms at level "module" the mean of its
    groups.
    """
    eye = torch.eye(len(groups), dtype=torch.float64)
    rows = {group: eye[k] for k, group in enumerate(groups)}
    for label in set(assignment.values()) - set(rows) - {"theta", "theta_0"}:
        used = groups if label == "mean" else [group for group in groups if group.startswith(f"{label}.")]
        rows[label] = sum(rows[group] for group in used) / len(used)
    return rows


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
