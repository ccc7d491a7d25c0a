"""Preference pairs drawn anew from aligned models: which models write, what is kept, and what the reward model learns from."""

import json
from collections import Counter

import numpy as np
import pytest

from llm.config.sections import Renewal
from llm.stages import renewal
from llm.stages.backend import LocalBackend
from llm.stages.renewal import renew
from microcosm_runs import smoke, smoke_run

ROUNDS, NEW, ITERATIONS = 2, 10, 3  # one more than the preset's own RSF has


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    preset = smoke().model_copy(update={"renewal": Renewal(rounds=ROUNDS, pairs=NEW, iterations=ITERATIONS)})
    made = smoke_run(tmp_path_factory.mktemp("out"), upto="sft", preset=preset)
    LocalBackend(made).reward()
    return made


def pairs(run, name):
    return json.loads((run.folder / name).read_text())


def test_each_round_adds_its_pairs_to_those_before_and_the_last_ones_are_the_runs(run):
    rounds = [pairs(run, f"renewal/pairs{number}.json") for number in range(ROUNDS + 1)]
    settings = run.preset.preferences
    assert [len(rows) for rows in rounds] == [settings.pairs + settings.test_pairs + NEW * r for r in range(ROUNDS + 1)]
    for before, after in zip(rounds, rounds[1:]):
        assert after[: len(before)] == before
        assert {row["split"] for row in after[len(before) :]} == {"train"}
    assert pairs(run, "preferences.json") == rounds[-1]
    new = [row["prompt"] for row in rounds[-1][len(rounds[0]) :]]
    assert len({*new[:NEW]} & {*new[NEW:]}) < NEW / 2  # each round asks prompts of its own


def test_a_rounds_policies_are_made_by_the_reward_model_of_the_round_before(run):
    weights = [run.folder / "renewal" / f"reward{number}" / "model.safetensors" for number in range(ROUNDS)]
    weights += [run.folder / "reward" / "model.safetensors"]
    assert len({path.read_bytes() for path in weights}) == ROUNDS + 1
    for number in range(1, ROUNDS + 1):
        made = {path.parent.name for path in (run.folder / "renewal" / f"rsf{number}").glob("*/config.json")}
        assert made == {f"iteration0{i}" for i in range(1, ITERATIONS + 1)}
    assert run.preset.rsf.iterations < ITERATIONS
    logs = [pairs(run, f"renewal/rsf{number}/iteration01.json") for number in range(1, ROUNDS + 1)]
    assert logs[0]["gold_reward"] == logs[1]["gold_reward"]  # the same replies of theta_0,
    assert logs[0]["reward"] != logs[1]["reward"]  # scored by another model


def test_what_is_there_and_up_to_date_is_not_made_again(run):
    files = sorted(path for path in (run.folder / "renewal").rglob("*") if path.is_file())
    times = [path.stat().st_mtime_ns for path in files]
    renew(run, run.folder / "theta_0", run.folder / "preferences.json")
    assert [path.stat().st_mtime_ns for path in files] == times


def test_theta_0_and_every_iteration_write_equally_many_replies(run, monkeypatch):
    monkeypatch.setattr(renewal, "load_model", lambda path, device: path.name)
    monkeypatch.setattr(renewal, "load_tokenizer", lambda path: None)
    monkeypatch.setattr(renewal, "generate_replies", lambda model, _, prompts, **__: [(model, True)] * len(prompts))
    models = [run.folder / name for name in ("theta_0", "iteration01", "iteration02")]
    prompts = run.source.prompts("train", run.preset.prompts, 3000, run.rng("x"))
    sides = [renewal._replies(run, models, prompts, np.random.default_rng(side), 1, side) for side in (0, 1)]
    for replies in sides:
        counts = Counter(reply for reply, _ in replies)
        assert set(counts) == {model.name for model in models}
        assert all(abs(count - 1000) < 4 * np.sqrt(3000 * 2 / 9) for count in counts.values())
    assert sides[0] != sides[1]
