"""The tables behind the theory figures: one function per CSV file of results/theory, rows in tidy long form.

Columns that return: n (features a task), n_o (shared), p (failure probability), n_classes (K), labels
("identical" is the paper's case 1, "disjoint" its case 2; "disjoint, all compete": case 2, and the classes of both tasks
compete), model ("single", "weights", "outputs"), method ("closed-form": limit of many features; "exact";
"monte-carlo"; "trained"), accuracy and gain in [0, 1] and [-1, 1], stderr (empty if there is none), alpha (share of task
b's model).
"""

from collections.abc import Callable
from fractions import Fraction
from itertools import product
from typing import Any

import numpy as np

from .cases import HALF, LABELS, ROUTES, Rows, models_of
from .closed_form import effective_features
from .exact import exact_task_accuracy
from .fronts import front, gain
from .layer_tables import layered_front_rows, layered_gain_rows, layered_optimum_rows, layered_sampled_rows
from .model import Tasks, average, disjoint_labels, same_labels, single_model
from .monte_carlo import simulate_accuracy, simulate_features
from .proposition import proposition_5_1
from .statements import statement_rows
from .trained import Setting, trained_accuracies
from .votes import AVERAGINGS
from .wider_tables import (
    condition_rows,
    exponent_rows,
    few_feature_rows,
    finite_rows,
    many_class_rows,
    model_rows,
    overlap_rows,
    own_rate_rows,
    ratio_rows,
    regression_rows,
)

ALL_COMPETE = "disjoint, all compete"
PAPER: dict[str, Any] = {"n": 20, "p": 0.8, "n_classes": 5}  # the size at which the effects are easily seen


def accuracy_rows(rng: np.random.Generator) -> Rows:
    """Accuracy against the number of shared features, by every method: both cases at alpha = 1/2."""
    n, p, k = PAPER.values()
    for labels, n_o in product(LABELS, range(n + 1)):
        tasks = LABELS[labels](n, n_o, k)
        base = PAPER | {"n_o": n_o, "labels": labels}
        for model, votes in models_of(tasks).items():
            n_eff = float(effective_features(votes.counts, votes.weights))
            for method, route in ROUTES.items():
                yield base | _result(model, method, float(route(votes, p)), None, n_eff)
            if n_o % 2 == 0:
                sampled = simulate_accuracy(votes.counts, votes.weights, p, k, 40_000, rng)
                yield base | _result(model, "monte-carlo", *sampled, n_eff)
        if n_o % 5 == 0 or n_o == 14:
            fitted = trained_accuracies(tasks, Setting(p, sigma=0.01, n_train=3000), 0.5, 10_000, rng)
            for model, (estimate, stderr) in fitted.items():
                votes = models_of(tasks)[model]
                yield base | _result(
                    model, "trained", estimate, stderr, float(effective_features(votes.counts, votes.weights))
                )


def _result(model: str, method: str, accuracy: float, stderr: float | None, n_eff: float) -> dict:
    return {"model": model, "method": method, "accuracy": accuracy, "stderr": stderr, "effective_features": n_eff}


def phase_rows(rng: np.random.Generator) -> Rows:
    """Where averaging two models of one task helps: gain over the single model at alpha = 1/2."""
    n = 20
    for k, step in product((2, 5, 20), range(1, 20)):
        p = step / 20
        alone = {name: route(single_model(same_labels(n, n, k), "a", "a"), p) for name, route in ROUTES.items()}
        for n_o, averaging in product(range(n + 1), AVERAGINGS):
            votes = average(same_labels(n, n_o, k), averaging, HALF, "a")
            row = {"n": n, "n_o": n_o, "p": p, "n_classes": k, "model": averaging}
            yield row | {
                f"gain_{name.replace('-', '_')}": route(votes, p) - alone[name] for name, route in ROUTES.items()
            }


def front_rows(rng: np.random.Generator) -> Rows:
    """Exact accuracies on a and b over alpha, from disjoint over partly overlapping to identical labels."""
    n, n_o, p, k, alphas = 8, 4, 0.8, 4, [Fraction(i, 20) for i in range(21)]
    for n_classes_o, averaging in product(range(k + 1), AVERAGINGS):
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
    """Accuracy and gain against n, closed form and exact: the limit's error, and how the effect grows."""
    for p, n, quarters in product((0.8, 0.9), (4, 8, 12, 20, 32, 48, 72, 100), range(4)):
        n_o = n * quarters // 4
        for labels, make in LABELS.items():
            tasks = make(n, n_o, PAPER["n_classes"])
            for method, route in ROUTES.items():
                found = {model: route(votes, p) for model, votes in models_of(tasks).items()}
                for model, accuracy in found.items():
                    row = {
                        "n": n,
                        "n_o": n_o,
                        "p": p,
                        "n_classes": PAPER["n_classes"],
                        "labels": labels,
                        "model": model,
                    }
                    yield row | {"method": method, "accuracy": accuracy, "gain": accuracy - found["single"]}


def proposition_rows(rng: np.random.Generator) -> Rows:
    """Proposition 5.1's terms: as printed, corrected in the limit, and exact, for every n_o."""
    n, p, k = PAPER.values()
    for n_o in range(n + 1):
        terms = proposition_5_1(n, n_o, p, k)
        table = {(name, "closed-form"): getattr(terms, name) for name in ("printed", "weights", "outputs")}
        rows: dict[tuple[str, str], tuple[float, ...]] = {key: (each.xi_1, each.xi_2) for key, each in table.items()}
        for averaging in AVERAGINGS:
            rows[averaging, "exact"] = tuple(
                gain(make(n, n_o, k), averaging, HALF, p, exact_task_accuracy) for make in LABELS.values()
            )
        for (version, method), (xi_1, xi_2) in rows.items():
            row = PAPER | {"n_o": n_o, "version": version, "method": method}
            yield row | {"xi_1": xi_1, "xi_2": xi_2, "difference": xi_1 - xi_2}


def trained_rows(rng: np.random.Generator) -> Rows:
    """Fitted classifiers against the exact accuracy as noise falls and samples grow; ideal ones. Last, with "all compete":
    case 2 where the classes of both tasks compete and failed votes fall on all of them.
    """
    n, n_o, p, k = 6, 4, 0.75, 4
    for labels, make in (LABELS | {ALL_COMPETE: disjoint_labels}).items():
        tasks, all_labels = make(n, n_o, k), labels == ALL_COMPETE
        exact = {model: exact_task_accuracy(votes, p) for model, votes in models_of(tasks, all_labels).items()}
        base = {"n": n, "n_o": n_o, "p": p, "n_classes": k, "labels": labels}
        for sigma, n_train, draw in product((0.0, 0.03, 0.1, 0.3), (100, 400, 1600, 6400), range(3)):
            fitted = trained_accuracies(tasks, Setting(p, sigma, n_train), 0.5, 5_000, rng, all_labels)
            for model, (accuracy, stderr) in fitted.items():
                row = base | {"sigma": sigma, "n_train": n_train, "draw": draw, "model": model, "method": "trained"}
                yield row | {"accuracy": accuracy, "stderr": stderr, "exact": exact[model]}
        for sigma, averaging in product((0.0, 0.03, 0.1, 0.3), AVERAGINGS):
            accuracy, stderr = simulate_features(tasks, averaging, 0.5, p, sigma, 10_000, rng, all_labels)
            row = base | {"sigma": sigma, "n_train": None, "draw": 0, "model": averaging, "method": "monte-carlo"}
            yield row | {"accuracy": accuracy, "stderr": stderr, "exact": exact[averaging]}


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
    "finite": finite_rows,
    "exponents": exponent_rows,
    "many_classes": many_class_rows,
    "few_features": few_feature_rows,
    "ratio": ratio_rows,
    "overlap": overlap_rows,
    "models": model_rows,
    "own_rates": own_rate_rows,
    "regression": regression_rows,
    "regression_conditions": condition_rows,
    "statements": statement_rows,
}
