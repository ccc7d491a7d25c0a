"""Votes of several models, own failure rates and noise: closed form, exact and sampled agree. Seeds: 0 to 2."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import theory
from theory.model import Features, Tasks, average, average_models, disjoint_labels, naive_bayes_weight, same_labels
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
def test_three_models_with_independent_features_never_lose_and_two_do(r):
    """n_eff / n - 1 = 2 (1-r) / (1 + 14 r + 12 r^2), and a common core hurts from r = 1 / (T (T - 1)) on."""

    def kish(counts):  # times in use -> features
        total, squares = (sum(c * m ** (2 * power) for m, c in counts.items()) for power in (1, 2))
        return total**2 / squares

    three = kish({1: 3 * (1 - r) ** 2, 2: 3 * r * (1 - r), 3: r**2})
    assert three - 1 == pytest.approx(2 * (1 - r) / (1 + 14 * r + 12 * r**2))
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


def test_arrays_broadcast_in_the_limit_and_exactly():
    p, alpha = np.array([[0.7], [0.8]]), np.array([0.25, 0.5, 0.75])
    votes = average(same_labels(8, 4, 4), "weights", alpha, "a")
    table = theory.clt_task_accuracy(votes, p)
    exact = theory.exact_accuracy(votes.counts, votes.weights, p, 4)
    assert table.shape == exact.shape == (2, 3)
    single = average(same_labels(8, 4, 4), "weights", 0.25, "a")
    assert table[1, 0] == pytest.approx(theory.clt_task_accuracy(single, 0.8))
    assert exact[1, 0] == pytest.approx(theory.exact_task_accuracy(single, 0.8))
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
    ],
)
def test_impossible_votes_are_refused_by_name(call, message):
    with pytest.raises(ValueError, match=message):
        call()
