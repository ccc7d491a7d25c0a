"""F_p by independent routes, effective features, and Proposition 5.1 printed against corrected. Seeds: 0 to
3.
"""

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import log_ndtr, ndtr
from scipy.stats import multivariate_normal

import theory
from theory.bench import draw_points, reference_F_p

ODD_X = [-40.0, -8.0, -1.5, -0.1, -1e-3, 0.0, 1e-9, 0.02, 0.3, 1.0, 3.0, 8.0, 40.0]


def covariance(p: float, n_classes: int) -> np.ndarray:
    """Sigma as the paper prints it."""
    k = n_classes
    return np.full((k - 1, k - 1), p * (k + 1 - p * k) / k) + np.eye(k - 1) * p / k


@pytest.mark.parametrize("n_classes,p", [(2, 0.5), (4, 0.8), (7, 0.3)])
def test_sigma_is_the_covariance_of_one_features_margins(n_classes, p):
    """Exactly, from the table of one vote's outcomes; and c >= s^2 > 0, which the one-dimensional integral
    needs.
    """
    chances = np.full(n_classes, p / n_classes)
    chances[0] += 1 - p
    margins = np.zeros((n_classes, n_classes - 1))  # (vote, wrong class)
    margins[0] = 1
    margins[np.arange(1, n_classes), np.arange(n_classes - 1)] = -1
    mean = chances @ margins
    np.testing.assert_allclose(mean, 1 - p)
    np.testing.assert_allclose(
        (margins.T * chances) @ margins - np.outer(mean, mean), covariance(p, n_classes), atol=1e-14
    )


def test_drawing_failed_votes_from_all_labels_gives_another_covariance_than_the_printed_one():
    """M = 12 labels, K = 4: p/M takes the place of p/K, which the n_labels argument gives."""
    p, k, m = 0.6, 4, 12
    sigma = np.full((k - 1, k - 1), p * (m + 1 - p * m) / m) + np.eye(k - 1) * p / m
    assert abs(sigma - covariance(p, k)).max() > 0.05
    direct = multivariate_normal(cov=sigma, maxpts=400_000, abseps=1e-9).cdf(
        np.full(k - 1, 0.5), rng=np.random.default_rng(0)
    )
    assert theory.F_p(0.5, p, k, n_labels=m) == pytest.approx(direct, abs=1e-7)


@pytest.mark.parametrize(
    "n_classes,p,x", [(2, 0.4, 0.3), (3, 0.8, 0.9), (4, 0.99, 1.1), (3, 0.05, -0.2), (4, 0.5, 0.0)]
)
def test_F_p_is_the_orthant_probability_of_its_definition(n_classes, p, x):
    normal = multivariate_normal(cov=covariance(p, n_classes), maxpts=400_000, abseps=1e-9)
    direct = normal.cdf(np.full(n_classes - 1, x), rng=np.random.default_rng(1))
    assert theory.F_p(x, p, n_classes) == pytest.approx(direct, abs=1e-7)


def test_F_p_agrees_with_forty_digits_to_1e_12():
    """Eight (K, p, x) here; `python -m theory bench` does the same on 500."""
    rng = np.random.default_rng(2)
    for k, p, x in draw_points(8, rng):
        reference = reference_F_p(x, p, k)
        log_reference = mp.log(reference)
        assert abs(float(reference) - theory.F_p(x, p, k)) < 1e-12, (k, p, x)
        assert abs(float(log_reference - theory.log_F_p(x, p, k))) < 1e-12 * max(1, -log_reference), (k, p, x)


@given(x=st.floats(-40, 40), p=st.floats(1e-12, 1))
def test_two_classes_are_one_normal_distribution(x, p):
    z = x / np.sqrt(p * (2 - p))
    assert theory.F_p(x, p, 2) == pytest.approx(ndtr(z), abs=1e-13)
    assert theory.log_F_p(x, p, 2) == pytest.approx(log_ndtr(z), rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("n_classes", [2, 5, 100, 10_000])
@pytest.mark.parametrize("p", [1e-9, 0.01, 0.5, 0.999, 1.0])
def test_F_p_and_log_F_p_are_the_same_function(n_classes, p):
    x = np.array(ODD_X)
    value, logarithm = theory.F_p(x, p, n_classes), theory.log_F_p(x, p, n_classes)
    assert np.all((value >= 0) & (value <= 1)) and np.all(np.diff(value) >= 0)
    np.testing.assert_allclose(np.exp(logarithm), value, atol=1e-12)
    assert np.all(np.isfinite(logarithm[x > -8])) and logarithm[0] < -200


@pytest.mark.parametrize("n_classes", [2, 10, 1000, 10_000])
def test_at_p_1_and_margin_0_the_answer_is_a_guess(n_classes):
    """All votes fail: no class is preferred, F_1(0) = P(one of K equal scores is the highest) = 1/K."""
    assert theory.F_p(0.0, 1.0, n_classes) == pytest.approx(1 / n_classes, abs=1e-14)


def test_F_0_is_a_step():
    np.testing.assert_array_equal(theory.F_p([-1e-9, 0.0, 1e-9, np.inf, -np.inf], 0, 5), [0, 0, 1, 1, 0])
    np.testing.assert_array_equal(theory.log_F_p([-1.0, 1.0], 0, 5), [-np.inf, 0])


@given(x=st.floats(-3, 3), p=st.floats(0.01, 1), n_classes=st.integers(2, 500))
def test_the_derivative_is_the_slope_of_F_p(x, p, n_classes):
    """Second route: the central difference of fourth order, step small against the scale sqrt(p/K)."""
    step = 2e-2 * np.sqrt(p / n_classes)
    f = theory.F_p(x + step * np.array([-2, -1, 1, 2]), p, n_classes)
    slope = (f[0] - 8 * f[1] + 8 * f[2] - f[3]) / (12 * step)
    assert theory.dF_p_dx(x, p, n_classes) == pytest.approx(slope, abs=2e-7 / np.sqrt(p / n_classes))


def test_F_p_keeps_the_shape_of_x():
    x = np.linspace(-1, 1, 12).reshape(3, 4)
    table = theory.F_p(x, 0.7, 6)
    assert table.shape == (3, 4)
    # Sums over many points at once are taken in another order, so the last digits may differ.
    assert table[1, 2] == pytest.approx(theory.F_p(x[1, 2], 0.7, 6), abs=1e-14)
    assert theory.F_p(np.linspace(-1, 1, 5000), 0.7, 6).shape == (5000,)
    assert isinstance(theory.F_p(0.1, 0.7, 6), float)


@given(counts=st.lists(st.integers(0, 50), min_size=1, max_size=5), data=st.data(), scale=st.floats(0.01, 100))
def test_effective_features_lie_between_none_and_all_and_ignore_scale(counts, data, scale):
    weights = data.draw(st.lists(st.floats(0, 10), min_size=len(counts), max_size=len(counts)))
    n_eff = theory.effective_features(counts, weights)
    assert -1e-9 <= n_eff <= sum(counts) * (1 + 1e-12)
    assert theory.effective_features(counts, [scale * w for w in weights]) == pytest.approx(n_eff, rel=1e-9)
    assert theory.effective_features(counts, [2.5] * len(counts)) == pytest.approx(sum(counts))


@pytest.mark.parametrize("n,n_o", [(20, 14), (7, 0), (12, 12), (30, 15), (28, 20)])
def test_effective_features_of_the_averages_are_the_derived_ratios(n, n_o):
    r = n_o / n
    expected = {
        (2, 1, 4): 2 * (1 + r) ** 2 / (1 + 7 * r),
        (2, 1, 2): 2 / (1 + r),
        (1, 1, 2): (1 + r) ** 2 / (1 + 3 * r),
    }
    for (copies, own, shared), ratio in expected.items():
        n_eff = theory.effective_features([copies * (n - n_o), n_o], [own, shared])
        assert n_eff == pytest.approx(n * ratio)


@pytest.mark.parametrize("p", [0.5, 0.8, 0.95])
def test_averaging_weights_of_one_task_helps_below_half_shared_and_hurts_above(p):
    n, signs = 20, []
    for n_o in range(n + 1):
        signs.append(np.sign(round(theory.proposition_5_1(n, n_o, p, 5).weights.xi_1, 13)))
    assert signs == [1] * 10 + [0] + [-1] * 9 + [0]


def test_at_worst_averaging_weights_costs_one_effective_feature_in_49():
    ratios = [theory.effective_features([2 * (490 - n_o), n_o], [1, 4]) / 490 for n_o in range(491)]
    assert np.argmin(ratios) == 350 and min(ratios) == pytest.approx(48 / 49)


@given(n=st.integers(1, 200), share=st.floats(0, 1), p=st.floats(0, 1), n_classes=st.integers(2, 60))
def test_the_corrected_proposition_keeps_its_sign(n, share, p, n_classes):
    """xi_1 - xi_2 >= 0 for weights and outputs; xi_2 <= 0 for weights, 0 for outputs."""
    terms = theory.proposition_5_1(n, round(share * n), p, n_classes)
    assert terms.weights.difference > -1e-12 and terms.outputs.difference > -1e-12
    assert terms.weights.xi_2 < 1e-12 and abs(terms.outputs.xi_2) < 1e-12


@pytest.mark.parametrize("averaging", ["weights", "outputs"])
def test_the_two_cases_gain_equally_only_if_all_features_are_shared(averaging):
    gaps = [getattr(theory.proposition_5_1(10, n_o, 0.7, 4), averaging).difference for n_o in range(11)]
    assert min(gaps[:10]) > 1e-4 and abs(gaps[10]) < 1e-13


def test_the_printed_proposition_is_that_of_output_averaging_not_of_definition_F2():
    """Definition F.2 averages w and Phi; the printed terms are those of averaging the scores."""
    for n_o in range(0, 21):
        terms = theory.proposition_5_1(20, n_o, 0.8, 5)
        assert terms.printed.xi_1 == pytest.approx(terms.outputs.xi_1, abs=1e-12)
        assert terms.printed.xi_2 == pytest.approx(terms.outputs.xi_2, abs=1e-12)
        if 0 < n_o < 20:
            assert terms.printed.xi_1 - terms.weights.xi_1 > 1e-3
            assert terms.weights.xi_2 < -1e-3
    at_14 = theory.proposition_5_1(20, 14, 0.8, 5)
    assert at_14.printed.xi_1 > 0 > at_14.weights.xi_1


def test_without_votes_the_answer_is_a_guess():
    assert theory.clt_accuracy([5], [0], 0.3, 4) == theory.clt_accuracy([], [], 0.3, 4) == 0.25


@pytest.mark.parametrize("function", [theory.F_p, theory.log_F_p, theory.dF_p_dx])
@pytest.mark.parametrize(
    "arguments,error,message",
    [
        ((0.1, 1.2, 5), ValueError, r"p must be a number in \[0, 1\], not 1.2"),
        ((0.1, float("nan"), 5), ValueError, r"p must be a number in \[0, 1\], not nan"),
        ((0.1, "half", 5), TypeError, r"p must be a number in \[0, 1\], not 'half'"),
        ((0.1, 0.5, 1), ValueError, r"n_classes must be an integer of at least 2, not 1"),
        ((0.1, 0.5, 2.5), TypeError, r"n_classes must be an integer of at least 2, not 2.5"),
        (([0.1, float("nan")], 0.5, 5), ValueError, r"x must be real or infinite numbers, not NaN"),
        ((0.1, 0.5, 5, 4), ValueError, r"n_labels must be an integer of at least 5, not 4"),
    ],
)
def test_bad_arguments_of_F_p_are_refused_by_name(function, arguments, error, message):
    with pytest.raises(error, match=message):
        function(*arguments)


@pytest.mark.parametrize(
    "arguments,message",
    [
        ((0, 0, 0.5, 5), "n must be"),
        ((5, 6, 0.5, 5), r"n_o must be an integer in \[0, 5\], not 6"),
        ((5, 3, -1, 5), "p must be"),
    ],
)
def test_bad_arguments_of_the_proposition_are_refused_by_name(arguments, message):
    with pytest.raises(ValueError, match=message):
        theory.proposition_5_1(*arguments)


def test_margins_that_are_all_one_are_a_normal_distribution():
    assert theory.margin_accuracy([1.0, 0.0, -2.0], 4.0, 0.0, 5) == pytest.approx(ndtr([0.5, 0.0, -1.0]), abs=1e-14)
    assert theory.margin_accuracy(1.0, 4.0, 1e-14, 5) == pytest.approx(ndtr(0.5), abs=1e-6)
    assert theory.margin_accuracy([1.0, -1.0], 0.0, 0.0, 5).tolist() == [1, 0]


def test_classes_of_unequal_noise_have_no_limit_in_one_integral():
    votes = theory.Votes((6,), (1,), (1,), 2, 2, noise=(1, 100))
    with pytest.raises(ValueError, match="noise must be the same for all classes here, not 1 and 100"):
        theory.clt_task_accuracy(votes, 0.8, sigma=0.5)
    assert theory.clt_task_accuracy(votes, 0.8) == theory.clt_accuracy([6], [1], 0.8, 4)
