"""Exact accuracies under noise: scores are then blurred, and the sum over them becomes a smooth integral."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from .contour import MAX_CELLS, Scores

STEP, REACH = 0.3, 9.0  # of the integral over noisy scores, in standard deviations


def noisy_sum(kinds: list[Scores], numbers: Sequence[int], deviations: Sequence[float]) -> NDArray:
    """What theory.exact sums over scores, with Gaussian noise in every class's score: at every point of the contour

        int du R(u) prod_kinds W_kind(u)^number,  R(u) = sum_s f_s phi((u - s) / tau) / tau,  W(u) = sum_s f_s
        Phi((u - s) / tau),

    by the trapezoidal rule, which converges geometrically for smooth integrands. deviations: tau of the right class
    and of each kind of wrong ones. A tau of 0 next to others is raised to a tenth of the smallest.
    """
    least = min(tau for tau in deviations if tau > 0)
    taus = [max(tau, 0.1 * least) for tau in deviations]
    levels = [_levels(kind) for kind in kinds]
    low, high = levels[0].min() - REACH * taus[0], levels[0].max() + REACH * taus[0]
    step = STEP * min(taus)
    cells = (high - low) / step * kinds[0].first.shape[0] * kinds[0].last.shape[0]
    if cells * max(level.size for level in levels) > 100 * MAX_CELLS:
        raise ValueError(
            "sigma is too small against the weights for an exact answer: use 0, or simulate_task_accuracy."
        )
    total = np.zeros((kinds[0].first.shape[0], kinds[0].last.shape[0]), dtype=complex)
    for u in np.arange(low, high + step, step):
        z = (u - levels[0]) / taus[0]
        here = step / taus[0] / np.sqrt(2 * np.pi) * np.exp(-0.5 * z * z)
        value = kinds[0].first @ here @ kinds[0].last.T
        for kind, level, tau, number in zip(kinds[1:], levels[1:], taus[1:], numbers):
            value *= (kind.first @ ndtr((u - level) / tau) @ kind.last.T) ** number
        total += value
    return total


def _levels(kind: Scores) -> NDArray:
    """(partial score, votes of the last group) the score of each pair of columns."""
    levels = np.zeros((kind.first.shape[1], kind.last.shape[1]))
    for score, (columns, votes) in kind.terms.items():
        levels[columns, votes] = float(score)
    return levels
