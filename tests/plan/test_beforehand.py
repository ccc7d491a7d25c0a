"""What `fetch --preset` downloads is all that a run needs, with a made-up cache of the hub in the place of the hub and no network."""

import shutil
import socket
from pathlib import Path

import pytest

from hub_runs import DATA, run_of, tiny_preset
from llm.config import HubPreset
from llm.errors import UserError
from llm.evaluation import hub
from llm.evaluation.benchmarks import suite
from llm.plan.beforehand import fetch_preset
from llm.plan.check import check
from llm.plan.report import Device, costs
from llm.run import Run
from llm.stages.hub.backend import HubBackend
from llm.stages.hub.start import take
from microcosm_runs import command, values


@pytest.fixture
def cached(tmp_path, monkeypatch) -> HubPreset:
    """A preset of hub ids, whose models and HH-RLHF are in the cache; the tasks' data, which `datasets` keeps in a form of its own, come from
    files instead."""
    cache, run = tmp_path / "hub", run_of("zephyr-7b-beta", tmp_path / "made")
    for name, head in (("theta_0", "causal"), ("theta", "causal"), ("reward", "reward")):
        take(run, "random", snapshot(cache, "models", f"owner--{name}"), head)
    shutil.copytree(DATA / "hh-rlhf", snapshot(cache, "datasets", "Anthropic--hh-rlhf"))
    shutil.copytree(DATA / "alpaca-eval", snapshot(cache, "datasets", "tatsu-lab--alpaca_eval"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    load = suite.load_suite

    def from_files(settings: suite.SuiteSettings) -> suite.Suite:
        return load(suite.SuiteSettings(settings.tasks, settings.limit, settings.tokens, DATA / "benchmarks"))

    for module in (suite, hub):
        monkeypatch.setattr(module, "load_suite", from_files)

    def refused(*_):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refused)
    models = {key: f"owner/{key}" for key in ("theta_0", "theta", "reward")}
    preset = tiny_preset("zephyr-7b-beta")
    return preset.model_copy(update={"models": preset.models.model_copy(update=models), "data_dir": None})


def snapshot(cache: Path, kind: str, name: str) -> Path:
    folder = cache / f"{kind}--{name}"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("abc")
    (folder / "snapshots").mkdir()
    return folder / "snapshots" / "abc"


def test_after_it_a_run_needs_no_network(cached, tmp_path):
    lines = list(fetch_preset(cached, tmp_path))
    wanted = [f"{key} owner/{key}" for key in ("theta_0", "theta", "reward")] + [
        "data Anthropic/hh-rlhf",
        "data tatsu-lab/alpaca_eval",
    ]
    assert [line.partition(":")[0] for line in lines] == wanted + [f"data of {task}" for task in cached.evaluate.tasks]
    found = list(check(cached, costs(cached, []), lambda: Device(1, 1e12), 1, tmp_path))
    assert not [one for one in found if one.missing] and len(found) > 10
    backend = HubBackend(Run(cached, 0, tmp_path / "out"))
    backend.pretrain(None)
    backend.sft()
    backend.reward()
    backend.align("dpo", "own")
    assert "qa" in values(backend.baseline(), "theta_0")


def test_what_was_not_fetched_is_named(cached, tmp_path):
    shutil.rmtree(next((tmp_path / "hub").glob("datasets--Anthropic*")))
    shutil.rmtree(next((tmp_path / "hub").glob("models--*reward")))
    found = {
        one.what: one.missing
        for one in check(cached, costs(cached, []), lambda: Device(1, 1e12), 1, tmp_path)
        if one.missing
    }
    assert list(found) == ["reward owner/reward", "data Anthropic/hh-rlhf"]
    with pytest.raises(UserError, match="model = 'owner/reward' is no folder here and cannot be had from the hub"):
        list(fetch_preset(cached, tmp_path))


def test_the_command_takes_a_name_or_a_preset(tmp_path, monkeypatch, capsys):
    assert command(monkeypatch, "fetch", "--preset", "microcosm", "--to", tmp_path) == 0
    assert not list(tmp_path.iterdir()) and capsys.readouterr().out == ""
    for wrong in ([], ["smollm2-135m", "--preset", "microcosm"]):
        assert command(monkeypatch, "fetch", *wrong, "--to", tmp_path) == 2
        assert "is not allowed; give one of them" in capsys.readouterr().err
