"""Model folder in, model folder out: right values, whole, loadable, and light."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from averaging_models import ARCHITECTURES, assert_averaged, command, make, reference, save_pair, save_tokenizer
from llm.averaging.files.average import average_files
from llm.averaging.ratios import in_order, uniform
from llm.grouping import Grouping

RATIOS = (0.9, 0.4, 0.2)
THREE = in_order("0.9,0.4,0.2", Grouping(), 3)


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    """All tensors of a folder, read by the safetensors library."""
    files = sorted(folder.glob("*.safetensors"))
    return {name: tensor for file in files for name, tensor in load_file(file).items()}


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_values_coverage_and_loading(architecture, tmp_path):
    dtype = (torch.float32, torch.bfloat16, torch.float16)[len(architecture) % 3]
    theta_0, theta = save_pair(tmp_path, architecture, dtype, shards="9KB")
    report = average_files(theta_0, theta, tmp_path / "out", THREE)
    left, right, result = tensors(theta_0), tensors(theta), tensors(tmp_path / "out")
    assert set(report.tensors) == set(result) == set(right)
    for name, tensor in result.items():
        _label, ratio, shape = report.tensors[name]
        assert ratio in (*RATIOS, 0.5) and tensor.shape == shape and tensor.dtype == right[name].dtype
        assert_averaged(tensor, left[name], right[name], ratio)
    assert {report.tensors[name][0] for name in result} == {"part1", "part2", "part3", "mean"}
    model, info = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path / "out", dtype="auto", output_loading_info=True
    )
    assert not info["missing_keys"] and not info["unexpected_keys"] and model.dtype == dtype
    with torch.no_grad():
        assert torch.isfinite(model(torch.arange(5)[None]).logits).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_every_type_is_within_one_unit_in_the_last_place(dtype, tmp_path):
    theta_0, theta = save_pair(tmp_path, "qwen2", dtype)
    average_files(theta_0, theta, tmp_path / "out", uniform(0.8, Grouping()))
    left, right = tensors(theta_0), tensors(theta)
    for name, tensor in tensors(tmp_path / "out").items():
        assert_averaged(tensor, left[name], right[name], 0.8)


def test_the_averaged_folder_is_the_averaged_model(tmp_path):
    """The other route to the same logits: mix two live models by hand in transformers."""
    theta_0, theta = save_pair(tmp_path, "llama")
    average_files(theta_0, theta, tmp_path / "out", uniform(0.3, Grouping()))
    load = transformers.AutoModelForCausalLM.from_pretrained
    by_hand, other = load(theta_0), load(theta)
    with torch.no_grad():
        for parameter, end in zip(by_hand.parameters(), other.parameters(), strict=True):
            parameter.lerp_(end, 0.3)
        tokens = torch.arange(9)[None]
        logits = [model(tokens).logits for model in (load(tmp_path / "out"), by_hand, other)]
    torch.testing.assert_close(logits[0], logits[1], rtol=1e-5, atol=1e-5)
    assert (logits[0] - logits[2]).abs().max() > 0.01


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_the_ends_are_byte_identical(alpha, tmp_path):
    theta_0, theta = save_pair(tmp_path, "gemma2", torch.bfloat16, shards="9KB")
    average_files(theta_0, theta, tmp_path / "out", uniform(alpha, Grouping()))
    source = tensors(theta if alpha else theta_0)
    for name, tensor in tensors(tmp_path / "out").items():
        assert tensor.view(torch.int16).equal(source[name].view(torch.int16)), name
    if alpha:
        for file in theta.glob("*.safetensors*"):
            assert digest(file) == digest(tmp_path / "out" / file.name)


def test_the_folder_is_complete_and_generates(tmp_path, monkeypatch, capsys):
    theta_0, theta = save_pair(tmp_path, "llama")
    (theta / "training_args.bin").write_bytes(b"pickle")
    (theta / "LICENSE").write_text("free")
    out = tmp_path / "out"
    arguments = ["--theta-0", theta_0, "--theta", theta, "--alpha", 0.8, "--out", out]
    assert command(monkeypatch, "average", *arguments) == 0
    assert "alpha 0.8" in capsys.readouterr().out
    names = {file.name for file in out.iterdir()}
    assert names >= {"config.json", "generation_config.json", "tokenizer.json", "averaging.json", "LICENSE"}
    assert "training_args.bin" not in names
    tokenizer = transformers.AutoTokenizer.from_pretrained(out)
    text = tokenizer.apply_chat_template([{"role": "user", "content": "w5 w6"}], tokenize=False)
    assert text == "theta: w5 w6"
    inputs = tokenizer("w5 w6 w7", return_tensors="pt", return_token_type_ids=False)
    model = transformers.AutoModelForCausalLM.from_pretrained(out)
    generated = model.generate(**inputs, max_new_tokens=5, min_new_tokens=5, do_sample=False)
    assert generated.shape == (1, 8)


def test_card_and_report_tell_the_truth(tmp_path):
    theta_0, theta = save_pair(tmp_path, "opt", shards="9KB")
    average_files(theta_0, theta, tmp_path / "out", THREE)
    report = json.loads((tmp_path / "out" / "averaging.json").read_text())
    card = (tmp_path / "out" / "README.md").read_text()
    for key, folder in (("theta_0", theta_0), ("theta", theta)):
        files = sorted(folder.glob("*.safetensors"))
        assert report["hashes"][key] == {file.name: digest(file) for file in files}
        assert all(digest(file) in card for file in files)
    assert report["method"] == "ma" and "by the method ma: each weight is\n(1 - alpha) theta_0" in card
    assert report["groups"] == {"part1": 0.9, "part2": 0.4, "part3": 0.2}
    entry = report["tensors"]["model.decoder.layers.6.fc1.bias"]
    assert entry == {"group": "part3", "ratio": 0.2, "shape": [24]}
    assert "| part1 | 0.9 |" in card and "lin2024mitigating" in card and "partial" not in card
    assert str(tmp_path) not in card + json.dumps(report)


def test_one_part_is_averaged_and_the_rest_is_thetas(tmp_path, monkeypatch):
    theta_0, theta = save_pair(tmp_path, "llama")
    out = tmp_path / "out"
    arguments = ["--part", "input", "--alpha", 0.5, "--out", out]
    assert command(monkeypatch, "average", "--theta-0", theta_0, "--theta", theta, *arguments) == 0
    left, right = tensors(theta_0), tensors(theta)
    for name, tensor in tensors(out).items():
        inside = "embed_tokens" in name or any(f"layers.{index}." in name for index in (0, 1))
        expected = reference(left[name], right[name], 0.5).float() if inside else right[name]
        assert torch.equal(tensor, expected), name


def test_ratios_come_from_the_file_that_adapt_writes(tmp_path, monkeypatch):
    theta_0, theta = save_pair(tmp_path, "llama")
    groups = {f"layer{index}": index / 10 for index in range(1, 8)}
    content = {"groups": groups, "grouping": {"level": "layer", "embeddings": "theta_0"}, "alpha": 0.4}
    (tmp_path / "ratios.json").write_text(json.dumps(content))
    arguments = ["--alphas-file", tmp_path / "ratios.json", "--out", tmp_path / "out"]
    assert command(monkeypatch, "average", "--theta-0", theta_0, "--theta", theta, *arguments) == 0
    left, right, result = tensors(theta_0), tensors(theta), tensors(tmp_path / "out")
    name = "model.layers.4.mlp.up_proj.weight"
    assert torch.equal(result[name], reference(left[name], right[name], 0.5).float())
    assert torch.equal(result["model.embed_tokens.weight"], left["model.embed_tokens.weight"])
    name = "lm_head.weight"
    assert torch.equal(result[name], reference(left[name], right[name], 0.4).float())


def test_a_head_that_is_stored_though_tied_follows_the_embeddings(tmp_path):
    theta_0, theta = save_pair(tmp_path, "llama-tied-biases")
    plain = average_files(theta_0, theta, tmp_path / "plain", THREE)
    assert "lm_head.weight" not in plain.tensors
    for folder in (theta, theta_0):  # first theta alone stores its head, then both do
        file = folder / "model.safetensors"
        state = load_file(file)
        state["lm_head.weight"] = state["model.embed_tokens.weight"].clone()
        save_file(state, file, {"format": "pt"})
        report = average_files(theta_0, theta, tmp_path / folder.name / "out", THREE)
        assert report.tensors["lm_head.weight"][:2] == ("part1", 0.9)
        result = tensors(tmp_path / folder.name / "out")
        assert torch.equal(result["lm_head.weight"], result["model.embed_tokens.weight"])


def test_whole_numbers_are_kept_and_types_may_differ(tmp_path):
    theta_0, theta = save_pair(tmp_path, "llama")
    numbers = {"model.steps": torch.tensor([1, 2**40]), "model.empty": torch.zeros(0, 3)}
    numbers["model.one"] = torch.tensor(1.0)
    for folder, dtype in ((theta_0, torch.float32), (theta, torch.bfloat16)):
        file = folder / "model.safetensors"
        state = {name: tensor.to(dtype) for name, tensor in load_file(file).items()}
        save_file(state | numbers, file, {"format": "pt"})
    report = average_files(theta_0, theta, tmp_path / "out", uniform(0.3, Grouping()))
    left, right, result = tensors(theta_0), tensors(theta), tensors(tmp_path / "out")
    assert torch.equal(result["model.steps"], numbers["model.steps"])
    assert result["model.empty"].shape == (0, 3) and result["model.one"] == 1
    name = "model.norm.weight"
    assert torch.equal(result[name], reference(left[name], right[name], 0.3).float().bfloat16())
    assert any("written as BF16" in note for note in report.notes)


def test_vocab_union_averages_shared_rows_and_keeps_thetas_own(tmp_path, monkeypatch, capsys):
    theta_0, _ = save_pair(tmp_path, "llama")
    theta = tmp_path / "longer"
    make("llama", 1, vocab_size=66).save_pretrained(theta)
    save_tokenizer(theta, extra=("<pad>", "<end>"))
    arguments = ["average", "--theta-0", theta_0, "--theta", theta, "--alpha", 0.3, "--out", tmp_path / "out"]
    assert command(monkeypatch, *arguments) == 2
    error = capsys.readouterr().err
    assert "rows 64 to 65 ('<pad>', '<end>') are in theta only" in error and "--vocab union" in error
    assert command(monkeypatch, *arguments, "--vocab", "union") == 0
    left, right, result = tensors(theta_0), tensors(theta), tensors(tmp_path / "out")
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        assert torch.equal(result[name][:64], reference(left[name], right[name][:64], 0.3).float())
        assert torch.equal(result[name][64:], right[name][64:])
    assert transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out").config.vocab_size == 66
    arguments[2], arguments[4], arguments[-1] = theta, theta_0, tmp_path / "shorter"
    assert command(monkeypatch, *arguments, "--vocab", "union") == 0
    assert tensors(tmp_path / "shorter")["lm_head.weight"].shape[0] == 64


def test_a_tokenizer_that_theta_lacks_is_theta_0s(tmp_path):
    theta_0, theta = save_pair(tmp_path, "llama")
    for file in theta.glob("*token*"):
        file.unlink()
    (theta / "chat_template.jinja").unlink(missing_ok=True)
    report = average_files(theta_0, theta, tmp_path / "out", uniform(0.5, Grouping()))
    assert any("theta has none" in note for note in report.notes)
    assert (tmp_path / "out" / "tokenizer.json").read_bytes() == (theta_0 / "tokenizer.json").read_bytes()


def _sparse(folder: Path, values: int) -> None:
    """A model of one large tensor of zeros that takes no room on the disk."""
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "llama"}')
    entry = {"model.layers.0.w": {"dtype": "BF16", "shape": [values], "data_offsets": [0, 2 * values]}}
    header = json.dumps(entry).encode()
    with open(folder / "model.safetensors", "wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(8 + len(header) + 2 * values)


_WATCHED = r"""
import re, resource, sys
from pathlib import Path
from llm.averaging.files.average import average_files
from llm.averaging.ratios import uniform
from llm.grouping import Grouping
from llm import cli
folder = Path(sys.argv[1])
average_files(folder / "theta_0", folder / "theta", folder / "out", uniform(0.5, Grouping()), method=sys.argv[2])
heavy = {"torch", "transformers", "peft", "trl", "accelerate", "pandas", "scipy"} & set(sys.modules)
status = Path("/proc/self/status")  # on Linux getrusage would count the parent's memory too
if status.exists():
    peak = int(re.search(r"VmHWM:\s+(\d+)", status.read_text())[1])
else:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
print(peak, *heavy)
"""


@pytest.mark.parametrize("method", ["ma", "slerp"])  # the second reads the folders twice
def test_memory_stays_below_the_largest_tensor_and_nothing_heavy_is_imported(tmp_path, method):
    for name in ("theta_0", "theta"):
        _sparse(tmp_path / name, 100_000_000)
    run = [sys.executable, "-c", _WATCHED, str(tmp_path), method]
    done = subprocess.run(run, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True)
    kilobytes, *heavy = done.stdout.split()
    assert heavy == []
    assert int(kilobytes) * 1024 < 200_000_000  # the tensor itself; holding it once would already fail
    assert os.stat(tmp_path / "out" / "model.safetensors").st_size > 200_000_000
