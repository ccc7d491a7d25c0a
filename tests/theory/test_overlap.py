"""Graded overlap: the traces, the criterion, discrete overlap as a special case, and classifiers really trained. Seed: 0."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import theory
from theory.model import disjoint_labels, same_labels
from theory.monte_carlo import credit
from theory.overlap import (
    Overlap,
    graded_effective_features,
    graded_weights,
    overlap_of,
    principal_cosines,
    projectors,
    weights_help,
)
from theory.trained import fit_classifier

COSINES = st.lists(st.floats(0, 1), min_size=1, max_size=8)


def random_subspace(dimension, n, rng):
    return np.linalg.qr(rng.normal(size=(dimension, n)))[0]


@given(seed=st.integers(0, 10_000), n_a=st.integers(1, 6), n_b=st.integers(1, 6), alpha=st.floats(0, 0.99))
@settings(max_examples=60)
def test_effective_features_are_the_traces_of_the_averaged_projectors(seed, n_a, n_b, alpha):
    rng = np.random.default_rng(seed)
    a, b = random_subspace(9, n_a, rng), random_subspace(9, n_b, rng)
    p_a, mixed = a @ a.T, (1 - alpha) * a @ a.T + alpha * b @ b.T
    overlap = overlap_of(principal_cosines(a, b), n_a, n_b)
    for averaging, same, operator in (
        ("weights", True, mixed @ mixed),
        ("outputs", True, mixed),
        ("weights", False, p_a @ mixed),
        ("outputs", False, p_a),
    ):
        direct = np.trace(operator) ** 2 / np.trace(operator @ operator.T)
        assert graded_effective_features(overlap, averaging, alpha, same) == pytest.approx(direct, rel=1e-10)


@given(cosines=COSINES)
def test_weights_help_exactly_when_the_criterion_says_so(cosines):
    square = np.array(cosines) ** 2
    margin = (1 - square.mean()) ** 2 - square.var()
    n_eff = graded_effective_features(overlap_of(cosines), "weights")
    if abs(margin) > 1e-9:
        assert (n_eff > len(cosines)) == (margin > 0) == weights_help(overlap_of(cosines))
    assert graded_effective_features(overlap_of(cosines), "outputs") >= len(cosines) * (1 - 1e-12)


@given(c=st.floats(0, 0.999), n=st.integers(1, 20))
def test_equal_overlap_never_hurts(c, n):
    assert weights_help(overlap_of([c] * n))


@given(n=st.integers(1, 20), data=st.data(), averaging=st.sampled_from(["weights", "outputs"]))
def test_cosines_of_0_and_1_are_shared_features(n, data, averaging):
    n_o = data.draw(st.integers(0, n))
    graded = overlap_of([1.0] * n_o + [0.0] * (n - n_o))
    for make, same in ((same_labels, True), (disjoint_labels, False)):
        votes = theory.average(make(n, n_o, 3), averaging, 0.3, "a")
        discrete = theory.effective_features(votes.counts, votes.weights)
        assert graded_effective_features(graded, averaging, 0.3, same) == pytest.approx(discrete)


@pytest.mark.parametrize("averaging", ["weights", "outputs"])
def test_pairs_of_planes_have_the_kish_number_exactly(averaging):
    weights = graded_weights(np.repeat([0.9, 0.5, 0.2], 4), averaging, 0.3)
    n_eff = theory.effective_features([1] * 24, weights.tolist())
    assert n_eff == pytest.approx(graded_effective_features(overlap_of([0.9, 0.5, 0.2] * 4), averaging, 0.3))


@pytest.mark.parametrize("same", [True, False])
@pytest.mark.parametrize("averaging", ["weights", "outputs"])
def test_arrays_of_overlaps_give_arrays(averaging, same):
    several = Overlap(3, 3, np.array([1.0, 2.0]), np.array([1.0, 1.5]))
    each = [graded_effective_features(Overlap(3, 3, *one), averaging, 0.3, same) for one in ((1.0, 1.0), (2.0, 1.5))]
    np.testing.assert_allclose(graded_effective_features(several, averaging, 0.3, same), each)


def test_the_formula_is_about_the_mean_over_signs_and_not_about_every_choice_of_them():
    """Ten planes of c = .5: n_eff / n is 1.22 by the formula, 1.89 where all signs are plus, .74 where all are minus."""
    p_a, p_b = projectors([0.5] * 10)
    operator = (p_a + p_b) @ (p_a + p_b)

    def terms(signs):
        votes = operator @ signs
        return signs @ votes, votes @ votes

    plus = np.where(np.arange(20) % 4 == 3, -1.0, 1.0)  # undoes the minus of every second plane
    for signs, expected in ((plus, 1.89), (plus * np.tile([1, -1], 10), 0.74)):
        mean, square = terms(signs)
        assert mean**2 / square / 10 == pytest.approx(expected, abs=0.005)
    mean, square = np.mean([terms(signs) for signs in np.random.default_rng(0).choice([-1.0, 1.0], (4000, 20))], axis=0)
    formula = graded_effective_features(overlap_of([0.5] * 10), "weights")
    assert formula / 10 == pytest.approx(1.22, abs=0.005) and mean**2 / square == pytest.approx(formula, rel=0.02)


def trained_accuracies(cosines, p, k, n_train, n_test, rng):
    """(weights averaged, one model): classifiers fitted to what P_a and P_b leave of the features, then averaged."""
    p_a, p_b = projectors(cosines)
    n = len(p_a)

    def features(size):
        right = rng.integers(k, size=size)
        shown = np.where(rng.random((size, n)) < p, rng.integers(k, size=(size, n)), right[:, None])
        return np.eye(k)[shown], right  # (sample, feature, class)

    def read(projector, x):
        return np.einsum("ij,sjk->sik", projector, x).reshape(len(x), -1)

    heads = []
    for projector in (p_a, p_b):
        x, right = features(n_train)
        heads.append(fit_classifier(read(projector, x), right, k, 1e-4))
    x, right = features(n_test)
    averaged = read((p_a + p_b) / 2, x) @ ((heads[0] + heads[1]) / 2).T
    return credit(averaged, right).mean(), credit(read(p_a, x) @ heads[0].T, right).mean()


def test_trained_classifiers_gain_by_equal_overlap_and_not_by_unequal_overlap_of_the_same_mean():
    """Ten planes of mean c^2 = .7: all alike (n_eff 1.05 n), or seven of 1 and three of 0 (n_eff .980 n)."""
    alike, unequal = [0.7**0.5] * 10, [1.0] * 7 + [0.0] * 3
    assert weights_help(overlap_of(alike)) and not weights_help(overlap_of(unequal))
    rng, gains = np.random.default_rng(0), []
    for cosines in (alike, unequal):
        averaged, single = trained_accuracies(cosines, 0.75, 4, 6000, 40_000, rng)
        gains.append(averaged - single)
    assert gains[0] > gains[1] + 0.005 and gains[0] > 0


@pytest.mark.parametrize(
    "call,message",
    [
        (lambda: principal_cosines(np.zeros((3, 2)), np.eye(3)), "must span at least one dimension"),
        (lambda: principal_cosines(np.eye(3), np.eye(4)), "equally many rows"),
        (lambda: overlap_of([1.2]), r"cosines must be numbers in \[0, 1\]"),
        (lambda: Overlap(3, 3, 2.0, 2.5), "0 <= s4 <= s2"),
        (lambda: Overlap(3, 3, 3.0, 0.0), r"s2\^2 / min\(n_a, n_b\) <= s4"),
        (lambda: Overlap(np.inf, np.inf, 3.0, 1.0), "must be finite"),
        (lambda: graded_weights([0.5], "weights", 2), r"alpha must be a number in \[0, 1\], not 2"),
        (lambda: graded_weights([0.5], "weights", float("nan")), "alpha must be a number"),
        (lambda: projectors(np.full(10**5, 0.5)), "cosines must be at most 2000 numbers"),
        (lambda: graded_effective_features(overlap_of([0.5]), "weights", 1.0, False), "alpha must be below 1"),
        (lambda: weights_help(Overlap(3, 4, 1.0, 1.0)), "n_a and n_b must be equal"),
    ],
)
def test_impossible_overlaps_are_refused_by_name(call, message):
    with pytest.raises(ValueError, match=message):
        call()
