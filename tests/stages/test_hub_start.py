"""Sizes of a model's config.json beside those that a preset says."""

import json

import pytest

from llm.config import load_preset
from llm.errors import UserError
from llm.models.loading import MEAN_POOLED
from llm.stages.hub.start import check_sizes

LLAMA = {  # OpenLLaMA-3B's, which leaves out what its heads and their keys follow from
    "model_type": "llama",
    "num_hidden_layers": 26,
    "hidden_size": 3200,
    "intermediate_size": 8640,
    "num_attention_heads": 32,
    "vocab_size": 32000,
    "max_position_embeddings": 2048,
    "tie_word_embeddings": False,
}
TULU = LLAMA | {  # the reward model that olmo-2-1b names
    "num_hidden_layers": 32,
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_key_value_heads": 8,
    "vocab_size": 128264,
    "max_position_embeddings": 131072,
}


@pytest.fixture
def source(tmp_path):
    """A function: a folder with those settings and no others."""

    def write(content):
        (tmp_path / "config.json").write_text(json.dumps(content))
        return tmp_path

    return write


@pytest.mark.parametrize(
    ("name", "head", "content"),
    [
        ("openllama-3b", "causal", LLAMA),
        ("openllama-3b", "causal", LLAMA | {"num_key_value_heads": 32, "head_dim": 100}),
        ("openllama-3b", "causal", {key: value for key, value in LLAMA.items() if key != "tie_word_embeddings"}),
        ("olmo-2-1b", "reward", TULU),
        ("olmo-2-1b", "reward", TULU | {"vocab_size": 128320, "max_position_embeddings": 4096}),
        ("tulu-3-8b", "reward", TULU | {"vocab_size": 128257, "tie_word_embeddings": True}),
        ("tulu-3-8b", "reward", TULU | {"model_type": f"{MEAN_POOLED}llama"}),
    ],
)
def test_sizes_of_the_preset_are_taken_and_what_is_left_out_is_as_transformers_takes_it(source, name, head, content):
    check_sizes(load_preset(name), "mine", source(content), head)


@pytest.mark.parametrize(
    ("name", "head", "changes", "said"),
    [
        (
            "openllama-3b",
            "causal",
            {"num_hidden_layers": 25, "vocab_size": 1},
            "num_hidden_layers = 25, but .* says 26",
        ),
        ("openllama-3b", "causal", {"num_key_value_heads": 8}, "num_key_value_heads = 8, but .* says 32"),
        ("openllama-3b", "causal", {"head_dim": 128}, "head_dim = 128, but .* says 100"),
        ("openllama-3b", "causal", {"vocab_size": 32064}, "vocab_size = 32064, but .* says 32000"),
        (
            "openllama-3b",
            "causal",
            {"max_position_embeddings": 4096},
            "max_position_embeddings = 4096, but .* says 2048",
        ),
        ("openllama-3b", "causal", {"tie_word_embeddings": True}, "tie_word_embeddings = True, but .* says False"),
        ("olmo-2-1b", "reward", {"num_hidden_layers": 16}, "num_hidden_layers = 16, but .* says 32; .* reward_model"),
        (
            "tulu-3-8b",
            "reward",
            {"num_key_value_heads": 32},
            "num_key_value_heads = 32, but .* says 8; .* reward_model",
        ),
    ],
)
def test_the_first_other_size_is_named(source, name, head, changes, said):
    content = (LLAMA if head == "causal" else TULU) | changes
    what = "model" if head == "causal" else "reward"
    with pytest.raises(UserError, match=f"^{what} = 'mine' has {said}"):
        check_sizes(load_preset(name), "mine", source(content), head)


@pytest.mark.parametrize("content", [{}, {"model_type": "of-mine"}, {"model_type": 7}, LLAMA | {"hidden_size": "wide"}])
def test_settings_that_transformers_cannot_read_are_one_sentence(source, content):
    with pytest.raises(UserError, match="^model = 'mine' has a config.json with model_type = .* cannot read"):
        check_sizes(load_preset("openllama-3b"), "mine", source(content))
