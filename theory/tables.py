"""The tables behind the theory figures: one function per CSV file of results/theory, rows in tidy long form.

Columns that return: n (features a task), n_o (shared), p (failure probability), n_classes (K), labels ("identical" is the
paper's case 1, "disjoint" its case 2), model ("single", "weights", "outputs"), method ("closed-form": limit of many
features; "exact"; "monte-carlo"; "trained"), accuracy and gain in [0, 1] and [-1, 1], stderr (empty if there is none), alpha (share
of task b's model).
"""

from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import product

import numpy as np

from theory.closed_form import effective_features, proposition_5_1
from theory.exact import exact_task_accuracy
from theory.fronts import closed_form_accuracy, front, gain
from theory.layers import (
    Layer,
    accuracies,
    best_ratios,
    falling_layers,
    largest_lift,
    layer_votes,
    layered_fronts,
    raising_direction,
)
from theory.model import Tasks, Votes, average, disjoint_labels, same_labels, single_model
from theory.monte_carlo import simulate_accuracy, simulate_difference, simulate_features
from theory.trained import Setting, trained_accuracies

Rows = Iterator[dict]
HALF = Fraction(1, 2)
LABELS = {"identical": same_labels, "disjoint": disjoint_labels}
ROUTES = {"closed-form": closed_form_accuracy, "exact": exact_task_accuracy}
PAPER = {"n": 20, "p": 0.8, "n_classes": 5}  # the size at which the effects are easily seen


def _models(tasks: Tasks) -> dict[str, Votes]:
    """Votes on task a of its own model and of both averages at alpha = 1/2."""
    averages = {averaging: average(tasks, averaging, HALF, "a") for averaging in ("weights", "outputs")}
    return {"single": single_model(tasks, "a", "a")} | averages


def accuracy_rows(rng: np.random.Generator) -> Rows:
    """Accuracy against the number of shared features, by every method: the paper's two cases at alpha = 1/2."""
    n, p, k = PAPER.values()
    for labels, n_o in product(LABELS, range(n + 1)):
        tasks = LABELS[labels](n, n_o, k)
        base = PAPER | {"n_o": n_o, "labels": labels}
        for model, votes in _models(tasks).items():
            n_eff = effective_features(votes.counts, votes.weights)
            for method, route in ROUTES.items():
                yield base | _result(model, method, route(votes, p), None, n_eff)
            if n_o % 2 == 0:
                estimate = simulate_accuracy(votes.counts, votes.weights, p, k, 40_000, rng)
                yield base | _result(model, "monte-carlo", *estimate, n_eff)
        if n_o % 5 == 0 or n_o == 14:
            fitted = trained_accuracies(tasks, Setting(p, sigma=0.01, n_train=3000), 0.5, 10_000, rng)
            for model, (estimate, stderr) in fitted.items():
                votes = _models(tasks)[model]
                yield base | _result(model, "trained", estimate, stderr, effective_features(votes.counts, votes.weights))


def _result(model: str, method: str, accuracy: float, stderr: float | None, n_eff: float) -> dict:
    return {"model": model, "method": method, "accuracy": accuracy, "stderr": stderr, "effective_features": n_eff}


def phase_rows(rng: np.random.Generator) -> Rows:
    """Where averaging two models of one task helps: gain over the single model for n_o / n, p and K, alpha = 1/2."""
    n = 20
    for k, step in product((2, 5, 20), range(1, 20)):
        p = step / 20
        alone = {name: route(single_model(same_labels(n, n, k), "a", "a"), p) for name, route in ROUTES.items()}
        for n_o, averaging in product(range(n + 1), ("weights", "outputs")):
            votes = average(same_labels(n, n_o, k), averaging, HALF, "a")
            row = {"n": n, "n_o": n_o, "p": p, "n_classes": k, "model": averaging}
            yield row | {f"gain_{name.replace('-', '_')}": route(votes, p) - alone[name] for name, route in ROUTES.items()}


def front_rows(rng: np.random.Generator) -> Rows:
    """Exact accuracies on a and b over alpha, from disjoint over partly overlapping to identical label sets."""
    n, n_o, p, k, alphas = 8, 4, 0.8, 4, [Fraction(i, 20) for i in range(21)]
    for n_classes_o, averaging in product(range(k + 1), ("weights", "outputs")):
        points = front(Tasks(k, n, n, n_o, n_classes_o), averaging, alphas, p)
        for alpha, (on_a, on_b) in zip(alphas, points):
            yield {
                "n": n,
                "n_o": n_o,
                "p": p,
                "n_classes": k,
                "n_classes_o": n_classes_o,
                "model": averaging,
                "alpha": float(alpha),
                "accuracy_a": on_a,
                "accuracy_b": on_b,
            }


def growth_rows(rng: np.random.Generator) -> Rows:
    """Accuracy and gain against n, closed form and exact: the CLT's error, and how the effect grows with n."""
    for p, n, quarters in product((0.8, 0.9), (4, 8, 12, 20, 32, 48, 72, 100), range(4)):
        n_o = n * quarters // 4
        for labels, make in LABELS.items():
            tasks = make(n, n_o, PAPER["n_classes"])
            for method, route in ROUTES.items():
                found = {model: route(votes, p) for model, votes in _models(tasks).items()}
                for model, accuracy in found.items():
                    row = {"n": n, "n_o": n_o, "p": p, "n_classes": PAPER["n_classes"], "labels": labels, "model": model}
                    yield row | {"method": method, "accuracy": accuracy, "gain": accuracy - found["single"]}


def proposition_rows(rng: np.random.Generator) -> Rows:
    """Proposition 5.1's terms: as printed, corrected in the limit, and exact, for every number of shared features."""
    n, p, k = PAPER.values()
    for n_o in range(n + 1):
        terms = proposition_5_1(n, n_o, p, k)
        table = {(name, "closed-form"): getattr(terms, name) for name in ("printed", "weights", "outputs")}
        rows = {key: (each.xi_1, each.xi_2) for key, each in table.items()}
        for averaging in ("weights", "outputs"):
            rows[averaging, "exact"] = tuple(
                gain(make(n, n_o, k), averaging, HALF, p, exact_task_accuracy) for make in LABELS.values()
            )
        for (version, method), (xi_1, xi_2) in rows.items():
            row = PAPER | {"n_o": n_o, "version": version, "method": method}
            yield row | {"xi_1": xi_1, "xi_2": xi_2, "difference": xi_1 - xi_2}


def trained_rows(rng: np.random.Generator) -> Rows:
    """Fitted classifiers against the exact accuracy as sigma falls and samples grow, and ideal ones with the same noise."""
    n, n_o, p, k = 6, 4, 0.75, 4
    for labels, make in LABELS.items():
        tasks = make(n, n_o, k)
        exact = {model: exact_task_accuracy(votes, p) for model, votes in _models(tasks).items()}
        base = {"n": n, "n_o": n_o, "p": p, "n_classes": k, "labels": labels}
        for sigma, n_train, draw in product((0.0, 0.03, 0.1, 0.3), (100, 400, 1600, 6400), range(3)):
            fitted = trained_accuracies(tasks, Setting(p, sigma, n_train), 0.5, 5_000, rng)
            for model, (accuracy, stderr) in fitted.items():
                row = base | {"sigma": sigma, "n_train": n_train, "draw": draw, "model": model, "method": "trained"}
                yield row | {"accuracy": accuracy, "stderr": stderr, "exact": exact[model]}
        for sigma, averaging in product((0.0, 0.03, 0.1, 0.3), ("weights", "outputs")):
            accuracy, stderr = simulate_features(tasks, averaging, 0.5, p, sigma, 10_000, rng)
            row = base | {"sigma": sigma, "n_train": None, "draw": 0, "model": averaging, "method": "monte-carlo"}
            yield row | {"accuracy": accuracy, "stderr": stderr, "exact": exact[averaging]}


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
    """What a ratio per layer gains over one ratio: hypervolume, the largest lift on both tasks, and where it is.

    beaten: the part of the equal-ratio front's inner points from which unequal ratios raise both accuracies at first;
    beaten_same_mean: the same at an unchanged mean ratio; empty if the equal front has no inner point tested.
    """
    p, k = PAPER["p"], PAPER["n_classes"]
    for (name, part, layers), averaging in product(scenarios(), ("weights", "outputs")):
        fronts = layered_fronts(layers, p, k, averaging)
        lift, equal, unequal = largest_lift(fronts)
        row = {"profile": name, "shared": part, "model": averaging, "p": p, "n_classes": k}
        row |= {"equal_area": fronts.equal_area, "unequal_area": fronts.unequal_area, "largest_lift": lift}
        row |= {"equal_alpha": float(equal[0])} | _ratios(unequal)
        inner = [float(each[0]) for each in fronts.equal_ratios[::20] if 0 < each[0] < 1]
        for fixed, column in ((False, "beaten"), (True, "beaten_same_mean")):
            raised = [raising_direction(layers, alpha, averaging, fixed) is not None for alpha in inner]
            row[column] = sum(raised) / len(raised) if raised else None
        yield row


def layered_front_rows(rng: np.random.Generator) -> Rows:
    """Both fronts, point by point, for layers whose concepts fall from all common to none."""
    p, k = PAPER["p"], PAPER["n_classes"]
    for part, averaging in product((0.25, 0.5, 0.75), ("weights", "outputs")):
        fronts = layered_fronts(falling_layers(3, 10, (1.0, 0.0), (part, part)), p, k, averaging, steps=20)
        for name, points, ratios in (
            ("equal", fronts.equal, fronts.equal_ratios),
            ("unequal", fronts.unequal, fronts.unequal_ratios),
        ):
            for (on_a, on_b), alphas in zip(points, ratios):
                row = {"shared": part, "model": averaging, "p": p, "n_classes": k, "ratios": name}
                yield row | _ratios(alphas) | {"accuracy_a": on_a, "accuracy_b": on_b}


def layered_sampled_rows(rng: np.random.Generator) -> Rows:
    """Whether the lift of unequal ratios, found in the limit, is there at finite n: sampled votes, margins kept alike.

    The ratios are those of the largest lift; n features a layer, (1 - p) sqrt(n) as at n = 8, p = 0.8.
    """
    k, part = PAPER["n_classes"], {"weights": 0.25, "outputs": 0.75}
    for averaging, (n, p) in product(part, ((8, 0.8), (32, 0.9), (128, 0.95))):
        layers = falling_layers(3, n, (1.0, 0.0), (part[averaging], part[averaging]))
        _, *ratios = largest_lift(layered_fronts(layers, p, k, averaging))
        equal, unequal = ([Fraction(round(800 * alpha), 800) for alpha in alphas] for alphas in ratios)
        limit = np.subtract(*(accuracies(layers, np.array(each, float), p, k, averaging) for each in (unequal, equal)))
        for task, expected in zip(("a", "b"), limit):
            counts, weights = layer_votes(layers, unequal, averaging, task)
            _, baseline = layer_votes(layers, equal, averaging, task)
            found, stderr = simulate_difference(counts, weights, baseline, p, k, 100_000, rng)
            row = {"n": n, "shared": part[averaging], "model": averaging, "p": p, "n_classes": k, "task": task}
            row |= {"equal_alpha": float(equal[0])} | _ratios(np.array(unequal, float))
            yield row | {"gain_closed_form": expected, "gain_sampled": found, "stderr": stderr}


def layered_optimum_rows(rng: np.random.Generator) -> Rows:
    """The best ratios of a given mean for b alone (AMA's aim) and for both tasks, against equal ratios of that mean."""
    p, k = PAPER["p"], PAPER["n_classes"]
    for part, averaging, tenths, weight_b in product((0.25, 0.5, 0.75), ("weights", "outputs"), range(1, 10), (0.5, 1.0)):
        layers = falling_layers(3, 10, (1.0, 0.0), (part, part))
        alphas = best_ratios(layers, tenths / 10, p, k, averaging, weight_b)
        best, equal = (accuracies(layers, each, p, k, averaging) for each in (alphas, np.full(3, tenths / 10)))
        row = {"shared": part, "model": averaging, "p": p, "n_classes": k, "mean_alpha": tenths / 10, "weight_b": weight_b}
        row |= _ratios(alphas) | {"accuracy_a": best[0], "accuracy_b": best[1]}
        yield row | {"equal_accuracy_a": equal[0], "equal_accuracy_b": equal[1]}


def _ratios(alphas: np.ndarray) -> dict[str, float]:
    return {f"alpha_{layer}": float(alpha) for layer, alpha in enumerate(alphas, start=1)}


TABLES: dict[str, Callable[[np.random.Generator], Rows]] = {
    "accuracy": accuracy_rows,
    "phase": phase_rows,
    "fronts": front_rows,
    "growth": growth_rows,
    "proposition": proposition_rows,
    "trained": trained_rows,
    "layered_fronts": layered_front_rows,
    "layered_gain": layered_gain_rows,
    "layered_sampled": layered_sampled_rows,
    "layered_optima": layered_optimum_rows,
}
