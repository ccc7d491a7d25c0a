"""Exact accuracies under noise: scores are then blurred, and the sum over them becomes a smooth integral."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from .contour import MAX_CELLS, Scores, power_mean
from .integral import legendre

REACH = 9.0  # of the integral over noisy scores, in standard deviations
NODES = 24  # Gauss-Legendre nodes a standard deviation, between the jumps that classes without noise make


def noisy_sum(kinds: list[Scores], numbers: Sequence[int], deviations: Sequence[float]) -> NDArray:
    """What theory.exact sums over scores, with Gaussian noise in every class's score: at every point of the contour

        int du R(u) prod_kinds W_kind(u)^number,  R(u) = sum_s f_s phi((u - s) / tau) / tau,  W(u) = sum_s f_s
        Phi((u - s) / tau),

    by the trapezoidal rule, which converges geometrically for smooth integrands. deviations: tau of the right class
    and of each kind of wrong ones, not all 0. A kind of wrong classes with tau = 0 makes W a step: then the integral is
    taken between its scores. A right class with tau = 0 makes R a sum over its scores, ties with wrong ones of tau = 0
    split evenly.
    """
    levels = [_levels(kind) for kind in kinds]
    total = np.zeros((kinds[0].first.shape[1], kinds[0].last.shape[1]), dtype=complex)
    for u, size in zip(*_nodes(levels, deviations, sum(numbers), total.size * max(level.size for level in levels))):
        z = (u - levels[0]) / (deviations[0] or 1.0)
        here = size / np.sqrt(2 * np.pi) * np.exp(-0.5 * z * z) if deviations[0] else 1.0 * (z == 0)
        value = _table(kinds[0], here)
        for kind, level, tau, number in zip(kinds[1:], levels[1:], deviations[1:], numbers):
            if tau:
                value *= (_table(kind, ndtr((u - level) / tau))) ** number
            else:
                below, tied = (_table(kind, chosen.astype(float)) for chosen in (level < u, level == u))
                value *= power_mean(below, tied, number)
        total += value
    return total


def _nodes(levels: list[NDArray], deviations: Sequence[float], number: int, cells: int) -> tuple[NDArray, NDArray]:
    """(node,) scores u and their weights over tau of the right class; ValueError beyond 100 MAX_CELLS (cells: a node's).

    number: of wrong classes, whose highest score rises on a scale of 1 / sqrt(2 log number) standard deviations.
    """
    if not deviations[0]:
        return (scores := np.unique(levels[0])), np.ones(len(scores))
    low, high = levels[0].min() - REACH * deviations[0], levels[0].max() + REACH * deviations[0]
    jumps = np.unique([u for level, tau in zip(levels, deviations) if not tau for u in level.flat if low < u < high])
    least = min(tau for tau in deviations if tau > 0)
    step = 0.3 * least / max(1.0, np.sqrt(2 * np.log(number)) / 1.8)
    count = (high - low) / step if not len(jumps) else NODES * ((high - low) / least + len(jumps) + 1)
    if count * cells > 100 * MAX_CELLS:
        raise ValueError(
            "sigma is too small against the weights for an exact answer: use 0, or simulate_task_accuracy."
        )
    if not len(jumps):
        nodes = np.arange(low, high + step, step)
        return nodes, np.full(len(nodes), step / deviations[0])
    edges = np.array([low, *jumps, high])
    parts = [np.linspace(a, b, int((b - a) / least) + 2)[:-1] for a, b in zip(edges, edges[1:])]
    ends = np.append(np.concatenate(parts), high)
    points, weights = legendre(NODES)
    half = np.diff(ends)[:, None] / 2
    return (ends[:-1, None] + half * (1 + points)).ravel(), (half * weights / deviations[0]).ravel()


def _table(kind: Scores, shares: NDArray) -> NDArray:
    """(points of all but the last circle, points of the last) the pairs' products times their shares."""
    return kind.first[:-1].T @ shares @ kind.last


def _levels(kind: Scores) -> NDArray:
    """(partial score, votes of the last group) the score of each pair of rows."""
    levels = np.zeros((len(kind.first), len(kind.last)))
    for score, place in kind.places.items():
        levels[kind.rows[place], kind.columns[place]] = float(score)
    return levels[:-1]
