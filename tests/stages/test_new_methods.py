"""What a new method takes is a file and an entry in the table: a toy mitigation and a toy merge go from a sweep to their rows."""

import json

import pytest
import torch
import yaml

from llm import methods
from llm.averaging import merge
from llm.config import load_preset, load_sweep, runnable
from llm.errors import UserError
from llm.evidence.rows import write_rows
from llm.models.loading import load_model
from llm.plan.report import costs
from llm.stages.average import measure_averages
from llm.stages.mitigate import measure_trained
from llm.stages.trajectory import measure_baseline
from llm.training import mitigations
from microcosm_runs import METRICS, averages, command, evaluator, theta, values

TOY = '''"""Pulls the final norm back to theta_0's after each step."""

import torch

from .mitigation import Mitigation


def make(setting, materials):
    @torch.no_grad()
    def after_step(model, theta_0):
        model.model.norm.weight.lerp_(theta_0.model.norm.weight, setting["strength"])

    return Mitigation(after_step=after_step)
'''
TOY_ENTRY = methods.Method(
    "toy",
    "training",
    {"toy": methods.Look("pulled norm", "#123456")},
    "nowhere",
    "training.mitigations.toy:make",
    options={"strength": methods.Option(least=0, most=1)},
    order=methods.Order(("strength",), falling=True, ends="distilled"),
)
SWEEP = {
    "name": "toys",
    "rlhf": ["rsf"],
    "learning_rates": [None],
    "trajectory": False,
    "averaging": [],
    "training": [
        {"label": "plain", "method": "distilled"},
        {"label": "toy", "method": "toy", "options": {"strength": [0.0, 0.5, 1.0]}},
    ],
}


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    """A sweep with a toy mitigation, which is known by a file and an entry."""
    folder = tmp_path_factory.mktemp("toy")
    (folder / "toy.py").write_text(TOY)
    (folder / "toys.yaml").write_text(yaml.safe_dump(SWEEP))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mitigations, "__path__", [*mitigations.__path__, str(folder)])
        patch.setitem(methods.METHODS, "toy", TOY_ENTRY)
        yield folder / "toys.yaml"


@pytest.fixture(scope="module")
def rows(run, sweep):
    """Of every entry, and of theta_0."""
    found = measure_baseline(evaluator(run))
    return found + [
        row for entry in load_sweep(str(sweep)).training for row in measure_trained(evaluator(run), entry, "own")
    ]


def test_a_toy_mitigation_is_trained_and_has_its_rows(run, sweep, rows, monkeypatch, tmp_path):
    for strength in (0.0, 0.5, 1.0):
        assert set(values(rows, "toy", strength=strength)) == set(METRICS)
    trained = {
        name: load_model(run.folder / "mitigations/own" / name) for name in ("distilled/plain", "toy/strength1.0")
    }
    norms = [model.model.norm.weight for model in (load_model(run.folder / "theta_0"), *trained.values())]
    assert torch.equal(norms[0], norms[2])
    assert not torch.equal(norms[0], norms[1])
    assert values(rows, "toy", strength=0.0) == values(rows, "distilled")
    write_rows(tmp_path / "rows.jsonl", rows)
    preset = tmp_path / "preset.yaml"
    preset.write_text(run.preset.model_dump_json())
    assert command(monkeypatch, "mitigate", sweep, "--entry", "toy", "--preset", preset, "--out", run.out) == 0
    written = [json.loads(line) for line in (run.folder / "rows/rsf/own/toy.jsonl").read_text().splitlines()]
    assert sorted(row["setting"]["strength"] for row in written) == sorted((0.0, 0.5, 1.0) * len(METRICS))


def test_it_is_planned_and_its_options_are_checked(run, sweep, tmp_path):
    loaded = load_sweep(str(sweep))
    assert runnable(loaded, run.preset) == loaded
    planned = {step.name: cost for step, cost in costs(run.preset, [loaded])}
    assert planned["mitigate rsf toy"].hours > planned["mitigate rsf plain"].hours > 0
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(yaml.safe_dump(SWEEP).replace("1.0", "1.5"))
    with pytest.raises(
        UserError, match="strength = 1.5 is not allowed with method toy; allowed are numbers in .0, 1.$"
    ):
        load_sweep(str(wrong))


def test_readers_and_legends_know_it(rows, tmp_path):
    from llm.evidence import paths
    from llm.evidence.frames import after, read_preset

    write_rows(tmp_path / "toys-seed0.jsonl", rows)
    path = paths.path(after(read_preset(tmp_path), "rsf"), "toy")
    assert path[path["method"] == "toy"]["strength"].dropna().unique().tolist() == [1.0, 0.5, 0.0]
    assert methods.family("toy", {"strength": 1.0}) == "toy"
    assert methods.looks()["toy"].label == "pulled norm"
    unknown = [row | {"method": "unregistered"} if row["method"] == "toy" else row for row in rows]
    write_rows(tmp_path / "toys-seed0.jsonl", unknown)
    with pytest.raises(UserError, match="unregistered"):
        read_preset(tmp_path)


MERGE = '''"""Linear, and a share of what theta has gained once more."""

from . import Merge


def prepare(blocks, name, extra):
    return extra


def apply(theta_0, theta, ratio, extra):
    return theta_0 + ratio * (1 + extra) * (theta - theta_0)


EAGER = Merge("theta_0 + alpha (1 + extra) (theta - theta_0)", apply, prepare)
'''
EAGER = methods.Method(
    "eager",
    "averaging",
    {"eager": methods.Look("eager averaging", "#654321")},
    "nowhere",
    "averaging.merge.eager:EAGER",
    options={"extra": methods.Option(least=0)},
    order=methods.Order(("alpha",)),
)


def test_a_toy_merge_is_measured_at_every_alpha_with_every_option(run, monkeypatch, tmp_path):
    (tmp_path / "eager.py").write_text(MERGE)
    monkeypatch.setattr(merge, "__path__", [*merge.__path__, str(tmp_path)])
    monkeypatch.setitem(methods.METHODS, "eager", EAGER)
    grouping = {"parts": 3, "embeddings": "first", "norm": "mean", "head": "mean"}
    given = {"label": "eager", "method": "eager", "alphas": [0.5, 1.0], "options": {"extra": [0, 1]}}
    given |= {"grouping": grouping}
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(SWEEP | {"averaging": [given], "training": []}))
    (entry,) = runnable(load_sweep(str(tmp_path / "sweep.yaml")), run.preset).averaging
    rows = measure_averages(evaluator(run), theta(run), "rsf", entry, None, [])
    found = {(a, e): values(rows, "eager", alpha=a, extra=e) for a in (0.5, 1.0) for e in (0.0, 1.0)}
    ma = averages(run, "ma")
    assert found[0.5, 0.0] == values(ma, "ma", alpha=0.5)
    assert found[1.0, 0.0] == found[1.0, 1.0] == values(ma, "ma", alpha=1.0)  # the ends are copied
    assert found[0.5, 1.0]["reward"] == pytest.approx(found[1.0, 0.0]["reward"])
    assert found[0.5, 1.0] != found[0.5, 0.0]
    assert "eager" not in load_preset("openllama-3b").averaging_methods


def test_the_code_of_every_entry_exists_and_fits_its_kind():
    makes = ("averaging.whole.", "averaging.schedule.")  # functions; the others of averaging are merges
    for method in methods.METHODS.values():
        if method.code:
            code = methods.code_of(method)
            is_merge = method.kind == "averaging" and not method.code.startswith(makes)
            assert isinstance(code, merge.Merge) if is_merge else callable(code), method.name
            assert method.whole == method.code.startswith("averaging.whole."), method.name
    without = {name for name, method in methods.METHODS.items() if not method.code and method.kind != "model"}
    assert without == {"kl"} | {name for name, method in methods.METHODS.items() if method.searches}
