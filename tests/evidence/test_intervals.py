"""Intervals, equivalence, Holm's correction and power, each against scipy or published numbers, and their invariances."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats

from llm.evidence.equivalence import judge
from llm.evidence.intervals import (
    INNER,
    LEVEL,
    of_logits,
    of_mean,
    of_ratio,
    p_value,
    ratio_of_means,
    sign_flip_test,
    t_interval,
)
from llm.evidence.multiplicity import holm
from llm.evidence.power import power_of_t, seeds_needed

VALUES = st.lists(st.floats(-10, 10), min_size=2, max_size=12).filter(lambda x: np.std(x) > 1e-3)


@settings(max_examples=30)
@given(VALUES, st.floats(0.5, 0.99))
def test_students_interval_and_p_value_are_scipys(values, level):
    expected = stats.ttest_1samp(values, 0.0)
    low, high = expected.confidence_interval(level)
    found = t_interval(values, level)
    assert (found.low, found.high) == pytest.approx((low, high), rel=1e-9, abs=1e-9)
    assert p_value(values) == pytest.approx(expected.pvalue, rel=1e-6, abs=1e-12)
    assert of_mean(values, 1.0).p == pytest.approx(stats.ttest_1samp(values, 1.0).pvalue, rel=1e-6, abs=1e-12)


def test_fiellers_bounds_are_the_ratios_that_a_t_test_does_not_reject():
    rng = np.random.default_rng(0)
    for n in (3, 5, 12):
        tax = rng.normal(1.0, 0.2, size=n)
        kept = 0.4 * tax + rng.normal(0.0, 0.1, size=n)
        for level in (LEVEL, INNER):
            found = ratio_of_means(kept, tax, level)

            def rejected(ratio, kept=kept, tax=tax, level=level):
                return stats.ttest_1samp(kept - ratio * tax, 0.0).pvalue - (1 - level)

            bounds = [optimize.brentq(rejected, *sorted((found.mean, found.mean + far))) for far in (-20, 20)]
            assert (found.low, found.high) == pytest.approx(bounds, abs=1e-6)
        assert found.mean == pytest.approx(kept.mean() / tax.mean()) == pytest.approx(found.per_seed.mean())


def test_a_ratio_over_what_may_be_nothing_is_unbounded_and_one_seed_has_no_interval():
    found = ratio_of_means([1.0, 2.0, 1.5], [1.0, -1.0, 0.5])
    assert (found.low, found.high) == (-np.inf, np.inf)
    assert np.isnan([ratio_of_means([1.0], [2.0]).low, t_interval([1.0]).high]).all()
    assert ratio_of_means([1.0], [2.0]).mean == 0.5


@given(st.floats(0.1, 100), st.floats(0.1, 100))
def test_a_share_has_no_unit_and_what_is_saved_wholly_is_one(unit, other):
    kept, tax = np.array([0.2, 0.5, 0.3, 0.6]), np.array([1.0, 1.2, 0.8, 1.1])
    found, scaled = of_ratio(kept, tax), of_ratio(unit * kept, unit * tax)
    assert (scaled.outer.low, scaled.p) == pytest.approx((found.outer.low, found.p), rel=1e-6)
    whole = of_ratio(other * tax, other * tax).outer
    assert (whole.low, whole.mean, whole.high) == pytest.approx((1, 1, 1))


def test_near_a_ceiling_the_interval_stays_below_one_and_far_from_it_is_that_of_the_differences():
    near = of_logits([0.99, 1.0, 0.999, 0.97], [0.95, 0.9, 0.98, 0.8], 400)
    assert 0 < near.outer.low < near.outer.mean < near.outer.high < 1 - expit_mean([0.95, 0.9, 0.98, 0.8], 400)
    first, second = np.array([0.52, 0.50, 0.53, 0.49]), np.array([0.50, 0.49, 0.50, 0.48])
    middle, plain = of_logits(first, second, 10**6), of_mean(first - second)
    assert (middle.outer.low, middle.outer.mean, middle.outer.high) == pytest.approx(
        (plain.outer.low, plain.outer.mean, plain.outer.high), abs=2e-4
    )
    assert middle.p == pytest.approx(plain.p, rel=0.02)


def expit_mean(shares, items):
    logits = [np.log((x * items + 0.5) / (items - x * items + 0.5)) for x in shares]
    return 1 / (1 + np.exp(-np.mean(logits)))


def test_the_sign_flip_test_counts_every_flip_and_needs_eight_seeds():
    values = np.array([0.3, 0.1, 0.4, -0.05, 0.2, 0.6, 0.15, 0.25])
    flips = np.array(np.meshgrid(*[[-1, 1]] * 8)).reshape(8, -1)
    means = (flips * values[:, None]).mean(axis=0)
    assert sign_flip_test(values) == pytest.approx(np.mean(abs(means) >= values.mean() - 1e-12))
    assert sign_flip_test(values[:7]) is None
    assert of_mean(values).sign_flip == sign_flip_test(values)


@pytest.mark.parametrize("seeds", [8, 13, 25])
def test_the_sign_flip_test_is_scipys_exact_one_and_drawn_above_twenty_seeds(seeds):
    rng = np.random.default_rng(seeds)
    for values in (rng.normal(0.4, 1, seeds), rng.integers(-2, 3, seeds).astype(float), np.zeros(seeds)):
        exact = stats.permutation_test(
            (values,), np.mean, permutation_type="samples", vectorized=True, n_resamples=2**14, rng=1
        )
        assert sign_flip_test(values) == pytest.approx(exact.pvalue, abs=1e-9 if seeds < 20 else 0.02)
        assert sign_flip_test(-values) == pytest.approx(sign_flip_test(values), abs=1e-9 if seeds < 20 else 0.02)


def test_equal_differences_of_many_seeds_have_the_least_p_value_that_flips_can_give():
    assert sign_flip_test(np.full(20, 0.1)) == 2 / 2**20
    assert sign_flip_test(np.full(40, 0.1)) == 1 / (2**16 + 1)


@settings(max_examples=30)
@given(VALUES, st.floats(0.01, 5))
def test_equivalence_is_two_one_sided_tests(values, margin):
    """Schuirmann: both one-sided tests at 5 % reject just where the 90 % interval lies inside the margin."""
    one_sided = [
        stats.ttest_1samp(values, -margin, alternative="greater").pvalue,
        stats.ttest_1samp(values, margin, alternative="less").pvalue,
    ]
    if min(abs(p - 0.05) for p in one_sided) < 1e-9:
        return
    found = of_mean(values)
    bounds = [(one.low, one.high) for one in (found.outer, found.inner)]
    small = judge(*bounds, margin) in {"holds, small", "equivalent", "fails, small"}
    assert small == (max(one_sided) < 0.05)
    assert judge(*bounds, None).startswith({1: "holds", -1: "fails", 0: "undecided"}[side(found.outer)])


def side(interval):
    return 1 if interval.low > 0 else -1 if interval.high < 0 else 0


@pytest.mark.parametrize(
    ("outer", "inner", "margin", "bound", "word"),
    [
        ((0.02, 0.4), (0.05, 0.35), 0.1, 0, "holds"),
        ((0.01, 0.09), (0.02, 0.08), 0.1, 0, "holds, small"),
        ((-0.02, 0.09), (-0.01, 0.08), 0.1, 0, "equivalent"),
        ((-0.02, 0.12), (-0.01, 0.11), 0.1, 0, "undecided"),
        ((-0.09, -0.01), (-0.08, -0.02), 0.1, 0, "fails, small"),
        ((-0.4, -0.1), (-0.3, -0.2), 0.1, 0, "fails"),
        ((-0.04, -0.01), (-0.03, -0.02), None, -0.05, "holds"),
        ((0.0, 0.5), (0.1, 0.4), None, 0, "undecided"),
    ],
)
def test_the_word_follows_from_two_intervals_and_a_margin(outer, inner, margin, bound, word):
    assert judge(outer, inner, margin, bound) == word


def test_holms_adjusted_p_values_are_those_of_his_method():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])  # as R's p.adjust has it
    assert list(holm([])) == []
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        holm([1.5])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.randoms())
def test_holm_never_lowers_a_p_value_keeps_their_order_and_lies_within_bonferronis(p, random):
    found, shuffled = holm(p), list(range(len(p)))
    random.shuffle(shuffled)
    assert holm([p[k] for k in shuffled]) == pytest.approx([found[k] for k in shuffled])
    assert all(found >= np.array(p) - 1e-15) and all(found <= np.minimum(len(p) * np.array(p), 1) + 1e-12)
    assert all(np.diff(found[np.argsort(p, kind="stable")]) >= 0)


@settings(max_examples=20)
@given(st.integers(2, 60), st.floats(0.05, 2.5))
def test_power_is_that_of_the_non_central_t(n, effect):
    quantile = stats.t.ppf(0.975, n - 1)
    shift = effect * np.sqrt(n)
    expected = stats.nct.sf(quantile, n - 1, shift) + np.nan_to_num(stats.nct.cdf(-quantile, n - 1, shift))
    assert power_of_t(n, effect) == pytest.approx(expected, abs=1e-6)


def test_seeds_needed_are_textbook_numbers_and_a_margin_may_need_fewer():
    values = np.array([-1.0, 0.0, 1.0])  # a spread of 1
    assert seeds_needed(values + 0.5) == 34  # Cohen: d = .5, 80 %, two-sided 5 %, one sample
    assert seeds_needed(values + 1.0) == 10
    assert seeds_needed(values) is None
    assert seeds_needed(values, margin=1.0) == 11
    assert seeds_needed(values + 3.0, bound=2.5) == 34
    assert (seeds_needed([1.0]), seeds_needed([1.0, 1.0])) == (None, None)
