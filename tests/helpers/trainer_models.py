"""Tiny random models of the classes that the public models have, with a tokenizer of characters, and a few rows of data."""

import string
from pathlib import Path

import torch
import transformers
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

from llm.config.trainers import Adam, Descent, Hardware, Writing

KINDS = {"llama": "LlamaConfig", "mistral": "MistralConfig", "gemma": "GemmaConfig"}
TEMPLATE = (
    "{% for message in messages %}<{{ message['role'][0] }}>{% if message['role'] == 'assistant' %}{% generation %}"
    "{{ message['content'] + eos_token }}{% endgeneration %}{% else %}{{ message['content'] + eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<a>{% endif %}"
)
TALKS = [
    [("user", "How are you?"), ("assistant", "Well."), ("user", "Why?"), ("assistant", "It is sunny.")],
    [("user", "Name a colour."), ("assistant", "Blue is one.")],
    [("user", "Is it late?"), ("assistant", "No, it is early.")],
    [("user", "Say a word."), ("assistant", "Word.")],
]


def messages(talk):
    return [{"role": role, "content": text} for role, text in talk]


CONVERSATIONS = [messages(talk) for talk in TALKS]
PAIRS = [
    {"prompt": messages(talk[:-1]), "chosen": talk[-1][1], "rejected": "Go away! I will not tell you."}
    for talk in TALKS
]
PROMPTS = [pair["prompt"] for pair in PAIRS]


def tokenizer():
    """One token a character, <u> and <a> before turns, </s> after them; the padding is a token of its own."""
    special = ["<pad>", "</s>", "<u>", "<a>"]
    words = special + list(string.printable)
    made = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="?"))
    made.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    made.decoder = decoders.Fuse()
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="<pad>", eos_token="</s>", additional_special_tokens=special[2:]
    )
    fast.chat_template = TEMPLATE
    return fast


def save_model(folder: Path, kind: str = "llama", seed: int = 0, **changes) -> str:
    """A model folder: 2 layers, hidden size 64, the class of `kind`."""
    words = tokenizer()
    sizes = {"vocab_size": len(words), "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2}
    sizes |= {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "max_position_embeddings": 128}
    sizes |= {"pad_token_id": words.pad_token_id, "eos_token_id": words.eos_token_id, "bos_token_id": None}
    torch.manual_seed(seed)
    model = transformers.AutoModelForCausalLM.from_config(getattr(transformers, KINDS[kind])(**sizes | changes))
    model.save_pretrained(folder)
    words.save_pretrained(folder)
    return str(folder)


def adam(**changes) -> Adam:
    given = {"lr": 3e-3, "warmup_share": 0.0, "schedule": "constant", "betas": (0.9, 0.95), "weight_decay": 0.0}
    given |= {"clip": 1.0}
    return Adam(**given | changes)


def descent(batch: int = 2, epochs: int = 3, **changes) -> Descent:
    return Descent(batch=batch, epochs=epochs, optimiser=adam(**changes))


def hardware(**changes) -> Hardware:
    given = {"device": "cpu", "launcher": "none", "processes": 1, "per_device_batch": 1, "generation_batch": 4}
    given |= {"dtype": "fp32", "checkpointing": False, "checkpoint_minutes": 0, "sampler": "transformers"}
    return Hardware(**given | changes)


def writing(**changes) -> Writing:
    return Writing(**{"temperature": 1.0, "max_new_tokens": 6, "prompt_tokens": 60} | changes)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(Path(folder) / "model.safetensors")


def same(first: Path, second: Path) -> bool:
    """Whether two model folders have the same weights, bit for bit."""
    one, other = weights(first), weights(second)
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)
