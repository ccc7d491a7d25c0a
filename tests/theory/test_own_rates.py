"""Own failure rates, noise and several models at once: the table against other routes, and trained classifiers. Seeds: 0 to 2."""

from dataclasses import replace
from fractions import Fraction
from functools import cache
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.special import ndtr
from scipy.stats import multinomial, multivariate_normal

import theory
from theory.model import Tasks, average, average_models, disjoint_labels, naive_bayes_weight, same_labels, single_model
from theory.regression import regression_votes
from theory.trained import Setting
from theory.votes import Features, Votes

HALF = Fraction(1, 2)
SETTING = ["models", "p_own", "p_shared", "n_classes", "sigma", "model"]
TABLE = pd.read_csv(Path(__file__).parents[2] / "results" / "theory" / "own_rates.csv")
WIDE = TABLE.pivot(index=SETTING, columns="method", values=["accuracy", "stderr"])
# The votes of 3 t own features of the average, and of 3 shared ones; of one model 3 own and 3 shared.
N = 3


def vectors(t, p_own, p_shared, k, model):
    """(rates (feature,), heads (model, feature), bodies (model, feature), ratios (model,)): no vote weights here."""
    body = np.array([[m == i // N or i // N == t for i in range(N * (t + 1))] for m in range(t)], dtype=float)
    rates = np.repeat([p_own] * t + [p_shared], N)
    ratios = np.eye(t)[0] if model == "single" else np.full(t, 1 / t)
    return rates, body * np.log(1 + k * (1 - rates) / rates), body, ratios


def votes_and_noise(rates, heads, bodies, ratios, model):
    """(feature,) what a vote adds to its class's score, and the variance of a score's noise in units of sigma^2."""
    if model == "weights":
        return (ratios @ heads) * (ratios @ bodies), np.sum((ratios @ heads) ** 2) * np.sum((ratios @ bodies) ** 2)
    passed = np.einsum("m,mi,mj->ij", ratios, bodies, heads)  # of feature i's noise along feature j's directions
    return np.diag(passed), np.sum(passed**2)


@cache
def compositions(n, k):
    return np.array([c for c in product(range(n + 1), repeat=k) if sum(c) == n])


def by_enumeration(t, p_own, p_shared, k, sigma, model):
    """Every number of votes for every class; noise by Gauss-Hermite quadrature."""
    rates, *rest = vectors(t, p_own, p_shared, k, model)
    v, variance = votes_and_noise(rates, *rest, model)
    scores, chances = np.zeros((1, k)), np.ones(1)
    for weight, rate in {(round(w, 12), rate) for w, rate in zip(v, rates) if w}:
        number = int(np.sum(np.isclose(v, weight) & (rates == rate)))
        counts = compositions(number, k)
        pmf = multinomial.pmf(counts, number, np.r_[1 - rate + rate / k, np.full(k - 1, rate / k)])
        scores = (scores[:, None] + weight * counts).reshape(-1, k)
        chances = np.outer(chances, pmf).ravel()
    margins = np.round(scores[:, :1] - scores[:, 1:], 9)
    if not sigma:
        return chances @ np.where((margins >= 0).all(axis=1), 1 / (1 + (margins == 0).sum(axis=1)), 0)
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)

    below = ndtr(margins[:, :, None] / (sigma * np.sqrt(variance)) + nodes).prod(axis=1)
    return chances @ below @ weights / np.sqrt(2 * np.pi)


def by_moments(t, p_own, p_shared, k, sigma, model):
    """The Gaussian of the margins, its moments summed feature by feature over the K votes; scipy's distribution function."""
    rates, *rest = vectors(t, p_own, p_shared, k, model)
    v, variance = votes_and_noise(rates, *rest, model)
    shown = np.vstack([np.ones(k - 1), -np.eye(k - 1)])  # margins of a vote for the right class and for each wrong one
    mean, covariance = np.zeros(k - 1), variance * sigma**2 * (np.eye(k - 1) + 1)
    for weight, rate in zip(v, rates):
        chances = np.r_[1 - rate + rate / k, np.full(k - 1, rate / k)]
        first = chances @ shown
        mean += weight * first
        covariance += weight**2 * (shown.T @ np.diag(chances) @ shown - np.outer(first, first))
    return multivariate_normal.cdf(mean, cov=covariance, abseps=1e-6, rng=0)


@pytest.mark.parametrize("setting", WIDE.index, ids=str)
def test_the_table_is_what_enumeration_and_moments_say(setting):
    row = WIDE.loc[setting]
    assert row["accuracy", "exact"] == pytest.approx(by_enumeration(*setting), abs=2e-7)
    assert row["accuracy", "closed-form"] == pytest.approx(by_moments(*setting), abs=2e-5)
    assert abs(row["accuracy", "monte-carlo"] - row["accuracy", "exact"]) < 4 * row["stderr", "monte-carlo"]
    assert -0.015 - 4 * row["stderr", "trained"] < row["accuracy", "trained"] - row["accuracy", "exact"] < 0.02


def test_the_table_holds_several_models_own_rates_and_noise():
    for column, number in {"models": 2, "p_own": 3, "p_shared": 3, "sigma": 2}.items():
        assert TABLE[column].nunique() == number
    exact = WIDE["accuracy", "exact"]
    for t, p_own, p_shared, k, sigma in {key[:-1] for key in WIDE.index}:
        gains = [exact[t, p_own, p_shared, k, sigma, name] - exact[t, p_own, p_shared, k, sigma, "single"]
                 for name in ("weights", "outputs")]  # fmt: skip
        assert gains[1] > max(gains[0], 0), "outputs never lose, and gain more than weights"


def of_three(p_own, p_shared, k, averaging, ratios=(Fraction(1, 3),) * 3, has=None):
    say = Fraction(naive_bayes_weight(p_shared, k) / naive_bayes_weight(p_own, k))
    groups = [Features(2, used, p_own) for used in ((1, 0, 0), (0, 1, 0), (0, 0, 1))]
    return average_models([*groups, Features(3, (1, 1, 1), p_shared, say)], ratios, averaging, k, has)


def test_trained_classifiers_find_the_says_of_own_rates_and_average_three_models():
    votes = {name: of_three(0.6, 0.85, 4, name) for name in ("weights", "outputs")}
    votes["single"] = of_three(0.6, 0.85, 4, "outputs", (0, 1, 0))
    for sigma in (0.0, 0.1):
        fitted = theory.trained_task_accuracies(
            votes, Setting(None, sigma, 20_000, 1e-4), 40_000, np.random.default_rng(0)
        )
        for name, (accuracy, stderr) in fitted.items():
            assert abs(accuracy - theory.exact_task_accuracy(votes[name], sigma=sigma)) < 0.006 + 3 * stderr
    equal = [replace(group, say=1) for group in votes["weights"].mixture.groups]
    others = average_models(equal, (Fraction(1, 3),) * 3, "weights", 4)
    assert theory.exact_task_accuracy(votes["weights"]) > theory.exact_task_accuracy(others) + 0.02, (
        "equal says are others"
    )


def test_a_model_without_the_tested_classes_adds_its_body_alone():
    tasks = disjoint_labels(6, 4, 4)
    votes = {
        "single": single_model(tasks, "a", "a"),
        "weights": average(tasks, "weights", HALF, "a"),
        "outputs": average(tasks, "outputs", HALF, "a"),
        "several": average_models(
            average(tasks, "weights", HALF, "a").mixture.groups, [HALF] * 2, "weights", 4, (1, 0)
        ),
    }
    fitted = theory.trained_task_accuracies(votes, Setting(0.75, 0.0, 12_000, 1e-4), 60_000, np.random.default_rng(1))
    assert fitted["outputs"] == fitted["single"] and fitted["several"] == fitted["weights"]
    for name, each in votes.items():
        assert abs(fitted[name][0] - theory.exact_task_accuracy(each, 0.75)) < 0.006 + 3 * fitted[name][1]
    assert fitted["weights"][0] < fitted["single"][0]


CASE_1 = average(same_labels(4, 2, 3), "weights", HALF, "a")


@pytest.mark.parametrize(
    "votes,p,message",
    [
        ({"x": Votes((2, 3), (1, 2), (1, 2), 3, 0)}, 0.5, "'x' have no models behind them"),
        ({"x": regression_votes(same_labels(4, 2, 3), "a")}, 0.5, "'x' have no models behind them"),
        ({"x": replace(CASE_1, common=(1, 1, 1), own=(1, 1, 1))}, 0.5, "'x' were changed"),
        ({"x": average(Tasks(4, 3, 3, 1, 2), "weights", HALF, "a")}, 0.5, "weights differ"),
        ({"x": average(disjoint_labels(3, 1, 3), "weights", HALF, "a", True)}, 0.5, "weights differ between the task's 3"),
        ({"x": CASE_1, "y": average(same_labels(5, 2, 3), "weights", HALF, "a")}, 0.5, "averages of the same models"),
        ({}, 0.5, "averages of the same models"),
        ({"x": CASE_1}, None, "p must be given"),
        ({"x": of_three(0.6, 0.6, 3, "weights")}, 0.5, "p must be given"),
        ({"x": average_models([Features(2, (1,), 0.5), Features(2, (1,), 0.8)], [1], "weights", 3)}, None, "say must be"),
        ({"x": average_models([Features(2, (1,), 0.0), Features(2, (1,), 0.8)], [1], "weights", 3)}, None, "say must be"),
    ],
)  # fmt: skip
def test_votes_that_cannot_be_trained_are_refused_by_name(votes, p, message):
    with pytest.raises(ValueError, match=message):
        theory.trained_task_accuracies(votes, Setting(p, 0.1, 10), 10, np.random.default_rng(0))


def test_numbers_of_other_types_are_refused():
    with pytest.raises(TypeError, match="p must be a number"):
        theory.trained_accuracies(same_labels(3, 1, 3), Setting(None, 0.1, 10), 0.5, 10, np.random.default_rng(0))
    arrays = average(same_labels(4, 2, 3), "weights", np.array([0.25, 0.5]), "a")
    with pytest.raises(TypeError, match="ratios must be a number"):
        theory.trained_task_accuracies({"x": arrays}, Setting(0.5, 0.1, 10), 10, np.random.default_rng(0))


@pytest.mark.parametrize("classes", [5, 1000, 10_000])
def test_noise_among_many_classes_is_integrated_finely_enough(classes):
    """One feature against a dense sum over its noisy scores."""
    p, sigma = 0.6, 0.3
    votes = theory.average(theory.same_labels(1, 1, classes), "outputs", 1, "a")
    u = np.linspace(-4, 6, 400_001)
    right = 1 - p + p / classes
    up, level = ndtr((u - 1) / sigma), ndtr(u / sigma)
    density = lambda at: np.exp(-(((u - at) / sigma) ** 2) / 2) / (sigma * np.sqrt(2 * np.pi))
    own = right * density(1) * level ** (classes - 1)
    other = (1 - right) * density(0) * up * level ** (classes - 2)
    expected = (own + other).sum() * (u[1] - u[0])
    assert theory.exact_task_accuracy(votes, p, sigma=sigma) == pytest.approx(expected, abs=1e-10)
