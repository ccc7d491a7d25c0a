"""The tables of the layered model: one function per CSV file of results/theory, as in theory.tables.

Columns: shared (part of a layer's features that both tasks use), alpha_1, .. (ratio of each layer, from the
lowest), equal_alpha (the one ratio it is compared with), and those that theory.tables explains.
"""

from collections.abc import Iterator
from fractions import Fraction
from itertools import product

import numpy as np

from .layers import (
    Layer,
    accuracies,
    best_ratios,
    falling_layers,
    largest_lift,
    layer_votes,
    layered_fronts,
    raising_direction,
)
from .model import TASKS
from .monte_carlo import simulate_difference
from .scalarised import scalarised_front
from .votes import AVERAGINGS, Averaging

Rows = Iterator[dict]
P, N_CLASSES = 0.8, 5


PROFILES = {  # parts of common concepts and of shared features in the first and the last of three layers
    "concepts fall": ((1.0, 0.0), None),
    "concepts fall slightly": ((0.75, 0.25), None),
    "concepts and features fall": ((1.0, 0.0), (0.8, 0.2)),
    "features fall": ((0.5, 0.5), (0.8, 0.2)),
    "all layers alike": ((0.5, 0.5), None),
}


def scenarios() -> Iterator[tuple[str, float, tuple[Layer, ...]]]:
    """(profile, mean part of shared features, three layers of 10 features)."""
    for name, (common, shared) in PROFILES.items():
        for part in (0.0, 0.25, 0.5, 0.75, 0.9) if shared is None else (sum(shared) / 2,):
            yield name, part, falling_layers(3, 10, common, shared or (part, part))


def layered_gain_rows(rng: np.random.Generator) -> Rows:
    """What a ratio per layer gains over one ratio: hypervolume, the largest lift on both tasks, and where it
    is.

    beaten: the part of the equal-ratio front's inner points from which unequal ratios raise both accuracies
    at first; beaten_same_mean: the same at an unchanged mean ratio; empty if the equal front has no inner
    point tested.
    """
    p, k = P, N_CLASSES
    for (name, part, layers), averaging in product(scenarios(), AVERAGINGS):
        fronts = layered_fronts(layers, p, k, averaging)
        lift, equal, unequal = largest_lift(fronts)
        row = {"profile": name, "shared": part, "model": averaging, "p": p, "n_classes": k}
        row |= {"equal_area": fronts.equal_area, "unequal_area": fronts.unequal_area, "largest_lift": lift}
        row |= {"equal_alpha": float(equal[0])} | _ratios(unequal)
        inner = [float(each[0]) for each in fronts.equal_ratios[1:-1][::20] if 0 < each[0] < 1]
        for fixed, column in ((False, "beaten"), (True, "beaten_same_mean")):
            raised = [raising_direction(layers, alpha, averaging, fixed) is not None for alpha in inner]
            row[column] = sum(raised) / len(raised) if raised else None
        yield row


def layered_front_rows(rng: np.random.Generator) -> Rows:
    """Both fronts, point by point, for layers whose concepts fall from all common to none; unequal ratios: optima."""
    p, k = P, N_CLASSES
    for part, averaging in product((0.25, 0.5, 0.75), AVERAGINGS):
        layers = falling_layers(3, 10, (1.0, 0.0), (part, part))
        equal = layered_fronts(layers, p, k, averaging, steps=20)
        unequal, unequal_ratios = scalarised_front(layers, p, k, averaging)
        for name, points, ratios in (("equal", equal.equal, equal.equal_ratios), ("unequal", unequal, unequal_ratios)):
            for (on_a, on_b), alphas in zip(points, ratios):
                row = {"shared": part, "model": averaging, "p": p, "n_classes": k, "ratios": name}
                yield row | _ratios(alphas) | {"accuracy_a": on_a, "accuracy_b": on_b}


def layered_sampled_rows(rng: np.random.Generator) -> Rows:
    """Whether the lift of unequal ratios, found in the limit, is there at finite n: sampled votes, margins
    kept alike.

    The ratios are those of the largest lift; n features a layer, (1 - p) sqrt(n) as at n = 8, p = 0.8.
    """
    k = N_CLASSES
    part: dict[Averaging, float] = {"weights": 0.25, "outputs": 0.75}
    for averaging, (n, p) in product(part, ((8, 0.8), (32, 0.9), (128, 0.95))):
        layers = falling_layers(3, n, (1.0, 0.0), (part[averaging], part[averaging]))
        _, *ratios = largest_lift(layered_fronts(layers, p, k, averaging))
        equal, unequal = ([Fraction(round(800 * alpha), 800) for alpha in alphas] for alphas in ratios)
        limit = np.subtract(*(accuracies(layers, np.array(each, float), p, k, averaging) for each in (unequal, equal)))
        for task, expected in zip(TASKS, limit):
            counts, weights = layer_votes(layers, unequal, averaging, task)
            _, baseline = layer_votes(layers, equal, averaging, task)
            found, stderr = simulate_difference(counts, weights, baseline, p, k, 100_000, rng)
            row = {"n": n, "shared": part[averaging], "model": averaging, "p": p, "n_classes": k, "task": task}
            row |= {"equal_alpha": float(equal[0])} | _ratios(np.array(unequal, float))
            yield row | {"gain_closed_form": expected, "gain_sampled": found, "stderr": stderr}


def layered_optimum_rows(rng: np.random.Generator) -> Rows:
    """The best ratios of a given mean for b alone (AMA's aim) and for both tasks, against equal ratios."""
    p, k = P, N_CLASSES
    for part, averaging, tenths, weight_b in product((0.25, 0.5, 0.75), AVERAGINGS, range(1, 10), (0.5, 1.0)):
        layers = falling_layers(3, 10, (1.0, 0.0), (part, part))
        alphas = best_ratios(layers, tenths / 10, p, k, averaging, weight_b)
        best, equal = (accuracies(layers, each, p, k, averaging) for each in (alphas, np.full(3, tenths / 10)))
        row = {
            "shared": part,
            "model": averaging,
            "p": p,
            "n_classes": k,
            "mean_alpha": tenths / 10,
            "weight_b": weight_b,
        }
        row |= _ratios(alphas) | {"accuracy_a": best[0], "accuracy_b": best[1]}
        yield row | {"equal_accuracy_a": equal[0], "equal_accuracy_b": equal[1]}


def _ratios(alphas: np.ndarray) -> dict[str, float]:
    return {f"alpha_{layer}": float(alpha) for layer, alpha in enumerate(alphas, start=1)}
