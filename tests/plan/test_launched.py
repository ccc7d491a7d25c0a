"""`check --launch`: a step of training by the preset's launcher, here on the processor, and when it is tried."""

import subprocess
import tempfile
from types import SimpleNamespace

import pytest

from hub_runs import Forks
from launched_copies import copied
from llm.config import load_preset
from llm.errors import UserError
from llm.plan import check as checking
from llm.plan import launched
from llm.training.distributed import launch
from microcosm_runs import command


def on_the_processor(**changes):
    preset = load_preset("openllama-3b")
    hardware = {"device": "cpu", "dtype": "fp32", "launcher": "none", "processes": 1} | changes
    return preset.model_copy(update={"hardware": preset.hardware.model_copy(update=hardware)})


@pytest.fixture
def scratch(tmp_path, monkeypatch):
    """Where temporary folders are made."""
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))
    return tmp_path / "scratch"


def test_in_one_process_a_step_is_taken_and_nothing_left(tmp_path, scratch, monkeypatch):
    forks = Forks(tmp_path)
    monkeypatch.setattr(launch, "subprocess", forks)
    launched.try_launch(on_the_processor())
    assert forks.steps("job") > 0 and not list(scratch.glob("launch-*"))


def test_two_processes_take_it_together(scratch, monkeypatch):
    jobs = []

    def run(command, **how):
        jobs.append(command)
        return copied(command, **how)

    monkeypatch.setattr(launch, "subprocess", SimpleNamespace(run=run))
    launched.try_launch(on_the_processor(launcher="fsdp", processes=2))
    assert "accelerate.commands.launch" in jobs[0] and not list(scratch.glob("launch-*"))


def test_what_fails_is_one_sentence(scratch, monkeypatch):
    failed = SimpleNamespace(run=lambda command, **_: subprocess.CompletedProcess(command, 1))
    monkeypatch.setattr(launch, "subprocess", failed)
    with pytest.raises(UserError, match="training ended with exit code 1"):
        launched.try_launch(on_the_processor())


@pytest.mark.parametrize(("name", "tried"), [("openllama-3b", 8), ("zephyr-7b-beta", None), ("microcosm", None)])
def test_it_is_tried_where_models_are_trained_on_gpus_on_as_many_as_are_given(name, tried, monkeypatch, capsys):
    monkeypatch.setattr(checking, "check", lambda *_: [checking.Checked("GPUs", None)])
    asked = []
    monkeypatch.setattr(launched, "try_launch", lambda preset: asked.append(preset.hardware.processes))
    assert command(monkeypatch, "check", "--preset", name, "--gpus", 8) == 0 and not asked
    assert command(monkeypatch, "check", "--launch", "--preset", name, "--gpus", 8) == 0
    assert asked == [tried] * (tried is not None)
    assert ("a step of training by launcher fsdp: here" in capsys.readouterr().out) == bool(asked)
