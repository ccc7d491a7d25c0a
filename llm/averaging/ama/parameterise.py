"""From free numbers s to ratios in Omega = {alpha_k in [0, 1], mean alpha_k = alpha} (paper.md section 5).

`on_omega` stays in Omega exactly, for every mean. `as_printed` is the paper's eq. 11 in the authors' reading (the factor K
that the printed formula lacks), which keeps the mean but not the bound alpha_k <= 1; `projected` restores it.
"""

import re
from collections.abc import Callable, Mapping

import torch

from ...errors import UserError
from ...grouping import labels, layer_ranks

BISECTIONS = 100
PARAMETERISATIONS = ("sigmoid", "paper")


def placement(parameterisation: str, eps: float, alpha: float) -> Callable[[torch.Tensor], torch.Tensor]:
    """s -> ratios in Omega of mean `alpha`: `on_omega` for "sigmoid", eq. 11 with `eps` >= 0, projected, for "paper".

    Raises UserError for another name, a negative eps or one that "sigmoid" has no use for, or an alpha outside [0, 1].
    """
    if parameterisation not in PARAMETERISATIONS:
        raise UserError(
            f"parameterisation = {parameterisation!r} is not allowed; allowed are {', '.join(PARAMETERISATIONS)}."
        )
    if not 0 <= eps < float("inf"):
        raise UserError(f"eps = {eps} is not allowed; allowed are finite numbers from 0.")
    if parameterisation == "sigmoid" and eps:
        raise UserError(f"eps = {eps} is not allowed with parameterisation 'sigmoid'; allowed is 0.")
    if not 0 <= alpha <= 1:
        raise UserError(f"alpha = {alpha} is not allowed; allowed are numbers from 0 to 1.")
    if parameterisation == "sigmoid":
        return lambda s: on_omega(s, alpha)
    return lambda s: projected(as_printed(s, alpha, eps), alpha)


def on_omega(s: torch.Tensor, alpha: float) -> torch.Tensor:
    """alpha_k = sigmoid(s_k + t) with the one t for which their mean is alpha; differentiable in s.

    Args:
        s: (groups,), any finite numbers.
        alpha: the mean, in [0, 1]; at 0 and 1 every ratio is alpha.
    """
    if alpha in (0.0, 1.0):
        return torch.full_like(s, alpha) + 0 * s
    t = _shift(s.detach(), alpha)
    ratios = torch.sigmoid(s + t)
    # t depends on s: dt/ds_k = -w_k / sum(w) with w = sigmoid'. The added term is 0 and carries that.
    slope = (ratios * (1 - ratios)).detach()
    total = slope.sum()
    weights = slope / total if total > 0 else torch.full_like(slope, 1 / len(slope))
    return torch.sigmoid(s + t - (weights * (s - s.detach())).sum())


def _shift(s: torch.Tensor, alpha: float) -> torch.Tensor:
    """t with mean(sigmoid(s + t)) = alpha, by bisection: the mean rises with t from 0 to 1."""
    logit = torch.logit(torch.tensor(alpha, dtype=s.dtype))
    return _where_mean_is(alpha, lambda t: torch.sigmoid(s + t), logit - s.max(), logit - s.min())


def _where_mean_is(
    alpha: float, values: Callable[[torch.Tensor], torch.Tensor], low: torch.Tensor, high: torch.Tensor
) -> torch.Tensor:
    """The t between low and high at which the mean of `values`, which rises with t, is alpha."""
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if values(middle).mean() < alpha else (low, middle)
    return (low + high) / 2


def as_printed(s: torch.Tensor, alpha: float, eps: float) -> torch.Tensor:
    """K alpha a_k / sum(a) with a_k = sigmoid(s_k) + eps: eq. 11 with the factor K; may exceed 1."""
    a = torch.sigmoid(s) + eps
    return alpha * len(s) * a / a.sum()


def projected(ratios: torch.Tensor, alpha: float) -> torch.Tensor:
    """The point of Omega nearest to ratios (groups,) of mean alpha; differentiable. Ratios in Omega stay as they are.

    It is clamp(ratios + t, 0, 1) with the one t for which the mean is alpha.
    """
    if ratios.min() >= 0 and ratios.max() <= 1:
        return ratios
    fixed = ratios.detach()
    t = _where_mean_is(alpha, lambda t: (fixed + t).clamp(0, 1), -fixed.max(), 1 - fixed.min())
    # As in `on_omega`: t falls with the mean of the ratios that are not at a bound, which this zero carries.
    inside = ((fixed + t > 0) & (fixed + t < 1)).to(ratios.dtype)
    drift = (inside * (ratios - fixed)).sum() / inside.sum().clamp(min=1)
    return (ratios + t - drift).clamp(0, 1)


def shares(assignment: Mapping[str, str], groups: list[str]) -> dict[str, torch.Tensor]:
    """Label -> how much of each group's ratio it takes, (groups,) adding up to 1, for labels that are not fixed.

    A group takes its own, "mean" takes 1/G of each, and a part's norms at level "module" the mean of its groups.
    """
    eye = torch.eye(len(groups), dtype=torch.float64)
    rows = {group: eye[k] for k, group in enumerate(groups)}
    for label in set(assignment.values()) - set(rows) - {"theta", "theta_0"}:
        used = groups if label == "mean" else [group for group in groups if group.startswith(f"{label}.")]
        rows[label] = sum(rows[group] for group in used) / len(used)
    return rows


def middle_weights(assignment: Mapping[str, str], dimensions: Mapping[str, int], coefficient: float) -> torch.Tensor:
    """w_k of each group, (groups,): the authors' weights of the linear layers that take its ratio, added up.

    A linear layer in transformer layer l = 0 .. L - 1 weighs coefficient (L - 1) / (|l - L / 2| + 1):
    for L = 26 the authors' 25 / (|l - 13| + 1). assignment, dimensions: tensor name -> label, number of
    axes; linear layers are the weights of two axes in layers.
    """
    groups = labels(assignment)
    share, ranks = shares(assignment, groups), layer_ranks(assignment)
    count = max(filter(None, ranks.values()))
    weights = torch.zeros(len(groups), dtype=torch.float64)
    for name, label in assignment.items():
        linear = dimensions[name] == 2 and re.search(r"weight$", name)
        if (rank := ranks[name]) and linear and label in share:
            weights += coefficient * (count - 1) / (abs(rank - 1 - count / 2) + 1) * share[label]
    return weights


def penalty(weights: torch.Tensor, alpha: float, squared: bool = False) -> Callable[[torch.Tensor], torch.Tensor]:
    """(ratios of the groups,) -> sum_k w_k |alpha_k - alpha|, or of the squares."""
    power = 2 if squared else 1
    return lambda ratios: (weights * (ratios - alpha).abs() ** power).sum()
