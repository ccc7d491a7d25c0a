"""A GGUF file turned into an ordinary Hugging Face model folder."""

from pathlib import Path

from .gguf_tokenizer import read_tokenizer


def convert(gguf: Path, folder: Path) -> None:
    """Write config, fp32 weights (safetensors) and tokenizer of a GGUF file into `folder`; 135M weights take 1.6 GB of memory.

    The weights are what the quantised numbers stand for, exactly, so the model is as good as the file, not as the model that
    was quantised. transformers refuses to save what it has read from GGUF, so they go into a model made afresh.
    """
    import torch
    from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

    tokenizer = read_tokenizer(gguf)
    read = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    settings = {key: value for key, value in read.config.to_dict().items() if key != "quantization_config"}
    settings |= {f"{token}_token_id": getattr(tokenizer, f"{token}_token_id") for token in ("bos", "eos", "pad")}
    model = LlamaForCausalLM(LlamaConfig(**settings))
    model.load_state_dict(read.state_dict())
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
