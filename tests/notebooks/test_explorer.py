"""What the front explorer holds, against the rows read line by line; `make site-test` opens the page itself."""

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

import browser
import made_rows
from drawing import style
from drawing.explorer.page import within_html
from drawing.explorer.rows import MEAN, everything, in_words, rounded
from llm.errors import UserError

SWEEPS = ("core", "learning-rates", "mitigations", "algorithms")


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = made_rows.write(tmp_path_factory.mktemp("results"), (0, 2), SWEEPS)
    (folder / "replies-seed2.json").write_text('{"alphas": [0.0]}')
    return folder.parent


@pytest.fixture(scope="module")
def held(results):
    return everything(results)


@pytest.fixture(scope="module")
def rows(results):
    return [json.loads(line) for file in results.rglob("*.jsonl") for line in file.open()]


def algorithm(held, name):
    (preset,) = held["presets"]
    return next(one for one in preset["algorithms"] if one["name"] == name)


def family(held, rlhf, name, lr=None):
    return next(one for one in algorithm(held, rlhf)["families"] if (one["name"], one["lr"]) == (name, lr))


def number(held, rlhf, model, metric):
    return model["values"][algorithm(held, rlhf)["metrics"].index(metric)]


@pytest.mark.parametrize(("rlhf", "lr"), [("rsf", None), ("rsf", 1e-3), ("dpo", None)])
@pytest.mark.parametrize("metric", ["reward", "gold_reward", "bleu", "qa", "win_rate"])
def test_values_of_single_seeds_are_the_rows(held, rows, rlhf, lr, metric):
    wanted = {
        (row["seed"], row["setting"]["alpha"]): [rounded(row["value"], 5), rounded(row["stderr"], 2)]
        for row in rows
        if (row["rlhf"], row["method"], row["metric"], row["setting"].get("lr")) == (rlhf, "ma", metric, lr)
        and 0 < row["setting"]["alpha"] < 1  # the path's ends are theta_0 and theta
    }
    models = [model for model in family(held, rlhf, "ma", lr)["models"] if model["seed"] != MEAN and "end" not in model]
    assert {(m["seed"], m["alpha"]): number(held, rlhf, m, metric) for m in models} == wanted
    assert len(wanted) == 2 * len({alpha for _, alpha in wanted}) > 4


def test_a_path_begins_and_ends_with_theta_0_and_theta(held, rows):
    ends = [model for model in family(held, "rsf", "ma")["models"] if "end" in model and model["seed"] == 2]
    assert [(model["alpha"], model["end"]) for model in ends] == [
        (0, "theta_0 (before RLHF)"),
        (1, "theta (after RLHF)"),
    ]
    for model, method in zip(ends, ("theta_0", "theta"), strict=True):
        (row,) = (
            row
            for row in rows
            if (row["method"], row["metric"], row["seed"]) == (method, "bleu", 2)
            and row["rlhf"] in ("none", "rsf")
            and not row["setting"]
        )
        assert number(held, "rsf", model, "bleu")[0] == rounded(row["value"], 5)


def test_means_are_over_seeds_with_their_standard_error(held, rows):
    for model in family(held, "rsf", "early-stopping")["models"]:
        if model["seed"] == MEAN and "end" not in model:
            values = [
                row["value"]
                for row in rows
                if (row["rlhf"], row["method"], row["metric"]) == ("rsf", "early-stopping", "qa")
                and row["setting"] == {"iteration": model["step"]}
            ]
            assert len(values) == model["seeds"] == 2
            assert number(held, "rsf", model, "qa") == [rounded(statistics.mean(values), 5), None]  # no error from two


def test_every_row_of_a_model_is_there_and_looks_as_in_the_figures(held, rows):
    shown = {(one["name"], one["lr"]) for one in algorithm(held, "rsf")["families"]}
    assert {"theta_0", "theta", "early-stopping", "ma", "part-input", "ama", "l1", "lora-mlp"} <= {
        name for name, _ in shown
    }
    assert {lr for _, lr in shown} == {None} | {row["setting"]["lr"] for row in rows if "lr" in row["setting"]}
    for one in algorithm(held, "rsf")["families"]:
        assert one["colour"] == style.look(one["name"]).colour
        assert "$" not in one["label"] and "\\" not in one["label"]
    assert {row["metric"] for row in rows} - {"pair_accuracy", "gold_correlation"} == set(held["metrics"]) - {
        "mean_ability"
    }
    assert held["presets"][0]["synthetic"] is True
    assert held["replies"] == [{"alphas": [0.0]}]


def test_chance_is_the_mean_over_seeds_and_each_seeds(held, rows):
    each = [
        row["value"]
        for row in sorted(rows, key=lambda row: row["seed"])
        if (row["method"], row["metric"]) == ("chance", "reading_f1")
    ]
    wanted = [rounded(value, 5) for value in (statistics.mean(each), *each)]
    assert algorithm(held, "rsf")["chance"]["reading_f1"] == wanted


def test_the_committed_replies_have_one_for_each_ratio_and_change_along_it():
    files = list(style.ROOT.glob("results/*/replies-seed*.json"))
    assert files
    for file in files:
        found = json.loads(file.read_text())
        assert found["made_by"].startswith("alignment-tax show --averaged") and found["version"]
        assert all(len(one["replies"]) == len(found["alphas"]) == 11 for one in found["asked"])
        assert any(one["replies"][0]["reply"] != one["replies"][-1]["reply"] for one in found["asked"])


def test_a_folder_without_rows_is_refused_in_one_sentence(tmp_path):
    with pytest.raises(
        UserError, match="results: .* holds no .jsonl file; give a folder with a folder of rows for each preset"
    ):
        everything(tmp_path)


def test_settings_are_told_in_words():
    assert (
        in_words({"alpha": 0.4, "parts": 3, "alphas": {"part2": 1.0, "part1": 0.8333}})
        == "alpha 0.4, parts 3, alphas: part1 0.833, part2 1"
    )
    assert in_words({}) == ""


@pytest.mark.parametrize(
    ("value", "short"),
    [(1.234567, 1.2346), (0.0, 0), (-123456.0, -123460), (5e-7, 5e-7), (float("nan"), None), (None, None)],
)
def test_numbers_are_rounded_to_significant_digits(value, short):
    assert rounded(value, 5) == short


def test_no_text_ends_the_script_element_that_holds_it():
    text = within_html({"prompt": "</script><b>"})
    assert "</" not in text
    assert json.loads(text) == {"prompt": "</script><b>"}
    with pytest.raises(ValueError, match="not JSON compliant"):
        within_html([float("nan")])


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ({}, "there is no browser"),
        ({"BROWSER": "no-such"}, "BROWSER = 'no-such' is no program, and there is no browser"),
    ],
)
def test_without_a_browser_the_sites_test_ends_in_one_sentence(named, said, tmp_path):
    environment = (
        {key: value for key, value in os.environ.items() if key != "BROWSER"} | {"PATH": str(tmp_path)} | named
    )
    done = subprocess.run([sys.executable, browser.__file__], env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == f"error: {said}; install one (apt-get install chromium), or name a Chromium by BROWSER\n"
    program = tmp_path / "chromium"
    program.touch(0o755)
    done = subprocess.run([sys.executable, browser.__file__], env=environment, capture_output=True, text=True)
    assert done.stdout == f"The browser: {program}\n"
    assert Path(browser.__file__).name in (Path(browser.__file__).parents[2] / "Makefile").read_text()
