"""Methods compared at equal reward, on rows whose answer is built in."""

import pandas as pd
import pytest

from llm.evidence import paths
from llm.evidence.compare import at_reward_of, contests, losses
from rsf_rows import core, write


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


def test_over_all_rewards_a_path_is_level_with_some_of_its_own_models(tmp_path):
    """Its chords alone would fall behind the whole of it."""
    rows = found_in(tmp_path, core(0), core(3))
    ma = paths.path(rows, "ma")
    some = ma[ma["step"].isin([0.0, 0.4, 1.0])]
    (contest,) = contests({"ma": ma, "some": some}, rows, everywhere=True)
    assert contest.found["reward", "bleu"].t.mean == pytest.approx(0, abs=1e-9)
    assert paths.gap(some, ma, "bleu").mean < -1


def test_losses_are_how_far_the_ends_lie_apart(tmp_path):
    rows = found_in(tmp_path, core(0), core(3))
    assert losses(rows)["bleu"] == pytest.approx(50)


def test_a_path_is_held_against_a_single_model_at_its_reward(tmp_path):
    rows = found_in(tmp_path, core(0), core(3))
    ma = paths.path(rows, "ma")
    far = better(ma, 1.0).assign(value=lambda path: path["value"] + 9 * (path["metric"] == "reward"))
    found = {"ma": ma, "worse": better(ma, -2.0), "far": far}
    gain = at_reward_of("worse", 0.6, found, rows, ["bleu"]).found["reward", "bleu"]
    assert (gain.t.mean, gain.levels) == (pytest.approx(2), (pytest.approx(0.6), pytest.approx(0.6)))
    assert at_reward_of("far", 0.6, found, rows, ["bleu"]).found["reward", "bleu"] is None
