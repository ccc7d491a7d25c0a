"""The share of a rival's tax that is saved: made paths whose shares are known, the choice on other seeds, and the range."""

from collections import Counter

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm.evidence.intervals import chosen_elsewhere
from llm.evidence.shares import LEVELS, NotComparable, equally_dense, rises, saved

RISES = {0: (1.0, 2.0), 1: (5.0, 4.0), 2: (0.0, 1.0)}  # seeds whose rewards have nothing in common


def path(loss, shares=np.linspace(0, 1, 11), seeds=RISES, alpha=None):
    """A path that has lost `loss(share of the rise, seed)` of an ability of 1."""
    rows = []
    for seed in seeds:
        start, rise = RISES[seed]
        for step, share in enumerate(shares):
            model = {"seed": seed, "step": float(step) if alpha is None else float(share), "alpha": alpha and share}
            rows += [model | {"metric": "reward", "value": start + share * rise}]
            rows += [model | {"metric": "qa", "value": 1 - loss(share, seed)}]
    return pd.DataFrame(rows).astype({"alpha": float})


START = pd.DataFrame([{"seed": seed, "metric": "qa", "value": 1.0} for seed in RISES])
COSTS = {0: 0.2, 1: 0.5, 2: 0.3}
RIVAL = path(lambda share, seed: COSTS[seed] * share)


def share(method, rival=None, **options):
    method, rival = ({None: one} if isinstance(one, pd.DataFrame) else one for one in (method, rival or {None: RIVAL}))
    return saved(method, rival, START, RISES, "qa", **options)


def test_the_share_is_the_ratio_of_means_over_half_to_nearly_all_of_each_seeds_own_rise():
    found = share(path(lambda x, seed: 0.6 * COSTS[seed] * x))
    assert found.levels == (0.5, 0.95)
    assert found.share().outer.mean == pytest.approx(0.4)
    assert found.tax == pytest.approx([cost * LEVELS.mean() for cost in COSTS.values()])
    uneven = share(path(lambda x, seed: {0: 0.0, 1: 1.0, 2: 0.5}[seed] * COSTS[seed] * x))
    assert uneven.share().outer.mean == pytest.approx((0.2 * 1 + 0.5 * 0 + 0.3 * 0.5) / 1.0)


@given(st.floats(0.1, 10), st.floats(-5, 5))
@settings(max_examples=20)
def test_a_share_does_not_depend_on_the_unit_of_the_ability_or_on_where_it_starts(unit, zero):
    method = path(lambda x, seed: COSTS[seed] * x**2)
    frames = [
        one.assign(value=one["value"].where(one["metric"] == "reward", zero + unit * one["value"]))
        for one in (method, RIVAL)
    ]
    start = START.assign(value=zero + unit)
    moved = saved({None: frames[0]}, {None: frames[1]}, start, RISES, "qa").share().outer
    plain = share(method).share().outer
    assert (moved.low, moved.mean, moved.high) == pytest.approx((plain.low, plain.mean, plain.high), rel=1e-6)


def test_a_rival_that_ends_early_is_compared_as_far_as_it_reaches_on_every_seed():
    short = path(lambda x, seed: COSTS[seed] * x, np.linspace(0, 0.78, 11))
    assert share(path(lambda x, seed: 0.0), {None: short}).levels == (0.5, 0.78)
    lowest = pd.concat([short[short["seed"] != 1], path(lambda x, seed: 0, np.linspace(0, 0.6, 11), [1])])
    assert share(path(lambda x, seed: 0.0), {None: lowest}).levels == (0.5, 0.6)
    nothing = path(lambda x, seed: COSTS[seed] * x, np.linspace(0, 0.36, 11))
    with pytest.raises(NotComparable, match="cover 0% to 100% and 0% to 36% of the reward's rise"):
        share(path(lambda x, seed: 0.0), {None: nothing})
    with pytest.raises(NotComparable, match="does not rise on seed 2"):
        saved({None: RIVAL}, {None: RIVAL}, START, RISES | {2: (0.0, 0.0)}, "qa")


def test_where_no_tax_is_paid_for_sure_there_is_no_share():
    assert share(path(lambda x, seed: 0.0), {None: path(lambda x, seed: (0.3 + COSTS[seed]) * x)}).is_taxed
    signs = path(lambda x, seed: {0: 0.2, 1: -0.2, 2: 0.1}[seed] * x)
    assert not share(path(lambda x, seed: 0.0), {None: signs}).is_taxed


def test_each_level_takes_the_rate_that_is_best_there_on_the_other_seeds():
    """At rate 1 nothing is lost below .7 of the rise and all above; at the own rate half of it everywhere."""
    steep = path(lambda x, seed: float(x > 0.705), np.linspace(0, 1, 101))
    even = path(lambda x, seed: 0.5, np.linspace(0, 1, 101))
    found = share({None: even, 1.0: steep}, {None: path(lambda x, seed: 1.0, np.linspace(0, 1, 101))})
    assert found.rates[0] == Counter({1.0: 3 * 21, None: 3 * 25})  # .50 to .70, .71 to .95
    assert found.kept == pytest.approx([(21 * 1 + 25 * 0.5) / 46] * 3)
    assert found.inflation == 1 + 3 / 2  # all seeds took the same, which is no proof


def test_a_seed_has_no_say_in_what_it_is_told_at():
    rates = {
        None: {0: 0.0, 1: 0.9, 2: 0.6},
        1.0: {0: 0.9, 1: 0.5, 2: 0.9},
    }  # losses: seed 0 would take None, seed 1 the other
    models = {lr: path(lambda x, seed, lost=lost: lost[seed]) for lr, lost in rates.items()}
    found = share(models, {None: path(lambda x, seed: 1.0)})
    # on the two others None and 1.0 lose 1.5 and 1.4 for seed 0, .6 and 1.8 for seed 1, .9 and 1.4 for seed 2
    assert found.kept == pytest.approx([0.1, 0.1, 0.4])
    alone = {lr: models[lr][models[lr]["seed"] == 0] for lr in models}
    one = share(alone, {None: path(lambda x, seed: 1.0, seeds=[0])})
    assert (one.kept, one.inflation) == (pytest.approx([1.0]), 1.0)  # a single seed chooses for itself


def test_rates_that_do_not_reach_a_level_on_every_seed_are_no_candidates():
    values = np.array([[[3.0, np.nan], [3.0, 3.0]], [[1.0, 1.0], [1.0, 1.0]]])
    chosen, best = chosen_elsewhere(values)
    assert chosen.tolist() == [[3.0, 1.0], [3.0, 1.0]] and best.tolist() == [[0, 1], [0, 1]]
    assert np.isnan(chosen_elsewhere(values[:1])[0][:, 1]).all()


def steps_of(first, second, ends=(0.5, 0.95)):
    """Seed -> the steps that both paths are compared by."""
    both = ({None: one} if isinstance(one, pd.DataFrame) else one for one in (first, second))
    pair = equally_dense(*both, RISES, ends)
    return [{seed: sorted(set(of["step"])) for seed, of in models[None].groupby("seed")} for models in pair]


FINE, COARSE = (
    path(lambda x, seed: x, np.array(shares)) for shares in (np.linspace(0, 1, 11), [0.0, 0.22, 0.58, 0.99])
)
LOW, FEW = (path(lambda x, seed: x, np.array(shares)) for shares in ([0.1, 0.6], np.linspace(0, 1, 4)))
HIGH = path(lambda x, seed: x, np.array([0.0, 0.55, 0.6, 0.7, 0.8, 0.9, 1.0]))
MORE_BELOW = path(lambda x, seed: x, np.array([0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.93]))


@pytest.mark.parametrize(
    ("finer", "other", "ends", "kept"),
    [
        (FINE, COARSE, (0.5, 0.95), [0, 2, 6, 10]),
        (FINE, {None: FEW, 1.0: COARSE}, (0.5, 0.95), [0, 3, 7, 10]),  # both rates have one in the range: the first
        (FINE, LOW, (0.5, 0.95), [1, 6, 10]),  # 10 for the highest level
        (FINE, LOW, (0.5, 0.6), [1, 6]),
        (HIGH, MORE_BELOW, (0.55, 0.9), [0, 2, 5]),  # of .55 and .6 one has a counterpart, .6
        (HIGH, {None: HIGH}, (0.5, 0.95), [0, 1, 2, 3, 4, 5, 6]),
    ],
)
def test_the_finer_path_is_compared_by_the_models_nearest_in_reward_to_the_others(finer, other, ends, kept):
    for place, pair in enumerate(((finer, other), (other, finer))):
        assert list(steps_of(*pair, ends)[place].values()) == [kept] * 3


def test_behind_its_peak_a_path_counts_for_nothing():
    risen = np.array([0.0, 0.2, 0.4, 0.7, 1.0, 0.9, 0.8, 0.7, 0.6])
    falling = pd.concat([path(lambda x, seed: x, risen, [0]), path(lambda x, seed: x, np.linspace(0, 1, 9), [1, 2])])
    first, second = steps_of(FINE, falling)
    assert first[0] == [0, 2, 4, 7, 10] and second[0] == [0, 1, 2, 3, 4]


@given(st.sets(st.integers(1, 19), min_size=1), st.integers(2, 6))
@settings(max_examples=50)
def test_a_path_against_some_of_its_own_models_is_level(places, power):
    """Its own chords: where the finer counted by all of its models, or by as many at other places, it would seem better, or worse."""
    shares = np.array([0, *np.sort(np.random.default_rng(power).random(19)), 1])  # none at an end of the levels
    whole, some = (
        path(lambda x, seed: COSTS[seed] * x**power, shares[found]) for found in (range(21), sorted({0, 20, *places}))
    )
    for one, other in ((whole, some), (some, whole)):
        assert share(one, {None: other}).kept == pytest.approx([0, 0, 0], abs=1e-12)


def test_paths_of_one_front_are_level_though_each_is_finer_in_a_part_of_it():
    """Regression averaging by layer has nothing below .8 of the rise and much above; its chord may not be held against plain averaging's curve."""
    above, even = (
        path(lambda x, seed: COSTS[seed] * x**3, np.array(shares))
        for shares in ([0, 0.81, 0.84, 0.88, 0.92, 0.95, 0.98, 1], np.linspace(0, 1, 11))
    )
    one, other = share(above, {None: even}).kept, share(even, {None: above}).kept
    assert one == pytest.approx(-other)
    assert one == pytest.approx([0, 0, 0], abs=0.01)


def test_a_path_that_folds_keeps_all_levels():
    """Nearest to the other's are its models at .97 and, behind it, .2: a path that is cut where it begins."""
    folds = path(lambda x, seed: COSTS[seed] * x, np.array([0.0, 0.4, 0.6, 0.8, 0.97, 0.2, 1.0]))
    found = share(folds, {None: path(lambda x, seed: 1.0, np.array([0.2, 0.96]))})
    assert found.levels == (0.5, 0.95)
    assert found.kept == pytest.approx([1 - cost * LEVELS.mean() for cost in COSTS.values()])


def test_a_rate_that_ends_early_reaches_no_less_than_before():
    """Its last model, at .8, is nearest to none of the other path's, whose next are at .5 and 1."""
    short, rest = path(lambda x, seed: 0.0, np.linspace(0, 0.8, 41)), path(lambda x, seed: x)
    found = share({None: rest, 1.0: short}, {None: path(lambda x, seed: 1.0, np.array([0.0, 0.5, 1.0]))})
    assert found.levels == (0.5, 0.95) and found.rates[0] == Counter({1.0: 3 * 31, None: 3 * 15})


def test_the_rise_is_from_theta_0_to_the_highest_on_the_way_at_the_presets_own_rate():
    models = [
        ("theta_0", None, 1.0),
        ("early-stopping", None, 3.0),
        ("theta", None, 2.5),
        ("early-stopping", 1e-3, 9.0),
    ]
    rows = pd.DataFrame(models, columns=["method", "lr", "value"]).assign(seed=4, metric="reward")
    assert rises(rows) == {4: (1.0, 2.0)}
