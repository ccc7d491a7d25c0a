"""AMA as the authors' public code computes it, as far as that decides the ratios (paper.md, section 9, says how it was read; what the
paper reports may have been made by other code).

Their ratios are theta_0's shares r_k = v K (sigmoid(s_k) + eps) / sum_j (sigmoid(s_j) + eps), v their mean, from s = logit(v). Each linear
layer keeps a bf16 copy of its s_k from when it is wrapped, and the forward pass reads that copy in the numerator for ever, while
the denominator follows the numbers that are trained. So all parts have the same ratio in the loss, whatever has been found, and
the gradient comes from the first ratios. What is merged afterwards are the trained numbers' ratios. Only `nn.Linear` is averaged;
embeddings and norms stay theta_0's (the assignment says so).

Not as theirs: Adam's rate and steps are ours (at their 2e-5 and 2000 steps the ratios stay within .01 of their mean); Adam has each
number once, and not once for each linear layer; the weights are mixed in fp32, not in bf16; ratios that leave [0, 1] are brought
back to it, in the forward pass by clipping and at the end by `projected`.
"""

from collections.abc import Iterable, Mapping
from math import log

import torch

from ...errors import UserError
from ...grouping import labels, ratios
from ..live import mix_
from .gradient import ratio_gradient
from .optimise import AmaResult, AmaState, descend
from .parameterise import as_printed, projected

EPS = 1e-6  # the authors' default where none is given


def optimise_published(
    model,
    theta_0: Mapping[str, torch.Tensor],
    theta: Mapping[str, torch.Tensor],
    assignment: Mapping[str, str],
    alpha: float,
    batches: Iterable[dict],
    *,
    steps: int,
    lr: float,
) -> AmaResult:
    """As `optimise_ratios`, for alpha in (0, 1): theta's shares, whose path is that of the ratios in the forward pass."""
    if not 0 < alpha < 1:
        raise UserError(f"alpha is {alpha}, allowed with method ama-published are numbers between 0 and 1.")
    groups, states = labels(assignment), list[AmaState]()
    start = [log((1 - alpha) / alpha)] * len(groups)  # logit of theta_0's share
    found = descend(
        lambda alphas, batch: ratio_gradient(model, theta_0, theta, assignment, alphas, batch),
        groups,
        alpha,
        batches,
        frozen(start),
        steps=steps,
        lr=lr,
        state=AmaState(start, [0.0] * len(groups), [0.0] * len(groups)),
        progress=states.append,
    )
    shares = projected(as_printed(torch.tensor(states[-1].s, dtype=torch.float64), 1 - alpha, EPS), 1 - alpha)
    alphas = dict(zip(groups, (1 - shares).tolist(), strict=True))
    mix_(model, theta_0, theta, ratios(assignment, alphas))
    return AmaResult(alphas, found.path)


def frozen(start: list[float]):
    """(s, alpha) -> theta's shares in the forward pass, whose numerators keep the bf16 copy of `start`; differentiable in s."""
    copy = torch.tensor(start, dtype=torch.bfloat16).double()

    def place(s: torch.Tensor, alpha: float) -> torch.Tensor:
        kept = copy + (s - s.detach())  # the copy's value, with the gradient passed on
        shares = (1 - alpha) * len(s) * (torch.sigmoid(kept) + EPS) / (torch.sigmoid(s) + EPS).sum()
        return (1 - shares).clamp(0, 1)

    return place
