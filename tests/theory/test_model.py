"""The vote weights of theory.model follow from the classifiers themselves, and bad arguments are named."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from theory.model import Tasks, average, disjoint_labels, same_labels, single_model
from theory.monte_carlo import ideal_classifiers, label_count, orthonormal_features

HALF = Fraction(1, 2)


def test_identical_labels_weight_average_gives_shared_features_four_votes():
    votes = average(same_labels(20, 14, 5), "weights", HALF, "a")
    assert votes.counts == (6, 6, 14)
    assert [4 * v for v in votes.weights] == [1, 1, 4]


def test_identical_labels_output_average_gives_shared_features_two_votes():
    assert [2 * v for v in average(same_labels(20, 14, 5), "outputs", HALF, "b").weights] == [1, 1, 2]


def test_disjoint_labels_weight_average_doubles_shared_features():
    assert [4 * v for v in average(disjoint_labels(20, 14, 5), "weights", HALF, "a").weights] == [1, 0, 2]
    assert [4 * v for v in average(disjoint_labels(20, 14, 5), "weights", HALF, "b").weights] == [0, 1, 2]


def test_disjoint_labels_output_average_leaves_the_single_model():
    tasks = disjoint_labels(9, 4, 3)
    averaged = average(tasks, "outputs", Fraction(1, 4), "a").weights
    single = single_model(tasks, "a", "a").weights
    assert [v / Fraction(3, 4) for v in averaged] == list(single) == [1, 0, 1]


@given(
    alpha=st.fractions(0, 1, max_denominator=50),
    sizes=st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 3)),
    classes=st.integers(2, 3).flatmap(lambda k: st.tuples(st.just(k), st.integers(0, k))),
    averaging=st.sampled_from(["weights", "outputs"]),
    tested_on=st.sampled_from(["a", "b"]),
)
def test_vote_weights_are_what_the_averaged_vectors_do_to_each_feature(alpha, sizes, classes, averaging, tested_on):
    """Second route: build w and Phi as vectors, average them, and read off the response to x_i = mu_i(k)."""
    own_a, own_b, both = sizes
    tasks = Tasks(classes[0], own_a + both, own_b + both, both, classes[1])
    centres = orthonormal_features(max(sum(tasks.counts), 1), label_count(tasks), np.random.default_rng(5))
    centres = centres[: sum(tasks.counts)]
    (w_a, phi_a), (w_b, phi_b) = ideal_classifiers(tasks, centres)
    mix = [float(1 - alpha), float(alpha)]
    if averaging == "weights":
        per_feature = np.einsum("ld,nld,n->nl", mix[0] * w_a + mix[1] * w_b, centres, mix[0] * phi_a + mix[1] * phi_b)
    else:
        per_feature = mix[0] * np.einsum("ld,nld,n->nl", w_a, centres, phi_a)
        per_feature += mix[1] * np.einsum("ld,nld,n->nl", w_b, centres, phi_b)
    votes = average(tasks, averaging, alpha, tested_on)
    k, n_labels = tasks.n_classes, label_count(tasks)
    for label in range(k) if tested_on == "a" else range(n_labels - k, n_labels):
        in_both = n_labels - k <= label < k
        expected = np.repeat([float(v) for v in (votes.common if in_both else votes.own)], votes.counts)
        np.testing.assert_allclose(per_feature[:, label], expected, atol=1e-12)


@given(alpha=st.fractions(0, 1, max_denominator=20), n_o=st.integers(0, 6), k_o=st.integers(0, 4))
def test_swapping_the_tasks_is_swapping_the_ratio(alpha, n_o, k_o):
    forward = average(Tasks(4, 6, 8, n_o, k_o), "weights", alpha, "a")
    backward = average(Tasks(4, 8, 6, n_o, k_o), "weights", 1 - alpha, "b")
    order = [1, 0, 2]
    for name in ("counts", "common", "own"):
        assert getattr(forward, name) == tuple(getattr(backward, name)[i] for i in order)


@pytest.mark.parametrize("trained_on,alpha", [("a", 0), ("b", 1)])
def test_the_ends_of_the_ratio_are_the_single_models(trained_on, alpha):
    tasks = Tasks(4, 6, 8, 3, 2)
    for tested_on in ("a", "b"):
        assert average(tasks, "weights", alpha, tested_on) == single_model(tasks, trained_on, tested_on)


def test_partly_overlapping_labels_have_no_single_weight_per_group():
    with pytest.raises(ValueError, match="weights differ between the 2 classes of both tasks and the 3 of one"):
        _ = average(Tasks(5, 6, 6, 3, 2), "weights", HALF, "a").weights


@pytest.mark.parametrize(
    "arguments,error,message",
    [
        ((1, 5, 5, 2, 1), ValueError, r"n_classes must be an integer of at least 2, not 1"),
        ((3, 5, 4, 5, 1), ValueError, r"n_o must be an integer in \[0, 4\], not 5"),
        ((3, 5, -4, 0, 1), ValueError, r"n_b must be an integer of at least 0, not -4"),
        ((3, 5, 4, 2, 4), ValueError, r"n_classes_o must be an integer in \[0, 3\], not 4"),
        ((3, 5.0, 4, 2, 1), TypeError, r"n_a must be an integer of at least 0, not 5.0"),
    ],
)
def test_impossible_tasks_are_refused_by_name(arguments, error, message):
    with pytest.raises(error, match=message):
        Tasks(*arguments)


@pytest.mark.parametrize("alpha,error", [(1.5, ValueError), (float("nan"), ValueError), ("0.5", TypeError)])
def test_a_ratio_outside_its_range_is_refused_by_name(alpha, error):
    with pytest.raises(error, match=r"alpha must be a number in \[0, 1\]"):
        average(same_labels(5, 2, 3), "weights", alpha, "a")


def test_unknown_averaging_and_task_are_refused_by_name():
    with pytest.raises(ValueError, match="averaging must be 'weights' or 'outputs', not 'logits'"):
        average(same_labels(5, 2, 3), "logits", HALF, "a")
    with pytest.raises(ValueError, match="tested_on must be 'a' or 'b', not 'c'"):
        average(same_labels(5, 2, 3), "weights", HALF, "c")
