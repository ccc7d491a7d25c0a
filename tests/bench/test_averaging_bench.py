"""The bench measures what it says, on models that are what they claim to be."""

import json
from math import prod

import pytest
import torch
from safetensors.torch import save_file

from averaging_models import command
from llm.bench import average as module
from llm.bench.average import bench_average, measure, table, write_model
from llm.errors import UserError
from llm.grouping import layer_list
from llm.models.folder import read_folder


def test_programs_are_timed_and_compared(tmp_path):
    found = measure(tmp_path, 4_000_000, repeats=1, cold=True, mergekit=None)
    assert list(found["programs"]) == ["read both", "copy one", "start-up", "average"]
    for row in found["programs"].values():
        assert len(row["seconds"]) == 1 and row["seconds"][0] > 0
    out, theta = (read_folder(tmp_path / name, name) for name in ("out", "theta"))
    assert out.tensors.keys() == theta.tensors.keys()
    assert found["model_bytes"] == sum(file.source.size for file in theta.files)
    best = {name: row["seconds"][0] for name, row in found["programs"].items()}
    over = (best["average"] - best["start-up"]) / (best["read both"] + best["copy one"])
    assert found["goals"] == {
        "average less start-up, over the limit": pytest.approx(over, abs=0.01),
        "average's peak memory less the largest tensor, MB": pytest.approx(
            found["programs"]["average"]["peak_megabytes"] - found["largest_tensor_bytes"] / 1e6, abs=0.1
        ),
    }
    lines = table(found).splitlines()
    assert lines[4].startswith(f"| read both | {best['read both']:.2f} (") and len(lines) == 4 + 4 + 1 + 2
    assert "dropped from the page cache" in lines[0]


def test_other_methods_are_compared_by_their_processor_time(tmp_path):
    found = measure(tmp_path, 4_000_000, 1, False, None, ("dare", "ties"))
    cpu = {name: row["cpu_seconds"][0] for name, row in found["programs"].items()}
    for name in ("dare", "ties"):
        ratio = (cpu[name] - cpu["start-up"]) / (cpu["average"] - cpu["start-up"])
        assert found["goals"][f"{name} over linear, CPU"] == pytest.approx(ratio, abs=0.01)


def test_regression_is_timed_on_random_samples(tmp_path, monkeypatch):
    """Its program, in this process, on models of a small width."""
    for name, value in (("_WIDTH", 32), ("_INNER", 64), ("_HEADS", 2), ("_TEXTS", 4), ("_LENGTH", 16)):
        monkeypatch.setattr(module, name, value)
    for seed, name in enumerate(("theta_0", "theta")):
        write_model(tmp_path / name, 50_000, seed)
    module._write_texts(tmp_path, 50_000 // (8 * 32))
    program = module._programs(tmp_path, None, ("regmean",))["regmean"]
    assert command(monkeypatch, *program[3:]) == 0
    assert json.loads((tmp_path / "out" / "averaging.json").read_text())["method"] == "regmean"


def test_models_have_the_size_that_is_asked_for(tmp_path):
    largest = write_model(tmp_path / "model", 40_000_000, 0)
    tensors = read_folder(tmp_path / "model", "model").tensors
    sizes = [prod(tensor.shape) for tensor in tensors.values()]
    assert 32e6 < sum(sizes) < 48e6
    assert largest == 2 * max(sizes)
    assert layer_list(tensors) == "model.layers"


def test_what_is_not_allowed_is_named(tmp_path):
    with pytest.raises(UserError, match="parameters = 5 is not allowed; allowed are 20 to"):
        bench_average(parameters=5)
    with pytest.raises(UserError, match="methods has 'soup'; allowed are slerp, trim, .*, all"):
        bench_average(methods="trim,soup")
    with pytest.raises(UserError, match="mergekit is .*, which is no file"):
        bench_average(mergekit=tmp_path / "none")


def test_a_pair_of_models_lies_on_the_staircase_or_not(tmp_path, monkeypatch, capsys):
    """Updates of one step of bf16 are rounded away below one half, and taken over whole above it; large ones are not."""
    start = torch.linspace(1, 1.9, 1000)
    for name, step in (("theta_0", 0), ("near", 2**-7), ("far", 0.5)):
        (tmp_path / name).mkdir()
        save_file({"model.layers.0.w": start.bfloat16().float() + step}, tmp_path / name / "model.safetensors")
        (tmp_path / name / "config.json").write_text('{"model_type": "llama"}')
    rows = {}
    for name in ("near", "far"):
        given = ("--theta-0", tmp_path / "theta_0", "--theta", tmp_path / name)
        assert command(monkeypatch, "bench", "precision", *given) == 0
        lines = capsys.readouterr().out.splitlines()[2:]
        rows[name] = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    assert [row[:4] for row in rows["near"]][::2] == [
        ["0.2", "0.000", "0.0%", "100.0%"],
        ["0.8", "1.000", "100.0%", "0.0%"],
    ]
    assert all(abs(float(row[1]) - float(row[0])) < 0.01 and row[4] == "100.0%" for row in rows["far"])
    assert command(monkeypatch, "bench", "precision", "--theta", tmp_path / "near") == 2
    assert "theta-0 and theta are allowed together only" in capsys.readouterr().err
    (tmp_path / "adapter").mkdir()
    save_file({"base_model.model.w.lora_A.weight": start[None]}, tmp_path / "adapter" / "adapter_model.safetensors")
    (tmp_path / "adapter" / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    given = ("--theta-0", tmp_path / "theta_0", "--theta", tmp_path / "adapter")
    assert command(monkeypatch, "bench", "precision", *given) == 2
    assert "an adapter; merge it first (`average --alpha 1 --full`)" in capsys.readouterr().err
