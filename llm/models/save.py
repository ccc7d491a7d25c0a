"""Making and saving models; every checkpoint is an ordinary Hugging Face model folder."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import torch

from ..config import Initialise, Model
from ..files import write_json, written
from .folder import read_json
from .loading import MEAN_POOLED, quiet


def build_model(settings: Model, tokenizer, seed: int):
    """A `LlamaForCausalLM` with weights drawn from `seed`, ready to learn to look things up (see `_prepare_attention`).

    An untied head begins as the embeddings, so that what attention copies is at once a guess of the next token there too.
    """
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=settings.hidden_size,
        intermediate_size=settings.intermediate_size,
        num_hidden_layers=settings.layers,
        num_attention_heads=settings.heads,
        max_position_embeddings=settings.context,
        tie_word_embeddings=settings.tied_embeddings,
        initializer_range=settings.initialise.weights,
        attention_bias=True,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
        torch.nn.init.normal_(model.model.embed_tokens.weight, std=settings.initialise.embeddings)
        model.lm_head.weight.copy_(model.model.embed_tokens.weight)  # nothing new where they are tied
        _prepare_attention(model, settings.initialise)
    return model.eval()


def _prepare_attention(model, settings: Initialise) -> None:
    """Set attention up so that looking back works from the first step; without it, binding a name to its fact takes
    more tokens than a laptop trains in an hour (docs/log.md).

    Every head compares like with like: its query and key projections are the same random orthonormal rows (mimetic
    initialisation, Trockman and Kolter, arXiv 2305.09828), and it copies what it looks at: the output projection is the
    transpose of the value projection. In the first layer head h = 1, 2, .. instead looks h tokens back, by query and
    key biases a rotary distance of h apart, and all heads write into one subspace. The `silent` layers in the middle begin by adding nothing: a deeper model
    learns to bind as soon as a shallower one does.
    """
    config = model.config
    size = config.hidden_size // config.num_attention_heads
    heads = [slice(h * size, (h + 1) * size) for h in range(config.num_attention_heads)]
    for layer in model.model.layers:
        attention = layer.self_attn
        for head in heads:
            same = settings.query_key * _orthonormal_rows(size, config.hidden_size)
            attention.q_proj.weight[head], attention.k_proj.weight[head] = same, same
            copied = settings.value_output * _orthonormal_rows(size, config.hidden_size)
            attention.v_proj.weight[head], attention.o_proj.weight[:, head] = copied, copied.T
    begin = (config.num_hidden_layers - settings.silent) // 2
    for layer in model.model.layers[begin : begin + settings.silent]:
        layer.self_attn.o_proj.weight.zero_()
        layer.mlp.down_proj.weight.zero_()
    first, shared = model.model.layers[0].self_attn, settings.value_output * _orthonormal_rows(size, config.hidden_size)
    frequencies = config.rope_parameters["rope_theta"] ** (-torch.arange(0, size, 2) / size)
    for back, head in enumerate(heads, start=1):
        for projection in (first.q_proj, first.k_proj):
            torch.nn.init.normal_(projection.weight[head], std=settings.weights)
        angles = back * frequencies
        first.q_proj.bias[head] = settings.look_back * torch.cat([torch.ones(size // 2), torch.zeros(size // 2)])
        first.k_proj.bias[head] = settings.look_back * torch.cat([angles.cos(), angles.sin()])
        first.v_proj.weight[head], first.o_proj.weight[:, head] = shared, shared.T


def _orthonormal_rows(rows: int, columns: int) -> torch.Tensor:
    return torch.linalg.qr(torch.randn(columns, rows))[0].T


def save_model(model, tokenizer, folder: Path) -> None:
    """Write a model folder atomically; an old one is replaced.

    A reward model that reads the mean over a reply gets a `model_type` that transformers does not know: its own classes
    would read the last token and give other scores without a word (`llm.models.loading.sequence_classifier` loads it).
    """
    quiet()
    with written(folder) as aside:
        model.save_pretrained(aside)
        tokenizer.save_pretrained(aside)
        if getattr(model.config, "reward_pooling", "last") == "mean":
            config = read_json(aside / "config.json")
            write_json(aside / "config.json", config | {"model_type": MEAN_POOLED + config["model_type"]})


def link_folder(folder: Path, to: Path, finish: Callable[[Path], None] = lambda aside: None) -> None:
    """Make `to` hold the files of `folder` without copying their bytes, but for config.json, atomically; where no hard links can be
    made, all are copied.

    finish: may change the new folder before it is put in place; files that it writes must be new ones.
    """
    with written(to) as aside:
        shutil.copytree(folder, aside, copy_function=_link)
        finish(aside)


def _link(source: str, to: str) -> None:
    if os.path.basename(source) == "config.json":  # its time says when a model was made, and workflows touch it
        shutil.copyfile(source, to)
        return
    try:
        os.link(os.path.realpath(source), to)
    except OSError:  # another file system, or one without hard links
        shutil.copyfile(source, to)
