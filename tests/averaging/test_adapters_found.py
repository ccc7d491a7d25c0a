"""Adapters as they are found: added tokens, tied bases, fused experts, another base, odd patterns."""

import json
import time

import peft
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from averaging_models import assert_averaged, command, make, reference, save_tokenizer, ulp
from llm.averaging.files.average import average_files
from llm.averaging.ratios import in_order, uniform
from llm.errors import UserError
from llm.grouping import Grouping

HEAD, TOKENS = "lm_head.weight", "model.embed_tokens.weight"
TWO = in_order("0.9,0.3", Grouping(), 2)  # the embeddings get 0.9, a head of its own 0.6
SMALL = {"num_hidden_layers": 2}


def adapter_on(folder, base, saving=None, added=(), **settings):
    """The base as folder/theta_0 and a randomly drawn adapter on it as folder/theta; returns the paths and peft's model."""
    base.save_pretrained(folder / "theta_0")
    save_tokenizer(folder / "theta_0")
    if added:
        base.resize_token_embeddings(64 + len(added), mean_resizing=False)
    settings = {"r": 2, "lora_alpha": 6, "task_type": "CAUSAL_LM"} | settings
    model = peft.get_peft_model(base, peft.LoraConfig(**settings))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.normal_(0, 0.2, generator=generator)
    model.save_pretrained(folder / "theta", **(saving or {}))
    save_tokenizer(folder / "theta", extra=added)
    return folder / "theta_0", folder / "theta", model.eval()


def loaded(base, adapter=None, rows=64):
    model = transformers.AutoModelForCausalLM.from_pretrained(base, dtype=torch.float64)
    if rows > 64:
        model.resize_token_embeddings(rows, mean_resizing=False)
    if adapter:
        model = peft.PeftModel.from_pretrained(model, adapter, autocast_adapter_dtype=False).double()
    return model.eval()


def logits(model):
    with torch.no_grad():
        return model(torch.arange(9)[None]).logits


@pytest.mark.parametrize("modules", [["lm_head", "embed_tokens"], None])
def test_added_tokens(modules, tmp_path):
    """Chat tokens and LoRA: the adapter holds embeddings and head with more rows, from modules_to_save or only resized."""
    theta_0, theta, model = adapter_on(
        tmp_path,
        make("llama", 0, **SMALL),
        {"save_embedding_layers": True},
        ("<|im_start|>", "<|im_end|>"),
        target_modules=["q_proj"],
        modules_to_save=modules,
    )
    with pytest.raises(UserError, match=r"has 64 rows in theta-0 and 66 in theta: .*<\|im_start\|>.*--vocab union"):
        average_files(theta_0, theta, tmp_path / "out", TWO)
    average_files(theta_0, theta, tmp_path / "out", TWO, union=True)
    report = average_files(theta_0, theta, tmp_path / "full", TWO, union=True, full=True)
    base = load_file(theta_0 / "model.safetensors")
    end = loaded(theta_0, theta, 66)
    for name, ratio, trained in ((TOKENS, 0.9, "get_input_embeddings"), (HEAD, 0.6, "get_output_embeddings")):
        weight = getattr(model.base_model.model, trained)()
        weight = (weight.modules_to_save.default if modules else weight).weight
        scaled = load_file(tmp_path / "out" / "adapter_model.safetensors")
        merged = load_file(tmp_path / "full" / "model.safetensors")
        for found in (merged[name], scaled[f"base_model.model.{name}"]):
            assert_averaged(found[:64], base[name], weight[:64], ratio)
            assert torch.equal(found[64:], weight[64:])
        copies = load_file(theta / "adapter_model.safetensors").items()
        copies = {other: tensor for other, tensor in copies if "original_module" in other}
        assert bool(copies) == bool(modules) and all(torch.equal(scaled[other], t) for other, t in copies.items())
    assert json.loads((tmp_path / "full" / "config.json").read_text())["vocab_size"] == 66
    assert any("rows 64 to 65" in note for note in report.notes)
    torch.testing.assert_close(
        logits(loaded(tmp_path / "full")), logits(loaded(theta_0, tmp_path / "out", 66)), rtol=0, atol=1e-5
    )
    average_files(theta_0, theta, tmp_path / "end", uniform(1.0, Grouping()), union=True, full=True)
    torch.testing.assert_close(logits(loaded(tmp_path / "end")), logits(end), rtol=0, atol=1e-5)


# What acts on the embeddings (E) and on the head (H) of a base that ties them, and whether the merged model has two matrices.
TIED = {
    "neither": ({"target_modules": ["q_proj"]}, False),
    "H saved": ({"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]}, True),
    "E saved": ({"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens"]}, True),
    "both saved": ({"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens", "lm_head"]}, True),
    "both saved as one": (
        {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens"], "ensure_weight_tying": True},
        False,
    ),
    "H by low rank": ({"target_modules": ["q_proj", "lm_head"]}, True),
    "E by low rank": ({"target_modules": ["q_proj", "embed_tokens"]}, True),
    "both by low rank": ({"target_modules": ["embed_tokens", "lm_head"]}, True),
}


@pytest.mark.parametrize("kind", TIED)
def test_a_tied_base(kind, tmp_path):
    """What peft computes with the adapter counts, not its merge_and_unload, which ties again what the adapter has separated."""
    settings, untied = TIED[kind]
    theta_0, theta, model = adapter_on(tmp_path, make("llama", 0, tie_word_embeddings=True, **SMALL), **settings)
    base = load_file(theta_0 / "model.safetensors")
    report = average_files(theta_0, theta, tmp_path / "full", TWO, full=True)
    average_files(theta_0, theta, tmp_path / "out", TWO)
    merged = load_file(tmp_path / "full" / "model.safetensors")
    assert merged.keys() == base.keys() | ({HEAD} if untied else set())
    assert report.tensors.keys() == merged.keys() and report.tensors[TOKENS][1] == 0.9
    assert not untied or report.tensors[HEAD][1] == 0.6
    assert json.loads((tmp_path / "full" / "config.json").read_text())["tie_word_embeddings"] is not untied
    average_files(theta_0, theta, tmp_path / "end", uniform(1.0, Grouping()), full=True)
    torch.testing.assert_close(logits(loaded(tmp_path / "end")), logits(loaded(theta_0, theta)), rtol=0, atol=2e-5)
    torch.testing.assert_close(
        logits(loaded(tmp_path / "full")), logits(loaded(theta_0, tmp_path / "out")), rtol=0, atol=2e-5
    )
    assert_averaged(merged["model.norm.weight"], base["model.norm.weight"], base["model.norm.weight"], 0.5)
    if kind == "both saved":
        for name, ratio, module in (
            (TOKENS, 0.9, model.get_input_embeddings()),
            (HEAD, 0.6, model.get_output_embeddings()),
        ):
            assert_averaged(merged[name], base[TOKENS], module.modules_to_save.default.weight, ratio)


def test_saved_embeddings_with_low_rank_on_top(tmp_path):
    """peft saves the embeddings' base_layer when they have an adapter: it may differ from theta_0's."""
    theta_0, theta, _ = adapter_on(tmp_path, make("llama", 0, **SMALL), target_modules=["embed_tokens", "lm_head"])
    file = theta / "adapter_model.safetensors"
    state = load_file(file)
    for name in [name for name in state if "base_layer" in name]:
        state[name] = state[name] * 1.5
    save_file(state, file)
    report = average_files(theta_0, theta, tmp_path / "full", TWO, full=True)
    base = load_file(theta_0 / "model.safetensors")
    merged, start = load_file(tmp_path / "full" / "model.safetensors"), "base_model.model."
    tokens = (
        state[f"{start}model.embed_tokens.lora_embedding_B"].double()
        @ state[f"{start}model.embed_tokens.lora_embedding_A"].double()
    )
    head = state[f"{start}lm_head.lora_B.weight"].double() @ state[f"{start}lm_head.lora_A.weight"].double()
    for name, delta in ((TOKENS, tokens.T), (HEAD, head)):
        end = (
            state[f"{start}{name.replace('.weight', '.base_layer.weight')}"].double() + 3 * delta
        )  # lora_alpha / r = 3
        exact = reference(base[name], end, report.tensors[name][1])
        assert ((merged[name].double() - exact.float().double()).abs() <= ulp(exact, torch.float32)).all()


def test_low_rank_on_fused_experts_is_scaled_though_the_base_stores_them_apart(tmp_path):
    settings = SMALL | {"num_local_experts": 2, "num_experts_per_tok": 1}
    parameters = ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]
    theta_0, theta, _ = adapter_on(
        tmp_path, make("mixtral", 0, **settings), target_modules=["q_proj"], target_parameters=parameters
    )
    report = average_files(theta_0, theta, tmp_path / "out", TWO)
    before, after = (load_file(folder / "adapter_model.safetensors") for folder in (theta, tmp_path / "out"))
    assert sum(".experts." in name for name in before) == 8
    for name, tensor in before.items():
        ratio = {"0": 0.9, "1": 0.3}[name.split("layers.")[1][0]]
        assert report.tensors[name][1] == ratio
        assert torch.equal(after[name], (tensor.double() * ratio).float() if "lora_B" in name else tensor), name
    with pytest.raises(UserError, match=r"experts.* belongs to no single tensor of theta-0; average it without --full"):
        average_files(theta_0, theta, tmp_path / "full", TWO, full=True)
    make("llama", 0, **SMALL).save_pretrained(tmp_path / "dense")
    with pytest.raises(
        UserError, match=r"acts on model\.layers\.0\.mlp\.experts\.weight, which theta-0 .* does not have"
    ):
        average_files(tmp_path / "dense", theta, tmp_path / "out2", TWO)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plain")
    return adapter_on(folder, make("llama", 0, **SMALL), target_modules=["q_proj", "v_proj"])[:2]


def _change(folder, to, **settings):
    to.mkdir()
    for file in folder.iterdir():
        (to / file.name).write_bytes(file.read_bytes())
    config = json.loads((to / "adapter_config.json").read_text())
    (to / "adapter_config.json").write_text(json.dumps(config | settings))
    return to


def test_an_adapter_of_another_base_is_noted_and_refused_where_that_is_strict(plain, tmp_path, monkeypatch, capsys):
    other = _change(plain[1], tmp_path / "theta", base_model_name_or_path="org/sft-merged")
    arguments = ["average", "--theta-0", plain[0], "--theta", other, "--alpha", 0.5, "--out", tmp_path / "out"]
    assert command(monkeypatch, *arguments, "--strict") == 2
    assert "strict is set, but: The adapter's base is 'sft-merged', and theta-0 is 'theta_0'" in capsys.readouterr().err
    assert command(monkeypatch, *arguments) == 0
    assert "base is 'sft-merged'" in capsys.readouterr().out
    assert "base is 'sft-merged'" in (tmp_path / "out" / "README.md").read_text()
    same = _change(plain[1], tmp_path / "same", base_model_name_or_path="/a/b/theta_0/")
    for file in same.glob("tokenizer*"):  # an adapter's folder often has none: that is no doubt
        file.unlink()
    assert command(monkeypatch, *arguments[:4], same, *arguments[5:-1], tmp_path / "out2", "--strict") == 0


def test_a_config_beside_an_adapter_stays_out_of_the_merged_model(plain, tmp_path):
    theta = _change(plain[1], tmp_path / "theta")
    (theta / "config.json").write_text('{"quantization_config": {"load_in_4bit": true}, "model_type": "llama"}')
    average_files(plain[0], theta, tmp_path / "out", TWO, full=True)
    assert (tmp_path / "out" / "config.json").read_bytes() == (plain[0] / "config.json").read_bytes()


SLOW = r"([\w.]+)*!"  # tries every way to cut a name into pieces


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"rank_pattern": {"(": 2}}, r"'\(', which is no pattern"),
        ({"rank_pattern": {"q_proj|*": 2}}, "which is no pattern"),
        ({"target_modules": "(((("}, "which is no pattern"),
        ({"target_modules": "(a|b)" * 5000}, "it has 25000 letters"),
        ({"rank_pattern": [2]}, "is no object of patterns"),
        ({"alpha_pattern": {SLOW: 2}}, "has patterns that take too long"),
        ({"target_modules": SLOW}, "has patterns that take too long"),
        ({"rank_pattern": {"q_proj": None}}, "do not fit r None"),
        ({"lora_alpha": 10**400}, "do not fit r 2 and lora_alpha 1000"),
    ],
)
def test_patterns_that_are_none_or_take_too_long(settings, words, plain, tmp_path, monkeypatch):
    monkeypatch.setattr("llm.averaging.files.lora_patterns._PATIENCE", 0.5)
    theta = _change(plain[1], tmp_path / "theta", **settings)
    begun = time.perf_counter()
    with pytest.raises(UserError, match=words):
        average_files(plain[0], theta, tmp_path / "out", TWO)
    assert time.perf_counter() - begun < 5
    assert {path.name for path in tmp_path.iterdir()} == {"theta"}


@pytest.mark.parametrize(
    "pattern", [r".*\.[0-9]+\.self_attn\.q_proj", "^model.layers.0.self_attn.q_proj", "(k|q)_proj", "q_proj$"]
)
def test_patterns_fit_as_in_peft(pattern, tmp_path):
    """A pattern that is more than a name is matched in a process of its own."""
    rank = {"rank_pattern": {pattern: 3}, "alpha_pattern": {pattern: 5}}
    theta_0, theta, _ = adapter_on(tmp_path, make("llama", 0, **SMALL), target_modules=["q_proj", "v_proj"], **rank)
    average_files(theta_0, theta, tmp_path / "full", uniform(1.0, Grouping()), full=True)
    end = loaded(theta_0, theta).merge_and_unload().state_dict()
    for name, tensor in load_file(tmp_path / "full" / "model.safetensors").items():
        torch.testing.assert_close(tensor.double(), end[name], rtol=2e-7, atol=1e-8)
