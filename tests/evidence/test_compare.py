"""Methods compared at equal reward, on rows whose answer is built in."""

import pandas as pd
import pytest

from llm.evidence import paths
from llm.evidence.compare import contests, lift, losses
from rsf_rows import core, model, rows_of, write


def found_in(folder, *parts):
    return paths.load(write(folder, [row for part in parts for row in part]))


def better(path, bleu):
    """A path whose translation is better by a number."""
    return path.assign(value=path["value"] + bleu * (path["metric"] == "bleu"))


def test_a_gain_is_what_was_built_in_over_the_upper_half_of_the_rise(tmp_path):
    rows = found_in(tmp_path, core(0), core(3))
    ma = paths.path(rows, "ma")
    worse, same = better(ma[ma["seed"] == 0], -1.0), better(ma[ma["seed"] == 3], -4.0)
    (contest,) = contests({"ma": ma, "worse": pd.concat([worse, same])}, rows)
    gain = contest.found["reward", "bleu"]
    assert gain.t.per_seed == pytest.approx([-1, -4])
    assert gain.levels == (0.5, 0.95)
    assert contest.found["reward", "qa"].t.mean == pytest.approx(0)


def test_who_stops_early_is_compared_only_as_far_as_it_goes_and_not_told_as_beaten(tmp_path):
    rows = found_in(tmp_path, core(0), core(3))
    ma = paths.path(rows, "ma")  # whose reward rises as alpha does
    short = better(ma[ma["step"] <= 0.6], 2.0)
    (contest,) = contests({"ma": ma, "short": short}, rows)
    gain = contest.found["reward", "bleu"]
    assert gain.levels == (0.5, 0.6)
    assert gain.t.mean == pytest.approx(2)
    begun = better(ma[ma["step"] <= 0.4], 2.0)
    (contest,) = contests({"ma": ma, "begun": begun}, rows)
    assert contest.found["reward", "bleu"] is None
    (contest,) = contests({"ma": ma, "begun": begun}, rows, everywhere=True)
    assert contest.found["reward", "bleu"].t.mean == pytest.approx(2)
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
