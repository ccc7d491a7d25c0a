r"""A ratio per feature direction: regression averaging, and why no single ratio beats it in the model.

For one linear layer with weights W_0, W_1 and input Gram matrices G_0, G_1 (G = E x x^T of each model's own inputs),

    W = argmin lambda E_0 |x (W - W_0)|^2 + E_1 |x (W - W_1)|^2 = (lambda G_0 + G_1)^-1 (lambda G_0 W_0 + G_1 W_1)

(RegMean, arXiv 2212.09849; here of the models before and after). In the joint eigenbasis of lambda G_0 and G_1, direction
i gets the ratio g_1i / (g_1i + lambda g_0i): 0 where only model 0 has inputs, 1 where only model 1 has, and a proper
average where both have.

**In the model of theory.model.** Model a's inputs span the mu_i(k) of its own features and classes. On directions that
both use, both heads have the same coefficient (naive Bayes, beta does not depend on n). So W = the head of the *union* of
the features makes both terms 0: it agrees with W_a on the span of G_a and with W_b on that of G_b, whatever the matrices'
off-diagonals and lambda are (up to terms common to all classes, which change no decision). With the body merged likewise (a feature that one model alone computes is kept whole),

    case 1: 2n - n_o features of weight 1, n_eff = 2n - n_o;   case 2, on a: a's n features of weight 1, n_eff = n.

With the body averaged by one ratio alpha and the head by regression, a's own features carry 1 - alpha, b's own alpha,
shared ones 1: at 1/2 this is in case 1 the average of *outputs*, and in case 2, where b's own carry nothing, that of weights.

**Proposition.** Let (o) both tasks have the same classes (case 1) or none in common (case 2), and only the tested task's classes
compete; (i) the labels be uniform and
the votes independent given the label, without noise; (ii) both heads be the trained ones (ridge to 0), so that they
agree on shared directions; (iii) the Gram matrices be of full rank on the directions in use, up to terms common to all classes
(without noise a feature's K votes add up to 1, so that they have rank n (K - 1) + 1); (iv) head and body be merged by
direction. Then at every n, p and K the regression average is at least
as accurate on each task as the average with any single ratio (and as either model). *Proof.* Case 1: its scores are
sum_i beta_i [q_i = k] over all features that either model has, the log-posterior of the label given all these votes up
to a constant. Choosing a class of the highest posterior, ties split at random, maximises accuracy over all functions of
the votes; the average with any ratio is one of these functions. Case 2, tested on a: with one ratio b's own features
have no vote for a's classes, so the scores are a function of the votes of a's features, and a's own scores, which the
regression average keeps, are the log-posterior given them. QED. Nothing is said about many features: it holds exactly.

**When it fails.** (o): with some classes in common, or with classes of both tasks that compete, a's own score is not kept, since the
union gives some classes votes that others do not get. (ii): where the two heads use shared
directions in opposite ways they cancel there. In case 1 only the 2 (n - n_o) features that one model has alone are left,
fewer than n for r > 1/2: the single ratio alpha = 0 is better.
(iii): from fewer samples than directions, the rest follows the ridge (to the plain average). Noise: in case 2 b's
own features bring noise into the body, (2 - r) times a's own, so what is lost is small only where sigma is. Numbers:
results/theory/statements.csv and regression_conditions.csv.

**What it needs to know.** Both models' weights and the Gram matrices of what each of their layers reads on its own task's
inputs; no labels, no rewards, and no ratio.
"""

from collections.abc import Mapping
from fractions import Fraction
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import LinAlgError, eigh, eigvalsh

from . import validation
from .model import MEMBERSHIP, OWN_CLASS, TASKS, Task, Tasks
from .monte_carlo import label_count
from .trained import Setting, World, credited, drawn_rows, fit_head, mean_and_error, sample_sums
from .validation import Number
from .votes import Votes

Body = Literal["direction", "single"]


def direction_ratios(g_0: ArrayLike, g_1: ArrayLike, lam: float) -> tuple[NDArray, NDArray]:
    """((direction,) ratios in [0, 1], (dimension, direction) joint eigenvectors) of lambda G_0 and G_1, rising.

    The ratio is the share of model 1. g_0, g_1: (dimension, dimension) symmetric, positive semi-definite, lambda G_0 + G_1
    positive definite; lam > 0. ValueError otherwise.
    """
    lam, (g_0, g_1) = float(validation.real("lam", lam, 1e-12, 1e12)), _grams(g_0, g_1)
    try:
        ratios, vectors = eigh(g_1, lam * g_0 + g_1)
    except LinAlgError:
        raise ValueError("g_0 and g_1 must have a positive definite sum, not directions that neither has.") from None
    return np.clip(ratios, 0.0, 1.0), vectors


def regression_average(
    w_0: ArrayLike, w_1: ArrayLike, g_0: ArrayLike, g_1: ArrayLike, lam: float = 1.0, ridge: float = 0.0
) -> NDArray:
    """(dimension, output) the regression average of two layers' weights, (dimension, output) each.

    g_0, g_1: (dimension, dimension) symmetric, positive semi-definite Gram matrices of each model's inputs. lam > 0: the
    weight of model 0's inputs. ridge >= 0: share of the mean diagonal of lambda G_0 + G_1 that pulls towards the
    plain average with ratio 1 / (1 + lambda), which is what directions without inputs get. ValueError for other shapes
    or matrices, or numbers that are not finite.
    """
    w_0, w_1, (g_0, g_1) = validation.matrix("w_0", w_0), validation.matrix("w_1", w_1), _grams(g_0, g_1)
    if w_0.shape != w_1.shape or len(w_0) != len(g_0):
        raise ValueError(
            f"w_0 and w_1 must be of one shape, ({len(g_0)}, output) as g_0 and g_1 have it, not {w_0.shape}, {w_1.shape}."
        )
    lam, ridge = float(validation.real("lam", lam, 1e-12, 1e12)), float(validation.real("ridge", ridge, 0, 1e6))
    plain = (lam * w_0 + w_1) / (1 + lam)
    total = lam * g_0 + g_1
    pull = lam * g_0 @ (w_0 - plain) + g_1 @ (w_1 - plain)
    size = ridge * np.trace(total) / len(total)
    return plain + np.linalg.lstsq(total + size * np.eye(len(total)), pull, rcond=1e-12)[0]


def _grams(*grams: ArrayLike) -> list[NDArray]:
    """(dimension, dimension) symmetric, positive semi-definite matrices of one size; ValueError otherwise."""
    found = [validation.matrix(f"g_{place}", gram) for place, gram in enumerate(grams)]
    for place, gram in enumerate(found):
        if gram.shape != (len(found[0]), len(found[0])):
            raise ValueError(f"g_{place} must be square and of the size of g_0, not of shape {gram.shape}.")
        slack = 1e-8 * np.abs(gram).max()
        if np.abs(gram - gram.T).max() > slack or eigvalsh(gram, subset_by_index=[0, 0])[0] < -slack * len(gram):
            raise ValueError(f"g_{place} must be symmetric and positive semi-definite.")
    return found


def regression_votes(
    tasks: Tasks, tested_on: Task, body: Body = "direction", alpha: Number = Fraction(1, 2), opposite: bool = False
) -> Votes:
    """Votes of the regression average in theory.model, tested on one task ("a" or "b").

    body: merged by direction too, or averaged with the one ratio alpha. opposite: model b's head uses the shared
    features' directions with the other sign (condition (ii) broken), at equal weight of both Gram matrices. alpha: one
    ratio in [0, 1]. Label sets that overlap in part are answered too, but the proposition says nothing about them.
    ValueError or TypeError for anything else.
    """
    if body not in ("direction", "single"):
        raise ValueError(f"body must be 'direction' or 'single', not {body!r}.")
    if tested_on not in TASKS:
        raise ValueError(f"tested_on must be 'a' or 'b', not {tested_on!r}.")
    alpha = validation.real("alpha", alpha, 0, 1)
    phi = [1 if body == "direction" else (1 - alpha) * a + alpha * b for a, b in MEMBERSHIP]

    def votes(in_a: int, in_b: int) -> tuple[tuple[Number, ...], Number]:
        head = [a * in_a if not b * in_b else b * in_b for a, b in MEMBERSHIP]
        if opposite and in_a and in_b:
            head = [0 if a and b else h for h, (a, b) in zip(head, MEMBERSHIP)]
        noise = sum(c * h * h for c, h in zip(tasks.counts, head)) * sum(c * f * f for c, f in zip(tasks.counts, phi))
        return tuple(h * f for h, f in zip(head, phi)), noise

    (common, of_common), (own, of_own) = votes(1, 1), votes(*OWN_CLASS[tested_on])
    n_common = tasks.n_classes_o
    return Votes(tasks.counts, common, own, n_common, tasks.n_classes - n_common, None, (of_common, of_own))


def trained_regression(
    tasks: Tasks,
    setting: Setting,
    n_samples: int,
    n_test: int,
    rng: np.random.Generator,
    alphas: Mapping[str, Number] | None = None,
    ridge: float = 1e-6,
) -> dict[str, tuple[float, float]]:
    """(accuracy on a, standard error) of classifiers really fitted, then averaged: "single", weights with the single ratios
    alphas (name -> ratio in [0, 1]; "weights", 1/2, if left out), and "regression", with Gram matrices from n_samples >= 1
    fresh inputs of each model and the body merged by direction.

    n_test >= 2. ValueError or TypeError for numbers out of range, and for sizes that take gigabytes; TypeError unless rng
    is a numpy Generator.
    """
    n_samples, n_test = validation.integer("n_samples", n_samples, 1), validation.integer("n_test", n_test, 2)
    validation.generator(rng)
    ratios = {"single": 0, "weights": 0.5} if alphas is None else {"single": 0} | dict(alphas)
    shares = np.array([float(validation.real("alphas", alpha, 0, 1)) for alpha in ratios.values()])[:, None]
    k, labels = tasks.n_classes, label_count(tasks)
    masks, dimension = np.array(MEMBERSHIP, dtype=float).T, sum(tasks.counts) * labels
    rows = max(setting.n_train, n_samples, drawn_rows(n_test, labels), 2 * dimension)
    world = World.of(tasks, setting, rows)
    heads, grams = np.zeros((2, dimension, labels)), np.zeros((2, dimension, dimension))
    for task, first in enumerate((0, labels - k)):
        heads[task] = fit_head(world, masks[task], first, setting, rng).T
        (x,) = sample_sums(world, first + rng.integers(k, size=n_samples), first, masks[task : task + 1], rng)
        grams[task] = x.T @ x / n_samples
    merged = regression_average(heads[0], heads[1], grams[0], grams[1], ridge=ridge)
    bodies = np.vstack([(1 - shares) * masks[0] + shares * masks[1], np.ones(len(MEMBERSHIP))])
    mixed = dict(zip(ratios, (1 - shares[:, None]) * heads[0] + shares[:, None] * heads[1])) | {"regression": merged}

    def scores_of(sums: NDArray) -> dict[str, NDArray]:
        return {name: (x @ head)[:, :k] for (name, head), x in zip(mixed.items(), sums)}

    credits = credited(world, 0, bodies, scores_of, n_test, rng)
    return {name: mean_and_error(values) for name, values in credits.items()}
