"""Whether sweeps span their range, on rows whose every number is known."""

import math
from pathlib import Path

import pytest

import claim_rows
from llm.errors import UserError
from llm.evidence.coverage import spans, table
from microcosm_runs import command
from rsf_rows import ERRORS, core, model, rows_of, write

ERROR = math.sqrt(2 * 2 * ERRORS["reward"] ** 2) / 2  # of a difference, a mean over two seeds


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    sweeps = ("core", "mitigations", "mitigation-rates", "algorithms", "kl-penalty")
    return claim_rows.write(tmp_path_factory.mktemp("microcosm"), {0: 0.5, 1: 0.5}, sweeps)


@pytest.fixture(scope="module")
def found(folder):
    return {(span.rlhf, span.family): span for span in spans(folder)}


def test_each_method_has_its_two_ends_at_its_own_rate(found):
    """Rewards rise evenly over the strengths, from theta_0's 0 to 3.2 without the method."""
    span = found["rsf", "l2"]
    assert (span.mildest.setting, span.strongest.setting, span.seeds) == ("strength 0.01", "strength 1", 2)
    assert (span.mildest.difference, span.mildest.share) == pytest.approx((-3.2 / 4, -1 / 4))
    assert (span.strongest.difference, span.strongest.share) == pytest.approx((3.2 / 4, 1 / 4))
    assert span.mildest.stderr == span.strongest.stderr == pytest.approx(ERROR)


def test_lora_has_its_ends_for_each_of_its_targets(found):
    for family in ("lora-mlp", "lora-mlp-attention"):
        span = found["rsf", family]
        assert span.mildest.setting == "rank 16, lora_alpha 128"
        assert span.strongest.setting == "rank 16, lora_alpha 8"
        assert span.strongest.difference == pytest.approx(3.2 / 4)


def test_ppos_penalty_is_held_against_theta_itself(found):
    span = found["ppo", "kl"]
    assert (span.mildest.reference, span.mildest.setting) == ("theta", "strength 0.05")
    assert span.mildest.difference == pytest.approx(3.6 - 4.0)
    assert span.strongest.difference == pytest.approx(1.68)
    assert span.strongest.share == pytest.approx(0.42)


def test_replay_is_not_said_to_aim_at_theta_0(found):
    assert not found["rsf", "er"].strongest.aimed_at
    assert all(span.mildest.aimed_at for span in found.values())
    assert sum(not span.strongest.aimed_at for span in found.values()) == 1


@pytest.mark.parametrize(("rise", "noisy"), [(0.0, True), (0.068, True), (0.071, False), (-0.071, False)])
def test_noise_is_two_standard_errors_either_way(tmp_path, rise, noisy):
    """One seed: 1.96 * 0.1 * sqrt(2) = 0.2772 is 0.0693 of the rise by 4."""
    rows = core(0) + rows_of(0, "distilled", {}, model(1, 0.5)) + rows_of(0, "l1", {"strength": 2.0}, model(rise, 1))
    (span,) = spans(write(tmp_path, rows))
    assert span.strongest.within_noise == noisy
    assert not span.mildest.within_noise
    assert span.strongest.setting == span.mildest.setting == "strength 2"


def test_a_range_of_nothing_has_no_share_of_it(tmp_path):
    rows = [row | {"value": 1.0} for row in core(0) + rows_of(0, "distilled", {}, model(1, 0.5))]
    (span,) = found = spans(
        write(tmp_path, rows + rows_of(0, "l1", {"strength": 2.0}, dict.fromkeys(model(1, 1), 1.0)))
    )
    assert math.isnan(span.mildest.share) and span.mildest.within_noise
    assert [line.split()[-3:] for line in table(found).splitlines()[-2:]] == [["-", "within", "noise"]] * 2


def test_the_table_says_all_of_it(folder, monkeypatch, capsys):
    assert command(monkeypatch, "span", folder) == 0
    said = capsys.readouterr().out
    assert said == table(spans(folder)) + "\n"
    lines = [line.split() for line in said.splitlines()]
    l1 = next(place for place, line in enumerate(lines) if line[:2] == ["rsf", "l1"])
    assert lines[l1] == "rsf l1 2 mildest strength 0.0002 distilled -0.800 +- 0.100 -25% not".split()
    assert lines[l1 + 1] == ["2", "strongest", "strength", "0.006", "theta_0", "+0.800", "+-", "0.100", "+25%", "not"]
    assert "not, nor meant to" in said
    assert "lr" not in said


def test_the_readme_of_the_sweeps_says_what_the_committed_rows_say():
    here = Path(__file__).resolve().parents[2]
    assert (
        table(spans(here / "results" / "microcosm-1")).rstrip() in (here / "llm" / "sweeps" / "README.md").read_text()
    )


def test_rows_without_a_mitigation_are_refused(tmp_path):
    with pytest.raises(
        UserError, match="has no rows of a mitigation; it must have some of l1, l2, kd, lora, sma, er, kl"
    ):
        spans(write(tmp_path, core(0)))
    rows = core(0) + rows_of(0, "l1", {"strength": 2.0}, model(0.5, 1))
    with pytest.raises(UserError, match="l1, seed = 0 has rows, but distilled, an end of its path, has none"):
        spans(write(tmp_path / "half", rows))
