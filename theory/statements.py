"""The table of single numbers that the notebook's sentences give: cases outside of what a statement claims."""

import numpy as np

from .cases import HALF, Rows
from .exact import exact_task_accuracy
from .exponents import harm_threshold
from .fronts import gain
from .layers import Layer, accuracies, raising_direction
from .model import Tasks, average, same_labels, single_model
from .overlap import graded_effective_features, overlap_of, projectors
from .regression import regression_votes

RANDOM_CASES = 3000


def statement_rows(rng: np.random.Generator) -> Rows:
    """Rows of (statement, number, value)."""
    for statement, numbers in {
        "same mean": _same_mean(rng),
        "signs": _signs(),
        "partly common classes": _partly_common(),
        "unequal sizes": _unequal_sizes(),
        "fixed p": _fixed_p(),
    }.items():
        for number, value in numbers.items():
            yield {"statement": statement, "number": number, "value": float(value)}


def _same_mean(rng: np.random.Generator) -> dict[str, float]:
    """Ratios of one mean where only the concepts differ: how many of random cases (shared part, ratio and three layers' q
    drawn evenly) unequal ratios raise on both tasks, and what a step brings in one of them.
    """
    cases = rng.uniform(size=(RANDOM_CASES, 5))
    raised = [
        raising_direction([Layer(10, shared, q) for q in of_layers], alpha, "weights", fixed_mean=True) is not None
        for shared, alpha, *of_layers in cases
    ]
    shared, concepts, alpha, step = 0.2225, (0.507, 0.129, 0.024), 0.757, 0.03
    layers = [Layer(10, shared, q) for q in concepts]
    direction = raising_direction(layers, alpha, "weights", fixed_mean=True)
    if direction is None:
        raise ArithmeticError("The case of unequal ratios that raise both accuracies at an unchanged mean is none.")
    equal, moved = accuracies(layers, alpha + np.outer([0, step], direction), 0.8, 5, "weights")
    found = {"cases": RANDOM_CASES, "raised": sum(raised), "shared": shared, "alpha": alpha, "step": step}
    found |= {f"common_{place}": q for place, q in enumerate(concepts, 1)}
    return found | {f"gain_{task}": after - before for task, before, after in zip("ab", equal, moved)}


def _signs() -> dict[str, float]:
    """n_eff / n of averaged weights in ten planes of one cosine: all signs minus, all plus, and the formula's mean over signs; and of b's
    model alone, whose mean over signs is 1.
    """
    planes, cosine = 10, 0.5
    p_a, p_b = projectors([cosine])
    operator = (p_a + p_b) @ (p_a + p_b)

    def kish(sign: int) -> float:  # the planes are alike, so one of them has it
        signs = np.array([1, sign])
        return (signs @ operator @ signs) ** 2 / np.sum((operator @ signs) ** 2)

    formula = graded_effective_features(overlap_of([cosine] * planes), "weights") / planes
    found = {"planes": planes, "cosine": cosine, "minus": kish(-1), "plus": kish(1), "formula": float(formula)}
    of_b = {
        name: np.array([1, sign]) @ p_b @ np.array([1, sign]) for name, sign in {"minus_b": -1, "plus_b": 1}.items()
    }
    return found | of_b


def _partly_common() -> dict[str, float]:
    """Accuracy on a of its own model and of the regression average where one of two classes is in common."""
    tasks, p = Tasks(2, 2, 6, 0, 1), 0.5
    own, regression = (
        exact_task_accuracy(votes, p) for votes in (single_model(tasks, "a", "a"), regression_votes(tasks, "a"))
    )
    return {"p": p, "own": own, "regression": regression}


def _unequal_sizes() -> dict[str, float]:
    """Accuracy, where b's model is a small part of a's and the tasks are one, of each model alone and of averaged outputs; and xi."""
    tasks, p = Tasks(5, 10, 2, 2, 5), 0.8
    votes = single_model(tasks, "a", "a"), single_model(tasks, "b", "b"), average(tasks, "outputs", HALF, "a")
    own, own_b, outputs = (exact_task_accuracy(each, p) for each in votes)
    found = {"p": p, "n_classes": 5, "n_a": 10, "n_b": 2, "own": own, "own_b": own_b, "outputs": outputs}
    return found | {"gain": gain(tasks, "outputs", HALF, p, exact_task_accuracy)}


def _fixed_p() -> dict[str, float]:
    """Errors of averaged weights as shares of one model's in case 1, below half of the features shared, where n_eff is raised."""
    p, k, shared, sizes = 0.5, 2, 0.48, (50, 100)
    found = {"p": p, "n_classes": k, "shared": shared, "raised": 2 * (1 + shared) ** 2 / (1 + 7 * shared)}
    found["threshold"] = harm_threshold(p, k)
    for number, n in enumerate(sizes, 1):
        tasks = same_labels(n, round(shared * n), k)
        votes = average(tasks, "weights", HALF, "a"), single_model(tasks, "a", "a")
        averaged, one = (1 - exact_task_accuracy(each, p) for each in votes)
        found |= {f"n_{number}": n, f"errors_{number}": averaged / one}
    return found
