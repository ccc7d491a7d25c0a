"""Fronts: made-up curves whose answer is known, and the invariants of Pareto front and hypervolume."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from llm.errors import UserError
from llm.evidence import curves
from llm.evidence.curves import (
    Curve,
    MeasuredPath,
    bootstrap_curves,
    common_grid,
    compare,
    curve_hypervolume,
    gap,
    mean_gap,
    pareto_front,
)
from llm.evidence.intervals import t_interval

LINE = Curve([0.0, 1.0, 2.0], [1.0, 0.9, 0.8])
unit = st.floats(0, 1, width=32)
point_sets = st.lists(st.tuples(unit, unit), min_size=1, max_size=12)
paths = point_sets.map(lambda points: Curve(*np.transpose(points)))


def test_a_curve_is_cut_at_its_reward_peak_that_point_included():
    cut = Curve([0, 2, 3, 1, 2.5], [1, 0.9, 0.7, 0.5, 0.9]).cut()
    assert cut.rewards.tolist() == [0, 2, 3]
    assert cut.abilities.tolist() == [1, 0.9, 0.7]


def test_ability_at_a_reward_is_interpolated_and_never_extended():
    assert LINE.at([0, 0.5, 1.5, 2]) == pytest.approx([1, 0.95, 0.85, 0.8])
    assert np.isnan(LINE.at([-0.1, 2.1])).all()


def test_a_path_that_folds_back_is_followed_not_sorted():
    folded = Curve([0.0, 2.0, 1.0, 3.0], [1.0, 0.6, 0.4, 0.2])
    assert folded.at(1.5) == pytest.approx(0.7)
    assert folded.at(2.5) == pytest.approx(0.25)
    order = np.argsort(folded.rewards)
    assert np.interp(1.5, folded.rewards[order], folded.abilities[order]) == pytest.approx(0.5)


def test_what_lies_beyond_the_peak_does_not_count():
    beyond = Curve([*LINE.rewards, 1.5, 0.5], [*LINE.abilities, 0.1, 0.99])
    assert mean_gap(beyond, LINE) == 0
    assert curve_hypervolume(beyond, (0, 0)) == curve_hypervolume(LINE, (0, 0))


@pytest.mark.parametrize(("shift", "verdict"), [(0.05, "above"), (0.0, "undecided"), (-0.05, "below")])
def test_better_equal_and_worse_curves_are_told_apart_by_their_true_gap(shift, verdict):
    wiggle = {0: 0.001, 1: -0.001, 2: 0.0005, 3: -0.0005}
    first = {seed: Curve(LINE.rewards, LINE.abilities + shift + w) for seed, w in wiggle.items()}
    found = compare(first, dict.fromkeys(wiggle, LINE))
    assert found.mean == pytest.approx(shift, abs=1e-12)
    assert found.per_seed == pytest.approx([shift + w for w in wiggle.values()])
    assert found.verdict == verdict


def test_curves_measured_at_different_rewards_are_compared_over_their_common_range():
    steep = Curve([0.5, 4.0], [0.95, 0.25])
    grid = common_grid(LINE.rewards, steep.rewards)
    assert (grid[0], grid[-1]) == (0.5, 2.0)
    assert mean_gap(LINE, steep) == pytest.approx(np.mean([0.0, 0.95 - 0.15 - 0.65]))
    with pytest.raises(UserError, match="0 to 2 and 3 to 4 have no range in common"):
        mean_gap(LINE, Curve([3.0, 4.0], [1.0, 0.5]))


def test_pareto_front_by_hand():
    points = [(0, 1), (1, 0.9), (1, 0.5), (0.5, 0.9), (2, 0.1), (2, 0.1), (1.5, 0.05)]
    assert pareto_front(points).tolist() == [[0, 1], [1, 0.9], [2, 0.1]]


@given(point_sets)
def test_pareto_front_is_what_no_point_beats(points):
    def beaten(point):
        return any(p != point and p[0] >= point[0] and p[1] >= point[1] for p in points)

    assert sorted(map(tuple, pareto_front(points).tolist())) == sorted({p for p in points if not beaten(p)})


def test_curve_hypervolume_by_hand():
    assert curve_hypervolume(Curve([0, 2], [1, 0]), (0, 0)) == pytest.approx(1)
    assert curve_hypervolume(LINE, (0, 0.8)) == pytest.approx(0.2)
    assert curve_hypervolume(LINE, (-1, 0.8)) == pytest.approx(0.4)
    assert curve_hypervolume(Curve([0, 1, 2], [0.5, 1.0, 0.0]), (0, 0)) == pytest.approx(1.5)
    assert curve_hypervolume(Curve([1.0], [2.0]), (0, 0)) == 2
    assert curve_hypervolume(LINE, (5, 0)) == 0


@given(paths)
def test_curve_hypervolume_is_the_limit_of_the_staircase_over_a_densely_measured_path(path):
    cut = path.cut()
    times = np.linspace(0, len(cut.rewards) - 1, 3001)
    knots = np.arange(len(cut.rewards))
    dense = np.column_stack([np.interp(times, knots, cut.rewards), np.interp(times, knots, cut.abilities)])
    front = np.maximum(pareto_front(dense), (0.1, 0.2))
    staircase = np.sum(np.diff(front[:, 0], prepend=0.1) * (front[:, 1] - 0.2))
    assert curve_hypervolume(path, (0.1, 0.2)) == pytest.approx(staircase, abs=0.01)


@given(paths, st.integers(0, 10), unit)
def test_curve_hypervolume_does_not_depend_on_how_densely_the_path_was_measured(path, where, share):
    where %= len(path.rewards)
    after = min(where + 1, len(path.rewards) - 1)
    between = [(1 - share) * v[where] + share * v[after] for v in (path.rewards, path.abilities)]
    denser = Curve(np.insert(path.rewards, after, between[0]), np.insert(path.abilities, after, between[1]))
    assert curve_hypervolume(denser, (0, 0)) == pytest.approx(curve_hypervolume(path, (0, 0)), abs=1e-6)


@given(paths, unit, st.floats(-1, 1), st.floats(0.1, 10))
def test_interpolation_stays_within_the_path_and_follows_a_change_of_units(path, share, shift, scale):
    cut = path.cut()
    reward = cut.rewards.min() + share * (cut.rewards.max() - cut.rewards.min())
    ability = path.at(reward).item()
    assert cut.abilities.min() - 1e-9 <= ability <= cut.abilities.max() + 1e-9
    moved = Curve(path.rewards, shift + scale * path.abilities)
    assert moved.at(reward).item() == pytest.approx(shift + scale * ability, abs=1e-9)


def test_t_interval_is_scipys():
    values = [0.1, 0.3, 0.2, 0.6, -0.1]
    interval = t_interval(values)
    low, high = stats.t.interval(0.95, 4, loc=np.mean(values), scale=stats.sem(values))
    assert (interval.mean, interval.low, interval.high) == pytest.approx((np.mean(values), low, high))


def test_one_seed_has_a_mean_but_no_interval():
    single = compare({0: LINE}, {0: Curve(LINE.rewards, LINE.abilities - 0.5)})
    assert single.mean == pytest.approx(0.5)
    assert np.isnan([single.low, single.high]).all()
    assert single.verdict == "undecided"


def test_where_some_seed_has_no_reward_in_common_there_is_no_gap():
    apart = Curve(LINE.rewards + 3, LINE.abilities)
    assert gap({0: LINE, 1: apart}, {0: LINE, 1: LINE}) is None
    assert gap({0: LINE, 1: LINE}, {0: LINE, 1: LINE}).mean == 0


def test_methods_are_paired_by_seed_and_unpaired_seeds_are_refused():
    first = {seed: Curve(LINE.rewards, LINE.abilities + seed + 0.1) for seed in (2, 0, 1)}
    second = {seed: Curve(LINE.rewards, LINE.abilities + seed) for seed in (0, 1, 2)}
    assert compare(first, second).per_seed == pytest.approx([0.1] * 3)
    with pytest.raises(UserError, match=r"seeds \[0, 1, 2\] and \[0, 1\] must be the same"):
        compare(first, {0: LINE, 1: LINE})


def measured(rng, lift, items):
    noise = rng.normal(size=items) * 0.2
    abilities = np.array([[1.0], [0.9], [0.8]]) + lift + noise
    return MeasuredPath(np.array([[0.0], [1.0], [2.0]]) + np.zeros(items), abilities)


def test_pairing_makes_the_bootstrap_see_a_lift_far_below_the_items_spread():
    first = {s: measured(np.random.default_rng(s), 0.01, 100) for s in range(3)}
    second = {s: measured(np.random.default_rng(s), 0.0, 100) for s in range(3)}
    found = bootstrap_curves(first, second, np.random.default_rng(0), resamples=100)
    assert found.mean == pytest.approx(0.01)
    assert (found.low, found.high) == pytest.approx((0.01, 0.01))
    shuffled = {s: measured(np.random.default_rng(s + 10), 0.0, 100) for s in range(3)}
    assert bootstrap_curves(first, shuffled, np.random.default_rng(0), resamples=100).verdict == "undecided"


def test_draws_are_compared_all_at_once_as_one_by_one():
    rng = np.random.default_rng(5)
    pair = [MeasuredPath(rng.normal(size=(n, 6)) + np.arange(n)[:, None], rng.normal(size=(n, 9))) for n in (4, 7)]
    prompts, items = rng.integers(6, size=(40, 6)), rng.integers(9, size=(40, 9))
    together = curves._gaps(*(path.drawn(prompts, items) for path in pair))
    alone = [
        mean_gap(*(Curve(path.rewards[:, p].mean(axis=1), path.abilities[:, i].mean(axis=1)) for path in pair))
        for p, i in zip(prompts, items, strict=True)
    ]
    assert together == pytest.approx(alone, abs=1e-12)


def test_a_bootstrap_draws_seeds_first():
    """Lifts of 0 and of 1 on two seeds: a draw has 0, 1 or both, whatever its items."""

    def path(lift):
        return MeasuredPath(np.arange(3.0)[:, None] + np.zeros(5), np.full((3, 5), lift))

    found = bootstrap_curves({0: path(0.0), 1: path(1.0)}, dict.fromkeys((0, 1), path(0.0)), np.random.default_rng(0))
    assert (found.mean, found.low, found.high) == (0.5, 0, 1)
    three = dict.fromkeys(range(3), path(1.0))
    assert bootstrap_curves(three, three, np.random.default_rng(0), resamples=1).mean == 0  # a seed may never be drawn


def test_a_draw_without_rewards_in_common_is_refused_with_its_own():
    rising = np.array([[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]), np.ones((2, 3))
    with pytest.raises(UserError, match="rewards 3 to 5 and 0 to 2 have no range in common"):
        curves._gaps(rising, (np.array([[0.0, 1.0, 2.0]] * 2), np.ones((2, 3))))
