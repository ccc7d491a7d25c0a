"""A ratio per feature direction: the average itself, the proposition, where it fails; and many classes. Seed: 0."""

from fractions import Fraction
from itertools import product
from math import comb
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import block_diag

import theory
from theory.model import Tasks, average, disjoint_labels, same_labels, single_model
from theory.monte_carlo import ideal_classifiers, orthonormal_features, sample_features
from theory.regression import direction_ratios, regression_average, regression_votes, trained_regression
from theory.trained import Setting

HALF = Fraction(1, 2)


def random_gram(dimension, rng):
    x = rng.normal(size=(dimension, dimension + 2))
    return x @ x.T


@given(seed=st.integers(0, 1000), lam=st.floats(0.01, 100))
@settings(max_examples=30)
def test_it_is_a_ratio_per_direction_of_the_joint_eigenbasis(seed, lam):
    rng = np.random.default_rng(seed)
    g_0, g_1, w_0, w_1 = random_gram(5, rng), random_gram(5, rng), rng.normal(size=(5, 3)), rng.normal(size=(5, 3))
    ratios, vectors = direction_ratios(g_0, g_1, lam)
    assert np.all((ratios >= 0) & (ratios <= 1))
    total = lam * g_0 + g_1
    in_basis = vectors @ (
        (1 - ratios)[:, None] * (vectors.T @ total @ w_0) + ratios[:, None] * (vectors.T @ total @ w_1)
    )
    np.testing.assert_allclose(regression_average(w_0, w_1, g_0, g_1, lam), in_basis, atol=1e-7)


def test_its_limits_are_the_two_models_and_equal_inputs_are_the_plain_average():
    rng = np.random.default_rng(0)
    g_0, g_1, w_0, w_1 = random_gram(4, rng), random_gram(4, rng), rng.normal(size=(4, 2)), rng.normal(size=(4, 2))
    np.testing.assert_allclose(regression_average(w_0, w_1, g_0, g_1, 1e-10), w_1, atol=1e-6)
    np.testing.assert_allclose(regression_average(w_0, w_1, g_0, g_1, 1e10), w_0, atol=1e-6)
    np.testing.assert_allclose(regression_average(w_0, w_1, g_0, g_0, 3.0), 0.75 * w_0 + 0.25 * w_1)
    blind = block_diag(np.eye(2), np.zeros((2, 2)))
    np.testing.assert_allclose(regression_average(w_0, w_1, blind, blind, 1.0), (w_0 + w_1) / 2, atol=1e-12)


@pytest.mark.parametrize("make", [same_labels, disjoint_labels])
def test_in_the_model_it_is_the_head_of_the_union_of_features(make):
    """No vote weights here: Gram matrices of sampled features, heads as vectors; whatever lambda is."""
    rng, tasks = np.random.default_rng(0), make(3, 2, 3)
    labels = theory.monte_carlo.label_count(tasks)
    centres = orthonormal_features(4, labels, rng)
    (w_a, phi_a), (w_b, phi_b) = ideal_classifiers(tasks, centres)
    grams = []
    for phi, first in ((phi_a, 0), (phi_b, labels - 3)):
        right = first + rng.integers(3, size=4000)
        x = np.einsum("snd,n->sd", sample_features(centres, right, first + np.arange(3), 0.7, 0.0, rng), phi)
        grams.append(x.T @ x / 4000)
    right = rng.integers(3, size=200)
    x = sample_features(centres, right, np.arange(3), 0.7, 0.0, rng).sum(axis=1)
    votes = regression_votes(tasks, "a")
    ideal = np.einsum("sd,nkd,n->sk", x, centres[:, :3], np.repeat(np.array(votes.weights, float), votes.counts))
    for lam in (0.2, 1.0, 5.0):
        scores = x @ regression_average(w_a.T, w_b.T, *grams, lam)[:, :3]
        np.testing.assert_allclose(  # up to a term common to all classes, which changes no decision
            scores - scores.mean(axis=1, keepdims=True), ideal - ideal.mean(axis=1, keepdims=True), atol=1e-6
        )


@given(
    n=st.integers(1, 7), data=st.data(), p=st.floats(0.05, 0.98), k=st.integers(2, 6),
    alpha=st.fractions(0, 1, max_denominator=8), make=st.sampled_from([same_labels, disjoint_labels]),
)  # fmt: skip
@settings(max_examples=40, deadline=None)
def test_no_single_ratio_beats_a_ratio_per_feature(n, data, p, k, alpha, make):
    """The proposition: exactly, at every n, p, K and ratio, for either averaging."""
    tasks = make(n, data.draw(st.integers(0, n)), k)
    best = theory.exact_task_accuracy(regression_votes(tasks, "a"), p)
    for averaging in ("weights", "outputs"):
        assert best >= theory.exact_task_accuracy(average(tasks, averaging, alpha, "a"), p) - 1e-11


@pytest.mark.parametrize("tasks,p,lost", [(Tasks(2, 2, 6, 0, 1), 0.5, 0.042), (Tasks(2, 6, 6, 0, 1), 0.8, 0.034)])
def test_it_says_nothing_about_label_sets_that_overlap_in_part(tasks, p, lost):
    """There even a's own model can be better: the union gives the common class votes that a's other class does not get."""
    own = theory.exact_task_accuracy(single_model(tasks, "a", "a"), p)
    assert own - theory.exact_task_accuracy(regression_votes(tasks, "a"), p) == pytest.approx(lost, abs=1e-3)


@pytest.mark.parametrize(
    "call,message",
    [
        (lambda: regression_average(np.full((2, 2), np.nan), np.eye(2), np.eye(2), np.eye(2)), "w_0 must be a matrix"),
        (
            lambda: regression_average(np.ones((2, 1)), np.ones((2, 3)), np.eye(2), np.eye(2)),
            "w_0 and w_1 must be of one",
        ),
        (lambda: regression_average(np.eye(2), np.eye(2), np.eye(3), np.eye(3)), "w_0 and w_1 must be of one"),
        (lambda: regression_average(np.eye(2), np.eye(2), np.eye(2), -np.eye(2)), "g_1 must be symmetric and positive"),
        (lambda: regression_average(np.eye(2), np.eye(2), np.eye(2), [[1, 0.5], [0, 1]]), "g_1 must be symmetric"),
        (lambda: regression_average(np.eye(2), np.eye(2), np.full((2, 2), np.nan), np.eye(2)), "g_0 must be a matrix"),
        (lambda: direction_ratios(np.diag([1.0, 0.0]), np.diag([1.0, 0.0]), 1.0), "must have a positive definite sum"),
        (lambda: direction_ratios(np.eye(2), np.eye(2), 0), "lam must be a number"),
        (
            lambda: trained_regression(
                same_labels(1000, 10, 100), Setting(0.5, 0.1, 10), 10, 10, np.random.default_rng(0)
            ),
            "samples times features times labels must be at most",
        ),
    ],
)
def test_matrices_that_are_no_layers_are_refused_by_name(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_lists_are_matrices_too():
    eye = [[1, 0], [0, 1]]
    np.testing.assert_allclose(regression_average(eye, [[3, 0], [0, 3]], eye, eye), 2 * np.eye(2))


@pytest.mark.parametrize("n,n_o", [(20, 0), (20, 14), (20, 20)])
def test_its_effective_features(n, n_o):
    def n_eff(*arguments):
        votes = regression_votes(*arguments)
        return theory.effective_features(votes.counts, votes.weights)

    assert n_eff(same_labels(n, n_o, 5), "a") == pytest.approx(2 * n - n_o)
    for task in ("a", "b"):
        assert n_eff(disjoint_labels(n, n_o, 5), task) == pytest.approx(n)
    assert n_eff(same_labels(n, n_o, 5), "a", "single") == pytest.approx(2 * n**2 / (n + n_o)), "the output average"
    of_weights = (n + n_o) ** 2 / (n + 3 * n_o)
    assert n_eff(disjoint_labels(n, n_o, 5), "a", "single") == pytest.approx(of_weights), "the weight average"


def test_it_fails_where_shared_directions_are_used_in_opposite_ways():
    tasks = same_labels(20, 14, 5)
    votes = regression_votes(tasks, "a", opposite=True)
    assert theory.effective_features(votes.counts, votes.weights) == pytest.approx(12), "of 20"
    single = theory.exact_task_accuracy(single_model(tasks, "a", "a"), 0.8)
    assert theory.exact_task_accuracy(votes, 0.8) < single - 0.05


def test_noise_is_what_a_ratio_per_feature_pays_in_case_2():
    votes, alone = regression_votes(disjoint_labels(6, 2, 4), "a"), single_model(disjoint_labels(6, 2, 4), "a", "a")
    assert votes.noise[1] == 6 * (12 - 2) and alone.noise[1] == 36
    lost = [theory.exact_task_accuracy(each, 0.7, sigma=0.4) for each in (votes, alone)]
    assert lost[0] < lost[1] - 0.005
    assert theory.exact_task_accuracy(votes, 0.7) == pytest.approx(theory.exact_task_accuracy(alone, 0.7))


def test_trained_classifiers_gain_by_it_and_not_from_too_few_samples():
    rng, tasks = np.random.default_rng(0), same_labels(6, 4, 4)
    many = trained_regression(tasks, Setting(0.75, 0.01, 3000), 3000, 20_000, rng)
    few = [trained_regression(tasks, Setting(0.75, 0.01, 3000), 12, 5_000, rng)["regression"][0] for _ in range(4)]
    exact = theory.exact_task_accuracy(regression_votes(tasks, "a"), 0.75)
    assert abs(many["regression"][0] - exact) < 0.02
    assert many["regression"][0] > max(many["single"][0], many["weights"][0]) + 0.03
    assert np.mean(few) < many["regression"][0] - 0.02


TABLE = pd.read_csv(Path(__file__).parents[2] / "results" / "theory" / "regression.csv")


def test_the_table_shows_that_it_is_never_worse_than_the_best_single_ratio():
    """In every row, by each method; sampled and trained within their errors."""
    rows = TABLE[(TABLE["n_samples"] == 3000) | TABLE["n_samples"].isna()].set_index(
        ["method", "labels", "n", "n_o", "model"]
    )
    assert set(TABLE["method"]) == {"exact", "closed-form", "monte-carlo", "trained"}
    for place, found in rows.groupby(level=[0, 1, 2, 3]):
        found = found.droplevel([0, 1, 2, 3])
        best, error = found.loc["best ratio"], 4 * np.sqrt(2) * (found["stderr"].max() if place[0] != "exact" else 0)
        slack = 1e-9 if np.isnan(error) or not error else error
        assert found.loc["regression", "accuracy"] >= best["accuracy"] - slack
        assert best["accuracy"] >= max(found.loc[["single", "weights"], "accuracy"]) - slack
    for row in TABLE[(TABLE["method"] == "exact") & (TABLE["model"] == "best ratio") & (TABLE["n"] == 6)].itertuples():
        tasks = {"identical": same_labels, "disjoint": disjoint_labels}[row.labels](row.n, row.n_o, row.n_classes)
        by_ratio = {
            alpha: theory.exact_accuracy(*groups(tasks, alpha), row.p, row.n_classes) for alpha in np.arange(21) / 20
        }
        assert row.accuracy == pytest.approx(max(by_ratio.values()), abs=1e-7)
        assert by_ratio[row.alpha] == pytest.approx(row.accuracy, abs=1e-7)


def groups(tasks, alpha):
    """Counts and vote weights on a of weights averaged at a ratio, by section 2's formula."""
    alpha = Fraction(round(20 * alpha), 20)
    same = tasks.n_classes_o > 0
    return tasks.counts, (
        (1 - alpha) ** 2, alpha**2 if same else 0, 1 if same else 1 - alpha,
    )  # fmt: skip


def many_classes_by_counting(n, n_o, p):
    """The rule written out for weights 1 and 4: X + 4 Y against the heaviest feature that failed."""
    total = 0.0
    for x, y in product(range(2 * (n - n_o) + 1), range(n_o + 1)):
        own = 2 * (n - n_o)
        chance = comb(own, x) * (1 - p) ** x * p ** (own - x) * comb(n_o, y) * (1 - p) ** y * p ** (n_o - y)
        bar = 4 if y < n_o else 1 if x < own else 0
        level = n_o - y if y < n_o else own - x
        total += chance * (1.0 if x + 4 * y > bar else 1 / (1 + level) if x + 4 * y == bar else 0.0)
    return total


@pytest.mark.parametrize("n,n_o", [(5, 0), (6, 2), (6, 5), (4, 4)])
def test_many_classes_are_the_limit_of_the_exact_accuracy(n, n_o):
    votes = [average(same_labels(n, n_o, k), "weights", HALF, "a") for k in (10**4, 10**6)]
    limit = theory.many_class_accuracy(votes[0], 0.8)
    assert limit == pytest.approx(many_classes_by_counting(n, n_o, 0.8), abs=1e-12)
    near, nearer = (abs(theory.exact_task_accuracy(each, 0.8) - limit) for each in votes)
    assert nearer < 1e-4 and nearer <= near + 1e-9


def test_many_class_questions_that_have_no_answer_are_refused():
    votes = average(same_labels(5, 2, 3), "weights", HALF, "a")
    with pytest.raises(ValueError, match="weights must be at least 0"):
        theory.many_class_accuracy(theory.Votes((2,), (-1,), (-1,), 3, 0), 0.5)
    with pytest.raises(ValueError, match="p must be given"):
        theory.many_class_accuracy(votes)
