"""Paths of models taken from result rows: their ends, their seeds, and what is compared."""

import math

import numpy as np
import pandas as pd
import pytest

import rsf_rows
from llm.errors import UserError
from llm.evidence import paths
from rsf_rows import core, sweep, trajectory, write


def load(tmp_path, *parts):
    return paths.load(write(tmp_path, [row for part in parts for row in part]))


def three_seeds(tmp_path):
    return load(tmp_path, *(core(seed) for seed in range(3)))


def numbers(path, metric, seed=0):
    chosen = path[(path["metric"] == metric) & (path["seed"] == seed)]
    return dict(zip(chosen["step"], chosen["value"], strict=True))


def test_early_stopping_begins_with_theta_0_and_averaging_ends_with_theta(tmp_path):
    rows = three_seeds(tmp_path)
    stopping, averaging = paths.path(rows, "early-stopping"), paths.path(rows, "ma")
    assert list(numbers(stopping, "reward", seed=1)) == [0, 1, 2, 3]
    assert numbers(stopping, "reward", seed=1) == {0: 10, 1: 12, 2: 10 + 4 * 0.98, 3: 14}
    assert list(numbers(averaging, "bleu")) == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1])
    assert numbers(averaging, "bleu")[0] == 100
    assert numbers(averaging, "bleu")[1] == 50
    assert set(averaging["method"]) == {"theta_0", "theta", "ma"}
    assert set(paths.path(rows, "part-input")["method"]) == {"part", "theta"}


def test_learning_rates_are_kept_apart_and_ordered_with_the_presets_own_among_them(tmp_path):
    rows = load(tmp_path, core(0), core(1), core(2), *(sweep(seed, 1e-3, 0.9) for seed in (1, 2)))
    assert paths.rates(rows, own=5e-4) == [None, 1e-3]
    assert paths.rates(rows, own=5e-3) == [1e-3, None]
    assert paths.rates(rows, own=1e-3) == [None]
    assert paths.seeds(paths.swept(rows)) == [1, 2]
    high = paths.path(rows, "ma", 1e-3)
    assert paths.seeds(high) == [1, 2]
    assert numbers(high, "bleu", seed=1) == pytest.approx({0: 100, 0.2: 96.4, 0.5: 77.5, 0.8: 42.4, 1: 10})
    assert numbers(paths.path(rows, "ma"), "bleu", seed=1)[1] == 50
    assert paths.swept(three_seeds(tmp_path / "none")).empty


def test_mean_ability_takes_bleu_in_0_to_1_and_carries_the_error_over_items(tmp_path):
    rows = load(tmp_path, core(0))
    start = rows[(rows["method"] == "theta_0") & (rows["metric"] == "mean_ability")]
    assert start["value"].tolist() == pytest.approx([(0.9 + 0.8 + 1.0) / 3])
    assert start["stderr"].tolist() == pytest.approx([math.sqrt(0.02**2 + 0.02**2 + 0.01**2) / 3])


def test_a_missing_row_is_named_and_other_experiments_are_left_out(tmp_path):
    rows = core(0) + core(1)
    gone = next(row for row in rows if (row["seed"], row["metric"], row["setting"]) == (1, "bleu", {"alpha": 0.4}))
    with pytest.raises(UserError, match=r'method = ma, setting = \{"alpha": 0.4\}, seed = 1, metric = bleu'):
        load(tmp_path / "gap", [row for row in rows if row is not gone])
    other = rsf_rows.rows_of(0, "ma", {"alpha": 0.4}, rsf_rows.model(1, 1), rlhf="dpo")
    other += rsf_rows.rows_of(0, "l2", {"strength": 0.1}, rsf_rows.model(1, 1))
    assert len(load(tmp_path / "more", rows, other)) == len(load(tmp_path / "plain", rows))


def test_rows_without_theta_0_or_of_two_presets_are_refused_in_one_sentence(tmp_path):
    with pytest.raises(UserError, match="has no rows of method theta_0; run the sweep `core` first"):
        load(tmp_path / "a", trajectory(0, {}, 0.5))
    with pytest.raises(UserError, match="holds rows of microcosm, smoke; give one"):
        load(tmp_path / "b", core(0), rsf_rows.rows_of(0, "theta", {}, rsf_rows.model(1, 1), preset="smoke"))
    with pytest.raises(UserError, match="no rows of ama at the preset's own learning rate"):
        paths.path(load(tmp_path / "c", core(0)), "ama")


def test_the_reward_is_saturated_from_the_first_step_within_two_per_cent_of_its_rise(tmp_path):
    stopping = paths.path(three_seeds(tmp_path), "early-stopping")
    assert paths.saturation(stopping) == dict.fromkeys(range(3), (1, 2))
    one_percent_less = stopping.copy()
    before = (one_percent_less["step"] == 2) & (one_percent_less["metric"] == "reward")
    one_percent_less.loc[before, "value"] -= 0.04
    assert paths.saturation(one_percent_less) == dict.fromkeys(range(3), (2, 3))
    flat = stopping.assign(value=np.where(stopping["metric"] == "reward", -stopping["step"], stopping["value"]))
    assert paths.saturation(flat) == dict.fromkeys(range(3), (0, 0))


def test_a_step_can_be_chosen_for_each_seed(tmp_path):
    stopping = paths.path(three_seeds(tmp_path), "early-stopping")
    chosen = paths.at(stopping, {0: 1.0, 1: 2.0, 2: 3.0})
    found = chosen[chosen["metric"] == "bleu"].sort_values("seed")["value"]
    assert found.tolist() == pytest.approx([75, 51, 50])


def test_differences_are_paired_so_that_offsets_between_seeds_do_not_count(tmp_path):
    rows = three_seeds(tmp_path)
    theta = paths.at(paths.path(rows, "ma"), 1)
    rise = paths.difference(theta, paths.theta_0(rows), "reward")
    assert (rise.mean, rise.low, rise.high) == pytest.approx((4, 4, 4))
    with pytest.raises(UserError, match=r"seeds \[0, 1, 2\] and \[0, 1\] must be the same"):
        paths.difference(theta, paths.theta_0(rows[rows["seed"] < 2]), "reward")


def test_the_error_over_items_is_that_of_the_mean_over_seeds(tmp_path):
    rows = three_seeds(tmp_path)
    theta = paths.at(paths.path(rows, "ma"), 1)
    errors = [
        paths.items_error(theta[theta["seed"] == seed], paths.theta_0(rows[rows["seed"] == seed]), "qa")
        for seed in range(3)
    ]
    assert errors == pytest.approx([0.02 * math.sqrt(2)] * 3)
    assert paths.items_error(theta, paths.theta_0(rows), "qa") == pytest.approx(0.02 * math.sqrt(2 / 3))


def test_with_one_seed_the_interval_is_over_items(tmp_path):
    rows = load(tmp_path, core(0))
    rise = paths.difference(paths.at(paths.path(rows, "ma"), 1), paths.theta_0(rows), "qa")
    assert rise.mean == pytest.approx(-0.45)
    assert rise.high - rise.mean == pytest.approx(1.96 * 0.02 * math.sqrt(2))
    assert rise.verdict == "below"


def test_curves_follow_the_step_as_a_number_and_begin_with_theta_0(tmp_path):
    rows = load(tmp_path, core(0), *(rsf_rows.rows_of(0, "early-stopping", {"iteration": 10}, rsf_rows.model(2, 0.1)),))
    (curve,) = paths.curves(paths.path(rows, "early-stopping"), "bleu").values()
    assert curve.rewards.tolist() == pytest.approx([0, 2, 3.92, 4, 8])
    assert curve.abilities.tolist() == pytest.approx([100, 75, 51, 50, 10])


def test_a_point_without_its_ability_or_with_two_is_named(tmp_path):
    averaging = paths.path(load(tmp_path, core(0)), "ma")
    gone = (averaging["metric"] == "qa") & (averaging["step"] == 0.4)
    with pytest.raises(UserError, match=r"seed 0, step 0.4 needs both reward and qa"):
        paths.curves(averaging[~gone], "qa")
    with pytest.raises(UserError, match=r"seed 0, step 0.4 has qa twice"):
        paths.curves(pd.concat([averaging, averaging[gone]]), "qa")


def test_the_gap_is_taken_at_equal_reward(tmp_path):
    rows = three_seeds(tmp_path)
    stopping, averaging = paths.path(rows, "early-stopping"), paths.path(rows, "ma")
    found = paths.gap(averaging, stopping, "bleu")
    # MA costs 50 alpha^2, early stopping 50 alpha: the mean of 50 (alpha - alpha^2) is 50 / 6, less a chord's
    # error of 50 h^2 / 6 with h = 0.2.
    assert found.mean == pytest.approx(50 / 6 * (1 - 0.2**2), rel=0.01)
    assert paths.gap(averaging, averaging, "bleu").mean == 0


def test_paths_without_rewards_in_common_have_no_gap(tmp_path):
    rows = load(tmp_path, core(0))
    never = paths.path(rows, "early-stopping")
    never = never.assign(value=np.where(never["metric"] == "reward", -never["step"], never["value"]))
    assert paths.gap(paths.path(rows, "ma"), never, "qa") is None


def test_the_best_rate_of_a_seed_is_chosen_on_the_others(tmp_path):
    parts = [core(seed) for seed in range(3)]
    parts += [sweep(seed, 1e-4, cost=0.0 if seed == 0 else 0.6) for seed in range(3)]
    parts += [sweep(seed, 1e-3, cost=0.9 if seed == 0 else 0.3) for seed in range(3)]
    rows = load(tmp_path, *parts)
    among = paths.rates(rows, own=5e-4)
    found, taken = paths.at_best_rates(rows, "early-stopping", among)
    assert taken == {0: 1e-3, 1: 1e-4, 2: 1e-4}
    for seed, lr in taken.items():
        own, wanted = (one[one["seed"] == seed] for one in (found, paths.path(rows, "early-stopping", lr)))
        assert own["value"].tolist() == wanted["value"].tolist()
    assert paths.at_best_rates(rows[rows["seed"] == 0], "early-stopping", among)[1] == {0: 1e-4}
    ends = [paths.at(found, step) for step in (1.0, 0.0)]
    plain, chosen = (paths.difference(*ends, "qa", inflation=of) for of in (1.0, 1 + 3 / 2))
    assert chosen.high - chosen.mean == pytest.approx((plain.high - plain.mean) * 2.5**0.5)


def test_the_area_is_that_above_theta_0s_reward_and_chance(tmp_path):
    rows = load(tmp_path, core(0, cost=0.0), core(1, cost=0.0))
    chance = (0.25 + 0.4 + 0.0) / 3
    expected = 4 * ((0.9 + 0.8 + 1.0) / 3 - chance)
    assert paths.areas(rows, paths.path(rows, "early-stopping")) == pytest.approx({0: expected, 1: expected})


def test_the_best_step_has_enough_reward_and_then_the_most_ability(tmp_path):
    averaging = paths.path(load(tmp_path, core(0)), "ma")
    assert paths.best_step(averaging, least_reward=3.0) == pytest.approx(0.8)
    assert paths.best_step(averaging, least_reward=0.0) == 0.0
    assert paths.best_step(averaging, least_reward=99.0) == 1.0
