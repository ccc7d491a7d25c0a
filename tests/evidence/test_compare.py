"""Methods compared at equal reward, on rows whose answer is built in."""

import numpy as np
import pytest

from llm.evidence import paths
from llm.evidence.compare import contests, lift, losses
from rsf_rows import core, model, rows_of, write


def found_in(folder, *parts):
    return paths.load(write(folder, [row for part in parts for row in part]))


def test_a_gain_is_the_mean_difference_over_the_upper_half_of_the_rise(tmp_path):
    # early stopping keeps 1 - rise / 2 of 100; MA 1 - rise^2 / 2, straight between the fifths
    rows = found_in(tmp_path, core(0), core(3))
    (contest,) = contests({name: paths.path(rows, name) for name in ("ma", "early-stopping")}, rows)
    gain = contest.found["reward", "bleu"]
    rise, fifths = np.arange(50, 96) / 100, np.linspace(0, 1, 6)
    averaged = np.interp(rise, fifths, 1 - fifths**2 / 2)
    assert gain.t.mean == pytest.approx(100 * np.mean(1 - rise / 2 - averaged), rel=1e-6)
    assert gain.levels == (0.5, 0.95)
    assert len(gain.t.per_seed) == 2


def test_who_stops_early_is_compared_only_as_far_as_it_goes(tmp_path):
    rows = found_in(tmp_path, core(0), core(3))
    stopping = paths.path(rows, "early-stopping")
    steps = sorted(set(stopping["step"]))
    short = stopping[stopping["step"] <= steps[-2]]
    rewards = short[short["metric"] == "reward"].groupby("seed")["value"]
    reach = ((rewards.max() - rewards.min()) / 4).min()
    (contest,) = contests({"ma": paths.path(rows, "ma"), "short": short}, rows)
    low, high = contest.found["reward", "bleu"].levels
    assert low == 0.5
    assert high <= reach < high + 0.011
    begun = stopping[stopping["step"] <= steps[1]]
    (contest,) = contests({"ma": paths.path(rows, "ma"), "begun": begun}, rows)
    assert contest.found["reward", "bleu"] is None
    (contest,) = contests({"ma": paths.path(rows, "ma"), "begun": begun}, rows, everywhere=True)
    assert contest.found["reward", "bleu"].levels is None


def test_losses_are_how_far_the_ends_lie_apart(tmp_path):
    rows = found_in(tmp_path, core(0), core(3))
    assert losses(rows)["bleu"] == pytest.approx(50)


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
