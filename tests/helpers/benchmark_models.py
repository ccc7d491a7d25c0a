"""A tiny random model whose tokenizer knows the words of the benchmarks' rows in tests/files, and a model that says what it is told."""

import re
from pathlib import Path

import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers

DATA = Path(__file__).parents[1] / "files" / "benchmarks"
CONTEXT = 320
TEMPLATE = "{% for m in messages %}question : {{ m['content'] }} answer : {% endfor %}"


def tokenizer():
    """A token for each word of the rows; punctuation stands alone, spaces and line ends are not kept."""
    text = " ".join(path.read_text("utf-8") for path in sorted(DATA.iterdir()))
    words = ["<s>", "</s>", "<pad>", "<unk>", *sorted(set(re.findall(r"\w+|[^\w\s]+", text)))]
    inner = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token="<s>", eos_token="</s>", pad_token="<pad>", unk_token="<unk>"
    )
    fast.chat_template = TEMPLATE
    return fast


def tiny_llama(seed: int = 0):
    """A `LlamaForCausalLM` with opinions: weights far larger than a fresh model's."""
    words = tokenizer()
    config = transformers.LlamaConfig(
        vocab_size=len(words),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=CONTEXT,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=2,
    )
    model = transformers.LlamaForCausalLM(config).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if "norm" not in name:
                tensor.normal_(0, 0.3, generator=generator)
    return model


def save_llama(folder: Path, seed: int = 0) -> Path:
    tiny_llama(seed).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


class Told:
    """A model, as lm-eval sees one, whose continuations and answers are given; it keeps what it was asked.

    likelihood: of (text, continuation); answer: to a text, after its row.
    """

    rank, world_size, max_length, max_gen_toks = 0, 1, 10_000, 256

    def __init__(self, likelihood, answer):
        self.likelihood, self.answer, self.asked, self.tokenizer = likelihood, answer, [], tokenizer()

    def loglikelihood(self, requests):
        self.asked += [request.args[0] for request in requests]
        return [(self.likelihood(*request.args), False) for request in requests]

    def generate_until(self, requests):
        self.asked += [request.args[0] for request in requests]
        return [self.answer(request.doc) for request in requests]

    def tok_encode(self, text):
        return self.tokenizer.encode(text)

    def apply_chat_template(self, messages, add_generation_prompt):
        return self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=add_generation_prompt)

    tokenizer_name = "told"
