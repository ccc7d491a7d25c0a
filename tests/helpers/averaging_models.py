"""Tiny randomly made models of many architectures, and the command line run within the test's own process."""

import sys

import numpy as np
import pytest
import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers

from llm import cli

LAYERS = 7
_COMMON = {"vocab_size": 64, "hidden_size": 16, "num_hidden_layers": LAYERS, "num_attention_heads": 2}
_COMMON |= {"intermediate_size": 24, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2}
_GROUPED = _COMMON | {"num_key_value_heads": 1}
_GPT2 = {"vocab_size": 64, "n_embd": 16, "n_layer": LAYERS, "n_head": 2, "n_positions": 32, "bos_token_id": 0}
_GPT2 |= {"eos_token_id": 1}
_OPT = {key: value for key, value in _COMMON.items() if key != "intermediate_size"} | {
    "ffn_dim": 24,
    "word_embed_proj_dim": 8,
    "max_position_embeddings": 32,
}

TYPES = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}  # as safetensors calls them

# name -> (configuration class, settings): tied and untied, biases, learned positions, projections, experts
ARCHITECTURES = {
    "llama": ("LlamaConfig", _GROUPED),
    "llama-tied-biases": ("LlamaConfig", _GROUPED | {"tie_word_embeddings": True, "attention_bias": True}),
    "mistral": ("MistralConfig", _GROUPED),
    "mixtral": ("MixtralConfig", _GROUPED | {"num_local_experts": 3}),
    "gemma2": ("Gemma2Config", _GROUPED | {"head_dim": 8}),
    "qwen2": ("Qwen2Config", _GROUPED),
    "qwen3-experts": (
        "Qwen3MoeConfig",
        _GROUPED | {"num_experts": 3, "num_experts_per_tok": 1, "moe_intermediate_size": 8, "head_dim": 8},
    ),
    "phi": ("PhiConfig", _COMMON),
    "phi3": ("Phi3Config", _GROUPED),
    "gpt2": ("GPT2Config", _GPT2),
    "gptj": ("GPTJConfig", _GPT2 | {"rotary_dim": 4}),
    "gpt-neox": ("GPTNeoXConfig", _COMMON),
    "opt": ("OPTConfig", _OPT),
    "bloom": ("BloomConfig", _GPT2 | {"hidden_size": 16}),
    "falcon": ("FalconConfig", _COMMON),
    "olmo2": ("Olmo2Config", _GROUPED),
}


def make(architecture: str, seed: int, dtype: torch.dtype = torch.float32, **changes) -> torch.nn.Module:
    """A model of the architecture with every parameter and floating buffer drawn at random."""
    kind, settings = ARCHITECTURES[architecture]
    model = transformers.AutoModelForCausalLM.from_config(getattr(transformers, kind)(**(settings | changes)))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if tensor.is_floating_point() and "inv_freq" not in name:
                tensor.normal_(0.5 if "norm" in name or "ln_" in name else 0.0, 0.3, generator=generator)
    return model.to(dtype).eval()


def save_tokenizer(folder, extra=(), template="{{ messages[0]['content'] }}") -> None:
    """A tokenizer of 64 words, and `extra` ones, saved into `folder` with a chat template."""
    words = {word: index for index, word in enumerate([*(f"w{index}" for index in range(64)), *extra])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="w3"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="w0", eos_token="w1", unk_token="w3"
    )
    fast.chat_template = template
    fast.save_pretrained(folder)


def save_pair(folder, architecture: str, dtype: torch.dtype = torch.float32, shards: str = "5GB", **changes):
    """Two different models saved as folder/theta_0 and folder/theta (sharded); returns the two paths."""
    for seed, name in enumerate(("theta_0", "theta")):
        size = shards if name == "theta" else "5GB"
        make(architecture, seed, dtype, **changes).save_pretrained(folder / name, max_shard_size=size)
        save_tokenizer(folder / name, template=f"{name}: {{{{ messages[0]['content'] }}}}")
    return folder / "theta_0", folder / "theta"


def command(monkeypatch, *arguments) -> int:
    """`alignment-tax ARGUMENTS` in this process; its exit code."""
    monkeypatch.setattr(sys, "argv", ["alignment-tax", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    return stop.value.code or 0


def ulp(reference: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """The distance from each value, rounded to `dtype`, to the next one away from zero, in fp64."""
    rounded = reference.to(dtype)
    whole = {torch.float32: torch.int32, torch.bfloat16: torch.int16, torch.float16: torch.int16}[dtype]
    above = (rounded.abs().view(whole) + 1).view(dtype)
    return above.double() - rounded.abs().double()


def reference(theta_0: torch.Tensor, theta: torch.Tensor, ratio: float) -> torch.Tensor:
    """(1 - ratio) theta_0 + ratio theta in fp64."""
    return (1 - ratio) * theta_0.double() + ratio * theta.double()


def assert_averaged(found: torch.Tensor, theta_0: torch.Tensor, theta: torch.Tensor, ratio: float) -> None:
    """Within one unit in the last place of fp64 rounded once."""
    exact = reference(theta_0, theta, ratio)
    error = found.double() - exact.to(found.dtype).double()
    assert (error.abs() <= ulp(exact, found.dtype)).all(), "more than one unit in the last place away"


def merged_by_peft(base, adapter) -> dict[str, torch.Tensor]:
    """The full weights of an adapter on its base in fp64, by peft itself."""
    import peft

    model = transformers.AutoModelForCausalLM.from_pretrained(base, dtype=torch.float64)
    model = peft.PeftModel.from_pretrained(model, adapter, autocast_adapter_dtype=False).double()
    return model.merge_and_unload().state_dict()


def values(dtype: torch.dtype, seed: int, count: int = 4096) -> torch.Tensor:
    """Values over the type's whole range, subnormal ones and zeros of both signs included, all finite."""
    bits = np.random.default_rng(seed).integers(0, 2**16, count).astype(np.uint16)
    if dtype == torch.float32:
        bits = np.random.default_rng(seed).integers(0, 2**32, count).astype(np.uint32)
    tensor = torch.from_numpy(bits.view(np.int32 if dtype == torch.float32 else np.int16)).view(dtype)
    return torch.where(torch.isfinite(tensor), tensor, torch.tensor(-0.0, dtype=dtype))
