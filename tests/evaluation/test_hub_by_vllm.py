"""Measuring by vLLM, of which a stand-in computes by transformers (tests/files/fake-vllm): the same numbers, one engine a model, nothing left."""

import json
import os
import socket
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from fake_vllm import installed, within
from hub_runs import run_of
from llm.config import load_sweep
from llm.config.base import Settings
from llm.errors import UserError
from llm.evaluation import by_vllm
from llm.evaluation.hub import HubEvaluator
from llm.models.loading import load_model
from llm.run import Run
from llm.stages.align import theta_folder
from llm.stages.hub.backend import HubBackend
from llm.training.distributed import vllm_writer


@pytest.fixture
def log(monkeypatch, tmp_path):
    """Where the engines of the stand-in leave a line."""
    yield from installed(monkeypatch, tmp_path / "engines.jsonl")


def changed(run: Run, sampler: str, **evaluate) -> Run:
    def of(settings: Settings, **changes):
        return settings.model_copy(update=changes)

    preset = of(run.preset, evaluate=of(run.preset.evaluate, sampler=sampler, **evaluate))
    return Run(preset, run.seed, run.out)


def test_the_tasks_are_those_by_transformers_and_replies_follow_from_their_seeds(tmp_path, log):
    run = changed(run_of("zephyr-7b-beta", tmp_path / "out", upto="dpo"), "transformers", alpaca_prompts=0)
    theta = theta_folder(run, "dpo", "own")
    ours = HubBackend(run).evaluator().measure(load_model(theta))[0]
    assert not log.exists()
    evaluator = HubBackend(changed(run, "vllm")).evaluator()
    first, second = (evaluator.measure(load_model(theta))[0] for _ in range(2))
    assert list(first) == list(ours)
    for key in set(ours) - {"reward", "length"}:
        assert first[key].value == pytest.approx(ours[key].value, abs=1e-6), key
    assert {key: found.value for key, found in first.items()} == {key: found.value for key, found in second.items()}
    assert first["reward"].n == ours["reward"].n and first["reward"].value != ours["reward"].value
    engines = [json.loads(line) for line in log.read_text().splitlines()]
    assert len(engines) == 2 and {engine["gpu_memory_utilization"] for engine in engines} == {0.5}
    assert {engine["length"] for engine in engines} == {run.preset.context} == {8192}
    assert all(Path(engine["model"]).parents[1] == run.folder and engine["dtype"] == "float32" for engine in engines)
    assert not list(run.folder.glob(".*"))


def test_amas_samples_are_written_by_it_too(tmp_path, log):
    run = changed(run_of("zephyr-7b-beta", tmp_path / "out", upto="dpo"), "vllm")
    theta, entry = theta_folder(run, "dpo", "own"), load_sweep("core").entry("ama")
    found = HubBackend(run).ratios(None, theta, "dpo", entry.model_copy(update={"alphas": (0.5,)}), tmp_path / "ama")
    assert sum(found[0][1].values()) / 3 == pytest.approx(0.5, abs=1e-6)
    rows = (tmp_path / "ama" / "samples.jsonl").read_text().splitlines()
    assert 0 < len(rows) <= run.preset.ama.prompts * run.preset.ama.samples
    (engine,) = log.read_text().splitlines()
    assert json.loads(engine)["model"] == str(theta)


def test_vllm_is_taken_where_it_is_asked_for_or_samples_and_is_installed(tmp_path, monkeypatch):
    run = run_of("zephyr-7b-beta", tmp_path)
    there = run.preset.hardware.model_copy(update={"sampler": "vllm"})
    by_itself = run.preset.model_copy(update={"hardware": there})
    for module in (by_vllm, vllm_writer):  # on the set for GPUs it is installed
        monkeypatch.setattr(module, "is_installed", lambda: False)
    assert not by_vllm.is_taken(run.preset) and not by_vllm.is_taken(by_itself)
    with pytest.raises(UserError, match="sampler = 'vllm' is not allowed: vLLM is not installed"):
        by_vllm.is_taken(changed(run, "vllm").preset)
    monkeypatch.setattr(by_vllm, "is_installed", lambda: True)
    assert by_vllm.is_taken(by_itself) and not by_vllm.is_taken(run.preset)
    assert not by_vllm.is_taken(changed(Run(by_itself, 0, tmp_path), "transformers").preset)


def test_what_a_killed_process_wrote_aside_goes_with_the_next_of_its_machine_and_what_another_machine_does_stays(
    tmp_path, log
):
    run = changed(run_of("zephyr-7b-beta", tmp_path / "out", upto="dpo"), "vllm", alpaca_prompts=0)
    dead, other = (
        run.folder / f".measured-{machine}.partial-999999999" for machine in (socket.gethostname(), "another-node")
    )
    for folder in (dead, other):
        folder.mkdir()
    theta_0 = load_model(run.folder / "theta_0")
    evaluator = HubBackend(run).evaluator()
    asked = by_vllm.Texts(evaluator.prompts[:1], 1.0, 3)
    (replies,), tasks = by_vllm.read_model(run, theta_0, evaluator.tokenizer, [asked])
    assert len(replies) == 1 and tasks == {} and list(run.folder.glob(".*")) == [other]


def test_prompts_without_room_for_a_reply_are_not_drawn(tmp_path):
    run = run_of("zephyr-7b-beta", tmp_path, upto="dpo")
    every = HubBackend(run).evaluator().prompts
    tokenizer = HubBackend(run).evaluator().tokenizer
    lengths = sorted(len(by_vllm.ids_of_prompts(tokenizer, [prompt])[0]) for prompt in every)
    short = run.preset.model.model_copy(update={"context": lengths[-1] + run.preset.evaluate.max_new_tokens - 1})
    less = HubEvaluator(
        Run(run.preset.model_copy(update={"model": short}), 0, tmp_path), run.folder / "theta_0", run.folder
    )
    kept = less.prompts
    assert lengths[0] < lengths[-1] and max(len(by_vllm.ids_of_prompts(tokenizer, [p])[0]) for p in kept) < lengths[-1]


@pytest.mark.long
def test_the_engine_runs_in_a_process_of_its_own(tmp_path, log, monkeypatch):
    monkeypatch.setattr(vllm_writer, "subprocess", subprocess)
    run = changed(run_of("zephyr-7b-beta", tmp_path / "out", upto="dpo"), "vllm")
    measured = HubBackend(run).evaluator().measure(load_model(run.folder / "theta_0"))[0]
    monkeypatch.setattr(vllm_writer, "subprocess", SimpleNamespace(run=within))
    again = HubBackend(run).evaluator().measure(load_model(run.folder / "theta_0"))[0]
    assert {key: found.value for key, found in measured.items()} == {key: found.value for key, found in again.items()}
    other, this = (json.loads(line)["process"] for line in log.read_text().splitlines())
    assert other != this == os.getpid()
