"""Folders as they are found: heads tied in one model only, names with prefixes, tensors that are no parameters."""

import json
import shutil

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from averaging_models import assert_averaged, command, make, save_tokenizer
from llm.averaging.files.average import average_files
from llm.averaging.ratios import in_order, uniform
from llm.errors import UserError
from llm.grouping import Grouping
from llm.models.folder import read_folder

HEAD, TOKENS = "lm_head.weight", "model.embed_tokens.weight"
TWO = in_order("0.9,0.3", Grouping(), 2)  # the embeddings get 0.9, a head of its own 0.6
SMALL = {"num_hidden_layers": 2}


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    """Folders theta_0 and theta, untied; tied_0 and tied, without a head; gpt2_0 and gpt2."""
    folder = tmp_path_factory.mktemp("originals")
    kinds = {
        "theta": ("llama", SMALL),
        "tied": ("llama", SMALL | {"tie_word_embeddings": True}),
        "gpt2": ("gpt2", {"n_layer": 2}),
    }
    for kind, (architecture, settings) in kinds.items():
        for seed, name in enumerate((f"{kind}_0", kind)):
            make(architecture, seed, **settings).save_pretrained(folder / name)
            save_tokenizer(folder / name)
    return folder


def tensors(folder):
    return {name: t for file in sorted(folder.glob("*.safetensors")) for name, t in load_file(file).items()}


def changed(folder, to, change, file="model.safetensors", **settings):
    """A copy of a model folder with other tensors and settings."""
    shutil.copytree(folder, to)
    state = change(load_file(to / file))
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, to / file, {"format": "pt"})
    config = json.loads((to / "config.json").read_text()) | settings
    (to / "config.json").write_text(json.dumps(config))
    return to


def logits(folder, **options):
    with torch.no_grad():
        return transformers.AutoModelForCausalLM.from_pretrained(folder, **options)(torch.arange(9)[None]).logits


@pytest.mark.parametrize("kinds", [("tied_0", "theta"), ("theta_0", "tied")])
@pytest.mark.parametrize("shards", [False, True])
def test_a_head_that_one_model_ties_is_written_untied(kinds, shards, originals, tmp_path):
    theta_0, theta = (originals / kind for kind in kinds)
    if shards:
        transformers.AutoModelForCausalLM.from_pretrained(theta).save_pretrained(
            tmp_path / "theta", max_shard_size="9KB"
        )
        theta = tmp_path / "theta"
    report = average_files(theta_0, theta, tmp_path / "out", TWO)
    left, right, result = tensors(theta_0), tensors(theta), tensors(tmp_path / "out")
    assert result.keys() == report.tensors.keys() == (left | right).keys()
    assert report.tensors[HEAD][:2] == ("mean", 0.6) and report.tensors[TOKENS][:2] == ("part1", 0.9)
    for name, tensor in result.items():
        ends = [state.get(name, state[TOKENS]) for state in (left, right)]
        assert_averaged(tensor, *ends, report.tensors[name][1])
    assert read_folder(tmp_path / "out", "out").tensors.keys() == result.keys()  # the index, where there is one, fits
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["tie_word_embeddings"] is False
    assert config | {"tie_word_embeddings": 0} == json.loads((theta / "config.json").read_text()) | {
        "tie_word_embeddings": 0
    }
    model, info = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    assert torch.equal(model.lm_head.weight, result[HEAD]) and torch.equal(
        model.model.embed_tokens.weight, result[TOKENS]
    )
    assert any("two matrices" in note for note in report.notes)
    for alpha, end in ((0.0, theta_0), (1.0, theta)):
        average_files(theta_0, theta, tmp_path / f"end{alpha}", uniform(alpha, Grouping()))
        assert torch.equal(logits(tmp_path / f"end{alpha}"), logits(end))


def _head_only(state):
    return {HEAD if name == TOKENS else name: tensor for name, tensor in state.items()}


@pytest.mark.parametrize("which", ["theta_0", "theta", "both"])
def test_embeddings_that_are_stored_as_the_head_alone(which, originals, tmp_path):
    folders = [originals / "tied_0", originals / "tied"]
    changes = {"theta_0": (0,), "theta": (1,), "both": (0, 1)}[which]
    for place in changes:
        folders[place] = changed(folders[place], tmp_path / str(place), _head_only)
    report = average_files(*folders, tmp_path / "out", TWO)
    left, right = tensors(originals / "tied_0"), tensors(originals / "tied")
    result = tensors(tmp_path / "out")
    matrix = HEAD if which == "both" else TOKENS
    assert result.keys() == {name if name != TOKENS else matrix for name in right}
    assert report.tensors[matrix][:2] == ("part1", 0.9)
    assert_averaged(result[matrix], left[TOKENS], right[TOKENS], 0.9)
    by_hand = transformers.AutoModelForCausalLM.from_pretrained(originals / "tied")
    by_hand.load_state_dict({TOKENS if name == HEAD else name: t for name, t in result.items()}, strict=False)
    assert torch.equal(logits(tmp_path / "out"), by_hand(torch.arange(9)[None]).logits)


def test_a_stored_head_that_differs_is_its_own_whatever_the_configuration(originals, tmp_path):
    """As transformers has it: it does not tie what is stored with different values."""
    theta = changed(originals / "theta", tmp_path / "theta", dict, tie_word_embeddings=True)
    average_files(originals / "theta_0", theta, tmp_path / "out", TWO)
    assert_averaged(
        tensors(tmp_path / "out")[HEAD], *(tensors(originals / name)[HEAD] for name in ("theta_0", "theta")), 0.6
    )
    assert json.loads((tmp_path / "out" / "config.json").read_text())["tie_word_embeddings"] is False


def test_ordinary_folders_are_copied_byte_by_byte_but_for_their_values(originals, tmp_path):
    for kind in ("theta", "tied"):
        average_files(originals / f"{kind}_0", originals / kind, tmp_path / kind, TWO)
        for file in ("config.json", "generation_config.json", "tokenizer.json"):
            assert (tmp_path / kind / file).read_bytes() == (originals / kind / file).read_bytes()


@pytest.mark.parametrize(
    "prefix", ["_orig_mod.", "module.", "base_model.model.", "pretrained_model.", "module._orig_mod."]
)
def test_names_of_wrappers(prefix, originals, tmp_path):
    wrapped = changed(originals / "theta", tmp_path / "theta", lambda state: {prefix + n: t for n, t in state.items()})
    report = average_files(originals / "theta_0", wrapped, tmp_path / "out", TWO)
    average_files(originals / "theta_0", originals / "theta", tmp_path / "plain", TWO)
    found, plain = tensors(tmp_path / "out"), tensors(tmp_path / "plain")
    assert found.keys() == plain.keys() and all(torch.equal(found[name], plain[name]) for name in plain)
    assert any(prefix in note and "wrapper's prefix" in note for note in report.notes)


@pytest.mark.parametrize("bare", ["gpt2_0", "gpt2"])
def test_a_base_models_names_with_and_without_its_prefix(bare, originals, tmp_path):
    """GPT-2 on the hub has names without "transformer.", and its causal masks."""

    def as_on_the_hub(state):
        masks = {f"h.{layer}.attn.bias": torch.tril(torch.ones(1, 1, 32, 32)) for layer in range(2)}
        masks |= {f"h.{layer}.attn.masked_bias": torch.tensor(-1e4) for layer in range(2)}
        return {name.removeprefix("transformer."): tensor for name, tensor in state.items()} | masks

    folders = {name: originals / name for name in ("gpt2_0", "gpt2")}
    folders[bare] = changed(originals / bare, tmp_path / bare, as_on_the_hub)
    report = average_files(*folders.values(), tmp_path / "out", TWO)
    average_files(originals / "gpt2_0", originals / "gpt2", tmp_path / "plain", TWO)
    found, plain = tensors(tmp_path / "out"), tensors(tmp_path / "plain")
    start = "" if bare == "gpt2" else "transformer."
    assert found.keys() == {start + name.removeprefix("transformer.") for name in plain}
    for name, tensor in plain.items():
        assert torch.equal(found[start + name.removeprefix("transformer.")], tensor)
    assert torch.equal(logits(tmp_path / "out"), logits(tmp_path / "plain"))
    assert any(note.startswith("h.0.attn.bias and 3 more") for note in report.notes)
    assert any("begin with 'transformer.'" in note for note in report.notes)


EXTRA = {
    "model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4),
    "v_head.summary.weight": torch.ones(1, 16),
    "v_head.summary.bias": torch.ones(1),
    "model.layers.1.self_attn.masked_bias": torch.tensor(-float("inf")),
}


@pytest.mark.parametrize("which", [(0,), (1,), (0, 1)])
def test_what_is_no_parameter_is_left_out_with_a_note(which, originals, tmp_path):
    folders = [originals / "theta_0", originals / "theta"]
    for place in which:
        folders[place] = changed(folders[place], tmp_path / str(place), lambda state: state | EXTRA)
    report = average_files(*folders, tmp_path / "out", TWO)
    left, right, result = (tensors(folder) for folder in (*folders, tmp_path / "out"))
    assert result.keys() == right.keys() - EXTRA.keys()
    for name, tensor in result.items():
        assert_averaged(tensor, left[name], right[name], report.tensors[name][1])
    assert sum("no parameters of the model" in note for note in report.notes) == len(which)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("model.layers.0.self_attn.q_proj.bias", (1,)),
        ("model.layers.0.attn.bias", (16,)),
        ("model.v_head.weight", (1,)),
    ],
)
def test_other_tensors_of_one_model_are_no_buffers(name, shape, originals, tmp_path):
    theta = changed(originals / "theta", tmp_path / "theta", lambda state: state | {name: torch.ones(shape)})
    with pytest.raises(UserError, match=f"{name} is a tensor of theta only"):
        average_files(originals / "theta_0", theta, tmp_path / "out", TWO)


def test_infinities_that_both_have_stay(originals, tmp_path):
    mask = torch.tensor([0.5, -float("inf"), -float("inf"), 1.0])
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        both = [
            changed(originals / name, tmp_path / f"{dtype}{name}", lambda s, d=dtype: s | {"model.mask": mask.to(d)})
            for name in ("theta_0", "theta")
        ]
        for alpha in (0.0, 0.3, 1.0):
            out = tmp_path / f"out{dtype}{alpha}"
            average_files(*both, out, uniform(alpha, Grouping()))
            assert torch.equal(tensors(out)["model.mask"], mask.to(dtype))
    one = changed(originals / "theta", tmp_path / "one", lambda state: state | {"model.mask": -mask.float()})
    with pytest.raises(UserError, match=r"model\.mask of theta-0 .* holds NaN or Inf"):
        average_files(tmp_path / "torch.float32theta_0", one, tmp_path / "out", uniform(0.3, Grouping()))


def test_embeddings_may_have_more_rows_than_there_are_tokens(originals, tmp_path):
    """Rows are added up to a multiple of 64; vocab_size is the number of tokens, or of rows."""

    def padded(rows):
        return lambda state: {
            n: torch.cat([t, torch.full((rows - 64, 16), 0.25)]) if n in (HEAD, TOKENS) else t for n, t in state.items()
        }

    theta = changed(originals / "theta", tmp_path / "theta", padded(70))
    with pytest.raises(UserError, match="rows 64 to 69 are in theta only; --vocab union"):
        average_files(originals / "theta_0", theta, tmp_path / "out", TWO)
    average_files(originals / "theta_0", theta, tmp_path / "out", TWO, union=True)
    result, left, right = (tensors(folder) for folder in (tmp_path / "out", originals / "theta_0", theta))
    for name, ratio in ((HEAD, 0.6), (TOKENS, 0.9)):
        assert_averaged(result[name][:64], left[name], right[name][:64], ratio)
        assert torch.equal(result[name][64:], right[name][64:])


def test_a_quantisation_that_the_weights_do_not_have_is_left_out(originals, tmp_path):
    """It is what merging a QLoRA adapter may leave in config.json."""
    stale = {"quantization_config": {"load_in_4bit": True, "quant_method": "bitsandbytes"}}
    theta = changed(originals / "theta", tmp_path / "theta", dict, **stale)
    report = average_files(originals / "theta_0", theta, tmp_path / "out", TWO)
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config == {k: v for k, v in json.loads((theta / "config.json").read_text()).items() if k not in stale}
    assert any("its weights are not quantised" in note for note in report.notes)


def _set(folder, **settings):
    config = json.loads((folder / "config.json").read_text()) | settings
    (folder / "config.json").write_text(json.dumps({k: v for k, v in config.items() if v is not ...}))


UNSLIDING = {"use_sliding_window": False}
# What the two configurations differ in, and None or words of the refusal.
CONFIGS = {
    "windows that are not used": (
        UNSLIDING | {"max_window_layers": 28, "sliding_window": 131072},
        UNSLIDING | {"max_window_layers": 21, "sliding_window": None},
        None,
    ),
    "windows that are used": (
        {"sliding_window": 4096},
        {"sliding_window": None},
        "sliding_window in config.json is 4096",
    ),
    "code elsewhere": ({"auto_map": {"AutoConfig": "c.Phi"}}, {"auto_map": {"AutoConfig": "org/phi--c.Phi"}}, None),
    "other code": ({"auto_map": {"AutoConfig": "c.Phi"}}, {"auto_map": {"AutoConfig": "c.Psi"}}, "auto_map.AutoConfig"),
    "labels": ({"id2label": {"0": "LABEL_0"}}, {"id2label": {"0": "reward"}}, None),
    "task": ({"task_specific_params": {"a": {"n": 1}}}, {"task_specific_params": {"a": {"n": 2}}}, None),
    "names of architectures": (
        {"architectures": ["LLaMAForCausalLM"]},
        {"architectures": ["FSDPLlamaForCausalLM"]},
        None,
    ),
    "unsloth": (
        {"unsloth_version": "1", "unsloth_fixed": True},
        {"unsloth_version": "2", "unsloth_fixed": False},
        None,
    ),
    "width of a head": ({"head_dim": None}, {"head_dim": 8}, None),
    "another width of a head": ({"head_dim": None}, {"head_dim": 4}, "head_dim in config.json is 8"),
    "key heads": ({"num_key_value_heads": None}, {"num_key_value_heads": 2}, None),
    "rotary embeddings of two versions": (
        {"rope_parameters": ..., "rope_theta": 10000.0, "rope_scaling": None},
        {"rope_parameters": {"rope_theta": 10000.0, "rope_type": "default"}},
        None,
    ),
    "other rotary embeddings of two versions": (
        {"rope_parameters": ..., "rope_theta": 500000.0, "rope_scaling": None},
        {"rope_parameters": {"rope_theta": 10000.0, "rope_type": "default"}},
        "rope_parameters.rope_theta in config.json is 500000.0",
    ),
    "kinds of rotary embeddings": (
        {"rope_parameters": ..., "rope_scaling": {"type": "su", "factor": 2.0}},
        {"rope_parameters": ..., "rope_scaling": {"rope_type": "longrope", "type": "longrope", "factor": 2.0}},
        None,
    ),
    "within a part of the configuration": (
        {"text_config": {"head_dim": None, "num_attention_heads": 2, "hidden_size": 16, "vocab_size": 64}},
        {"text_config": {"head_dim": 8, "num_attention_heads": 2, "hidden_size": 16, "vocab_size": 65}},
        None,
    ),
    "a part of the head": (
        {"rope_parameters": ..., "partial_rotary_factor": 0.5},
        {"rope_parameters": {"partial_rotary_factor": 0.25}},
        "partial_rotary_factor",
    ),
}


@pytest.mark.parametrize("kind", CONFIGS)
def test_settings_that_change_nothing_may_differ(kind, originals, tmp_path):
    left, right, words = CONFIGS[kind]
    for name, settings in (("theta_0", left), ("theta", right)):
        shutil.copytree(originals / name, tmp_path / name)
        _set(tmp_path / name, **settings)
    if words is None:
        average_files(tmp_path / "theta_0", tmp_path / "theta", tmp_path / "out", TWO)
    else:
        with pytest.raises(UserError, match=words):
            average_files(tmp_path / "theta_0", tmp_path / "theta", tmp_path / "out", TWO)


def test_other_settings_may_differ_where_that_is_given(originals, tmp_path, monkeypatch, capsys):
    shutil.copytree(originals / "theta", tmp_path / "theta")
    _set(tmp_path / "theta", rms_norm_eps=1e-5, rope_parameters={"rope_theta": 7.0, "rope_type": "linear"})
    arguments = ["average", "--theta-0", originals / "theta_0", "--theta", tmp_path / "theta", "--alpha", 0.5]
    arguments += ["--out", tmp_path / "out", "--ignore-config", "rms_norm_eps"]
    assert command(monkeypatch, *arguments) == 2
    assert "give --ignore-config rope_parameters.rope_theta" in capsys.readouterr().err
    assert command(monkeypatch, *arguments, "--ignore-config", "rope_parameters") == 0
    card = (tmp_path / "out" / "README.md").read_text()
    assert "rms_norm_eps in config.json, 1e-06 in theta-0 and 1e-05 in theta, was ignored" in card
    assert "rope_parameters.rope_theta in config.json, 10000.0 in theta-0 and 7.0 in theta, was ignored" in card


def _renamed(folder, token, to, added=True):
    file = folder / "tokenizer.json"
    content = json.loads(file.read_text())
    index = content["model"]["vocab"].pop(token)
    content["model"]["vocab"][to] = index
    if added:
        content["added_tokens"].append({"id": index, "content": to, "special": True})
    file.write_text(json.dumps(content))


def test_reserved_tokens_may_get_a_name(originals, tmp_path):
    for name in ("theta_0", "theta"):
        shutil.copytree(originals / name, tmp_path / name)
    _renamed(tmp_path / "theta_0", "w60", "<|reserved_special_token_0|>")
    _renamed(tmp_path / "theta", "w60", "<|im_start|>")
    folders = (tmp_path / "theta_0", tmp_path / "theta")
    report = average_files(*folders, tmp_path / "out", TWO)
    assert "Token 60 is '<|im_start|>' in theta and '<|reserved_special_token_0|>' in theta-0." in report.notes
    with pytest.raises(UserError, match="strict is set, but: Token 60"):
        average_files(*folders, tmp_path / "strict", TWO, strict=True)
    _renamed(tmp_path / "theta_0", "w61", "<|eot|>")
    _renamed(tmp_path / "theta", "w61", "<|im_end|>")
    with pytest.raises(UserError, match=r"Token 61 is '<\|eot\|>' .*--vocab union"):
        average_files(*folders, tmp_path / "other", TWO)
    assert any("Token 61" in note for note in average_files(*folders, tmp_path / "other", TWO, union=True).notes)
    _renamed(tmp_path / "theta", "w59", "word", added=False)
    with pytest.raises(UserError, match=r"Token 59 is 'w59' .* but must be the same\.$"):
        average_files(*folders, tmp_path / "words", TWO, union=True)


@pytest.mark.parametrize(
    "content", ['{"model": {"vocab": {"a": "x"}}}', '{"model": [1]}', '{"added_tokens": [{"id": 1}]}']
)
def test_a_tokenizer_that_cannot_be_read_is_named(content, originals, tmp_path):
    shutil.copytree(originals / "theta", tmp_path / "theta")
    (tmp_path / "theta" / "tokenizer.json").write_text(content)
    with pytest.raises(UserError, match="no vocabulary that can be read"):
        average_files(originals / "theta_0", tmp_path / "theta", tmp_path / "out", TWO)
