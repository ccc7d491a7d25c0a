"""The example for TRL: a tiny DPO run that ends with its tax."""

import importlib.util
import json
import sys
import types
from pathlib import Path

import pytest

import llm
from ama_models import save_models, words, write_lines

EXAMPLE = Path(__file__).parents[2] / "examples" / "trl_tax.py"


def test_a_training_run_of_trl_ends_with_its_tax(tmp_path, monkeypatch, capsys):
    installed = types.ModuleType("alignment_tax")
    installed.__path__ = []
    here = types.ModuleType("alignment_tax.llm")
    here.__path__, here.version = llm.__path__, llm.version
    monkeypatch.setitem(sys.modules, "alignment_tax", installed)
    monkeypatch.setitem(sys.modules, "alignment_tax.llm", here)
    spec = importlib.util.spec_from_file_location("trl_tax", EXAMPLE)
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    with monkeypatch.context() as without_trl, pytest.raises(SystemExit) as stopped:
        without_trl.setitem(sys.modules, "trl", None)
        example.main(["--help"])
    assert not stopped.value.code
    save_models(tmp_path)
    texts = [words(8, 3, seed) for seed in range(3)]
    write_lines(tmp_path / "pairs.jsonl", [dict(zip(("prompt", "chosen", "rejected"), row)) for row in zip(*texts)])
    rows = [{"prompt": p, "choices": [a, b], "answer": 0} for p, a, b in zip(*texts)]
    write_lines(tmp_path / "items.jsonl", rows)
    paths = {
        name: str(tmp_path / file) for name, file in (("model", "theta_0"), ("data", "pairs.jsonl"), ("out", "out"))
    }
    given = [text for name, path in paths.items() for text in (f"--{name}", path)]
    for wrong, said in (
        (("--tasks", "nowhere.jsonl"), "--tasks 'nowhere.jsonl' is no file"),
        (("--prompts", "nowhere.jsonl"), "--prompts 'nowhere.jsonl' is no file"),
        (("--model", "org/none"), "which is no folder and not in the cache"),
    ):
        with pytest.raises(SystemExit):  # before trl is needed, and so before any training
            example.main([*given, *wrong])
        assert said in capsys.readouterr().err and not (tmp_path / "out").exists()
    callback = example.main([*given, "--tasks", str(tmp_path / "items.jsonl"), "--steps", "2"])
    found = json.loads((tmp_path / "out" / "tax" / "tax.json").read_text())
    assert (
        callback.verdicts[:1] == found["verdicts"]
        and "effective alpha" in callback.verdicts[-1]
        and found["tasks"][0]["metrics"]["accuracy"]["n"] == 8
    )
    assert found["moved"]["changed"] > 0
    with pytest.raises(example.UserError, match="which holds a tax; give a new folder"):  # before any training
        example.TaxCallback(tmp_path / "theta_0", tmp_path / "out", None)
    with pytest.raises(example.UserError, match="reward_model is .*nowhere', which is no folder"):
        example.TaxCallback(
            tmp_path / "theta_0", tmp_path / "new", example.TaxSettings(), reward_model=tmp_path / "nowhere"
        )
    for name in [name for name in sys.modules if name.startswith("alignment_tax")]:
        monkeypatch.delitem(sys.modules, name)
