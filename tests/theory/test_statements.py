"""Each statement of the notebook at its own width: where it holds, and a case outside that it does not claim. Seed: 0."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

import theory
from theory.layers import Layer, accuracies, effective_features_by_task, raising_direction
from theory.model import Tasks, average, disjoint_labels, naive_bayes_weight, same_labels, single_model
from theory.monte_carlo import orthonormal_features, sample_features
from theory.statements import statement_rows
from theory.trained import fit_classifier

HALF = Fraction(1, 2)
THEORY = Path(__file__).parents[2] / "results" / "theory"


def difference(n, n_o, p, k):
    """xi_1 - xi_2 of averaged weights, exactly."""
    identical, disjoint = (
        theory.exact_task_accuracy(average(make(n, n_o, k), "weights", HALF, "a"), p)
        for make in (same_labels, disjoint_labels)
    )
    return identical - disjoint


@pytest.mark.parametrize(
    "n,n_o,p,k,expected", [(4, 1, 0.7, 5, -0.0317), (5, 1, 0.8, 20, -0.0485), (20, 5, 0.8, 5, 0.0466)]
)
def test_related_tasks_gain_more_with_many_features_and_not_always_with_few(n, n_o, p, k, expected):
    assert difference(n, n_o, p, k) == pytest.approx(expected, abs=3e-3)
    assert theory.proposition_5_1(n, n_o, p, k).weights.difference > 0


@pytest.mark.parametrize("n", [3, 4, 5, 6, 9, 20, 21, 40])
@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_at_every_number_of_features_two_classes_and_nearly_all_shared_turn_it_round(n, p):
    n_o, formula = theory.reversed_difference(n, p)
    assert n - n_o == 3 - n % 2 and formula < 0
    assert difference(n, n_o, p, 2) == pytest.approx(formula, rel=1e-6, abs=1e-13)


def test_the_reversed_difference_has_its_ends_and_no_overflow():
    assert theory.reversed_difference(7, 0.0)[1] == 0 == theory.reversed_difference(8, 1.0)[1]
    assert -1e-5 < theory.reversed_difference(10_000, 0.99)[1] < 0
    with pytest.raises(ValueError, match="n must be an integer in"):
        theory.reversed_difference(2, 0.5)


def test_the_table_shows_where_the_conclusion_fails():
    """From 20 features on in the cells of `reversed_difference` alone, which is what the notebook says."""
    table = pd.read_csv(THEORY / "finite.csv")
    assert table["difference_limit"].min() > -1e-12
    failing = table[table["difference_exact"] < -1e-9]
    few, many = failing[failing["n"] < 20], failing[failing["n"] >= 20]
    assert few["difference_exact"].min() < -0.05 and set(few["n"]) == {4, 5, 8, 12}
    assert set(many["n"]) == {20, 40, 80} and set(many["n_classes"]) == {2} and set(many["n"] - many["n_o"]) == {3}
    assert len(failing) / len(table) < 0.1


@pytest.mark.parametrize("p,k", [(0.8, 2), (0.8, 5), (0.9, 20)])
def test_errors_of_many_features_fall_as_the_exponent_says(p, k):
    """-log(error) of twice as many features, less that of so many and the factor n^(-1/2) before the exponential."""
    sizes = np.array([100, 200, 400])
    exact = np.array([-np.log(1 - theory.exact_accuracy([n], [1], p, k)) for n in sizes])
    rates = (np.diff(exact) - 0.5 * np.log(2)) / np.diff(sizes)
    first, second = np.abs(rates / theory.error_exponent([1], [1], p, k) - 1)
    assert second < 0.06 and second < 0.5 * first


@given(p=st.floats(0.05, 0.95), k=st.integers(2, 200), r=st.floats(0.01, 0.99))
@settings(max_examples=40, deadline=None)
def test_what_convexity_says_of_the_exponents(p, k, r):
    one = theory.error_exponent([1], [1], p, k)
    same = {v: theory.error_exponent([2 * (1 - r), r], [1, v], p, k) for v in (2, 4)}
    apart = theory.error_exponent([1 - r, r], [1, 2], p, k)
    assert same[2] > one > apart and same[4] > apart
    assert (same[4] > one) == (r < theory.harm_threshold(p, k)) or abs(r - theory.harm_threshold(p, k)) < 1e-6
    scaled = theory.error_exponent([1 - r, r], [3, 6], p, k)
    assert scaled == pytest.approx(apart, abs=1e-12)


def test_two_classes_have_chernoffs_exponent_and_half_is_the_threshold_of_weak_features():
    a, b = 0.75, 0.25  # p = .5
    assert theory.error_exponent([1], [1], 0.5, 2) == pytest.approx(-np.log(2 * np.sqrt(a * b)), abs=1e-12)
    assert theory.harm_threshold(0.999, 2) == pytest.approx(0.5, abs=1e-3)
    table = pd.read_csv(THEORY / "exponents.csv").set_index(["n_classes", "p"])["threshold"]
    assert table[2, 0.5] < 0.45 and table[100, 0.7] > 0.7


@pytest.mark.parametrize("n", [50, 100])
def test_below_half_of_the_features_shared_more_effective_features_can_err_more(n):
    """K = 2, p = .5, 48 % shared: by sums of two binomial distributions; beyond the threshold of .44."""
    shared = round(0.48 * n)
    own, both = (binom.pmf(np.arange(m + 1), m, 0.75) for m in (2 * (n - shared), shared))
    margin = np.add.outer(2 * np.arange(len(own)) - len(own) + 1, 4 * (2 * np.arange(len(both)) - len(both) + 1))
    errors = np.multiply.outer(own, both)[margin < 0].sum() + np.multiply.outer(own, both)[margin == 0].sum() / 2
    right = np.arange(n + 1)
    alone = binom.pmf(right, n, 0.75)[2 * right < n].sum() + binom.pmf(right, n, 0.75)[2 * right == n].sum() / 2
    table = pd.read_csv(THEORY / "statements.csv")
    numbers = table[table["statement"] == "fixed p"].set_index("number")["value"]
    place = {numbers[f"n_{i}"]: i for i in (1, 2)}[n]
    assert numbers["raised"] > 1 and numbers["threshold"] < numbers["shared"]
    assert errors / alone == pytest.approx(numbers[f"errors_{place}"], rel=1e-5)


@pytest.mark.parametrize(
    "call,message",
    [
        (lambda: theory.error_exponent([1], [0], 0.5, 2), "weights must not all be 0"),
        (lambda: theory.error_exponent([1], [1], 1.0, 2), r"p must be inside \(0, 1\)"),
        (lambda: theory.error_exponent([1], [-1], 0.5, 2), "weights must be a number in"),
        (lambda: theory.harm_threshold(0.5, 1), "n_classes must be an integer of at least 2"),
    ],
)
def test_exponents_of_what_has_none_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_losses_are_large_with_many_classes():
    """At n, K <= 20 the worst loss is 1 to 3 points; with 1000 classes and p = .9 it is 9 and more."""
    single = theory.exact_accuracy([20], [1], 0.9, 1000)
    losses = {n_o: theory.exact_accuracy([2 * (20 - n_o), n_o], [1, 4], 0.9, 1000) - single for n_o in range(0, 21, 2)}
    assert min(losses.values()) < -0.12
    assert min(losses, key=losses.get) < 10, "few shared features that fail outvote four others"
    few = theory.exact_accuracy([20], [1], 0.9, 20)
    assert min(theory.exact_accuracy([2 * (20 - o), o], [1, 4], 0.9, 20) - few for o in range(0, 21, 2)) > -0.05


MANY = pd.read_csv(THEORY / "many_classes.csv")


def test_the_columns_of_the_two_limits_are_those_of_the_limits():
    """By the other routes' other forms: F_p of the effective features, and a great many classes."""
    for row in MANY[MANY["n_classes"].notna()].iloc[::37].itertuples():
        k, own = int(row.n_classes), 2 * (row.n - row.n_o)
        for counts, averaging, shared in (((own, row.n_o), "weights", 4), ((own, row.n_o), "outputs", 2)):
            n_eff = (own + shared * row.n_o) ** 2 / (own + shared**2 * row.n_o)
            features, single = theory.F_p((1 - row.p) * np.sqrt([n_eff, row.n]), row.p, k)
            assert getattr(row, f"gain_{averaging}_many_features") == pytest.approx(features - single, abs=1e-7)
            assert row.accuracy_single_many_features == pytest.approx(single, abs=1e-7)
            if row.n <= 20:
                many = [
                    theory.exact_accuracy(*votes, row.p, 10**7) for votes in ((counts, (1, shared)), ((row.n,), (1,)))
                ]
                assert getattr(row, f"gain_{averaging}_many_classes") == pytest.approx(many[0] - many[1], abs=1e-4)
                assert row.accuracy_single_many_classes == pytest.approx(many[1], abs=1e-4)


@pytest.mark.parametrize(
    "n,p,k,worst", [(4, 0.8, 3, -3.6), (4, 0.8, 5, -6.0), (4, 0.8, 10, -7.3), (20, 0.9, 1000, -12.8)]
)
def test_few_features_lose_with_few_classes_too(n, p, k, worst):
    """The worst change in points over all numbers of shared features, as the notebook shows it."""
    single = theory.exact_accuracy([n], [1], p, k)
    changes = [theory.exact_accuracy([2 * (n - n_o), n_o], [1, 4], p, k) - single for n_o in range(n)]
    assert 100 * min(changes) == pytest.approx(worst, abs=0.06)


def test_unequal_ratios_of_the_same_mean_do_help_where_only_the_concepts_differ():
    """Seldom and little, but not never: the case that the text once denied."""
    layers = [Layer(10, 0.2225, q) for q in (0.507, 0.129, 0.024)]
    direction = raising_direction(layers, 0.757, "weights", fixed_mean=True)
    assert direction is not None and abs(direction.sum()) < 1e-9
    equal, moved = (np.full(3, 0.757) + step * direction for step in (0.0, 0.03))
    before, after = (accuracies(layers, alphas, 0.8, 5, "weights") for alphas in (equal, moved))
    assert np.all(after > before) and np.all(after - before < 1e-3)
    np.testing.assert_allclose([before, after], [[0.70462, 0.86058], [0.70489, 0.86101]], atol=1e-5)


def test_the_table_of_single_numbers_is_what_its_function_says():
    kept = pd.read_csv(THEORY / "statements.csv")
    found = pd.DataFrame(statement_rows(np.random.default_rng([0, *b"statements"])))
    assert found[["statement", "number"]].equals(kept[["statement", "number"]])
    counted = found["number"] == "raised"  # of 3000 cases: some are on the edge
    np.testing.assert_allclose(found["value"][~counted], kept["value"][~counted], rtol=1e-5)
    np.testing.assert_allclose(found["value"][counted], kept["value"][counted], atol=5)


def test_one_half_is_a_point_of_ties():
    """At n = 20, n_o = 14 half of the exact loss at alpha = 1/2 comes from ties, which .51 does not have."""
    tasks = same_labels(20, 14, 5)
    single = theory.exact_task_accuracy(single_model(tasks, "a", "a"), 0.8)
    at = {
        alpha: theory.exact_task_accuracy(average(tasks, "weights", alpha, "a"), 0.8) - single
        for alpha in (HALF, Fraction(51, 100))
    }
    assert at[HALF] == pytest.approx(-0.0047, abs=1e-4)
    assert at[Fraction(51, 100)] == pytest.approx(-0.0024, abs=1e-4)


@given(alpha=st.floats(0.001, 0.999), r=st.floats(0, 1))
def test_the_sign_of_one_minus_two_r_decides_at_every_ratio(alpha, r):
    """n_eff / n - 1 = 2 (1-r) (1-2r) u^2 / (1 - (1-r)(4u - 2u^2)), u = alpha (1 - alpha), whose denominator is positive."""
    u = alpha * (1 - alpha)
    formula = 2 * (1 - r) * (1 - 2 * r) * u**2 / (1 - (1 - r) * (4 * u - 2 * u**2))
    n_eff = effective_features_by_task([Layer(1.0, r, 1.0)], [alpha], "weights")[0]
    assert n_eff - 1 == pytest.approx(formula, abs=1e-9)


@settings(max_examples=10, deadline=None)
@given(p=st.floats(0.2, 0.95), k=st.integers(2, 6))
def test_naive_bayes_is_the_posterior_of_the_votes(p, k):
    """By Bayes' rule from the table of all votes of two features: the lemma behind "the same say"."""
    right, wrong = 1 - p + p / k, p / k
    beta = naive_bayes_weight(p, k)
    for first in range(k):
        for second in range(k):
            joint = np.array([(right if y == first else wrong) * (right if y == second else wrong) for y in range(k)])
            scores = beta * (np.arange(k) == first) + beta * (np.arange(k) == second)
            np.testing.assert_allclose(joint / joint.sum(), np.exp(scores) / np.exp(scores).sum(), atol=1e-12)


def test_the_trained_head_has_the_naive_bayes_weight_whatever_the_number_of_features():
    """beta from fits with 2 and 4 features and a vanishing ridge: the difference of own and other coefficients."""
    rng, found = np.random.default_rng(0), []
    for n in (2, 4):
        centres = orthonormal_features(n, 3, rng)
        right = rng.integers(3, size=30_000)
        x = sample_features(centres, right, np.arange(3), 0.7, 0.0, rng).sum(axis=1)
        coefficients = np.einsum("kd,nld->nkl", fit_classifier(x, right, 3, ridge=1e-7), centres)
        own = np.einsum("nkk->n", coefficients) / 3
        other = (coefficients.sum(axis=(1, 2)) - 3 * own) / 6
        found.append((own - other).mean())
    assert found[0] == pytest.approx(found[1], rel=0.1)
    assert found[1] == pytest.approx(naive_bayes_weight(0.7, 3), rel=0.1)


def votes_of_all_labels(tasks, model):
    """Votes on task a where the classes of both tasks compete."""
    if model == "single":
        return single_model(tasks, "a", "a", all_labels=True)
    return average(tasks, model, HALF, "a", all_labels=True)


@pytest.mark.parametrize("tasks,p", [(disjoint_labels(8, 4, 3), 0.7), (disjoint_labels(6, 4, 4), 0.75)])
def test_output_averaging_hurts_in_case_2_if_all_labels_compete(tasks, p):
    """b's features vote for b's classes too, whose head the average has; a's model alone has no votes for them."""
    exact = {
        model: theory.exact_task_accuracy(votes_of_all_labels(tasks, model), p)
        for model in ("single", "weights", "outputs")
    }
    for model, accuracy in exact.items():
        votes = votes_of_all_labels(tasks, model)
        estimate, stderr = theory.simulate_task_accuracy(votes, p, 60_000, np.random.default_rng(0))
        assert abs(estimate - accuracy) < 4 * stderr
    assert max(exact["weights"], exact["outputs"]) < exact["single"] - 0.02
    within = theory.exact_task_accuracy(average(tasks, "outputs", HALF, "a"), p)
    k = tasks.n_classes
    assert within == pytest.approx(theory.exact_accuracy([tasks.n_a], [1], p, k), abs=1e-12), "not if only a's compete"


def test_other_classes_that_compete_are_exact_one_by_one():
    """One feature of each task, two classes each: every case by hand, with ties."""
    votes, p = votes_of_all_labels(disjoint_labels(1, 0, 2), "outputs"), 0.6
    right, wrong = 1 - p + p / 4, p / 4
    # a's feature votes right, for a's other class, or for one of b's two (which a's head does not know); b's for one of b's
    # two or for one of a's (which b's head does not know).
    own = {"right": right, "other": wrong, "away": 2 * wrong}
    of_b = {"counts": 2 * wrong, "lost": right + wrong}
    expected = own["right"] * (of_b["counts"] / 2 + of_b["lost"]) + own["away"] * of_b["lost"] / 4
    assert theory.exact_task_accuracy(votes, p) == pytest.approx(expected, abs=1e-12)
    noisy = theory.simulate_task_accuracy(votes, p, 60_000, np.random.default_rng(0), sigma=0.3)
    assert abs(theory.exact_task_accuracy(votes, p, sigma=0.3) - noisy[0]) < 4 * noisy[1]
    partly = average(Tasks(3, 3, 2, 1, 1), "weights", HALF, "b", all_labels=True)  # three kinds of classes
    estimate, stderr = theory.simulate_task_accuracy(partly, p, 60_000, np.random.default_rng(0))
    assert abs(theory.exact_task_accuracy(partly, p) - estimate) < 4 * stderr
    for route in (theory.clt_task_accuracy, theory.many_class_accuracy):
        with pytest.raises(ValueError, match="weights differ between the task's 2 classes and 2 others"):
            route(votes, p)


def test_trained_heads_add_up_to_zero_and_pay_for_it_where_all_labels_compete():
    """The table: ideal heads less their mean are where trained ones are, a little below the formula's exact accuracy."""
    table = pd.read_csv(THEORY / "trained.csv")
    table = table[(table["labels"] == "disjoint, all compete") & (table["sigma"] == 0) & (table["model"] != "single")]
    trained = table[(table["method"] == "trained") & (table["n_train"] == 6400)].groupby("model")
    ideal = table[table["method"] == "monte-carlo"].set_index("model")
    for model, rows in trained:
        error = np.hypot(rows["stderr"].iloc[0] / np.sqrt(len(rows)), ideal["stderr"][model])
        assert abs(rows["accuracy"].mean() - ideal["accuracy"][model]) < 3 * error
        assert rows["accuracy"].mean() < ideal["exact"][model] - 2 * error
