"""AMA, adaptive model averaging: one ratio a group, chosen where high-reward samples of theta are likeliest.

Called HMA, heterogeneous model averaging, in the EMNLP 2024 version of the paper (arXiv 2309.06256,
eq. 8 to 11). The gradient is exact: the averaged weights are W = (1 - alpha_g) theta_0 + alpha_g theta, so
dL/dalpha_g = sum over the tensors of group g of <dL/dW, theta - theta_0>, taken tensor by tensor while
the backward pass makes dL/dW, which is then dropped. Here the averaged weights stand in a live model of
their own; `streamed.py` does without that third copy.
"""

from collections.abc import Callable, Iterable, Mapping

import torch
import torch.nn.functional as F

from ...grouping import labels, ratios
from ..live import mix_
from .descent import AmaResult, AmaState, descend, shares
from .parameterise import placement

IGNORED = -100
_BLOCK = 1 << 20  # elements widened at a time, so that temporaries stay small next to any layer


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
        assignment: tensor name -> group (`groups.assign`).
        alpha: the mean of the groups' ratios, in [0, 1].
        batches: one a step: {"input_ids", "attention_mask", "labels"}, labels -100 where a token is not
            of the reply.
        lr: Adam's rate on s, or step -> rate.
        parameterisation, eps: "sigmoid", or "paper" (eq. 11) with its eps >= 0 (`parameterise.placement`).
        regulariser: (ratios of the groups,) -> penalty added to the loss.
        state: where an earlier call stopped, as its `progress` got it; `batches` then begins with the
            next step's.
        progress: called with the state after each step.

    Raises:
        UserError: alpha outside [0, 1], an unknown parameterisation, fewer batches than steps, a loss
            that is not finite.
    """
    place = placement(parameterisation, eps)
    result = descend(
        lambda alphas, batch: ratio_gradient(model, theta_0, theta, assignment, alphas, batch),
        labels(assignment),
        alpha,
        batches,
        place,
        steps=steps,
        lr=lr,
        regulariser=regulariser,
        state=state,
        progress=progress,
    )
    mix_(model, theta_0, theta, ratios(assignment, result.alphas))
    return result


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
    share = shares(assignment, groups)

    def reduce(name: str):
        def hook(parameter: torch.Tensor) -> None:
            gradient.add_(slope(parameter.grad, theta_0[name], theta[name]) * share[assignment[name]])
            parameter.grad = None

        return hook

    moving = [(n, p) for n, p in model.named_parameters() if assignment[n] in share]
    frozen = [p for n, p in model.named_parameters() if assignment[n] not in share]
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


def slope(gradient: torch.Tensor, theta_0: torch.Tensor, theta: torch.Tensor) -> float:
    """<gradient, theta - theta_0>, block by block in fp64 (in fp32 on accelerators, where fp64 can be
    slow).
    """
    wide = torch.float64 if gradient.is_cpu or gradient.dtype == torch.float64 else torch.float32
    flat, low, high = (tensor.reshape(-1) for tensor in (gradient, theta_0, theta))
    total = torch.zeros((), dtype=wide, device=gradient.device)
    for start in range(0, flat.numel(), _BLOCK):
        block = slice(start, start + _BLOCK)
        difference = high[block].to(gradient.device, wide) - low[block].to(gradient.device, wide)
        total += (flat[block].to(wide) * difference).sum()
    return total.item()


def reply_loss(model, batch: dict) -> torch.Tensor:
    """Mean of -log p(token | those before it) over the tokens whose label is not -100, in at least fp32."""
    logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], use_cache=False).logits[:, :-1]
    if logits.dtype.itemsize < 4:
        logits = logits.float()
    return F.cross_entropy(logits.flatten(0, 1), batch["labels"][:, 1:].flatten(), ignore_index=IGNORED)
