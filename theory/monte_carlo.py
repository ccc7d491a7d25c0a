"""The same accuracies by sampling: votes alone, and the features x themselves with noise.

Samples are drawn in chunks, so that memory does not grow with their number. Ties are split evenly: a sample
in which the right class is level with j others counts 1 / (j + 1).
"""

from collections.abc import Callable, Sequence
from fractions import Fraction
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from . import validation
from .closed_form import votes_p
from .exact import integer_weights
from .model import MEMBERSHIP, Tasks
from .votes import Averaging, Votes

MAX_DIMENSION = 4000  # of a random basis: an eighth of a gigabyte
MAX_CLASSES = 1_000_000  # of a table of all classes' votes: some hundred megabytes
CHUNK_VALUES = 2_000_000  # numbers held at a time


def simulate_accuracy(
    counts: Sequence[int],
    weights: Sequence[float | Fraction],
    p: float,
    n_classes: int,
    n_samples: int,
    rng: np.random.Generator,
    n_labels: int | None = None,
) -> tuple[float, float]:
    """(estimate, standard error) of the accuracy from n_samples >= 2 drawn votes; arguments else as in
    exact_accuracy.

    p: one number. Weights are compared exactly, as integers on their common scale. TypeError unless rng is a numpy
    Generator. ValueError, too, for more than `MAX_CLASSES` classes, unless features are fewer and no weight is negative
    (then only classes with votes are looked at).
    """

    def draw(votes: Callable[[int], NDArray], size: int) -> NDArray:
        return votes(size)[0]

    return _sampled(draw, counts, [weights], p, n_classes, n_samples, rng, n_labels)


def simulate_difference(
    counts: Sequence[int],
    weights: Sequence[float | Fraction],
    baseline: Sequence[float | Fraction],
    p: float,
    n_classes: int,
    n_samples: int,
    rng: np.random.Generator,
    n_labels: int | None = None,
) -> tuple[float, float]:
    """(estimate, standard error) of accuracy with `weights` minus accuracy with `baseline`, the same votes
    counted twice.

    Arguments as in simulate_accuracy. The common votes make the standard error smaller than that of two
    separate runs.
    """

    def draw(votes: Callable[[int], NDArray], size: int) -> NDArray:
        first, second = votes(size)
        return first - second

    return _sampled(draw, counts, [weights, baseline], p, n_classes, n_samples, rng, n_labels)


def simulate_task_accuracy(
    votes: Votes,
    p: float | None,
    n_samples: int,
    rng: np.random.Generator,
    n_labels: int | None = None,
    sigma: float = 0.0,
) -> tuple[float, float]:
    """(estimate, standard error) of exact_task_accuracy's answer, for votes of any kind: label sets that overlap,
    own p of the groups (p None; else one number), noise sigma >= 0 of each x_i, other classes that compete; n_samples >= 2,
    classes at most `MAX_CLASSES`.

    ValueError or TypeError for anything else, and for weights that are arrays; TypeError unless rng is a numpy Generator.
    """
    k, (competing, m) = votes.n_classes, validation.labels(votes.n_classes + votes.n_others, n_labels)
    _check_table(competing)
    if p is not None and np.ndim(p):
        raise TypeError(f"p must be one number in [0, 1] for sampled votes, not {p!r}.")
    rates = np.broadcast_to(votes_p(votes, p), len(votes.counts))
    sigma, n_samples = float(validation.real("sigma", sigma, 0, 1e6)), validation.integer("n_samples", n_samples, 2)
    validation.generator(rng)
    numbers, vectors, noises = zip(*votes.kinds)
    whole = integer_weights([validation.groups(votes.counts, each)[1] for each in vectors])
    scale = next((w / float(v) for each, exact in zip(whole, vectors) for w, v in zip(each, exact) if v), 1.0)
    noise = sigma * scale * np.sqrt(np.repeat([float(each) for each in noises], numbers))

    def draw(size: int) -> NDArray:
        right = rng.integers(k, size=size)
        scores = np.zeros((size, competing))
        for count, rate, *weights in zip(votes.counts, rates, *whole):
            chances = np.r_[1 - rate + rate / m, np.full(competing - 1, rate / m), rate * (m - competing) / m]
            drawn = rng.multinomial(count, chances, size=size)[:, :competing]
            drawn[np.arange(size), right], drawn[:, 0] = drawn[:, 0].copy(), drawn[np.arange(size), right]
            scores += drawn * np.repeat([float(each) for each in weights], numbers)
        if sigma:
            scores += noise * rng.standard_normal((size, competing))
        return credit(scores, right)

    return _estimate(draw, n_samples, 3 * (competing + 1))


def simulate_features(
    tasks: Tasks,
    averaging: Averaging,
    alpha: float,
    p: float,
    sigma: float,
    n_samples: int,
    rng: np.random.Generator,
    all_labels: bool = False,
) -> tuple[float, float]:
    """(estimate, standard error) of task a's accuracy from sampled features x_i ~ N(mu_i(q_i), sigma^2 I),
    sigma >= 0.

    Nothing of theory.model's reduction to vote weights is used: the mu_i(k) are a random orthonormal basis,
    the classifiers are the vectors w_a(k), w_b(k) and masks Phi_a, Phi_b, averaged as such. As sigma falls
    the accuracy tends to the exact one (noise splits ties evenly). The dimension is (features) x (classes of
    both tasks), at most `MAX_DIMENSION`: for small cases. all_labels: failed features show any label, the classes of both
    tasks compete, and each head has its mean over its own classes taken off, as a trained one has. alpha, p: one number in [0, 1] each; n_samples >= 2. ValueError or
    TypeError for anything else; TypeError unless rng is a numpy Generator.
    """
    p, sigma = validation.probability("p", p), float(validation.real("sigma", sigma, 0, np.finfo(float).max))
    alpha, n_samples = (float(validation.real("alpha", alpha, 0, 1)), validation.integer("n_samples", n_samples, 2))
    if averaging not in ("weights", "outputs"):
        raise ValueError(f"averaging must be 'weights' or 'outputs', not {averaging!r}.")
    centres = orthonormal_features(sum(tasks.counts), label_count(tasks), validation.generator(rng))
    (w_a, phi_a), (w_b, phi_b) = ideal_classifiers(tasks, centres)
    k = tasks.n_classes
    shown = label_count(tasks) if all_labels else k
    for head, own in ((w_a, slice(0, k)), (w_b, slice(label_count(tasks) - k, None))) if all_labels else ():
        head[own] -= head[own].mean(axis=0)

    def draw(size: int) -> NDArray:
        right = rng.integers(k, size=size)
        x = sample_features(centres, right, np.arange(shown), p, sigma, rng)
        if averaging == "weights":
            scores = (
                np.einsum("snd,n->sd", x, (1 - alpha) * phi_a + alpha * phi_b) @ ((1 - alpha) * w_a + alpha * w_b).T
            )
        else:
            scores = (1 - alpha) * np.einsum("snd,n->sd", x, phi_a) @ w_a.T
            scores += alpha * np.einsum("snd,n->sd", x, phi_b) @ w_b.T
        return credit(np.round(scores[:, :shown], 9) if sigma == 0 else scores[:, :shown], right)

    return _estimate(draw, n_samples, 3 * centres[:, 0].size)


def credit(scores: NDArray, right: NDArray) -> NDArray:
    """(sample,) 1 / (number of classes level with the right one at the top), or 0; scores: (sample, K)."""
    scores = np.ascontiguousarray(scores.T)  # classes are few: the first axis is faster
    level = scores == scores.max(axis=0)
    return level[right, np.arange(len(right))] / level.sum(axis=0)


def label_count(tasks: Tasks) -> int:
    """|Y_a or Y_b|: labels 0 .. K - 1 are task a's, the last K of these labels task b's."""
    return 2 * tasks.n_classes - tasks.n_classes_o


def orthonormal_features(n_features: int, n_labels: int, rng: np.random.Generator) -> NDArray:
    """(feature, label, dimension) random orthonormal mu_i(k), dimension = n_features * n_labels, at most `MAX_DIMENSION`."""
    dimension = n_features * n_labels
    if dimension > MAX_DIMENSION:
        raise ValueError(
            f"features times labels must be at most {MAX_DIMENSION} for sampled features, not {dimension}: use fewer "
            "features, or simulate_accuracy."
        )
    basis, _ = np.linalg.qr(rng.standard_normal((dimension, dimension)))
    return basis.reshape(n_features, n_labels, dimension)


def ideal_classifiers(tasks: Tasks, centres: NDArray) -> tuple[tuple[NDArray, NDArray], tuple[NDArray, NDArray]]:
    """(w_a, Phi_a), (w_b, Phi_b) with w(k) = sum_i Phi_i mu_i(k) for the task's own classes, else 0.

    w: (label, dimension), Phi: (feature,), features in the order of tasks.counts.
    """
    phi_a, phi_b = np.repeat(np.array(MEMBERSHIP, dtype=float), tasks.counts, axis=0).T
    labels, k = np.arange(label_count(tasks)), tasks.n_classes
    w_a = np.einsum("n,nld->ld", phi_a, centres) * (labels < k)[:, None]
    w_b = np.einsum("n,nld->ld", phi_b, centres) * (labels >= label_count(tasks) - k)[:, None]
    return (w_a, phi_a), (w_b, phi_b)


def sample_features(
    centres: NDArray, right: NDArray, classes: NDArray, p: float, sigma: float, rng: np.random.Generator
) -> NDArray:
    """(sample, feature, dimension) features x_i of samples with the given right labels.

    right: (sample,) labels; classes: (K,) the labels a failed feature shows one of, drawn uniformly
    (theory.model).
    """
    n_features = len(centres)
    x = centres[np.arange(n_features), shown_labels(right, classes, np.full(n_features, p), rng)]
    if sigma:
        x += sigma * rng.standard_normal(x.shape)
    return x


def shown_labels(right: NDArray, classes: NDArray, rates: NDArray, rng: np.random.Generator) -> NDArray:
    """(sample, feature) the label that each feature shows: the right one, or one of the classes where it fails, with its own of
    (feature,) probabilities.
    """
    failed = rng.random((len(right), len(rates))) < rates
    return np.where(failed, classes[rng.integers(len(classes), size=failed.shape)], right[:, None])


def _sampled(
    draw: Callable, counts: Sequence, vectors: list[Sequence], p: float, n_classes: int, n_samples: int, rng, n_labels
) -> tuple[float, float]:
    """Mean and standard error of draw(votes, size), where votes(size) gives (vector, sample) credits."""
    vectors = [validation.groups(counts, weights)[1] for weights in vectors]
    counts, _ = validation.groups(counts, vectors[0])
    k, m = validation.labels(n_classes, n_labels)
    p, n_samples = validation.probability("p", p), validation.integer("n_samples", n_samples, 2)
    validation.generator(rng)
    whole = integer_weights(vectors)
    fits = all(sum(count * abs(weight) for count, weight in zip(counts, each)) < 2**62 for each in whole)
    scaled = np.array(whole, dtype=np.int64 if fits else object)

    def votes(size: int) -> NDArray:
        scores = np.zeros((len(scaled), size, k), dtype=scaled.dtype)
        for count, weights in zip(counts, scaled.T):
            if count and any(weights):
                scores += np.multiply.outer(
                    weights, rng.multinomial(count, chances, size=size)[:, :k].astype(scaled.dtype)
                )
        right = np.zeros(size, dtype=int)
        return np.stack([credit(each, right) for each in scores])

    if sum(counts) < k and fits and (scaled >= 0).all():
        return _estimate(
            lambda size: draw(lambda n: _few_votes(counts, scaled, k, m, p, n, rng), size),
            n_samples,
            len(scaled) * 4 * (sum(counts) + 1),
        )
    _check_table(k)
    chances = np.r_[1 - p + p / m, np.full(k - 1, p / m), p * (m - k) / m]
    return _estimate(lambda size: draw(votes, size), n_samples, len(scaled) * (k + 1))


def _check_table(k: int) -> None:
    if k > MAX_CLASSES:
        raise ValueError(f"n_classes must be at most {MAX_CLASSES} for a table of all classes' votes, not {k}.")


def _few_votes(
    counts: list[int], scaled: NDArray, k: int, m: int, p: float, size: int, rng: np.random.Generator
) -> NDArray:
    """(vector, sample) credits where there are fewer features than classes and no negative weights: of each sample
    only the classes that have votes are looked at.

    The right votes of a group are binomial; each failed vote falls on one of m labels: 0 is the right class, those
    from k on do not compete. Sorting a sample's labels puts the votes of one class side by side.
    """
    labels = rng.integers(m, size=(size, sum(counts)))
    groups = np.repeat(np.arange(len(counts)), counts)
    labels[rng.random(labels.shape) >= p] = 0
    order = np.argsort(labels, axis=1)
    labels, groups = np.take_along_axis(labels, order, axis=1), groups[order]
    first = np.c_[np.ones((size, 1), dtype=bool), labels[:, 1:] != labels[:, :-1]] & (labels > 0) & (labels < k)
    credits = []
    for weights in scaled:
        of_vote = weights[groups]
        right = np.where(labels == 0, of_vote, 0).sum(axis=1)
        running = np.cumsum(of_vote, axis=1)
        last = np.c_[labels[:, 1:] != labels[:, :-1], np.ones((size, 1), dtype=bool)] & (labels > 0) & (labels < k)
        rows, ends = np.nonzero(last)
        _, starts = np.nonzero(first)
        scores = running[rows, ends] - running[rows, starts] + of_vote[rows, starts]
        above = np.bincount(rows, scores > right[rows], minlength=size) > 0
        level = np.bincount(rows, scores == right[rows], minlength=size)
        silent = right == 0  # then every class without a vote is level with the right one
        level = np.where(silent, k - 1 - np.bincount(rows, scores > 0, minlength=size), level)
        credits.append(np.where(above, 0.0, 1 / (1 + level)))
    return np.stack(credits)


def _estimate(draw: Callable[[int], NDArray], n_samples: int, values_each: int) -> tuple[float, float]:
    """Mean and standard error of n_samples draws in chunks, by their sum and sum of squares."""
    chunk = max(1, CHUNK_VALUES // values_each)
    total = squares = 0.0
    for start in range(0, n_samples, chunk):
        values = draw(min(chunk, n_samples - start))
        total += float(values.sum())
        squares += float((values * values).sum())
    mean = total / n_samples
    variance = max(squares / n_samples - mean * mean, 0.0) * n_samples / (n_samples - 1)
    return mean, sqrt(variance / n_samples)
