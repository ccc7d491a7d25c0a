"""The table of what was found: its numbers are those of the rows, its choices follow its rule."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from llm.errors import UserError
from llm.evidence import paths
from llm.evidence.claims.ledger import ledger
from llm.evidence.frames import abilities
from llm.evidence.summary import CELL, NAME, summary
from llm.files import marks
from rsf_rows import core, model, rows_of, write

REPOSITORY = Path(__file__).parents[2]


def cells(text, name):
    """The five cells of the line with that name."""
    (line,) = (line for line in text.splitlines() if line[:NAME].strip() == name)
    line = line.ljust(NAME + 5 * CELL)
    return [line[start : start + CELL].strip() for start in range(NAME, NAME + 5 * CELL, CELL)]


def shifted(rows, shift):
    return [row | {"value": row["value"] + shift * (row["metric"] == "qa")} for row in rows]


def test_numbers_are_means_and_standard_errors_over_seeds(tmp_path):
    rows = core(0) + shifted(core(1), 0.02) + shifted(core(2), 0.07)
    table = summary(write(tmp_path, rows))
    error = np.std([0, 0.02, 0.07], ddof=1) / np.sqrt(3)
    assert "3 seeds; value +- standard error over seeds" in table
    assert f"{0.9 + 0.03:.3f} +- {error:.3f}" in cells(table, "theta_0, before RLHF")
    assert f"{0.45 + 0.03:.3f} +- {error:.3f}" in cells(table, "theta, 3 iterations")
    assert cells(table, "chance")[:2] == ["-", "-"]


def test_runs_may_end_at_different_iterations(tmp_path):
    early = [row for row in core(1) if row["setting"] != {"iteration": 3}]
    table = summary(write(tmp_path, core(0) + early))
    assert "theta, 2-3 iterations" in table and "early stopping: 2 it." in table  # 3 is there once only
    assert "no model that every seed has" not in table  # 2 has .98 of the rise


def test_where_no_iteration_of_all_seeds_has_the_reward_the_table_says_so(tmp_path):
    early = [row for row in core(1) if row["setting"] not in ({"iteration": 2}, {"iteration": 3})]
    for row in early:
        if row["method"] == "theta" and row["metric"] == "reward":
            row["value"] = 12.0
    table = summary(write(tmp_path, core(0) + early))
    assert "early stopping: 1 it." in table
    assert "early stopping: no model that every seed has keeps that much, so that of the highest reward" in table


def test_with_one_seed_errors_are_over_items(tmp_path):
    table = summary(write(tmp_path, core(4)))
    assert "1 seed; value +- standard error over items" in table
    assert cells(table, "theta_0, before RLHF")[0] == "40.00 +- 0.10"
    assert cells(table, "theta_0, before RLHF")[2] == "0.900 +- 0.020"


def test_the_best_of_a_method_keeps_95_per_cent_of_the_rise_and_then_the_most_ability(tmp_path):
    rows = [row for seed in range(3) for row in core(seed)]
    table = summary(write(tmp_path / "coarse", rows))
    assert "early stopping: 2 it." in table  # 98 % of the rise; iteration 1 has half of it
    assert "averaging: alpha 1" in table  # 0.8 has 80 % of the rise
    almost = {seed: model(0.96, kept=0.8, offset=10 * seed) for seed in range(3)}
    fine = [row for seed in almost for row in rows_of(seed, "ma", {"alpha": 0.96}, almost[seed])]
    assert "averaging: alpha 0.96" in summary(write(tmp_path / "fine", rows + fine))


def test_findings_are_paired_intervals(tmp_path):
    rows = [row for seed, cost in enumerate((0.4, 0.5, 0.6)) for row in core(seed, cost)]
    table = summary(write(tmp_path, rows))
    half = 4.303 * np.std([40, 50, 60], ddof=1) / np.sqrt(3)
    assert cells(table, "theta - theta_0")[0] == "+4.00..+4.00"  # the seeds' offsets of 10 do not count
    assert f"{-50 - half:+.1f}..{-50 + half:+.1f}" in cells(table, "theta - theta_0")
    gap = cells(table, "averaging - early")
    assert gap[:2] == ["-", "-"]
    assert all(cell.startswith("+") for cell in gap[2:])


def test_one_seed_has_a_gap_but_no_interval_for_it(tmp_path):
    gap = cells(summary(write(tmp_path, core(0))), "averaging - early")
    assert len(gap) == 5
    assert gap[4].startswith("+")
    assert ".." not in gap[4]


def test_the_table_is_at_most_100_columns_wide_whatever_the_numbers(tmp_path):
    rows = [row for seed in (0, 150, 999) for row in core(seed)]
    low = [row | {"value": -abs(row["value"])} for row in rows]
    for name, chosen in (("high", rows), ("low", low)):
        assert max(map(len, summary(write(tmp_path / name, chosen)).splitlines())) <= 100


def test_a_reward_that_never_rises_gives_a_table_too(tmp_path):
    rows = [
        row | {"value": row["value"] * (-1 if row["metric"] == "reward" else 1)}
        for seed in range(3)
        for row in core(seed)
    ]
    assert cells(summary(write(tmp_path, rows)), "averaging - early") == ["-"] * 5


@pytest.mark.parametrize(
    ("kept", "said"),
    [
        (lambda row: row["metric"] != "reward", "has no rows of metric reward, by which models are chosen"),
        (
            lambda row: row["metric"] == "reward",
            "there are no rows of an ability; some of qa, reading_f1, bleu must be",
        ),
        (lambda row: row["method"] != "ma", "no rows of ma at the preset's own learning rate"),
    ],
)
def test_rows_that_make_no_table_are_refused(tmp_path, kept, said):
    with pytest.raises(UserError, match=said):
        summary(write(tmp_path, [row for row in core(0) if kept(row)]))


def test_numbers_whose_squares_are_infinite_are_refused(tmp_path):
    rows = [row | ({"value": -1e200} if row["metric"] == "reward" else {}) for row in core(0)]
    with pytest.raises(UserError, match=r"has value = 1e\+200; allowed are numbers up to 1e\+100"):
        summary(write(tmp_path, rows))


def test_a_folder_without_rows_is_refused(tmp_path):
    with pytest.raises(UserError, match="holds no rows"):
        summary(tmp_path)


def test_the_command_prints_the_table_and_needs_no_torch(tmp_path):
    folder = write(tmp_path, core(0))
    code = f"import sys, llm.evidence.summary; llm.evidence.summary.summary({str(folder)!r}); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    printed = subprocess.run(
        [sys.executable, "-m", "llm", "table", str(folder)], capture_output=True, text=True, check=True
    ).stdout
    assert printed == summary(folder) + "\n"


@pytest.mark.parametrize("preset", ["microcosm", "microcosm-1", "smollm2-135m-gpu"])
def test_the_tables_of_the_results_page_are_those_of_the_committed_rows(preset):
    text = (REPOSITORY / "docs" / "results.md").read_text()
    begin, end = marks(f"table of {preset}")
    remake = f"python -m llm table results/{preset} --into docs/results.md"
    assert f"{begin}\n```\n{summary(REPOSITORY / 'results' / preset)}\n```\n{end}" in text, remake


def test_abilities_are_those_that_were_measured_and_a_log_likelihood_is_in_no_mean(tmp_path):
    rows = [
        row | ({"metric": "log_likelihood", "value": row["value"] / 10 - 13} if row["metric"] == "bleu" else {})
        for seed in range(3)
        for row in core(seed)
    ]
    loaded = paths.load(write(tmp_path, rows))
    assert abilities(loaded) == ("qa", "reading_f1", "log_likelihood")
    start = paths.theta_0(loaded).set_index(["seed", "metric"])["value"]
    assert start[0, "mean_ability"] == pytest.approx((start[0, "qa"] + start[0, "reading_f1"]) / 2)
    table = summary(tmp_path)
    assert "BLEU" not in table
    assert cells(table, "theta_0, before RLHF")[4].startswith(f"{start[0, 'log_likelihood']:.1f}")


def test_a_preset_without_a_gold_reward_has_a_table_and_a_ledger(tmp_path):
    rows = [row for seed in range(3) for row in core(seed) if row["metric"] != "gold_reward"]
    table = summary(write(tmp_path, rows))
    assert "gold" not in table
    assert cells(table, "theta_0, before RLHF")[1].startswith("0.900")
    assert next(entry.claim.name for entry in ledger(tmp_path, tmp_path).entries) == "The tax"


def test_a_preset_with_other_abilities_has_a_ledger_too(tmp_path):
    rows = [row for seed in range(3) for row in core(seed) if row["metric"] != "bleu"]
    assert len(ledger(write(tmp_path, rows), tmp_path).entries) > 10
