"""Bad input: exit code 2, one sentence that names what is wrong, no traceback, nothing left behind."""

import json
import shutil
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file

from averaging_models import command, make, save_pair


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    folder = tmp_path_factory.mktemp("originals")
    save_pair(folder, "llama", shards="9KB")
    return folder


def _set(file, **changes):
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def _tensors(folder, change, file="model.safetensors"):
    state = load_file(folder / file)
    change(state)
    save_file(state, folder / file, {"format": "pt"})


def _poison(value):
    def change(state):
        state["model.layers.2.mlp.up_proj.weight"][3, 1] = value

    return change


def _index(folder):
    return folder / "model.safetensors.index.json"


def _shards(folder):
    return sorted(folder.glob("model-*.safetensors"))


def _vocabulary(folder, change):
    file = folder / "tokenizer.json"
    content = json.loads(file.read_text())
    change(content["model"]["vocab"])
    file.write_text(json.dumps(content))


def _pickle(folder):
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04.")


def _header(folder, text):
    (folder / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text.encode())


def _entry(**changes):
    return json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]} | changes})


def _swap_names(vocabulary):
    vocabulary["w5"], vocabulary["w6"] = vocabulary["w6"], vocabulary["w5"]


def _forget(folder, name):
    content = json.loads(_index(folder).read_text())
    del content["weight_map"][name]
    _index(folder).write_text(json.dumps(content))


def _point_outside(folder):
    content = json.loads(_index(folder).read_text())
    content["weight_map"]["lm_head.weight"] = "../theta_0/model.safetensors"
    _index(folder).write_text(json.dumps(content))


def _ratios(where, content):
    (where.folder / "ratios.json").write_text(content if isinstance(content, str) else json.dumps(content))
    where.ratios = ["--alphas-file", where.folder / "ratios.json"]


def _options(*options):
    return lambda where: where.ratios.__setitem__(slice(None), options)


# What is done to two good folders (a in one file, b in shards) or to the options, and words of the sentence.
# A table: the formatter would give each part of a longer case a line of its own.
# fmt: off
CASES = {
    "no folder": (lambda w: shutil.rmtree(w.a), "theta-0 is", "is no folder"),
    "a file for a folder": (lambda w: setattr(w, "b", w.b / "config.json"), "theta is", "is no folder"),
    "no config": (lambda w: (w.a / "config.json").unlink(), "has no config.json"),
    "config not JSON": (lambda w: (w.b / "config.json").write_text("{,}"), "config.json is not valid JSON"),
    "config a list": (lambda w: (w.b / "config.json").write_text("[]"), "holds a JSON list"),
    "quantised": (
        lambda w: [
            _set(w.b / "config.json", quantization_config={}),
            _tensors(w.b, lambda state: state.update({min(state): torch.ones(2, 1).byte()}), _shards(w.b)[0].name),
        ],
        "theta is quantised",
    ),
    "codes of GPTQ, of which config.json says nothing": (
        lambda w: _tensors(w.a, lambda state: state.update({"model.layers.0.mlp.up_proj.qweight": torch.ones(2, 2).int()})),
        "theta-0 is quantised (model.layers.0.mlp.up_proj.qweight",
    ),
    "values of eight bits": (
        lambda w: _tensors(w.a, lambda state: state.update({"model.norm.weight": state["model.norm.weight"].to(torch.float8_e4m3fn)})),
        "theta-0 is quantised (model.norm.weight",
    ),
    "GGUF": (lambda w: ((w.a / "config.json").unlink(), (w.a / "m.gguf").write_bytes(b"GGUF")), "has no config.json; GGUF is"),
    "shards of FSDP": (
        lambda w: ((w.a / "model.safetensors").unlink(), (w.a / "s").mkdir(), (w.a / "s" / "0.distcp").write_bytes(b"x")),
        "has no model.safetensors", "accelerate merge-weights",
    ),
    "Mistral's own format": (
        lambda w: ((w.a / "model.safetensors").unlink(), (w.a / "consolidated.safetensors").write_bytes(b"x")),
        "has no model.safetensors", "Mistral's own format",
    ),
    "parameters that ZeRO-3 has left empty": (
        lambda w: _tensors(w.a, lambda state: state.update({"model.norm.weight": torch.empty(0)})),
        "model.norm.weight of theta-0 has shape 0",
        "zero_to_fp32",
    ),
    "no weights": (lambda w: (w.a / "model.safetensors").unlink(), "has no model.safetensors"),
    "pickle weights": (lambda w: _pickle(w.a), "pickle weights (pytorch_model.bin)", "save_pretrained"),
    "shard file missing": (lambda w: _shards(w.b)[1].unlink(), "theta lacks the shard model-00002"),
    "shard missing from the index": (lambda w: shutil.copy(_shards(w.b)[0], w.b / "model-00099-of-00099.safetensors"),
        "model-00099-of-00099.safetensors, which is missing from"),
    "tensor missing from the index": (lambda w: _forget(w.b, "lm_head.weight"), "lm_head.weight lies in",
        "lists no shard"),
    "tensor missing from its shard": (
        lambda w: _tensors(w.b, lambda state: state.pop(min(state)), _shards(w.b)[0].name), "theta lacks",
        "lists in model-00001"),
    "index not JSON": (lambda w: _index(w.b).write_text("?"), "index.json is not valid JSON"),
    "index without map": (lambda w: _index(w.b).write_text("{}"), "has no weight_map"),
    "index that leaves the folder": (lambda w: _point_outside(w.b), "names the shard '../theta_0"),
    "truncated": (lambda w: (w.a / "model.safetensors").write_bytes((w.a / "model.safetensors").read_bytes()[:-9]),
        "is truncated"),
    "too long": (lambda w: (w.a / "model.safetensors").write_bytes((w.a / "model.safetensors").read_bytes() + b"\0"),
        "is corrupt: it has"),
    "empty file": (lambda w: (w.a / "model.safetensors").write_bytes(b""), "no whole safetensors file"),
    "header too long": (lambda w: (w.a / "model.safetensors").write_bytes(b"\xff" * 64), "no whole safetensors file"),
    "header not JSON": (lambda w: _header(w.a, "{nothing}"), "a corrupt safetensors header"),
    "header a list": (lambda w: _header(w.a, "[1, 2]"), "a corrupt safetensors header"),
    "header with a bad shape": (lambda w: _header(w.a, _entry(shape=[-1])), "a corrupt safetensors header"),
    "header with offsets that do not fit": (lambda w: _header(w.a, _entry(data_offsets=[0, 8])),
        "a corrupt safetensors header"),
    "header with a gap": (lambda w: _header(w.a, _entry(data_offsets=[4, 8])), "does not begin where"),
    "header with an unknown type": (lambda w: _header(w.a, _entry(dtype="F7")), "type 'F7'"),
    "no tensors": (lambda w: _header(w.a, "{}"), "hold no tensors"),
    "a tensor of one side": (lambda w: _tensors(w.a, lambda state: state.update(extra=torch.ones(1))),
        "extra is a tensor of theta-0 only"),
    "a tensor missing on one side": (lambda w: _tensors(w.a, lambda state: state.pop("model.norm.weight")),
        "model.norm.weight is a tensor of theta only"),
    "an untied head on one side": (lambda w: _tensors(w.a, lambda state: state.pop("lm_head.weight")),
        "lm_head.weight is a tensor of theta only"),
    "shapes": (lambda w: _tensors(w.a, lambda state: state.update({"model.norm.weight": torch.ones(17)})),
        "model.norm.weight has shape 17 in theta-0 and 16 in theta"),
    "types": (lambda w: _tensors(w.a, lambda state: state.update({"model.norm.weight": torch.ones(16).long()})),
        "type I64 in theta-0 and F32"),
    "architecture": (lambda w: _set(w.a / "config.json", architectures=["MistralForCausalLM"]),
        "architectures in config.json"),
    "setting": (lambda w: _set(w.a / "config.json", rms_norm_eps=0.1), "rms_norm_eps in config.json is 0.1"),
    "number of layers": (lambda w: make("llama", 0, num_hidden_layers=3).save_pretrained(w.a),
        "num_hidden_layers in config.json is 3"),
    "vocabulary size": (lambda w: make("llama", 0, vocab_size=70).save_pretrained(w.a), "70 rows in theta-0",
        "--vocab union"),
    "tokens": (lambda w: _vocabulary(w.a, _swap_names), "Token 5 is 'w6'"),
    "tokenizer not JSON": (lambda w: (w.a / "tokenizer.json").write_text("{"), "tokenizer.json is not valid"),
    "NaN": (lambda w: _tensors(w.a, _poison(float("nan"))), "layers.2.mlp.up_proj.weight of theta-0", "NaN"),
    "Inf": (lambda w: _tensors(w.a, _poison(-float("inf"))), "layers.2.mlp.up_proj.weight of theta-0", "Inf"),
    "ratio above 1": (_options("--alpha", "1.01"), "alpha = 1.01 is not allowed; allowed are numbers from 0"),
    "ratio below 0": (_options("--alpha=-0.1"), "alpha = -0.1"),
    "ratio NaN": (_options("--alpha", "nan"), "alpha = nan"),
    "ratio no number": (_options("--alphas", "0.5,x"), "alphas = '0.5,x'"),
    "one of the ratios": (_options("--alphas", "0.5,2,0.1"), "ratio 2 of alphas = 2.0"),
    "number of ratios": (_options("--alphas", "0.5,0.1", "--parts", "3"), "2 ratios, but there are 3 groups"),
    "number of ratios per layer": (_options("--alphas", "0.5,0.1", "--level", "layer"), "7 groups"),
    "number of ratios per module": (_options("--alphas", "0.5,0.1,1", "--level", "module"), "2 per part"),
    "more parts than layers": (_options("--alphas", ",".join(["0.5"] * 8)), "parts = 8 is not allowed; allowed are 1 to 7"),
    "no ratio": (_options(), "ratios are given by none"),
    "two ways to give ratios": (_options("--alpha", "0.5", "--alphas", "1,1,1"), "--alpha and --alphas"),
    "unknown part": (_options("--alpha", "0.5", "--part", "upper"), "part = 'upper' is not allowed; allowed are input,"),
    "part number": (_options("--alpha", "0.5", "--part", "4"), "part = '4'"),
    "part without alpha": (_options("--alphas", "1,1,1", "--part", "input"), "without --alpha"),
    "unknown level": (_options("--alpha", "0.5", "--level", "head"), "level = 'head'"),
    "a place of several": (
        _options("--alpha", "0.5", "--head", "theta", "--embeddings", "own"),
        "embeddings = 'own' is not allowed with one --alpha, that of all parts; allowed are theta and theta_0.",
    ),
    "unknown place": (_options("--alpha", "0.5", "--norm", "middle"), "norm = 'middle'"),
    "unknown vocab": (_options("--alpha", "0.5", "--vocab", "mine"), "vocab = 'mine' is not allowed; allowed are same"),
    "full without adapter": (_options("--alpha", "0.5", "--full"), "which is no adapter"),
    "no ratios file": (_options("--alphas-file", "nowhere.json"), "alphas-file is 'nowhere.json'"),
    "ratios file not JSON": (lambda w: _ratios(w, "alpha: 1"), "is not valid JSON"),
    "ratios file without groups": (lambda w: _ratios(w, {"alpha": 1}), 'has no "groups"'),
    "ratios file with a bad ratio": (lambda w: _ratios(w, {"groups": {"part1": "1"}}), "groups[part1]"),
    "ratios file with another grouping": (lambda w: _ratios(w, {"groups": {"part1": 1, "part2": 1}}),
        "groups are part1, part2, part3"),
    "ratios file with an unknown setting": (lambda w: _ratios(w, {"groups": {"part1": 1}, "grouping": {"K": 3}}),
        ': grouping = '),
    "output exists": (lambda w: w.out.mkdir(), "which exists; give a new folder"),
    "output's parent missing": (lambda w: setattr(w, "out", w.out / "deep" / "er"), "does not exist"),
    "no room": (lambda w: w.patch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000)), "are needed"),
}
# fmt: on


def test_there_are_at_least_40_kinds():
    assert len(CASES) >= 40


@pytest.mark.parametrize("kind", CASES)
def test_bad_input(kind, originals, tmp_path, monkeypatch, capsys):
    spoil, *words = CASES[kind]
    for name in ("theta_0", "theta"):
        shutil.copytree(originals / name, tmp_path / name)
    where = SimpleNamespace(
        folder=tmp_path,
        a=tmp_path / "theta_0",
        b=tmp_path / "theta",
        out=tmp_path / "out",
        ratios=["--alpha", "0.5"],
        patch=monkeypatch,
    )
    spoil(where)
    before = sorted(tmp_path.rglob("*"))
    capsys.readouterr()  # what saving has printed
    arguments = ["--theta-0", where.a, "--theta", where.b, "--out", where.out, *where.ratios]
    assert command(monkeypatch, "average", *arguments) == 2
    printed = capsys.readouterr()
    sentence = printed.err.strip()
    assert "\n" not in sentence and sentence.endswith(".")
    assert "Traceback" not in sentence and printed.out == ""
    for word in words:
        assert word in sentence
    assert sorted(tmp_path.rglob("*")) == before


def test_the_same_folders_are_fine_when_nothing_is_wrong(originals, tmp_path, monkeypatch):
    """Guards the cases above: without the fault, the command succeeds."""
    folders = ["--theta-0", originals / "theta_0", "--theta", originals / "theta"]
    arguments = [*folders, "--out", tmp_path / "out"]
    assert command(monkeypatch, "average", *arguments, "--alpha", "0.5") == 0
