"""Accuracy on task a against accuracy on task b over the ratio of their average; where averaging helps."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import validation
from .closed_form import clt_task_accuracy
from .exact import exact_task_accuracy
from .model import TASKS, Tasks, average, single_model
from .validation import Number
from .votes import Averaging, Votes


def front(tasks: Tasks, averaging: Averaging, alphas: Sequence[Number], p: float) -> NDArray:
    """(ratio, 2) exact accuracies on a and on b of (1 - alpha) a + alpha b, alpha in [0, 1] the share of b.

    Fractions as alphas make decimal weights tie as they should. With disjoint labels and averaged weights, n_o > 0,
    accuracy on a falls from that of n_a features to that of the n_o shared ones, their ties broken by a's own, as alpha nears 1,
    and at 1 jumps to a guess. p: one number in [0, 1]. ValueError or TypeError for no ratio or one out of range.
    """
    p = validation.probability("p", p)
    if not len(alphas):
        raise ValueError("alphas must be one or more ratios in [0, 1], not none.")
    return np.array(
        [[exact_task_accuracy(average(tasks, averaging, alpha, task), p) for task in TASKS] for alpha in alphas]
    )


def closed_form_accuracy(votes: Votes, p: float) -> float:
    """Accuracy in the limit of many features for identical or disjoint label sets; else ValueError. One p in [0, 1]."""
    return float(clt_task_accuracy(votes, validation.probability("p", p)))


def gain(
    tasks: Tasks, averaging: Averaging, alpha: Number, p: float, accuracy: Callable[[Votes, float], float]
) -> float:
    """xi, in [-1, 1]: what averaging adds to each task's own model, mean over both (paper, section 5).

    accuracy: exact_task_accuracy or closed_form_accuracy, asked for (votes, p). Positive: averaging helps. p and alpha: one
    number in [0, 1] each. ValueError or TypeError for anything else.
    """
    gains = [
        accuracy(average(tasks, averaging, alpha, task), p) - accuracy(single_model(tasks, task, task), p)
        for task in TASKS
    ]
    return sum(gains) / 2


def crossings(x: ArrayLike, y: ArrayLike) -> NDArray:
    """(crossing,) places where y, (point,), changes its sign over x, (point,) rising, taken as straight between points; points that
    are exactly 0 are no crossings.
    """
    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    i = np.flatnonzero(y[:-1] * y[1:] < 0)
    return x[i] - y[i] * (x[i + 1] - x[i]) / (y[i + 1] - y[i])


def pareto(points: ArrayLike) -> NDArray:
    """Indices of the points, (point, 2), that no other point equals or exceeds in both coordinates, first
    falling.

    Of equal points one stays.
    """
    points = _points("points", points)
    order = np.lexsort((-points[:, 1], -points[:, 0]))
    second = points[order, 1]
    best_before = np.maximum.accumulate(np.r_[-np.inf, second[:-1]])
    return order[second > best_before]


def hypervolume(points: ArrayLike, reference: ArrayLike) -> float:
    """Area that the points, (point, 2), dominate above a reference point, (2,); larger is better."""
    reference = np.asarray(reference, dtype=float)
    if reference.shape != (2,) or not np.isfinite(reference).all():
        raise ValueError(f"reference must be two finite numbers, not {reference.tolist()}.")
    above = _points("points", points) - reference
    above = above[(above > 0).all(axis=1)]
    if not len(above):
        return 0.0
    edge = above[pareto(above)]
    return float(np.sum(edge[:, 0] * np.diff(edge[:, 1], prepend=0.0)))


def _points(name: str, points: ArrayLike) -> NDArray:
    """(point, 2) finite floats, one or more; ValueError otherwise."""
    found = np.asarray(points, dtype=float)
    if found.ndim != 2 or found.shape[1:] != (2,) or not len(found):
        raise ValueError(f"{name} must be one or more pairs of numbers, of shape (point, 2), not {found.shape}.")
    if not np.isfinite(found).all():
        raise ValueError(f"{name} must be finite numbers, not {found[~np.isfinite(found).all(axis=1)][0].tolist()}.")
    return found
