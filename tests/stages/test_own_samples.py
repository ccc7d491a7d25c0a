"""The two models' own samples, and the averages that learn from them: from a sweep's entry to its rows."""

import os
from copy import deepcopy
from dataclasses import replace

import pytest
import torch
import yaml

from llm import methods
from llm.averaging.whole import constrained, regmean
from llm.averaging.whole.free import opening
from llm.config import load_sweep, runnable
from llm.data.microcosm.tokenizer import build_tokenizer
from llm.errors import UserError
from llm.evidence import paths
from llm.evidence.frames import after, read_preset
from llm.evidence.rows import write_rows
from llm.grouping import Grouping, labels
from llm.models.loading import load_tokenizer
from llm.stages import samples
from llm.stages.average import _materials, load_between, measure_averages
from llm.stages.samples import own_samples
from llm.stages.trajectory import measure_baseline, measure_trajectory
from microcosm_runs import METRICS, evaluator, theta, values

GROUPING = Grouping(3, "part", "own", "mean", "mean")


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(samples, "BLOCK", 4)
    monkeypatch.setattr(regmean, "OWN_SAMPLES", 6)
    monkeypatch.setattr(constrained, "SAMPLES", 6)


def drawn(run, kind: str, count: int, length: int = 8):
    return own_samples(run, run.folder / "theta_0", theta(run), kind, count, length)


def materials(run):
    between = load_between(run.folder / "theta_0", theta(run), GROUPING)
    return _materials(evaluator(run), theta(run), between)


@pytest.mark.parametrize("kind", samples.KINDS)
def test_the_first_samples_do_not_depend_on_how_many_are_asked_for(run, kind):
    few, many = drawn(run, kind, 3), drawn(run, kind, 9)
    assert len(many) == 9 and many[:3] == few
    assert len({tuple(one.reply) for one in many}) > 3  # blocks have random numbers of their own
    assert all(one.reply and len(one.reply) <= 9 for one in many)


def test_each_kind_begins_as_it_should(run):
    tokenizer = load_tokenizer(theta(run))
    bos, user, assistant = (tokenizer.convert_tokens_to_ids(f"<{name}>") for name in ("bos", "user", "assistant"))
    assert {tuple(one.context) for one in drawn(run, "free", 9)} == {(bos,)}
    assert {tuple(one.context) for one in drawn(run, "chat", 9)} == {(bos, user)}
    asked = [one.context for one in drawn(run, "replies", 9)]
    assert all(ids[:2] == [bos, user] and ids[-1] == assistant for ids in asked) and len(set(map(tuple, asked))) > 3


def test_they_are_kept_until_the_model_is_newer(run):
    first = drawn(run, "free", 3)
    (file,) = (run.folder / "samples/theta_0").glob("free-8-0.json")
    before = file.stat().st_mtime_ns
    assert drawn(run, "free", 3) == first and file.stat().st_mtime_ns == before
    config = run.folder / "theta_0/config.json"
    os.utime(config, ns=(before + 1, before + 1))
    assert drawn(run, "free", 3) == first and file.stat().st_mtime_ns > before
    file.write_text('[{"context": [1], "reply": "x"}]')
    with pytest.raises(UserError, match="free-8-0.json is damaged"):
        drawn(run, "free", 3)
    file.unlink()


@pytest.mark.parametrize(
    ("kind", "count", "length", "words"),
    [
        ("prose", 3, 8, "kind = 'prose' is unknown; allowed are free, chat, replies"),
        ("free", 0, 8, "samples = 0 is not allowed"),
        ("free", 3, 0, "length = 0 is not allowed"),
    ],
)
def test_what_is_not_allowed_is_refused(run, kind, count, length, words):
    with pytest.raises(UserError, match=words):
        drawn(run, kind, count, length)


def test_a_tokenizer_without_bos_or_template_begins_with_eos_or_is_refused():
    tokenizer = deepcopy(build_tokenizer())
    tokenizer.bos_token = tokenizer.chat_template = None
    assert opening(tokenizer, "free") == [tokenizer.eos_token_id]
    with pytest.raises(UserError, match="kind = 'chat' is not allowed with this tokenizer; allowed are free"):
        opening(tokenizer, "chat")


def test_every_way_of_regression_goes_from_a_sweep_to_its_rows(run, tmp_path):
    sweep = {"name": "few", "rlhf": ["rsf"], "learning_rates": [None], "trajectory": False, "training": []}
    grouping = {"parts": 1, "embeddings": "first", "norm": "mean", "head": "mean"}
    options = [
        {"strength": [0, 1]},
        {"strength": [1], "inputs": ["merged", "differences"]},
        {"strength": [1], "kind": ["chat"], "samples": [3], "ridge": [0.5], "shrinkage": [0.1], "rows": ["ratio"]},
    ]
    entries = [
        {"label": f"e{k}", "method": "regmean", "options": one, "grouping": grouping} for k, one in enumerate(options)
    ]
    entries.append({"label": "c", "method": "constrained", "options": {"strength": [3]}, "grouping": grouping})
    (tmp_path / "few.yaml").write_text(yaml.safe_dump(sweep | {"averaging": entries}))
    rows = measure_baseline(evaluator(run)) + measure_trajectory(evaluator(run), "rsf", "own")
    others = len(rows)
    for entry in runnable(load_sweep(str(tmp_path / "few.yaml")), run.preset).averaging:
        rows += measure_averages(evaluator(run), theta(run), "rsf", entry, None, [])
    write_rows(tmp_path / "few-seed0.jsonl", rows)
    front = paths.path(after(read_preset(tmp_path), "rsf"), "regmean")
    order = front[front["metric"] == "reward"]
    assert order["method"].tolist() == ["theta_0", "regmean", "regmean", "theta"]  # falling strength
    assert order["strength"].tolist()[1:3] == [1.0, 0.0]
    rows = rows[others:]
    assert len(rows) == 6 * len(METRICS)
    families = {methods.family(row["method"], row["setting"]) for row in rows}
    assert families >= {"regmean", "regmean-inputs-merged", "regmean-inputs-differences", "constrained"}
    ends = {0: theta(run)}
    measured = evaluator(run).measure(load_between(run.folder / "theta_0", ends[0], GROUPING).model)[0]
    assert values(rows, "regmean", strength=0.0)["reward"][0] == measured["reward"].value


def test_the_builder_gives_theta_and_theta_0_at_its_ends_however_inputs_are_taken(run):
    found = materials(run)
    build = regmean.make(found)
    for inputs in ("own", "merged", "differences"):
        for strength, end in ((1e-12, found.theta), (1e12, found.theta_0)):
            model = build({"strength": strength, "inputs": inputs})
            for name, tensor in model.state_dict().items():
                torch.testing.assert_close(tensor, end[name], rtol=1e-4, atol=1e-4)
    own, merged = (dict(build({"strength": 1.0, "inputs": one}).state_dict()) for one in ("own", "merged"))
    assert own.keys() == merged.keys()


def test_grams_of_differences_need_no_samples(run):
    found = materials(run)

    def none(kind, count):
        raise AssertionError("no samples are needed")

    build = regmean.make(replace(found, samples=none))
    model = build({"strength": 1.0, "inputs": "differences"})
    name = "model.layers.1.mlp.down_proj.weight"  # which has no bias
    before = found.load(found.folders["pretrained"]).state_dict()[name].double()
    start, end = found.theta_0[name].double(), found.theta[name].double()
    low, high = ((one.T @ one) / one.square().sum() for one in (start - before, end - start))
    ridge = 0.1 * (low + high).diagonal().mean() * torch.eye(len(low))
    wanted = start + (end - start) @ (high + ridge / 2) @ torch.linalg.inv(low + high + ridge)
    torch.testing.assert_close(model.state_dict()[name].double(), wanted, rtol=1e-4, atol=1e-6)


def test_constrained_ratios_answer_to_their_strength(run):
    found = materials(run)
    ratios = {strength: constrained.find(found, strength, steps=6) for strength in (0.0, 100.0)}
    assert set(ratios[0.0]) == set(labels(found.assignment))
    assert all(0 < ratio < 1 for one in ratios.values() for ratio in one.values())
    assert sum(ratios[0.0].values()) > sum(ratios[100.0].values())
