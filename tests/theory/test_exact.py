"""theory.exact against enumeration, rational arithmetic and its own symmetries. Seed: 0."""

from fractions import Fraction
from itertools import product
from math import comb
from time import process_time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import theory
from theory import exact
from theory.exact import exact_task_accuracy
from theory.model import Tasks, Votes, average, disjoint_labels, same_labels, single_model

ROUTES = pytest.mark.parametrize("route", ["contour", "coefficients"])


def take(route, monkeypatch):
    """Have every exact accuracy of one kind of wrong classes computed by this route, and anew."""
    exact.cached_accuracy.cache_clear()
    monkeypatch.setattr(exact, "MANY_CELLS", {"contour": np.inf, "coefficients": -1}[route])
    monkeypatch.setattr(exact, "WORK_OF_CELL", np.inf)


def enumerated(counts, class_weights, p, n_labels):
    """Sum over all votes of all features; class_weights[k][g], class 0 is right; ties compared as exact
    fractions.
    """
    k = len(class_weights)
    chances = [1 - p + p / n_labels] + [p / n_labels] * (k - 1) + [p * (n_labels - k) / n_labels]
    groups = [g for g, count in enumerate(counts) for _ in range(count)]
    total = 0.0
    for votes in product(range(k + (n_labels > k)), repeat=len(groups)):
        scores = [Fraction(0)] * k
        for g, vote in zip(groups, votes):
            if vote < k:
                scores[vote] += Fraction(class_weights[vote][g])
        if scores[0] == max(scores):
            total += np.prod([chances[vote] for vote in votes]) / scores.count(scores[0])
    return total


def two_class_accuracy(counts, weights, p):
    """K = 2 in floats: the margin's distribution, group by group; an independent route for large n."""
    margin = {0: 1.0}
    for n, weight in zip(counts, weights):
        chance = [comb(n, c) * (1 - p / 2) ** c * (p / 2) ** (n - c) for c in range(n + 1)]
        step = {}
        for score, q in margin.items():
            for c in range(n + 1):
                new = score + weight * (2 * c - n)
                step[new] = step.get(new, 0.0) + q * chance[c]
        margin = step
    return sum(q for score, q in margin.items() if score > 0) + margin.get(0, 0.0) / 2


@pytest.mark.parametrize(
    "counts,weights",
    [
        ([8], [1]),
        ([3, 4], [1, 4]),
        ([2, 2, 2], [1, 2, 4]),
        ([4, 3], [0.3, 0.7]),
        ([3, 2], [1, -1]),
        ([1, 2, 3], [0, 0.1, 0.2]),
    ],
)
@pytest.mark.parametrize(
    "p,n_classes,n_labels", [(0.6, 3, 3), (0.9, 2, 2), (1.0, 3, 3), (0.0, 3, 3), (0.7, 2, 9), (1e-9, 3, 3)]
)
@ROUTES
def test_exact_is_enumeration(counts, weights, p, n_classes, n_labels, route, monkeypatch):
    take(route, monkeypatch)
    found = theory.exact_accuracy(counts, weights, p, n_classes, n_labels=n_labels)
    assert found == pytest.approx(enumerated(counts, [weights] * n_classes, p, n_labels), rel=1e-10, abs=1e-12)


def test_exact_is_enumeration_with_four_classes():
    assert theory.exact_accuracy([4, 2], [1, 2], 0.75, 4) == pytest.approx(
        enumerated([4, 2], [[1, 2]] * 4, 0.75, 4), abs=1e-12
    )


@pytest.mark.parametrize("averaging", ["weights", "outputs"])
@pytest.mark.parametrize("n_classes,n_classes_o", [(3, 0), (3, 1), (3, 2), (3, 3), (4, 1), (4, 3)])
def test_exact_is_enumeration_for_partly_overlapping_labels(averaging, n_classes, n_classes_o):
    votes = average(Tasks(n_classes, 3, 4, 2, n_classes_o), averaging, Fraction(2, 5), "a")
    kinds = [votes.common] * n_classes_o + [votes.own] * (n_classes - n_classes_o)
    expected = np.mean(
        [enumerated(votes.counts, [kinds[k], *kinds[:k], *kinds[k + 1 :]], 0.65, n_classes) for k in range(n_classes)]
    )
    assert exact_task_accuracy(votes, 0.65) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    "counts,weights,p", [([200], [1], 0.9), ([201], [3], 0.97), ([33, 33, 34], [1, 2, 4], 0.95), ([1000], [1], 0.96)]
)
def test_exact_is_the_sum_over_margins_for_two_classes_and_many_features(counts, weights, p):
    assert theory.exact_accuracy(counts, weights, p, 2) == pytest.approx(
        two_class_accuracy(counts, weights, p), abs=1e-12
    )


def test_hundred_features_in_three_groups_take_about_a_second():
    """Processor time, and twice the promised second, since a test machine may be slow."""
    exact.cached_accuracy.cache_clear()
    start = process_time()
    theory.exact_accuracy([33, 33, 34], [1, 2, 4], 0.8, 5)
    theory.exact_accuracy([200], [1], 0.9, 100)
    assert process_time() - start < 2


def both_routes(votes, p, n_labels, monkeypatch):
    found = []
    for route in ("contour", "coefficients"):
        take(route, monkeypatch)
        found.append(exact_task_accuracy(votes, p, n_labels))
    return found


@pytest.mark.parametrize("make", [same_labels, disjoint_labels])
@pytest.mark.parametrize("averaging", ["weights", "outputs"])
def test_the_two_routes_agree_at_generic_ratios(make, averaging, monkeypatch):
    for n, n_o, k, p, alpha in (
        (12, 6, 5, 0.8, Fraction(37, 100)),
        (10, 3, 2, 0.5, 0.4),
        (9, 7, 30, 0.95, 0.45),
        (8, 4, 3, 0.01, Fraction(2, 5)),
        (8, 5, 4, 0.7, Fraction(1, 2)),
    ):
        contour, coefficients = both_routes(average(make(n, n_o, k), averaging, alpha, "a"), p, None, monkeypatch)
        assert coefficients == pytest.approx(contour, abs=1e-12)


def test_the_two_routes_agree_on_groups_of_their_own_p_and_on_lost_votes(monkeypatch):
    votes = Votes((4, 5, 3), (1.0, 0.7, 2.3), (0, 0, 0), 4, 0, p=(0.6, 0.9, 0.75))
    contour, coefficients = both_routes(votes, None, 9, monkeypatch)
    assert coefficients == pytest.approx(contour, abs=1e-12)
    tied = Votes((3, 4), (1, 2), (2, 1), 1, 3, p=(0.6, 0.9))  # the right class has other weights than the wrong ones
    contour, coefficients = both_routes(tied, None, None, monkeypatch)
    assert coefficients == pytest.approx(contour, abs=1e-12)


def test_forty_features_at_a_generic_ratio_take_less_than_a_second_and_are_what_sampling_finds():
    """Processor time, and twice the promised second, since a test machine may be slow."""
    votes = average(same_labels(40, 20, 5), "weights", Fraction(37, 100), "a")
    exact.cached_accuracy.cache_clear()
    start = process_time()
    found = exact_task_accuracy(votes, 0.8)
    assert process_time() - start < 2
    estimate, stderr = theory.simulate_accuracy(votes.counts, votes.weights, 0.8, 5, 50_000, np.random.default_rng(0))
    assert abs(found - estimate) < 4 * stderr


@pytest.mark.long
def test_a_hundred_features_at_a_generic_ratio_take_less_than_twenty_seconds():
    votes = average(same_labels(100, 50, 5), "weights", Fraction(37, 100), "a")
    start = process_time()
    found = exact_task_accuracy(votes, 0.8)
    assert process_time() - start < 40
    estimate, stderr = theory.simulate_accuracy(votes.counts, votes.weights, 0.8, 5, 400_000, np.random.default_rng(0))
    assert abs(found - estimate) < 4 * stderr


@given(
    counts=st.lists(st.integers(0, 6), min_size=1, max_size=3),
    data=st.data(),
    p=st.floats(0, 1),
    n_classes=st.integers(2, 30),
    scale=st.fractions(Fraction(1, 9), 9, max_denominator=9),
)
@settings(max_examples=40)
def test_scale_order_and_splitting_of_groups_do_not_matter(counts, data, p, n_classes, scale):
    weights = data.draw(st.lists(st.integers(0, 4), min_size=len(counts), max_size=len(counts)))
    value = theory.exact_accuracy(counts, weights, p, n_classes)
    assert 1 / n_classes - 1e-12 <= value <= 1
    assert theory.exact_accuracy(counts, [scale * w for w in weights], p, n_classes) == pytest.approx(value, abs=1e-12)
    assert theory.exact_accuracy(counts[::-1], weights[::-1], p, n_classes) == pytest.approx(value, abs=1e-12)
    halves = [part for count in counts for part in (count // 2, count - count // 2)]
    doubled = [w for w in weights for _ in range(2)]
    assert theory.exact_accuracy(halves, doubled, p, n_classes) == pytest.approx(value, abs=1e-12)


@given(n=st.integers(1, 30), n_classes=st.integers(2, 20), p=st.floats(0, 0.98))
@settings(max_examples=40)
def test_accuracy_falls_with_p_and_rises_with_n(n, n_classes, p):
    """A second feature only ties with the first, so n -> n + 2 is compared for K = 2, where n -> n + 1
    changes nothing.
    """
    value = theory.exact_accuracy([n], [1], p, n_classes)
    assert theory.exact_accuracy([n], [1], p + 0.02, n_classes) <= value + 1e-12
    assert theory.exact_accuracy([n + 1 + (n_classes == 2)], [1], p, n_classes) >= value - 1e-12


def test_decimal_weights_tie_as_fractions_and_not_as_floats():
    """0.1 + 0.2 is not 0.3 in binary: the float weights are used as they are, and the fractions tie."""
    decimal = theory.exact_accuracy([1, 1, 1], [Fraction(1, 10), Fraction(2, 10), Fraction(3, 10)], 0.5, 2)
    assert decimal == pytest.approx(theory.exact_accuracy([1, 1, 1], [1, 2, 3], 0.5, 2), abs=1e-14)
    assert abs(theory.exact_accuracy([1, 1, 1], [0.1, 0.2, 0.3], 0.5, 2) - decimal) > 1e-3


def test_incommensurable_weights_are_compared_exactly():
    """No two different sets of votes tie: the accuracy of (1, root 2) is that of a fine rational
    approximation.
    """
    weights = [1.0, 2**0.5]
    near = [1, Fraction(2**0.5).limit_denominator(10_000)]
    assert theory.exact_accuracy([10, 8], weights, 0.8, 4) == pytest.approx(
        theory.exact_accuracy([10, 8], near, 0.8, 4), abs=1e-12
    )
    rounded = theory.exact_accuracy([10, 8], [1, Fraction(3, 2)], 0.8, 4)
    assert abs(rounded - theory.exact_accuracy([10, 8], weights, 0.8, 4)) > 1e-4


def test_too_many_scores_are_refused_with_advice():
    with pytest.raises(
        ValueError, match="too many different scores in 3 groups for an exact answer.*simulate_accuracy"
    ):
        theory.exact_accuracy([120, 120, 120], [1.0, 2**0.5, 3**0.5], 0.8, 4)


def test_the_limit_of_many_features_is_approached_at_least_as_one_over_root_n():
    """At a fixed margin (1 - p) sqrt(n) = 2 the CLT is too high, and its error falls more than twofold as n
    grows fourfold.
    """
    errors = []
    for n in (25, 100, 400):
        p = 1 - 2 / np.sqrt(n)
        errors.append(theory.clt_accuracy([n], [1], p, 5) - theory.exact_accuracy([n], [1], p, 5))
    assert errors[0] > 2 * errors[1] > 4 * errors[2] > 0


def test_all_shared_or_none_shared_are_one_model_or_twice_the_features():
    for averaging in ("weights", "outputs"):
        for n_o, n in ((12, 12), (0, 24)):
            votes = average(same_labels(12, n_o, 6), averaging, Fraction(1, 2), "a")
            assert exact_task_accuracy(votes, 0.8) == pytest.approx(theory.exact_accuracy([n], [1], 0.8, 6), abs=1e-13)


def test_a_model_without_the_tasks_classes_guesses():
    votes = single_model(Tasks(4, 6, 6, 3, 0), "b", "a")
    assert exact_task_accuracy(votes, 0.5) == 0.25 == theory.exact_accuracy([], [], 0.5, 4)


def test_averaging_weights_of_one_task_hurts_at_fourteen_of_twenty_shared():
    """The printed proposition's xi_1 is positive here; Definition F.2 gives, exactly, a loss of half a
    point.
    """
    single = theory.exact_accuracy([20], [1], 0.8, 5)
    assert theory.exact_accuracy([12, 14], [1, 4], 0.8, 5) == pytest.approx(single - 0.0047, abs=2e-4)
    assert theory.exact_accuracy([12, 14], [1, 2], 0.8, 5) > single + 0.03
    assert theory.exact_accuracy([6, 14], [1, 2], 0.8, 5) < single - 0.01


@pytest.mark.parametrize(
    "arguments,error,message",
    [
        (([5], [1], 1.1, 5), ValueError, r"p must be a number in \[0, 1\], not 1.1"),
        (([5], [1], 0.5, 1), ValueError, r"n_classes must be an integer of at least 2, not 1"),
        (([5, 2], [1], 0.5, 5), ValueError, r"counts and weights must have the same length, not 2 and 1"),
        (([-5], [1], 0.5, 5), ValueError, r"counts must be an integer of at least 0, not -5"),
        (([5.5], [1], 0.5, 5), TypeError, r"counts must be an integer of at least 0, not 5.5"),
        (([5], [float("nan")], 0.5, 5), ValueError, r"weights must be finite real numbers, not nan"),
        (([5], ["1"], 0.5, 5), TypeError, r"weights must be finite real numbers, not '1'"),
        ((5, [1], 0.5, 5), TypeError, r"counts must be a one-dimensional sequence"),
    ],
)
def test_bad_groups_are_refused_by_name(arguments, error, message):
    for function in (theory.exact_accuracy, theory.clt_accuracy):
        with pytest.raises(error, match=message):
            function(*arguments)
