"""AMA with other numbers of samples and with its regulariser: what varies, and nothing else."""

import json

import numpy as np
import pytest

from llm.averaging.ama.parameterise import middle_weights
from llm.config import AveragingEntry, load_sweep
from llm.errors import UserError
from llm.evidence.rows import setting_key, write_rows
from llm.grouping import Grouping, assign
from llm.stages import adapt
from llm.stages.adapt import ratios_of
from llm.stages.average import measure_averages
from microcosm_runs import METRICS, command, evaluator, far_stepping, smoke_run, theta

PLAIN = load_sweep("core").entry("ama")
(SWEPT,) = load_sweep("ama-samples").averaging


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """More and larger steps, so that ratios go somewhere."""
    preset = far_stepping()
    return smoke_run(
        tmp_path_factory.mktemp("out"),
        preset=preset.model_copy(update={"ama": preset.ama.model_copy(update={"steps": 12, "lr": 0.3})}),
    )


@pytest.fixture(scope="module")
def folder(run):
    return run.folder / "ama/rsf/own"


def varied(**changes) -> AveragingEntry:
    options = {key: changes.pop(key) for key in ("samples", "regulariser") if key in changes}
    return PLAIN.model_copy(update={"label": "x", "alphas": (0.4,), "options": options} | changes)


def only(found):
    ((named, alphas),) = found
    return named, list(alphas.values())


@pytest.fixture(scope="module")
def plain(run, folder):
    return only(ratios_of(run, theta(run), varied(label="plain"), folder))[1]


def test_the_presets_number_of_samples_and_no_penalty_are_plain_ama(run, folder, plain):
    named, alphas = only(
        ratios_of(run, theta(run), varied(label="plain", samples=(run.preset.ama.draw,), regulariser=(0.0,)), folder)
    )
    assert named == {"alpha": 0.4, "samples": run.preset.ama.draw, "regulariser": 0.0}
    assert alphas == plain


def test_the_samples_are_the_first_of_those_kept_and_all_is_their_number(run, folder, monkeypatch, tmp_path):
    seen, real = [], adapt._batches
    monkeypatch.setattr(adapt, "_batches", lambda rows, *rest: seen.append(rows) or real(rows, *rest))
    found = ratios_of(run, theta(run), varied(samples=(50, "all")), folder)
    kept = json.loads((folder / "kept.json").read_text())["found"]
    assert [named for named, _ in found] == [
        {"alpha": 0.4, "samples": 50},
        {"alpha": 0.4, "samples": run.preset.ama.keep},
    ]
    assert seen == [kept[:50], kept]
    assert found[0][1] != found[1][1]


def test_a_stronger_penalty_keeps_the_ratios_nearer_to_their_mean(run, folder, plain):
    found = ratios_of(run, theta(run), varied(label="plain", regulariser=(0.0, 1e-3, 1e3)), folder)
    spread = [np.abs(np.array(list(alphas.values())) - 0.4).max() for _, alphas in found]
    assert list(found[0][1].values()) == plain
    assert spread[2] < spread[0] / 2
    assert spread[1] != spread[0]


def test_ratios_are_found_anew_for_other_mean_ratios_and_groups(run, folder):
    one, two = (varied(label="changed").model_copy(update={"alphas": alphas}) for alphas in ((0.4,), (0.4, 0.7)))
    found = [ratios_of(run, theta(run), entry, folder) for entry in (one, two)]
    assert [[named["alpha"] for named, _ in of] for of in found] == [[0.4], [0.4, 0.7]]
    assert found[0][0] == found[1][0]
    other = two.model_copy(update={"grouping": two.grouping.model_copy(update={"parts": 2})})
    assert len(ratios_of(run, theta(run), other, folder)[0][1]) == 2


def test_every_model_of_the_sweep_has_its_rows_and_its_ratios_are_kept(run, folder, monkeypatch, tmp_path):
    one = SWEPT.model_copy(update={"alphas": (0.6,)})
    rows = measure_averages(evaluator(run), theta(run), "rsf", one, None, ratios_of(run, theta(run), one, folder))
    write_rows(tmp_path / "rows.jsonl", rows)
    named = {(row["setting"]["alpha"], row["setting"]["samples"], row["setting"]["regulariser"]) for row in rows}
    assert named == {(a, n, r) for a in (0.6,) for n in (50, 200, 204) for r in (0.0, 1e-4, 1e-3)}
    assert len(rows) == len(named) * len(METRICS)
    assert {row["method"] for row in rows} == {"ama"}
    monkeypatch.setattr(adapt, "find_ratios", pytest.fail)
    again = ratios_of(run, theta(run), one, folder)
    assert {setting_key(named) for named, _ in again} == {
        setting_key({key: row["setting"][key] for key in ("alpha", "samples", "regulariser")}) for row in rows
    }


def test_more_samples_than_are_kept_are_refused(run, folder):
    with pytest.raises(
        UserError, match="samples = 1000 is not allowed; allowed are 1 to 204, the number of samples kept, and all"
    ):
        ratios_of(run, theta(run), varied(samples=(50, 1000)), folder)


def test_the_command_measures_the_entry(run, monkeypatch, tmp_path):
    preset, sweep = tmp_path / "preset.yaml", tmp_path / "sweep.yaml"
    preset.write_text(run.preset.model_dump_json())
    few = varied(label="few", samples=(3,), regulariser=(0.5,))
    sweep.write_text(load_sweep("ama-samples").model_copy(update={"averaging": (few,)}).model_dump_json())
    assert command(monkeypatch, "sweep", sweep, "--entry", "few", "--preset", preset, "--out", run.out) == 0
    rows = [json.loads(line) for line in (run.folder / "rows/rsf/own/few.jsonl").read_text().splitlines()]
    assert {(row["setting"]["samples"], row["setting"]["regulariser"]) for row in rows} == {(3, 0.5)}


def test_the_stronger_coefficient_weighs_on_six_layers_as_the_authors_does_on_theirs():
    """On the middle part, seven linear layers a transformer layer."""

    def middle(layers, coefficient):
        modules = [f"self_attn.{name}_proj" for name in "qkvo"] + [
            f"mlp.{name}_proj" for name in ("gate", "up", "down")
        ]
        names = [f"model.layers.{i}.{module}.weight" for i in range(layers) for module in modules]
        return middle_weights(assign(names, Grouping(parts=3)), dict.fromkeys(names, 2), coefficient)[1].item()

    authors, here = middle(26, SWEPT.options["regulariser"][1]), middle(6, SWEPT.options["regulariser"][2])
    assert authors == pytest.approx(0.061, abs=0.001)
    assert here == pytest.approx(0.0525)
