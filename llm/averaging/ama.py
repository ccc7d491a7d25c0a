"""AMA, adaptive model averaging: one ratio a group, chosen where high-reward samples of theta are likeliest.

Called HMA, heterogeneous model averaging, in the EMNLP 2024 version of the paper (arXiv 2309.06256, eq. 8 to 11).
The gradient is exact: the averaged weights are W = (1 - alpha_g) theta_0 + alpha_g theta, so
dL/dalpha_g = sum over the tensors of group g of <dL/dW, theta - theta_0>, taken tensor by tensor while the backward
pass makes dL/dW, which is then dropped.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from llm.averaging.average import mix_
from llm.averaging.groups import labels, ratios
from llm.averaging.parameterise import as_printed, on_omega
from llm.errors import UserError

IGNORED = -100


@dataclass(frozen=True)
class AmaResult:
    """The ratios found, group -> ratio, and the path to them: {"step", "loss", "alphas"} before each step."""

    alphas: dict[str, float]
    path: list[dict]


def optimise_ratios(
    model,
    theta_0: Mapping[str, torch.Tensor],
    theta: Mapping[str, torch.Tensor],
    assignment: Mapping[str, str],
    alpha: float,
    batches: Iterable[dict],
    *,
    steps: int,
    lr: float,
    parameterisation: str = "sigmoid",
    eps: float = 0.0,
    regulariser: Callable[[torch.Tensor], torch.Tensor] | None = None,
) -> AmaResult:
    """Adam on s, from equal ratios; `model` ends with the averaged weights.

    Args:
        model: a live causal language model; its weights are overwritten.
        theta_0, theta: state dicts that share no memory with it.
        assignment: tensor name -> group (`groups.assign`).
        alpha: the mean of the groups' ratios, in [0, 1].
        batches: one a step: {"input_ids", "attention_mask", "labels"}, labels -100 where a token is not of the reply.
        regulariser: (ratios of the groups,) -> penalty added to the loss.

    Raises:
        UserError: alpha outside [0, 1], an unknown parameterisation, or fewer batches than steps.
    """
    if not 0 <= alpha <= 1:
        raise UserError(f"alpha is {alpha}, allowed are numbers from 0 to 1.")
    if parameterisation not in ("sigmoid", "paper"):
        raise UserError(f"parameterisation is {parameterisation!r}, allowed are sigmoid, paper.")
    groups = labels(assignment)
    s = torch.zeros(len(groups), dtype=torch.float64, requires_grad=True)
    adam = torch.optim.Adam([s], lr=lr)
    place = on_omega if parameterisation == "sigmoid" else lambda s, alpha: as_printed(s, alpha, eps)
    path: list[dict] = []
    batches = iter(batches)
    for step in range(steps):
        batch = next(batches, None)
        if batch is None:
            raise UserError(f"batches ended after {step} of {steps} steps; give one batch a step.")
        alphas = place(s, alpha)
        loss, gradient = ratio_gradient(model, theta_0, theta, assignment, _named(groups, alphas), batch)
        path.append({"step": step, "loss": loss, "alphas": _named(groups, alphas)})
        objective = alphas @ gradient + (regulariser(alphas) if regulariser else 0.0)
        adam.zero_grad()
        objective.backward()
        adam.step()
    found = _named(groups, place(s.detach(), alpha))
    mix_(model, theta_0, theta, ratios(assignment, found))
    return AmaResult(found, path)


def ratio_gradient(
    model,
    theta_0: Mapping[str, torch.Tensor],
    theta: Mapping[str, torch.Tensor],
    assignment: Mapping[str, str],
    alphas: Mapping[str, float],
    batch: dict,
) -> tuple[float, torch.Tensor]:
    """(loss, dL/dalpha (groups,)) at the given ratios: eq. 9 as a mean over the replies' tokens, in nats."""
    mix_(model, theta_0, theta, ratios(assignment, alphas))
    groups = labels(assignment)
    gradient = torch.zeros(len(groups), dtype=torch.float64)
    shares = {group: torch.eye(len(groups), dtype=torch.float64)[k] for k, group in enumerate(groups)}
    shares["mean"] = torch.full((len(groups),), 1 / len(groups), dtype=torch.float64)

    def reduce(name: str):
        def hook(parameter: torch.Tensor) -> None:
            slope = (parameter.grad.double() * (theta[name].double() - theta_0[name].double())).sum()
            gradient.add_(slope * shares[assignment[name]])
            parameter.grad = None

        return hook

    moving = [(n, p) for n, p in model.named_parameters() if assignment[n] in shares]
    frozen = [p for n, p in model.named_parameters() if assignment[n] not in shares]
    hooks = [p.register_post_accumulate_grad_hook(reduce(n)) for n, p in moving]
    for parameter in frozen:
        parameter.requires_grad_(False)
    loss = reply_loss(model, batch)
    loss.backward()
    for hook in hooks:
        hook.remove()
    for parameter in frozen:
        parameter.requires_grad_(True)
    return loss.item(), gradient


def reply_loss(model, batch: dict) -> torch.Tensor:
    """Mean of -log p(token | those before it) over the tokens whose label is not -100."""
    logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], use_cache=False).logits[:, :-1]
    return F.cross_entropy(logits.flatten(0, 1), batch["labels"][:, 1:].flatten(), ignore_index=IGNORED)


def _named(groups: list[str], alphas: torch.Tensor) -> dict[str, float]:
    return dict(zip(groups, alphas.detach().tolist()))
