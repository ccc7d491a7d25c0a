"""AMA as the authors' public code computes it, as far as that decides the ratios (paper.md, section 9, says how it was read; what the
paper reports may have been made by other code): github.com/avalonstrel/Mitigating-the-Alignment-Tax-of-RLHF,
src/lmflow/pipeline/utils/mask_trainer.py, with the values of its README and of scripts/mask_post/run_mask_finetune_raft.sh.

Their ratios are theta_0's shares r_k = v K (sigmoid(s_k) + eps) / sum_j (sigmoid(s_j) + eps), v their mean, from s = logit(v). Each linear
layer keeps a bf16 copy of its s_k from when it is wrapped, and the forward pass reads that copy in the numerator for ever, while
the denominator follows the numbers that are trained. So all parts have the same ratio in the likelihood, whatever has been found, and
the gradient comes from the first ratios. The regulariser sum_l w_l |r_k(l) - v|, over the linear layers of the parts with the weights of
`parameterise.middle_weights`, reads the trained numbers in both places. A head that is not tied has a number of its own that is never
trained, so that its slope reaches the parts through the denominator alone. What is merged afterwards are the trained numbers' ratios.
Only `nn.Linear` is averaged; embeddings and norms stay theta_0's (the assignment says so).

Theirs are eps = .2 (their program's own default is 0) and the coefficient 1e-4 (`reg_alpha`, with `sum_reg_type` .2: absolute values,
weighted), which the sweep `merging` gives. Rows without `eps` and `regulariser` were made with `EPS` and without the regulariser.

Not as theirs: Adam's rate and steps are ours (at their 2e-5 and 2000 steps the ratios stay within .01 of their mean); Adam has each
number once, and not once for each linear layer; the weights are mixed in fp32, not in bf16; ratios that leave [0, 1] are brought
back to it, in the forward pass by clipping and at the end by `projected`; the parts are the paper's thirds, theirs fixed layers, and the
regulariser's middle is that of the model, theirs layer 13 whatever the depth.
"""

from collections.abc import Iterable, Mapping, Sequence
from math import log

import torch

from ...errors import UserError
from ...grouping import labels, ratios
from ..live import mix_
from .gradient import ratio_gradient
from .optimise import AmaResult, AmaState, descend
from .parameterise import as_printed, middle_weights, penalty, projected

EPS = 1e-6  # of rows that have none; the default of their layer


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
    eps: float = EPS,
    regulariser: float = 0.0,
) -> AmaResult:
    """As `optimise_ratios`, for alpha in (0, 1): theta's shares, whose path is that of the ratios in the forward pass.

    eps: >= 0. regulariser: the coefficient, >= 0. A head at the mean is in the path under "head".
    """
    if not 0 < alpha < 1:
        raise UserError(
            f"alpha = {alpha} is not allowed with method ama-published; allowed are numbers between 0 and 1."
        )
    groups = labels(assignment)
    apart = {name: "head" if label == "mean" else label for name, label in assignment.items()}
    named = labels(apart)
    start = [log((1 - alpha) / alpha)] * len(groups)  # logit of theta_0's share
    weights = (1 - alpha) * middle_weights(assignment, {name: one.ndim for name, one in theta.items()}, regulariser)
    spread = penalty(weights, 1.0)  # of the shares over their mean, which are exactly 1 at the start
    found = descend(
        lambda alphas, batch: ratio_gradient(model, theta_0, theta, apart, alphas, batch),
        named,
        batches,
        frozen(start, eps, alpha, [groups.index(one) if one in groups else None for one in named]),
        steps=steps,
        lr=lr,
        of_numbers=(lambda s: spread(as_printed(s, 1.0, eps))) if regulariser else None,
        state=AmaState(start),
    )
    shares = projected(as_printed(torch.tensor(found.s, dtype=torch.float64), 1 - alpha, eps), 1 - alpha)
    alphas = dict(zip(groups, (1 - shares).tolist(), strict=True))
    mix_(model, theta_0, theta, ratios(assignment, alphas))
    return AmaResult(alphas, found.s, found.path)


def frozen(start: list[float], eps: float, alpha: float, which: Sequence[int | None]):
    """s -> theta's shares in the forward pass, whose numerators keep the bf16 copy of `start`; differentiable in s.

    which: the number of each share, None for one that starts at the same number and that nothing trains.
    """
    copy = torch.tensor(start, dtype=torch.bfloat16).double()

    def place(s: torch.Tensor) -> torch.Tensor:
        kept = copy + (s - s.detach())  # the copy's value, with the gradient passed on
        kept = torch.stack([copy[0] if one is None else kept[one] for one in which])
        shares = (1 - alpha) * len(s) * (torch.sigmoid(kept) + eps) / (torch.sigmoid(s) + eps).sum()
        return (1 - shares).clamp(0, 1)

    return place
