r"""Exact accuracy at a finite number of features: no limit, no sampling.

P(the right class has the highest score, ties split evenly among the tied classes), for groups of features
with vote weights as in theory.model. Let the votes of group g be split at random over the classes. The
exponential generating function in t = (t_1, .., t_G) of the votes of one class that make up score s is

    f_s(t) = sum_{c: v.c = s} prod_g (pi t_g)^c_g / c_g!,
    pi = 1 - p + p/M for the right class, p/M for a wrong one (M labels that a failed vote falls on; M = K unless all compete).

With B_s = sum_{s' < s} f_s', the right class at score s, m = K - 1 exchangeable wrong classes, and j of them
level with it, an even split of ties is the integral over u of (B_s + u f_s)^m, since
int u^j du = 1 / (j + 1):

    accuracy = prod_g n_g! [t^n] sum_s right_s(t) int_0^1 (B_s(t) + u f_s(t))^m du.

The coefficient [t^n] is taken by Cauchy's integral on circles |t_g| = rho_g n_g near the saddle point (rho_g
a little below 1): trapezoidal sums converge geometrically there, and scaled by e^(-|t|) every factor is a
Poisson probability times a phase, so nothing overflows. Scores are compared as integers: weights are taken as
exact fractions and scaled by their common denominator, so that ties are ties; weights without a common scale
simply make more score levels. Where these are many, `theory.coefficients` takes the same coefficient without a contour.
"""

from bisect import bisect
from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import lru_cache
from math import gcd, inf, lcm, prod, sqrt
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import validation
from .closed_form import votes_p
from .coefficients import MAX_WORK, accuracy_by_coefficients, work
from .contour import MAX_CELLS, Circle, Scores, coefficient, power_mean
from .integral import legendre
from .noisy import noisy_sum
from .votes import Votes

MAX_COUNT = 20_000  # features of one weight: seconds of work; beyond it the limit of many features is as good
MANY_CELLS = 2_000_000  # contour points times scores: tenths of a second; beyond it coefficients may be faster
WORK_OF_CELL = 10  # sums and products that take no longer than a cell does
# Wrong classes where they are of two kinds: the nodes of their split of ties, half as many, take memory
MAX_SPLIT = 2_000
BLOCK = 6000  # numbers of a table of scores and points at a time: larger tables are slower
NOISELESS = 0.06  # noise below this share of the smallest gap between scores only breaks ties (it is 1e-31 elsewhere)


def exact_accuracy(
    counts: Sequence[int], weights: Sequence, p: ArrayLike, n_classes: int, n_labels: int | None = None
) -> NDArray | float:
    """Accuracy of counts[g] >= 0 features with vote weight weights[g] (any sign), K = n_classes >= 2.

    p: in [0, 1], a number or an array (then the result has its shape; so have weights that are arrays: all
    broadcast, and each question is answered by itself). n_labels = M >= K: see theory.model. Absolute error below
    1e-12 for n up to 1000, and about 1e-15 n beyond. Floats are taken as the binary fractions they are: use fractions.Fraction for decimal weights that should
    tie. Without any vote it is 1/K. ValueError where three or more groups without a common scale would take too
    long (simulate_accuracy does those).
    """
    if validation.many(weights) or np.ndim(p):
        return each_of(lambda v, rate: exact_accuracy(counts, v, rate, n_classes, n_labels), weights, p)
    counts, weights = validation.groups(counts, weights)
    k, m = validation.labels(n_classes, n_labels)
    rate = validation.probability("p", p)
    return _accuracy(counts, weights, [(k - 1, weights)], [rate] * len(counts), m, None)


def exact_task_accuracy(
    votes: Votes, p: ArrayLike | None = None, n_labels: int | None = None, sigma: float = 0.0
) -> Any:  # a float, or an array of them
    """Accuracy of an averaged model on one task (theory.model.average), for any overlap of label sets.

    The right class is drawn uniformly from the task's K classes: n_common of one kind, n_own of the other.
    p: of all features, unless the votes have their own (a probability a group); a number, or an array of as many
    questions, which broadcasts against weights that are arrays (the result has their common shape). sigma >= 0: noise
    of each x_i (`Votes.noise`); ties are split evenly without noise, and with it, however little, as it breaks them.
    Votes with n_others let those classes compete, and failed votes fall on them, too. n_labels (at least as many as
    compete), errors as in exact_accuracy; ValueError, too, for more than 2001 classes whose weights differ (partly
    overlapping label sets), and for noise too small for its integral.
    """
    if (p is not None and np.ndim(p)) or any(validation.many(weights) for _, weights, _ in votes.kinds):
        return each_question(lambda one, rate: exact_task_accuracy(one, rate, n_labels, sigma), votes, p)
    counts, _ = validation.groups(votes.counts, votes.common)
    kinds = [(number, validation.groups(counts, weights)[1]) for number, weights, _ in votes.kinds]
    k = votes.n_classes
    _, m = validation.labels(k + votes.n_others, n_labels)
    rates = np.broadcast_to(votes_p(votes, p), len(counts)).tolist()
    variances = [float(validation.real("sigma", sigma, 0, 1e6)) ** 2 * float(noise) for *_, noise in votes.kinds]
    total = 0.0
    for right, (number, weights) in enumerate(kinds[:2]):
        if number:
            wrong = [(size - (kind == right), each) for kind, (size, each) in enumerate(kinds)]
            if sigma == 0:
                found = _accuracy(counts, weights, _merged(wrong), rates, m, None)
            else:
                there = [kind for kind, (size, _) in enumerate(wrong) if size]
                spread = [variances[right], *(variances[kind] for kind in there)]
                found = _accuracy(counts, weights, [wrong[kind] for kind in there], rates, m, spread)
            total += number / k * found
    return total


def each_question(answer: Callable, votes: Votes, p: ArrayLike | None) -> NDArray:
    """answer(votes, p) for every element of the votes' weights and noise and of p, broadcast against each other."""
    g, names = len(votes.counts), ("common", "own", "others")[: len(votes.kinds)]

    def one(values: list, rate: float | None) -> float:
        weights: dict[str, Any] = {name: tuple(values[g * place : g * (place + 1)]) for place, name in enumerate(names)}
        return answer(replace(votes, **weights, noise=tuple(values[g * len(names) :]), mixture=None), rate)

    return each_of(one, [weight for _, weights, _ in votes.kinds for weight in weights] + list(votes.noise), p)


def each_of(answer: Callable, weights: Sequence, p: ArrayLike | None) -> NDArray:
    """answer(weights, p) for every element of weights and p broadcast against each other."""
    arrays = np.broadcast_arrays(*(np.asarray(v, dtype=object) for v in weights), np.asarray(p, dtype=object))
    flat = zip(*(array.reshape(-1) for array in arrays))
    return np.array([answer(list(v), rate) for *v, rate in flat]).reshape(arrays[0].shape)


def integer_weights(vectors: Sequence[Sequence[Fraction]]) -> list[tuple[int, ...]]:
    """The vectors of exact weights times one positive factor: integers without common divisor."""
    flat = [weight for vector in vectors for weight in vector]
    scale = lcm(*(weight.denominator for weight in flat))
    divisor = gcd(*(int(weight * scale) for weight in flat)) or 1
    return [tuple(int(weight * scale) // divisor for weight in vector) for vector in vectors]


def _merged(wrong: list[tuple[int, list[Fraction]]]) -> list[tuple[int, list[Fraction]]]:
    """Kinds of wrong classes without empty ones and without two of the same weights."""
    merged: dict[tuple[Fraction, ...], int] = {}
    for number, weights in wrong:
        if number:
            merged[tuple(weights)] = merged.get(tuple(weights), 0) + number
    return [(number, list(weights)) for weights, number in merged.items()]


def _accuracy(
    counts: list[int],
    right: list[Fraction],
    wrong: list[tuple[int, list[Fraction]]],
    rates: list[float],
    m: int,
    spread: list[float] | None,
) -> float:
    """P(right first): `wrong` = [(number of classes, their weights)], rates (group,) p, m labels for failed votes,
    spread the variances of the noise in the scores of the right class and of each kind of wrong ones.
    """
    numbers = [number for number, _ in wrong]
    vectors = [right, *(weights for _, weights in wrong)]
    counts, rates, whole, scale = _distinct_groups(counts, rates, vectors)
    if not counts:
        return 1 / (1 + sum(numbers))
    if max(counts) > MAX_COUNT:
        raise ValueError(f"counts must be at most {MAX_COUNT} a group for an exact answer, not {max(counts)}.")
    deviations = tuple(scale * sqrt(variance) for variance in spread or [])
    largest = max(deviations, default=0.0)
    if largest < NOISELESS:  # ties are broken by the ratios of the deviations alone, and evenly where these are equal
        alike = min(deviations, default=0.0) == largest
        deviations = () if alike else tuple(NOISELESS / largest * deviation for deviation in deviations)
    return cached_accuracy(tuple(counts), tuple(rates), tuple(whole), tuple(numbers), m, deviations)


@lru_cache(maxsize=4096)
def cached_accuracy(
    counts: tuple[int, ...],
    rates: tuple[float, ...],
    weights: tuple[tuple[int, ...], ...],
    numbers: tuple[int, ...],
    m: int,
    deviations: tuple[float, ...],
) -> float:
    """The accuracy by the route that suits; a question asked again (one model for many averages) is not worked out again."""
    pis = [[1 - p + p / m for p in rates], *([p / m for p in rates] for _ in numbers)]
    lost = [p * (m - 1 - sum(numbers)) / m for p in rates]
    one_kind = len(numbers) == 1 and not deviations
    cells = _cells(weights[0], pis[0], _circles(counts))
    if one_kind and cells > MANY_CELLS and work(counts, numbers[0]) <= min(MAX_WORK, WORK_OF_CELL * cells):
        return accuracy_by_coefficients(counts, weights[0], weights[1], (pis[0], pis[1]), lost, numbers[0])
    if cells > MAX_CELLS:
        raise ValueError(
            f"counts and weights make too many different scores in {len(counts)} groups for an exact answer: use weights "
            "with a small common scale (1, 2, 4), fewer groups, or simulate_accuracy."
        )
    return accuracy_on_contour(counts, weights, pis, lost, numbers, deviations)


def accuracy_on_contour(
    counts: Sequence[int],
    weights: Sequence[tuple[int, ...]],
    pis: Sequence[list[float]],
    lost: list[float],
    numbers: Sequence[int],
    deviations: Sequence[float] = (),
) -> float:
    """P(right first), ties split evenly. weights, pis: integer vote weights and chances of a vote, (group,) each, of the
    right class and of each kind of wrong classes; numbers: of wrong classes of each kind; lost: (group,) chances of a vote
    for no class; deviations: of the scores' noise, none without.
    """
    circles = _circles(counts)
    if len(numbers) > 1 and not deviations and sum(numbers) > MAX_SPLIT:
        raise ValueError(
            f"n_classes must be at most {MAX_SPLIT + 1} where classes differ in weights, not {sum(numbers) + 1}: "
            "use identical or disjoint label sets, or simulate_task_accuracy."
        )
    kinds = [Scores.build(vector, pi, circles) for vector, pi in zip(weights, pis)]
    values = noisy_sum(kinds, numbers, deviations) if deviations else _sum_over_scores(kinds, numbers)
    return coefficient(values, circles, lost)


def _circles(counts: Sequence[int]) -> list[Circle]:
    return [Circle.around(n, halved=n_left == 1) for n, n_left in zip(counts, range(len(counts), 0, -1))]


def _cells(weights: tuple[int, ...], pis: list[float], circles: list[Circle]) -> float:
    """The work on the contour, its points times different scores; infinite beyond MAX_CELLS."""
    scores, points = {0}, 1
    for weight, pi, circle in zip(weights, pis, circles):
        before, scores = scores, set()
        points *= len(circle.multiplicity)
        for number in circle.poisson(pi)[0].tolist():
            scores.update(score + weight * number for score in before)
            if points * len(scores) > MAX_CELLS:
                return inf
    return points * len(scores)


def _distinct_groups(
    counts: list[int], rates: list[float], vectors: list[list[Fraction]]
) -> tuple[list[int], list[float], list[tuple[int, ...]], float]:
    """Groups of equal weights and p joined, those without votes left out, the largest last: their counts, rates and
    integer weights, and what the weights were multiplied by.
    """
    joined: dict[tuple, int] = {}
    for count, rate, *weights in zip(counts, rates, *vectors):
        if count and any(weights):
            joined[rate, *weights] = joined.get((rate, *weights), 0) + count
    ordered = sorted(joined.items(), key=lambda item: (item[1], item[0]))
    if not ordered:
        return [], [], [], 1.0
    own = list(zip(*(weights for (_, *weights), _ in ordered)))
    whole = integer_weights(own)
    scale = next(w / float(v) for each, exact in zip(whole, own) for w, v in zip(each, exact) if v)
    return [count for _, count in ordered], [rate for (rate, *_), _ in ordered], whole, abs(scale)


def _sum_over_scores(kinds: list[Scores], numbers: Sequence[int]) -> NDArray:
    """sum_s right_s int_0^1 prod_kinds (B_s + u f_s)^number du at every point of the contour, a block of scores at a time."""
    right, *wrong = kinds
    shape = right.first.shape[1], right.last.shape[1]
    total, below = np.zeros(shape, dtype=complex), [np.zeros(shape, dtype=complex) for _ in wrong]
    scores = sorted(set().union(*(kind.places for kind in kinds)))
    scores = scores[: bisect(scores, min(max(right.places), max(max(kind.places) for kind in wrong)))]
    size = max(1, BLOCK // prod(shape))
    for start in range(0, len(scores), size):
        block = scores[start : start + size]
        here = [place for place, score in enumerate(block) if score in right.places]
        lower, level = [], [kind.at(block) for kind in wrong]
        for kind, f in enumerate(level):
            risen = np.concatenate([below[kind][None], f])
            for before, after in zip(risen, risen[1:]):  # np.cumsum takes three times as long along a first axis
                after += before
            below[kind] = risen[-1]
            lower.append(risen[here] if len(here) < len(block) else risen[:-1])
            level[kind] = f[here] if len(here) < len(block) else f
        tied = np.array([sum(block[place] in kind.places for kind in wrong) > 1 for place in here], dtype=bool)
        total += (right.at([block[place] for place in here]) * _even_split(lower, level, numbers, tied)).sum(axis=0)
    alone = [score for score in right.places if not scores or score > scores[-1]]
    beyond = [right.at(alone[start : start + size]).sum(axis=0) for start in range(0, len(alone), size)]
    return total + sum(beyond) * _even_split(below, [np.zeros(shape)] * len(wrong), numbers, np.zeros(1, dtype=bool))


def _even_split(below: list[NDArray], level: list[NDArray], numbers: Sequence[int], tied: NDArray) -> NDArray:
    """(score, ..) int_0^1 prod_kinds (B + u f)^number du; all terms are sums of products, so nothing cancels. tied: (score,)
    where more kinds than one have f: there a polynomial in u, for which enough Gauss-Legendre nodes are exact.
    """
    if not tied.any():
        factors = [power_mean(b, f, number) for b, f, number in zip(below, level, numbers)]
        return prod(factors[1:], start=factors[0])
    found = np.zeros_like(below[0])
    if not tied.all():
        found[~tied] = _even_split([b[~tied] for b in below], [f[~tied] for f in level], numbers, tied[~tied])
    for node, weight in zip(*legendre(sum(numbers) // 2 + 1)):
        factors = [(b[tied] + 0.5 * (1 + node) * f[tied]) ** number for b, f, number in zip(below, level, numbers)]
        found[tied] += 0.5 * weight * prod(factors[1:], start=factors[0])
    return found
