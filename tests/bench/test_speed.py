"""Speeds measured on a card: the prepared session made tiny, vLLM's part with its stand-in, and what `plan` makes of the file."""

import json
import os
import re
import subprocess
import sys

import pytest

from fake_vllm import installed
from llm.bench import speed
from llm.config import load_preset
from llm.config.tiny import tiny
from llm.plan.costs import Together, written
from llm.plan.measured import Measured, lines, read_measured
from llm.plan.report import Device
from microcosm_runs import command
from workflow import REPOSITORY

CARD = Device(1, 80 * 2**30, 989e12, 3.35e12)
ROW = {"device": "a card", "together": 128, "prompt": 150, "reply": 196}


@pytest.mark.long
def test_the_session_measures_both_presets_and_plan_shows_it(tmp_path):
    told = os.environ | {"PYTHON": sys.executable, "OUT": str(tmp_path / "speeds.json"), "PYTHONPATH": str(REPOSITORY)}
    script = ["bash", str(REPOSITORY / "examples/gpu-session.sh"), "--tiny"]
    done = subprocess.run(script, env=told, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "speeds.json").read_text())
    kinds = ("written by transformers", "trained")
    wanted = [(name, what) for name in ("smollm2-135m-gpu", "openllama-3b") for what in kinds]
    assert [(row["preset"], row["what"]) for row in rows] == wanted
    shown = [line for line in done.stdout.splitlines() if line.startswith("measured on the processor, tiny: ")]
    assert [line.split(": ")[1].split(",")[0] for line in shown] == [what for _, what in wanted]
    for row, line in zip(rows, shown, strict=True):
        assert f", {row['speed']:.0f} tokens a second, {row['together']} rows together (planned: " in line


def test_tokens_a_second_are_those_of_the_time_after_the_first_step(monkeypatch):
    clock = iter([10.0, 14.0])
    monkeypatch.setattr(speed, "perf_counter", lambda: next(clock))
    assert speed._steps_a_second(iter([3.0, 2.0, 1.0])) == 2 / 4


def test_an_engine_is_timed_from_its_start_and_by_the_replies_of_its_second_time(tmp_path, monkeypatch):
    preset = tiny(load_preset("openllama-3b"))
    speed._save_random(preset, tmp_path / "model")
    for log in installed(monkeypatch, tmp_path / "engines"):
        timed = speed._by_vllm(tmp_path / "model", preset.hardware, preset.rsf.writing, 20)
        found = {what: amount for what, amount, _ in timed}
        assert found.keys() == {"engine of vLLM started", "written by vLLM"} and min(found.values()) > 0
        assert len(log.read_text().splitlines()) == 1


def test_the_plan_beside_a_measured_speed_is_that_of_the_same_batch_and_card():
    preset = load_preset("openllama-3b")
    kinds = ("written by transformers", "written by vLLM", "engine of vLLM started", "trained")
    rows = [Measured(preset=preset.name, what=what, speed=1000.0, **ROW) for what in kinds]
    slow, fast = (written(preset.model, CARD.peak, CARD.bandwidth, Together(128, 248, wait)) for wait in (1.5e-3, 0))
    assert [row.planned(preset, CARD) for row in rows[:3]] == [slow, fast, 90]
    assert rows[3].planned(preset, CARD) == pytest.approx(0.36 * 989e12 / (8 * 3_426_473_600))
    other = Measured(preset="zephyr-7b-beta", what="trained", speed=1.0, **ROW)
    found = lines(preset, [other, *rows], CARD)
    assert len(found) == 4 and found[2] == "measured on a card: engine of vLLM started, 1000 seconds (planned: 90)"


def test_the_plan_shows_what_an_h200_did_and_is_near_it(monkeypatch, capsys):
    """Within 5 % of the speeds that its own constants come from, whatever card is planned."""
    for name in ("smollm2-135m-gpu", "openllama-3b"):
        assert (
            command(monkeypatch, "plan", "--preset", name, "--gpus", "1", "--memory-gb", "80", "--sweep", "core") == 0
        )
        found = re.findall(
            r"^measured on NVIDIA H200: .*, (\d+) tokens .* \(planned: (\d+)\)$", capsys.readouterr().out, re.M
        )
        assert len(found) == 2
        for measured, planned in found:
            assert int(planned) == pytest.approx(int(measured), rel=0.05)


@pytest.mark.parametrize("text", [None, "{", "[1]", '[{"preset": "microcosm"}]', '{"speed": 3}'])
def test_a_file_without_speeds_is_refused(tmp_path, monkeypatch, capsys, text):
    file = tmp_path / "speeds.json"
    if text is not None:
        file.write_text(text)
    assert command(monkeypatch, "plan", "--preset", "openllama-3b", "--measured", str(file)) == 2
    said = capsys.readouterr()
    assert said.err.startswith(f"error: measured = {file} is ") and said.err.count("\n") == 1 and not said.out
    file.write_text(json.dumps([{"preset": "smoke", "what": "trained", "speed": 2.5} | ROW]))
    assert read_measured(file)[0].speed == 2.5


def test_presets_without_rsf_of_public_models_are_refused_and_nothing_is_written(tmp_path, monkeypatch, capsys):
    for name in ("microcosm", "zephyr-7b-beta"):
        assert command(monkeypatch, "bench", "speed", "--to", str(tmp_path / "s.json"), "--preset", name) == 2
        assert f"error: preset = {name} is not allowed; allowed are presets with RSF" in capsys.readouterr().err
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert command(monkeypatch, "bench", "speed", "--to", str(tmp_path / "s.json")) == 2
    assert "error: bench speed needs a GPU, and torch can use none here" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").touch()  # found out before anything is measured
    monkeypatch.setattr(speed, "_measured", None)
    assert command(monkeypatch, "bench", "speed", "--tiny", "--to", str(tmp_path / "file" / "s.json")) == 2
