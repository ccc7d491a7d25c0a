"""Every weight is the folder's: wrappers' prefixes are stripped, other tensors noted, and what is missing is refused."""

import json
from types import SimpleNamespace

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from averaging_models import ARCHITECTURES, make, save_tokenizer
from llm.errors import UserError
from llm.models.chat import encode_together
from llm.models.loading import fresh_reward_model, load_model, load_reward_model, load_tokenizer
from llm.models.rewards import reward_scores
from llm.training.distributed.models import Start, load_frozen, load_trained


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("loading")
    make("llama", 0, num_hidden_layers=2).save_pretrained(folder / "model")
    make("llama", 0, num_hidden_layers=2, tie_word_embeddings=True).save_pretrained(folder / "tied")
    settings = ARCHITECTURES["llama"][1] | {"num_labels": 1, "num_hidden_layers": 2}
    torch.manual_seed(2)
    transformers.LlamaForSequenceClassification(transformers.LlamaConfig(**settings)).save_pretrained(folder / "reward")
    for name in ("model", "tied", "reward"):
        save_tokenizer(folder / name)
    return folder


def changed(source, to, change):
    """A copy of the folder with the state dict that `change` makes of its own."""
    to.mkdir()
    for file in source.iterdir():
        (to / file.name).write_bytes(file.read_bytes())
    save_file(change(load_file(source / "model.safetensors")), to / "model.safetensors", {"format": "pt"})
    return to


def prefixed(prefix):
    return lambda state: {prefix + name: tensor for name, tensor in state.items()}


@pytest.mark.parametrize("prefix", ["_orig_mod.", "module.", "base_model.model.", "module._orig_mod."])
def test_a_wrappers_prefix_is_stripped_with_a_note(folders, tmp_path, prefix, caplog):
    model = load_model(changed(folders / "model", tmp_path / "model", prefixed(prefix)))
    stored = load_file(folders / "model/model.safetensors")
    assert all(torch.equal(tensor, stored[name]) for name, tensor in model.state_dict().items())
    assert caplog.messages == [f"{prefix}lm_head.weight and 20 more of model were read without a wrapper's prefix."]
    reward = changed(folders / "reward", tmp_path / "reward", prefixed(prefix))
    rows = [("w4 w5", "w6", True), ("w4", "w7 w8", True)]
    scores = [
        reward_scores(load_reward_model(one), load_tokenizer(one), rows, 2, encode_together)
        for one in (reward, folders / "reward")
    ]
    assert torch.equal(*scores)


def test_a_name_that_is_there_with_and_without_a_prefix_is_refused(folders, tmp_path):
    def twice(state):
        return state | {"module.lm_head.weight": state["lm_head.weight"] + 1}

    with pytest.raises(UserError, match="two tensors whose names differ in a wrapper's prefix only"):
        load_model(changed(folders / "model", tmp_path / "model", twice))


def test_what_is_missing_is_refused_by_name(folders, tmp_path):
    def without(name):
        return lambda state: {key: tensor for key, tensor in state.items() if key != name}

    reward = changed(folders / "reward", tmp_path / "reward", without("score.weight"))
    with pytest.raises(UserError, match=r"which lacks score\.weight of a LlamaForSequenceClassification"):
        load_reward_model(reward)
    with pytest.raises(UserError, match=r"which lacks score\.weight"):
        load_frozen(reward, "reward", SimpleNamespace(dtype="fp32"), "cpu")
    load_trained(Start(str(reward), 0), "reward", None)  # its head is drawn
    model = changed(folders / "model", tmp_path / "model", without("model.layers.1.mlp.up_proj.weight"))
    for load in (load_model, fresh_reward_model, lambda path: load_trained(Start(str(path), 0), "causal", None)):
        with pytest.raises(UserError, match=r"which lacks model\.layers\.1\.mlp\.up_proj\.weight of a Llama"):
            load(model)


def test_a_tied_head_or_embeddings_stored_under_the_heads_name_are_not_missing(folders, tmp_path):
    def under_the_head(state):
        return {name.replace("model.embed_tokens", "lm_head"): tensor for name, tensor in state.items()}

    exact = load_file(folders / "tied/model.safetensors")["model.embed_tokens.weight"]
    for folder in (folders / "tied", changed(folders / "tied", tmp_path / "tied", under_the_head)):
        model = load_model(folder)
        assert torch.equal(model.lm_head.weight, exact)
        assert model.lm_head.weight is model.model.embed_tokens.weight


def test_tensors_that_the_architecture_does_not_have_are_left_out_with_a_note(folders, tmp_path, caplog):
    def more(state):
        own = {"v_head.summary.weight": torch.ones(1, 16), "gate.weight": torch.ones(1), "other.bias": torch.ones(1)}
        return state | own | {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4)}

    load_model(changed(folders / "model", tmp_path / "model", more), name="theta")
    assert caplog.messages == [
        "model.layers.0.self_attn.rotary_emb.inv_freq and 1 more of theta were left out, since they are no parameters of the "
        "model.",
        "gate.weight and 1 more of theta were left out: no LlamaForCausalLM has them.",
    ]


def test_other_shapes_scales_of_quantised_weights_and_damaged_files_are_refused(folders, tmp_path):
    def scaled(state):
        return state | {"lm_head.weight_scale_inv": torch.ones(1)}

    def shorter(state):
        return state | {"lm_head.weight": state["lm_head.weight"][:60].clone()}

    with pytest.raises(UserError, match=r"lm_head\.weight_scale_inv .*quantised"):
        load_model(changed(folders / "model", tmp_path / "scaled", scaled))
    with pytest.raises(
        UserError, match=r"lm_head\.weight has shape \(60, 16\), where its configuration has \(64, 16\)"
    ):
        load_model(changed(folders / "model", tmp_path / "shorter", shorter))
    file = changed(folders / "model", tmp_path / "cut", dict) / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(UserError, match="cannot load"):
        load_model(file.parent)
    (file.parent / "adapter_config.json").write_text("{}")
    with pytest.raises(UserError, match="holds an adapter"):
        load_model(file.parent)


def test_a_quantisation_that_the_weights_do_not_have_is_dropped(folders, tmp_path):
    folder = changed(folders / "model", tmp_path / "model", dict)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"quantization_config": {"load_in_4bit": True}}))
    stored = load_file(folders / "model/model.safetensors")
    assert all(torch.equal(tensor, stored[name]) for name, tensor in load_model(folder).state_dict().items())
