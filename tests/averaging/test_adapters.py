"""LoRA adapters: scaling B is averaging the merged models; what is not linear is refused."""

import json

import peft
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from averaging_models import command, make, merged_by_peft, save_tokenizer
from llm.averaging.files.average import average_files
from llm.averaging.live import average
from llm.averaging.merge import merge_named, merged_methods
from llm.averaging.ratios import in_order, uniform
from llm.errors import UserError
from llm.grouping import Grouping

THREE = in_order("0.9,0.4,0.2", Grouping(), 3)
LLAMA = ["q_proj", "down_proj"]

SETTINGS = {
    "plain": ("llama", {"target_modules": LLAMA}),
    "rank-stabilised": ("llama", {"target_modules": LLAMA, "use_rslora": True}),
    "patterns": (
        "llama",
        {
            "target_modules": LLAMA,
            "rank_pattern": {"layers.1.self_attn.q_proj": 2, "down_proj": 3},
            "alpha_pattern": {"down_proj": 5},
        },
    ),
    "conv1d": ("gpt2", {"target_modules": ["c_attn", "c_proj"], "fan_in_fan_out": True}),
    "embeddings-and-head": ("llama", {"target_modules": [*LLAMA, "embed_tokens", "lm_head"]}),
    "saved-modules": ("llama", {"target_modules": LLAMA, "modules_to_save": ["lm_head", "norm"]}),
    "biases": ("qwen2", {"target_modules": LLAMA, "bias": "all"}),
}


def _adapter(folder, architecture, changes, dtype=torch.float32):
    """theta_0 and a randomly drawn adapter on it in folder/theta_0 and folder/theta."""
    base = make(architecture, 0)
    base.save_pretrained(folder / "theta_0")
    save_tokenizer(folder / "theta_0")
    settings = {"r": 4, "lora_alpha": 12, "task_type": "CAUSAL_LM"} | changes
    model = peft.get_peft_model(base, peft.LoraConfig(**settings))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.normal_(0, 0.2, generator=generator)
    model.to(dtype).save_pretrained(folder / "theta")
    return folder / "theta_0", folder / "theta"


@pytest.mark.parametrize("kind", SETTINGS)
def test_scaling_the_adapter_is_averaging_the_models(kind, tmp_path):
    theta_0, theta = _adapter(tmp_path, *SETTINGS[kind])
    report = average_files(theta_0, theta, tmp_path / "out", THREE)
    full = average_files(theta_0, theta, tmp_path / "full", THREE, full=True)
    base = {n: t.double() for n, t in load_file(theta_0 / "model.safetensors").items()}
    end, scaled = merged_by_peft(theta_0, theta), merged_by_peft(theta_0, tmp_path / "out")
    merged = load_file(tmp_path / "full" / "model.safetensors")
    assert set(merged) == set(base)
    assert set(report.tensors) == set(load_file(theta / "adapter_model.safetensors"))
    moved = 0
    for name, start in base.items():
        exact = start + full.tensors[name][1] * (end[name] - start)
        torch.testing.assert_close(merged[name].double(), exact, rtol=2e-7, atol=1e-8)
        torch.testing.assert_close(scaled[name], exact, rtol=1e-6, atol=1e-7)
        moved += not torch.equal(end[name], start)
    assert moved >= 14
    assert not (tmp_path / "full" / "adapter_config.json").exists()
    transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "full")


@pytest.mark.parametrize("method", merged_methods())
@pytest.mark.parametrize("kind", ["plain", "saved-modules"])
def test_a_full_model_by_any_method_is_that_of_the_merged_adapter(method, kind, tmp_path):
    theta_0, theta = _adapter(tmp_path, *SETTINGS[kind])
    base = {n: t.double() for n, t in load_file(theta_0 / "model.safetensors").items()}
    end, third, before = {n: t for n, t in merged_by_peft(theta_0, theta).items() if n in base}, None, None
    if merge_named(method).third:
        make("llama", 5).save_pretrained(third := tmp_path / "pre")
        before = {n: t.double() for n, t in load_file(third / "model.safetensors").items()}
    average_files(
        theta_0, theta, tmp_path / "full", uniform(0.4, Grouping()), full=True, method=method, theta_pre=third
    )
    exact, made = average(base, end, 0.4, method, before), load_file(tmp_path / "full" / "model.safetensors")
    assert made.keys() == exact.keys() and any(not torch.equal(made[name].double(), base[name]) for name in made)
    for name, tensor in made.items():
        torch.testing.assert_close(tensor.double(), exact[name], rtol=2e-7, atol=1e-8)


@pytest.mark.parametrize("full", [False, True])
def test_beyond_an_adapter_its_b_is_scaled_likewise(full, tmp_path):
    theta_0, theta = _adapter(tmp_path, *SETTINGS["saved-modules"])
    average_files(theta_0, theta, tmp_path / "out", uniform(1.3, Grouping(), 2), full=full, method="extrapolate")
    base = {n: t.double() for n, t in load_file(theta_0 / "model.safetensors").items()}
    end = merged_by_peft(theta_0, theta)
    made = load_file(tmp_path / "out" / "model.safetensors") if full else merged_by_peft(theta_0, tmp_path / "out")
    for name, start in base.items():
        torch.testing.assert_close(made[name].double(), start + 1.3 * (end[name] - start), rtol=1e-6, atol=1e-7)


def test_the_ends_of_an_adapter(tmp_path):
    theta_0, theta = _adapter(tmp_path, "llama", {"target_modules": LLAMA}, torch.bfloat16)
    for alpha in (0.0, 1.0):
        average_files(theta_0, theta, tmp_path / f"adapter{alpha}", uniform(alpha, Grouping()))
    stored = (theta / "adapter_model.safetensors").read_bytes()
    assert (tmp_path / "adapter1.0" / "adapter_model.safetensors").read_bytes() == stored
    for name, tensor in load_file(tmp_path / "adapter0.0" / "adapter_model.safetensors").items():
        assert tensor.dtype == torch.bfloat16 and ("lora_A" in name or not tensor.any())
    average_files(theta_0, theta, tmp_path / "full", uniform(0.0, Grouping()), full=True)
    stored = [(folder / "model.safetensors").read_bytes() for folder in (theta_0, tmp_path / "full")]
    assert stored[0] == stored[1]
    for alpha in (0.5, 1.0):
        report = average_files(theta_0, theta, tmp_path / f"full{alpha}", uniform(alpha, Grouping()), full=True)
        assert (report.effect["from_high"] == 0) == (alpha == 1), "theta merged is theta"
        assert 0 < report.effect["from_low"] <= report.effect["moved"]


def test_each_layers_adapter_gets_its_parts_ratio(tmp_path):
    theta_0, theta = _adapter(tmp_path, "llama", {"target_modules": LLAMA, "layers_to_transform": [0, 2, 6]})
    average_files(theta_0, theta, tmp_path / "out", THREE)
    before, after = (load_file(path / "adapter_model.safetensors") for path in (theta, tmp_path / "out"))
    for name, tensor in before.items():
        ratio = {"0": 0.9, "2": 0.4, "6": 0.2}[name.split("layers.")[1][0]] if "lora_B" in name else 1.0
        assert torch.equal(after[name], (tensor.double() * ratio).float()), name


def _change(folder, **settings):
    file = folder / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | settings))


def _drop(folder, part):
    file = folder / "adapter_model.safetensors"
    save_file({name: tensor for name, tensor in load_file(file).items() if part not in name}, file)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda folder: _change(folder, use_dora=True), "DoRA adapter, which is not linear in B"),
        (lambda folder: _change(folder, init_lora_weights="pissa"), "'pissa', which changes theta-0"),
        (lambda folder: _change(folder, peft_type="IA3"), "type 'IA3'; allowed is LORA"),
        (lambda folder: _change(folder, r=5), "do not fit r 5"),
        (lambda folder: _change(folder, lora_alpha="x"), "lora_alpha 'x'"),
        (lambda folder: _drop(folder, "layers.3.self_attn.q_proj.lora_B"), "only lora_A of model.layers.3"),
    ],
)
def test_adapters_that_cannot_be_scaled_are_refused(spoil, words, tmp_path):
    theta_0, theta = _adapter(tmp_path, "llama", {"target_modules": LLAMA})
    spoil(theta)
    with pytest.raises(UserError, match=words):
        average_files(theta_0, theta, tmp_path / "out", THREE)
    assert {file.name for file in tmp_path.iterdir()} == {"theta_0", "theta"}


def test_an_activated_adapter_is_scaled_and_not_merged(tmp_path):
    """peft does not merge one either: it acts on the text from some tokens on."""
    theta_0, theta = _adapter(tmp_path, "llama", {"target_modules": LLAMA})
    _change(theta, alora_invocation_tokens=[3, 4])
    average_files(theta_0, theta, tmp_path / "scaled", uniform(0.5, Grouping()))
    with pytest.raises(UserError, match="activated LoRA .alora_invocation_tokens.*without --full"):
        average_files(theta_0, theta, tmp_path / "out", uniform(0.5, Grouping()), full=True)


def test_an_adapter_of_another_model_is_refused(tmp_path):
    _, theta = _adapter(tmp_path, "llama", {"target_modules": LLAMA})
    for folder, settings, words in (
        ("wide", {"hidden_size": 32}, "has shape"),
        ("short", {"num_hidden_layers": 3}, "which theta-0 .* does not have"),
    ):
        make("llama", 0, **settings).save_pretrained(tmp_path / folder)
        with pytest.raises(UserError, match=words):
            average_files(tmp_path / folder, theta, tmp_path / "out", uniform(0.5, Grouping()))


def test_the_command_averages_adapters(tmp_path, monkeypatch, capsys):
    theta_0, theta = _adapter(tmp_path, "llama", {"target_modules": LLAMA})
    arguments = ["average", "--theta-0", theta_0, "--theta", theta, "--alpha", 0.5, "--out"]
    assert command(monkeypatch, *arguments, tmp_path / "out") == 0
    assert "LoRA adapter" in (tmp_path / "out" / "README.md").read_text()
    assert command(monkeypatch, *arguments, tmp_path / "full", "--full") == 0
    assert (tmp_path / "full" / "tokenizer.json").exists()
    assert command(monkeypatch, *arguments, tmp_path / "x", "--method", "slerp") == 2
    assert "method = 'slerp' is not allowed with an adapter without --full" in capsys.readouterr().err
    arguments[2] = theta
    assert command(monkeypatch, *arguments, tmp_path / "x") == 2
    assert "which is an adapter" in capsys.readouterr().err
