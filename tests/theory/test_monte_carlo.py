"""Sampling agrees with the exact accuracies. Seeds: 0 to 9."""

import tracemalloc
from fractions import Fraction

import numpy as np
import pytest

import theory
from theory.exact import exact_task_accuracy
from theory.model import Tasks, average, same_labels
from theory.monte_carlo import credit, sample_features, simulate_difference, simulate_features

PAPER = {
    "single": ([20], [1]),
    "weights": ([12, 14], [1, 4]),
    "outputs": ([12, 14], [1, 2]),
    "case 2": ([6, 14], [1, 2]),
}


@pytest.mark.parametrize("model", PAPER)
def test_exact_is_within_four_standard_errors_of_sampled_votes(model):
    counts, weights = PAPER[model]
    estimate, stderr = theory.simulate_accuracy(counts, weights, 0.8, 5, 300_000, np.random.default_rng(0))
    exact = theory.exact_accuracy(counts, weights, 0.8, 5)
    assert 5e-4 < stderr < 1e-3
    assert abs(estimate - exact) < 4 * stderr
    assert abs(estimate - theory.clt_accuracy(counts, weights, 0.8, 5)) > 15 * stderr, (
        "the limit is not the answer at n = 20"
    )


def test_sampled_votes_may_go_to_classes_that_do_not_compete():
    estimate, stderr = theory.simulate_accuracy([9, 4], [1, 2], 0.8, 3, 100_000, np.random.default_rng(1), n_labels=8)
    assert abs(estimate - theory.exact_accuracy([9, 4], [1, 2], 0.8, 3, n_labels=8)) < 4 * stderr


def test_weights_too_fine_for_64_bits_are_still_compared_exactly():
    weights = [Fraction(1), Fraction(1, 3**45), Fraction(2, 5**20)]
    estimate, stderr = theory.simulate_accuracy([3, 3, 3], weights, 0.7, 3, 20_000, np.random.default_rng(2))
    assert abs(estimate - theory.exact_accuracy([3, 3, 3], weights, 0.7, 3)) < 4 * stderr


def test_common_votes_give_the_difference_of_two_weightings_with_a_smaller_error():
    exact = theory.exact_accuracy([12, 14], [1, 4], 0.8, 5) - theory.exact_accuracy([12, 14], [1, 2], 0.8, 5)
    found, stderr = simulate_difference([12, 14], [1, 4], [1, 2], 0.8, 5, 50_000, np.random.default_rng(6))
    _, alone = theory.simulate_accuracy([12, 14], [1, 4], 0.8, 5, 50_000, np.random.default_rng(6))
    assert abs(found - exact) < 4 * stderr and stderr < alone


@pytest.mark.parametrize("averaging", ["weights", "outputs"])
@pytest.mark.parametrize("n_classes_o", [0, 1, 3])
def test_classifiers_built_from_sampled_features_have_the_exact_accuracy(averaging, n_classes_o):
    """No vote weights here: basis vectors, w, Phi and x as such; noiseless, so ties are split evenly."""
    tasks = Tasks(3, 4, 3, 2, n_classes_o)
    exact = exact_task_accuracy(average(tasks, averaging, Fraction(1, 4), "a"), 0.6)
    estimate, stderr = simulate_features(tasks, averaging, 0.25, 0.6, 0.0, 30_000, np.random.default_rng(3))
    assert abs(estimate - exact) < 4 * stderr


def test_small_noise_leaves_the_accuracy_and_large_noise_ruins_it():
    tasks = same_labels(4, 2, 3)
    exact = exact_task_accuracy(average(tasks, "weights", Fraction(1, 2), "a"), 0.6)
    rng = np.random.default_rng(4)
    small, stderr = simulate_features(tasks, "weights", 0.5, 0.6, 1e-3, 30_000, rng)
    large, _ = simulate_features(tasks, "weights", 0.5, 0.6, 100.0, 5_000, rng)
    assert abs(small - exact) < 4 * stderr
    assert abs(large - 1 / 3) < 0.04


def test_sampled_features_show_the_right_class_with_the_stated_probability():
    centres = np.eye(6).reshape(2, 3, 6)
    right = np.zeros(50_000, dtype=int)
    x = sample_features(centres, right, np.arange(3), 0.6, 0.0, np.random.default_rng(5))
    shares = np.einsum("snd,nkd->nk", x, centres) / len(right)
    np.testing.assert_allclose(shares, [[0.6, 0.2, 0.2]] * 2, atol=0.01)


def test_ties_are_split_evenly():
    scores = np.array([[2, 2, 1], [2, 2, 2], [1, 2, 0], [3, 2, 2]])
    np.testing.assert_allclose(credit(scores, np.zeros(4, dtype=int)), [1 / 2, 1 / 3, 0, 1])


def test_the_same_seed_repeats_and_another_does_not():
    draws = [theory.simulate_accuracy([9], [1], 0.7, 4, 1000, np.random.default_rng(seed))[0] for seed in (7, 7, 8)]
    assert draws[0] == draws[1] != draws[2]


def test_the_standard_error_falls_as_one_over_root_n_in_constant_memory():
    rng, peaks, stderrs = np.random.default_rng(9), [], []
    for n_samples in (500_000, 2_000_000):
        tracemalloc.start()
        stderrs.append(theory.simulate_accuracy([5, 5], [1, 2], 0.7, 4, n_samples, rng)[1])
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert stderrs[0] / stderrs[1] == pytest.approx(2, rel=0.02)
    assert peaks[1] < 1.1 * peaks[0]


def test_an_integer_seed_is_refused():
    with pytest.raises(TypeError, match="rng must be a numpy.random.Generator"):
        theory.simulate_accuracy([5], [1], 0.5, 3, 100, 0)
    with pytest.raises(TypeError, match="rng must be a numpy.random.Generator"):
        simulate_features(same_labels(3, 1, 2), "weights", 0.5, 0.5, 0.1, 100, 0)


@pytest.mark.parametrize("n_samples,error", [(1, ValueError), (-5, ValueError), (1e4, TypeError)])
def test_a_bad_number_of_samples_is_refused_by_name(n_samples, error):
    with pytest.raises(error, match="n_samples must be an integer of at least 2"):
        theory.simulate_accuracy([5], [1], 0.5, 3, n_samples, np.random.default_rng(0))
