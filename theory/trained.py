"""Classifiers really fitted to sampled features, then averaged: how near training comes to the vote weights.

Each task's classifier minimises mean cross-entropy + ridge ||w||^2 over samples of its own classes, on x Phi;
then w and Phi are averaged (weights), or the two scores (outputs), and both tasks are tested on fresh
samples. Nothing here knows the vote weights: only theory.model.Tasks says which features and classes a task
has.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize
from scipy.special import logsumexp

from . import validation
from .model import MEMBERSHIP, Tasks
from .monte_carlo import credit, label_count

TEST_CHUNK = 20_000
NOISE_CHUNK = 500
MAX_VALUES = 250_000_000  # numbers of one array: two gigabytes


@dataclass(frozen=True)
class Setting:
    """p in [0, 1]; sigma >= 0 the noise of each x_i; n_train >= 1 samples a task; ridge > 0 its penalty."""

    p: float
    sigma: float
    n_train: int
    ridge: float = 1e-3

    def __post_init__(self) -> None:
        validation.probability("p", self.p)
        validation.real("sigma", self.sigma, 0, 1e6)
        validation.integer("n_train", self.n_train, 1)
        validation.real("ridge", self.ridge, 1e-12, 1e6)


def fit_classifier(x: NDArray, y: NDArray, n_classes: int, ridge: float) -> NDArray:
    """(class, dimension) weights minimising mean cross-entropy + ridge ||w||^2 (paper, Definition F.1), by
    L-BFGS.

    x: (sample, dimension); y: (sample,) in [0, n_classes). Convex, so the start (zero) does not matter.
    """
    rows, dimension = np.arange(len(y)), x.shape[1]

    def loss(flat):
        w = flat.reshape(n_classes, dimension)
        scores = x @ w.T
        log_share = scores - logsumexp(scores, axis=1, keepdims=True)
        slope = np.exp(log_share)
        slope[rows, y] -= 1
        return -log_share[rows, y].mean() + ridge * flat @ flat, (slope.T @ x / len(y) + 2 * ridge * w).reshape(-1)

    found = minimize(loss, np.zeros(n_classes * dimension), jac=True, method="L-BFGS-B", options={"maxiter": 500})
    return found.x.reshape(n_classes, dimension)


def trained_accuracies(
    tasks: Tasks, setting: Setting, alpha: float, n_test: int, rng: np.random.Generator
) -> dict[str, tuple[float, float]]:
    """{"single", "weights", "outputs"}: (accuracy, standard error), mean over both tasks on n_test samples
    each.

    alpha in [0, 1]; n_test >= 2. The standard error is that of the test samples; training's own spread is seen by calling
    with other generators. ValueError or TypeError for numbers out of range, and for sizes that take gigabytes; TypeError
    unless rng is a numpy Generator.
    """
    n_test = validation.integer("n_test", n_test, 2)
    alpha = float(validation.real("alpha", alpha, 0, 1))
    validation.generator(rng)
    k, offset = tasks.n_classes, label_count(tasks) - tasks.n_classes
    check_size(tasks, max(setting.n_train, 3 * min(n_test, TEST_CHUNK), 2 * label_count(tasks)))
    masks = np.array(MEMBERSHIP, dtype=float).T  # (task, group): Phi_a and Phi_b by group
    w = np.zeros((2, label_count(tasks), sum(tasks.counts) * label_count(tasks)))
    for task, first in enumerate((0, offset)):
        right = rng.integers(k, size=setting.n_train)
        (x,) = sample_sums(tasks, first + right, first, setting, masks[task : task + 1], rng)
        w[task, first : first + k] = fit_classifier(x, right, k, setting.ridge)
    return {
        name: _mean_and_error(np.concatenate(values))
        for name, values in _tested(tasks, setting, alpha, n_test, w, masks, rng).items()
    }


def check_size(tasks: Tasks, rows: int) -> None:
    """ValueError if an array of this many vectors of features times labels would take gigabytes."""
    dimension = sum(tasks.counts) * label_count(tasks)
    if rows * dimension > MAX_VALUES:
        raise ValueError(
            f"samples times features times labels must be at most {MAX_VALUES} numbers at a time, not {rows} times "
            f"{dimension}: use fewer of them."
        )


def _tested(
    tasks: Tasks, setting: Setting, alpha: float, n_test: int, w: NDArray, masks: NDArray, rng: np.random.Generator
) -> dict[str, list[NDArray]]:
    """Credits of each model on test samples of both tasks, in chunks."""
    k, offset = tasks.n_classes, label_count(tasks) - tasks.n_classes
    mix = np.array([1 - alpha, alpha])
    shares = np.vstack([masks, mix @ masks])
    credits: dict[str, list[NDArray]] = {"single": [], "weights": [], "outputs": []}
    for task, first in enumerate((0, offset)):
        for start in range(0, n_test, TEST_CHUNK):
            right = rng.integers(k, size=min(TEST_CHUNK, n_test - start))
            sums = sample_sums(tasks, first + right, first, setting, shares, rng)
            alone = [x @ w[i, first : first + k].T for i, x in enumerate(sums[:2])]
            averaged = sums[2] @ np.tensordot(mix, w[:, first : first + k], 1).T
            del sums  # a hundred megabytes, before the next ones are drawn
            credits["single"].append(credit(alone[task], right))
            credits["weights"].append(credit(averaged, right))
            credits["outputs"].append(credit(mix[0] * alone[0] + mix[1] * alone[1], right))
    return credits


def sample_sums(
    tasks: Tasks, right: NDArray, first: int, setting: Setting, shares: ArrayLike, rng: np.random.Generator
) -> NDArray:
    """(model, sample, dimension) sums of x_i over the features, each times its group's share in a model's body.

    shares: (model, group), the groups being a's own, b's own and the shared features. mu_i(k) is a unit vector of the
    standard basis: training and testing are the same in any orthonormal basis. The sum of n_g noises is one noise of
    sqrt(n_g) times the size.
    """
    n_features, n_labels, size = sum(tasks.counts), label_count(tasks), len(right)
    failed = rng.random((size, n_features)) < setting.p
    shown = np.where(failed, first + rng.integers(tasks.n_classes, size=failed.shape), right[:, None])
    place, group = np.arange(n_features) * n_labels + shown, np.repeat(np.arange(len(tasks.counts)), tasks.counts)
    scale, shares = setting.sigma * np.sqrt(tasks.counts), np.asarray(shares, dtype=float)
    sums = np.empty((len(shares), size, n_features * n_labels))
    for start in range(0, size, NOISE_CHUNK):
        part = slice(start, min(start + NOISE_CHUNK, size))
        shape = (part.stop - start, len(tasks.counts), n_features * n_labels)
        x = rng.standard_normal(shape) * scale[:, None] if setting.sigma else np.zeros(shape)
        x[np.arange(len(x))[:, None], group, place[part]] += 1.0
        for total, share in zip(sums[:, part], shares):
            total[...] = sum(s * x[:, g] if s != 1 else x[:, g] for g, s in enumerate(share) if s)
    return sums


def _mean_and_error(values: NDArray) -> tuple[float, float]:
    return float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values)))
