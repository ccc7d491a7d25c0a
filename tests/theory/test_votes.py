"""Votes of several models, own failure rates and noise: closed form, exact and sampled agree. Seeds: 0 to 2."""

from dataclasses import replace
from fractions import Fraction
from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, norm

import theory
from theory.model import (
    Features,
    Tasks,
    Votes,
    average,
    average_models,
    disjoint_labels,
    naive_bayes_weight,
    same_labels,
)
from theory.monte_carlo import simulate_features

HALF = Fraction(1, 2)
MIXED = [Features(4, (1, 0), 0.5), Features(3, (0, 1), 0.8), Features(3, (1, 1), 0.7)]


@given(p=st.floats(0, 1))
def test_the_illustrative_example_of_2309_17230(p):
    """Two features that never fail and three weak ones a model, K = 3: the example's polynomials in p."""
    one = average_models([Features(2, (1,), 0.0), Features(3, (1,), p)], [1], "weights", 3)
    groups = [Features(c, used, rate) for c, rate in ((2, 0.0), (3, p)) for used in ((1, 0), (0, 1))]
    assert theory.exact_task_accuracy(one) == pytest.approx(1 - 5 * p**3 / 27, abs=1e-12)
    for averaging in ("weights", "outputs"):
        two = average_models(groups, [HALF, HALF], averaging, 3)
        expected = 1 - 2 * p**5 / 81 - 17 * p**6 / 729
        assert theory.exact_task_accuracy(two) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("averaging", ["weights", "outputs"])
@given(r=st.integers(0, 6), alpha=st.fractions(0, 1, max_denominator=9))
@settings(max_examples=20)
def test_two_models_are_the_two_tasks_of_case_1(averaging, r, alpha):
    groups = [Features(6 - r, (1, 0)), Features(6 - r, (0, 1)), Features(r, (1, 1))]
    several = average_models(groups, [1 - alpha, alpha], averaging, 4)
    two = average(same_labels(6, r, 4), averaging, alpha, "a")
    assert (several.counts, several.common, several.noise[0]) == (two.counts, two.common, two.noise[0])


@pytest.mark.parametrize("t", [3, 4])
def test_a_feature_of_m_of_t_models_votes_m_squared(t):
    groups = [Features(1, (1,) * m + (0,) * (t - m)) for m in range(1, t + 1)]
    shares = [Fraction(1, t)] * t
    weights, outputs = (average_models(groups, shares, averaging, 3).weights for averaging in ("weights", "outputs"))
    assert [w * t**2 for w in weights] == [m**2 for m in range(1, t + 1)]
    assert [v * t for v in outputs] == list(range(1, t + 1))


@given(r=st.floats(0.001, 0.999))
def test_three_models_or_more_with_independent_features_never_lose_and_two_do(r):
    """The formula of the notebook, section 11, against binomial counts; and a common core hurts from r = 1 / (T (T - 1)) on."""

    def kish(counts):  # times in use -> features
        total, squares = (sum(c * m ** (2 * power) for m, c in counts.items()) for power in (1, 2))
        return total**2 / squares

    for t in (2, 3, 4, 8):
        independent = kish({m: comb(t, m) * r ** (m - 1) * (1 - r) ** (t - m) for m in range(1, t + 1)})
        gain = (t - 1) * (1 - r) * (1 + 2 * (t - 3) * r + (t - 2) * (t - 3) * r**2)
        below = 1 + 7 * (t - 1) * r + 6 * (t - 1) * (t - 2) * r**2 + (t - 1) * (t - 2) * (t - 3) * r**3
        assert independent - 1 == pytest.approx(gain / below, abs=1e-12)
        assert independent > 1 or (t == 2 and r >= 0.5)
    for t in (2, 3, 5):
        core = kish({1: t * (1 - r), t: r})
        if abs(r - 1 / (t * (t - 1))) > 1e-6:
            assert (core < 1) == (r > 1 / (t * (t - 1)))


@pytest.mark.parametrize("sigma", [0.0, 0.1, 0.5])
def test_exact_and_sampled_votes_agree_with_own_rates_and_noise(sigma):
    rng = np.random.default_rng(0)
    for votes, p in (
        (average_models(MIXED, [HALF, HALF], "weights", 4), None),
        (average(Tasks(4, 5, 4, 2, 2), "weights", Fraction(1, 3), "b"), 0.6),
    ):
        estimate, stderr = theory.simulate_task_accuracy(votes, p, 60_000, rng, sigma=sigma)
        assert abs(theory.exact_task_accuracy(votes, p, sigma=sigma) - estimate) < 4 * stderr


@pytest.mark.parametrize(
    "make,averaging,alpha",
    [(same_labels, "weights", 0.5), (same_labels, "outputs", 0.25), (disjoint_labels, "weights", 0.25)],
)
def test_noise_of_the_features_is_noise_of_the_votes(make, averaging, alpha):
    """Second route: features, basis and classifiers as such, with noise."""
    tasks = make(4, 2, 3)
    estimate, stderr = simulate_features(tasks, averaging, alpha, 0.6, 0.3, 40_000, np.random.default_rng(1))
    votes = average(tasks, averaging, Fraction(alpha), "a")
    assert abs(theory.exact_task_accuracy(votes, 0.6, sigma=0.3) - estimate) < 4 * stderr


@pytest.mark.parametrize("sigma", [1e-6, 0.1, 0.5])
def test_classes_without_noise_beside_noisy_ones_are_exact(sigma):
    """a's model asked for b's classes: it knows one of three, by three noisy votes; the other two have score 0 exactly."""
    votes, p = average(Tasks(3, 3, 3, 1, 1), "weights", 0, "b"), 0.6
    assert votes.noise == (9, 0)

    def beyond(rate, sign):  # P(sign * noisy score > 0), the score's mean binomial
        c = np.arange(4)
        return np.sum(binom.pmf(c, 3, rate) * norm.cdf(sign * c / (3 * sigma)))

    expected = beyond(1 - p + p / 3, 1) / 3 + 2 / 3 * beyond(p / 3, -1) / 2
    assert theory.exact_task_accuracy(votes, p, sigma=sigma) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("noise", [(0, 4), (3, 0), (1, 9)])
@pytest.mark.parametrize("sigma", [1e-6, 0.1])
def test_exact_and_sampled_votes_agree_where_class_kinds_differ_in_noise(noise, sigma):
    votes = replace(average(Tasks(4, 4, 3, 1, 2), "weights", Fraction(1, 3), "a"), noise=noise)
    estimate, stderr = theory.simulate_task_accuracy(votes, 0.6, 100_000, np.random.default_rng(0), sigma=sigma)
    assert abs(theory.exact_task_accuracy(votes, 0.6, sigma=sigma) - estimate) < 4 * stderr


def test_the_noise_terms_are_those_of_the_derivation():
    n, n_o = 20, 14
    one = theory.single_model(same_labels(n, n_o, 5), "a", "a")
    weights, outputs = (average(same_labels(n, n_o, 5), averaging, HALF, "a") for averaging in ("weights", "outputs"))
    expected = [n**2, Fraction(n + n_o, 2) ** 2, Fraction(n**2 + n_o**2, 2)]
    assert [each.noise[0] for each in (one, weights, outputs)] == expected


def test_the_limit_of_many_features_takes_rates_and_noise():
    """At many features the exact accuracy comes near it: own rates, and noise of the votes' size."""
    groups = [Features(60, (1, 0), 0.85), Features(60, (0, 1), 0.95), Features(40, (1, 1), 0.9)]
    votes = average_models(groups, [HALF, HALF], "weights", 5)
    for sigma in (0.0, 0.03):
        limit = theory.clt_task_accuracy(votes, sigma=sigma)
        assert 0 < limit - theory.exact_task_accuracy(votes, sigma=sigma) < 0.02
    assert theory.clt_task_accuracy(votes, sigma=0.1) < theory.clt_task_accuracy(votes) - 0.1


def test_three_p_for_three_groups_are_three_questions():
    votes, p = average(same_labels(6, 3, 4), "weights", HALF, "a"), [0.7, 0.8, 0.9]
    for route in (theory.exact_task_accuracy, theory.clt_task_accuracy, theory.many_class_accuracy):
        np.testing.assert_allclose(route(votes, p), [route(votes, rate) for rate in p], atol=1e-12)


def test_votes_that_cancel_are_a_guess_only_where_none_is_left():
    """The same answer for a number as for an array, and that of the exact accuracy at p = 0."""
    pair = np.array([1, 0]), np.array([-1, 0])
    found = theory.clt_accuracy([2, 2], pair, 0.5, 5)
    np.testing.assert_allclose(found, [theory.clt_accuracy([2, 2], [1, -1], 0.5, 5), 0.2])
    assert found[0] > 0.25
    assert (
        theory.clt_accuracy([2, 2], [1, -1], 0.0, 5)
        == 0.2
        == pytest.approx(theory.exact_accuracy([2, 2], [1, -1], 0.0, 5))
    )


def test_own_rates_that_are_equal_are_one_rate():
    votes = average_models([Features(5, (1,), 0.8), Features(4, (1,), 0.8)], [1], "weights", 4)
    assert theory.clt_task_accuracy(votes) == pytest.approx(theory.clt_accuracy([9], [1], 0.8, 4), abs=1e-13)
    assert theory.exact_task_accuracy(votes) == pytest.approx(theory.exact_accuracy([9], [1], 0.8, 4), abs=1e-13)


def test_naive_bayes_says_of_two_rates_beat_equal_ones():
    def accuracy(says):
        groups = [Features(4, (1,), 0.5, says[0]), Features(12, (1,), 0.9, says[1])]
        return theory.exact_task_accuracy(average_models(groups, [1], "weights", 4))

    best = accuracy([naive_bayes_weight(0.5, 4), naive_bayes_weight(0.9, 4)])
    assert best > accuracy([1, 1]) + 0.01
    assert naive_bayes_weight(1e-320, 4) == pytest.approx(np.log(4) + 320 * np.log(10), abs=1e-3)


@pytest.mark.parametrize(
    "call",
    [
        lambda p: theory.simulate_task_accuracy(
            average(same_labels(6, 3, 4), "weights", HALF, "a"), p, 9, np.random.default_rng(0)
        ),
        lambda p: theory.front(same_labels(3, 1, 3), "weights", [HALF], p),
        lambda p: theory.gain(same_labels(3, 1, 3), "weights", HALF, p, theory.closed_form_accuracy),
        lambda p: theory.layers.accuracies([theory.Layer(3, 0.5, 0.5)], [0.5], p, 5, "weights"),
    ],
)
def test_one_p_is_not_taken_from_several(call):
    with pytest.raises(TypeError, match=r"p must be (a|one) number in \[0, 1\]"):
        call([0.7, 0.8, 0.9])


def test_arrays_broadcast_in_the_limit_and_exactly():
    p, alpha = np.array([[0.7], [0.8]]), np.array([0.25, 0.5, 0.75])
    votes = average(same_labels(8, 4, 4), "weights", alpha, "a")
    table = theory.clt_task_accuracy(votes, p)
    exact = theory.exact_accuracy(votes.counts, votes.weights, p, 4)
    assert table.shape == exact.shape == (2, 3)
    single = average(same_labels(8, 4, 4), "weights", 0.25, "a")
    assert table[1, 0] == pytest.approx(theory.clt_task_accuracy(single, 0.8))
    assert exact[1, 0] == pytest.approx(theory.exact_task_accuracy(single, 0.8))
    tables = [route(votes, p) for route in (theory.exact_task_accuracy, theory.many_class_accuracy)]
    np.testing.assert_allclose(tables[0], exact, atol=1e-12)
    assert tables[1].shape == (2, 3)
    noisy = [route(votes, p, sigma=0.1) for route in (theory.exact_task_accuracy, theory.clt_task_accuracy)]
    assert noisy[0].shape == noisy[1].shape == (2, 3) and np.all(noisy[0] < exact)
    terms = theory.proposition_5_1([4, 20], [1, 14], p, 5).weights
    assert terms.difference.shape == (2, 2)
    assert terms.xi_1[1, 1] == theory.proposition_5_1(20, 14, 0.8, 5).weights.xi_1
    assert theory.F_p(np.zeros(3), p, 4).shape == theory.log_F_p(np.zeros(3), p, 4).shape == (2, 3)


def test_many_classes_are_sampled_without_a_table_of_classes():
    exact = theory.exact_accuracy([12, 14], [1, 4], 0.9, 10_000)
    estimate, stderr = theory.simulate_accuracy([12, 14], [1, 4], 0.9, 10_000, 200_000, np.random.default_rng(2))
    assert abs(estimate - exact) < 4 * stderr
    exact = theory.exact_accuracy([3, 2], [1, 4], 0.95, 8, n_labels=11)
    estimate, stderr = theory.simulate_accuracy([3, 2], [1, 4], 0.95, 8, 100_000, np.random.default_rng(2), 11)
    assert abs(estimate - exact) < 4 * stderr


@pytest.mark.parametrize(
    "call,message",
    [
        (lambda: average_models([], [1], "weights", 3), "groups must each say for 1 models"),
        (lambda: average_models(MIXED, [0.5, 0.6], "weights", 3), "ratios must be numbers that add up to 1"),
        (lambda: average_models(MIXED, [1], "weights", 3), "groups must each say for 1 models"),
        (lambda: theory.exact_task_accuracy(average_models(MIXED, [HALF, HALF], "weights", 4), 0.5), "p must be given"),
        (lambda: theory.exact_task_accuracy(average(same_labels(3, 1, 3), "weights", HALF, "a")), "p must be given"),
        (lambda: Features(3, (2,)), "used_by must be an integer"),
        (lambda: Features(3, (1,), say=float("nan")), "say must be finite"),
        (lambda: Votes((1, 2), (1, 1), (1, 1), 3, 0, p=(0.5,)), "one number per group"),
        (lambda: Votes((1, 2), (1,), (1, 1), 3, 0), "one number per group"),
        (lambda: Votes((-3,), (1,), (1,), 3, 0), "counts must be an integer of at least 0, not -3"),
        (lambda: Votes((3,), (np.inf,), (1,), 3, 0), "weights must be finite"),
        (lambda: Votes((3,), (1,), (1,), 3, 0, noise=(-1, 0)), "noise must be at least 0, not -1"),
        (lambda: Votes((3,), (1,), (1,), 1, 0), "n_own must be an integer of at least 1, not 0"),
        (
            lambda: theory.exact_task_accuracy(average(Tasks(20_000, 3, 3, 1, 10), "weights", HALF, "a"), 0.5),
            "n_classes must be at most 2001 where classes differ in weights",
        ),
        (
            lambda: theory.simulate_task_accuracy(
                average(same_labels(3, 1, 10**9), "weights", HALF, "a"), 0.5, 9, np.random.default_rng(0)
            ),
            "n_classes must be at most 1000000",
        ),
        (
            lambda: theory.simulate_accuracy([3, 2], [1, -1], 0.5, 10**9, 9, np.random.default_rng(0)),
            "n_classes must be at most 1000000",
        ),
    ],
)
def test_impossible_votes_are_refused_by_name(call, message):
    with pytest.raises(ValueError, match=message):
        call()
