"""Areas of fronts as shares of an ideal, and single models against a path: by value, and by a second route."""

from itertools import product

import numpy as np
import pytest

from llm.errors import UserError
from llm.evidence import paths
from llm.evidence.compare import advantage
from llm.evidence.hypervolume import lift, volumes
from llm.evidence.intervals import bootstrap_seeds
from rsf_rows import core, model, rows_of, write


def found_in(folder, *parts):
    return paths.load(write(folder, [row for part in parts for row in part]))


def of(rows, chance=None, ability="bleu", reward="reward"):
    both = {name: paths.path(rows, name) for name in ("ma", "early-stopping")}
    return volumes(
        both, paths.theta_0(rows), rows[rows["method"] == "chance"] if chance is None else chance, ability, reward
    )


def test_shares_are_those_of_the_curves_integrated_by_hand(tmp_path):
    # early stopping keeps 1 - rise / 2 of 100; MA 1 - rise^2 / 2, straight between the fifths; the ideal is 4 by 100
    found = of(found_in(tmp_path, core(0), core(3)))
    fifths = np.linspace(0, 1, 6)
    for seed in (0, 3):
        assert found["early-stopping"][seed] == pytest.approx(0.75)
        assert found["ma"][seed] == pytest.approx(np.trapezoid(1 - fifths**2 / 2, fifths))


def test_a_share_is_what_random_points_of_the_ideal_hit(tmp_path):
    rows = found_in(tmp_path, core(0, cost=0.8))
    curve = paths.curves(paths.path(rows, "ma"), "reading_f1")[0]
    rng = np.random.default_rng(1)
    reward, ability = rng.uniform(0, 4, 40000), rng.uniform(0.4, 0.8, 40000)
    assert of(rows, ability="reading_f1")["ma"][0] == pytest.approx(np.mean(curve.at(reward) > ability), abs=0.01)


def test_abilities_below_chance_count_for_nothing(tmp_path):
    rows = found_in(tmp_path, core(0, cost=1.0))
    reading = of(rows, ability="reading_f1")["early-stopping"][0]
    assert reading == pytest.approx(0.25)  # a triangle from theta_0 to where the ability is at chance, half the way


def test_the_ideal_reward_is_the_highest_that_any_method_reaches(tmp_path):
    rows = found_in(tmp_path, core(0, cost=0.0))
    longer = paths.path(rows, "early-stopping")
    longer = longer.assign(value=np.where(longer["metric"] == "reward", 2 * longer["value"], longer["value"]))
    found = volumes(
        {"ma": paths.path(rows, "ma"), "more": longer}, paths.theta_0(rows), rows[rows["method"] == "chance"], "bleu"
    )
    assert (found["more"][0], found["ma"][0]) == pytest.approx((1, 0.5))


def test_without_a_rise_or_above_chance_there_is_no_ideal(tmp_path):
    rows = found_in(tmp_path, core(0))
    high = rows[rows["method"] == "chance"].assign(value=200.0)
    assert of(rows, chance=high) is None
    flat = paths.path(rows, "ma")
    flat = flat.assign(value=np.where(flat["metric"] == "reward", 0.0, flat["value"]))
    assert volumes({"ma": flat}, paths.theta_0(rows), rows[rows["method"] == "chance"], "bleu") is None


def test_paths_of_different_seeds_are_refused(tmp_path):
    rows = found_in(tmp_path, core(0), core(1))
    both = {"ma": paths.path(rows, "ma"), "few": paths.path(rows[rows["seed"] == 1], "ma")}
    with pytest.raises(UserError, match=r"few has seeds \[1\]; to be compared it must have \[0, 1\]"):
        volumes(both, paths.theta_0(rows), rows[rows["method"] == "chance"], "bleu")


def test_the_bootstrap_over_seeds_is_that_of_all_resamples():
    values = [0.1, 0.4, 1.0]
    found = bootstrap_seeds(values, np.random.default_rng(0))
    means = np.repeat([np.mean(drawn) for drawn in product(values, repeat=3)], 1000)
    assert [found.low, found.high] == pytest.approx(np.quantile(means, [0.025, 0.975]))
    assert found.mean == pytest.approx(0.5)
    many = np.random.default_rng(1).normal(2, 1, 400)
    wide = bootstrap_seeds(many, np.random.default_rng(0))
    half = 1.96 * many.std(ddof=1) / 20
    assert (wide.low, wide.high) == pytest.approx((many.mean() - half, many.mean() + half), abs=0.01)
    assert (
        bootstrap_seeds(many, np.random.default_rng(0)).low
        == wide.low
        != bootstrap_seeds(many, np.random.default_rng(5)).low
    )


def test_an_advantage_has_both_intervals_and_with_one_seed_none():
    both = advantage([0.1, 0.2, 0.3], np.random.default_rng(0))
    assert both.t.low < both.bootstrap.low < both.t.mean == pytest.approx(0.2)
    one = advantage([0.1], np.random.default_rng(0))
    assert np.isnan([one.t.low, one.t.high, one.bootstrap.low, one.bootstrap.high]).all()
    assert one.t.mean == one.bootstrap.mean == 0.1


def test_lift_is_taken_at_equal_reward_and_at_the_ends_beyond_them(tmp_path):
    pattern = {"parts": 3, "level": "part", "embeddings": "first", "norm": "mean", "head": "mean"}
    extra = rows_of(0, "ama", {"alpha": 0.5, "alphas": {"part1": 0.5}, **pattern}, model(0.4, 0.99))
    extra += rows_of(0, "ama", {"alpha": 0.9, "alphas": {"part1": 0.9}, **pattern}, model(1.5, 0.6))
    rows = found_in(tmp_path, core(0), extra)
    models = rows[rows["method"] == "ama"]
    # MA has 100 (1 - .4^2 / 2) = 92 at a rise of .4, and 50 at its end
    curves = paths.curves(paths.path(rows, "ma"), "bleu")
    assert lift(models[models["alpha"] == 0.5], curves, "bleu") == pytest.approx([99 - 92])
    assert lift(models[models["alpha"] == 0.9], curves, "bleu") == pytest.approx([60 - 50])
    assert lift(models, curves, "bleu") == pytest.approx([(7 + 10) / 2])
