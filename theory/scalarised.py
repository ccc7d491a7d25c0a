"""The front over a ratio per layer, point by point as an optimum: no grid, no steps (theory.layers).

First the two ends, the best accuracy on a (with b no worse than at alpha = 0) and the best on b. Let z be the worse
accuracies of the two. Along each direction d > 0 the ratios are sought that go furthest from z (Pascoletti and Serafini's
scalarisation, which also finds the points of a front that is not concave):

    maximise t   subject to   accuracy(alphas) >= z + t d,   0 <= alphas <= 1.
"""

from collections.abc import Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from . import validation
from .fronts import pareto
from .layers import Layer, accuracies, accuracies_with_gradients
from .votes import Averaging

TICKS = 9  # ratios of a layer that starts are taken from
MAX_STARTS = 100_000  # so at most five layers
STARTS = 1  # of each point, and its neighbour on the front


def scalarised_front(
    layers: Sequence[Layer], p: float, n_classes: int, averaging: Averaging, n_points: int = 25
) -> tuple[NDArray, NDArray]:
    """(point, 2) accuracies on a and b, a falling, and their (point, layer) ratios: at most n_points >= 2 directions'
    optima, those that no other one beats. p in (0, 1); at most five layers, since TICKS ** L starts are looked at.
    ValueError or TypeError otherwise.
    """
    validation.integer("n_points", n_points, 2)
    p = validation.inside("p", p)
    if TICKS ** len(layers) > MAX_STARTS:
        raise ValueError(
            f"layers must be few enough for {MAX_STARTS} starts, not {len(layers)}, which make {TICKS}^{len(layers)}: "
            "group layers into parts."
        )
    grid = np.array(list(product(np.linspace(0, 1, TICKS), repeat=len(layers))))
    on_grid = accuracies(layers, grid, p, n_classes, averaging)

    def best(reference: NDArray, direction: NDArray, more: list[NDArray]) -> NDArray:
        likely = grid[np.argsort(-_reach(on_grid, reference, direction))[:STARTS]]
        question = layers, reference, direction, p, n_classes, averaging
        tries = np.array([_furthest(start, *question) for start in (*likely, *more)])
        reached = _reach(accuracies(layers, tries, p, n_classes, averaging), reference, direction)
        return tries[int(np.argmax(reached))]

    ends = accuracies(layers, np.outer([1.0, 0.0], np.ones(len(layers))), p, n_classes, averaging)
    single = np.array([ends[0, 0], ends[1, 1]])
    first, last = (best(single, axis * (on_grid.max(axis=0) - single), []) for axis in np.eye(2))
    corners = accuracies(layers, np.array([first, last]), p, n_classes, averaging)
    reference = np.array([corners[1, 0], corners[0, 1]])
    found = [first]
    for angle in np.linspace(0, np.pi / 2, n_points)[1:-1]:
        direction = (corners.max(axis=0) - reference) * np.array([np.cos(angle), np.sin(angle)])
        found.append(best(reference, direction, found[-1:]))
    ratios = np.array([*found, last])
    points = accuracies(layers, ratios, p, n_classes, averaging)
    kept = pareto(points)
    return points[kept], ratios[kept]


def _reach(points: NDArray, reference: NDArray, direction: NDArray) -> NDArray:
    """(point,) the largest t with point >= reference + t direction; a task without a part in it only has to be reached."""
    part = direction > 1e-12 * direction.max()
    reach = ((points - reference)[:, part] / direction[part]).min(axis=1)
    return np.where((points >= reference - 1e-9)[:, ~part].all(axis=1), reach, -np.inf)


def _furthest(
    start: NDArray,
    layers: Sequence[Layer],
    reference: NDArray,
    direction: NDArray,
    p: float,
    n_classes: int,
    averaging: Averaging,
) -> NDArray:
    """(layer,) ratios that sequential quadratic programming reaches from `start`; unknowns are the ratios and t."""
    size = np.append(np.zeros(len(layers)), 1.0)

    def room(unknown: NDArray) -> NDArray:
        alphas = np.clip(unknown[:-1], 0, 1)
        return accuracies(layers, alphas, p, n_classes, averaging) - reference - unknown[-1] * direction

    def slopes(unknown: NDArray) -> NDArray:
        alphas = np.clip(unknown[:-1], 0, 1)
        _, gradients = accuracies_with_gradients(layers, alphas, p, n_classes, averaging)
        return np.column_stack([gradients, -direction])

    here = _reach(accuracies(layers, start[None], p, n_classes, averaging), reference, direction)[0]
    result = minimize(
        lambda unknown: -unknown[-1],
        np.append(start, here if np.isfinite(here) else 0.0),
        jac=lambda unknown: -size,
        method="SLSQP",
        bounds=[(0, 1)] * len(layers) + [(None, None)],
        constraints={"type": "ineq", "fun": room, "jac": slopes},
        options={"ftol": 1e-12, "maxiter": 200},
    )
    return np.clip(result.x[:-1], 0, 1)
