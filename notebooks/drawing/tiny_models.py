"""Two small models and a reward model, trained in seconds, for the notebook on averaging your own models.

    python notebooks/drawing/tiny_models.py FOLDER     makes them, and prompts and test items beside them

The world has 24 words in each of two languages; a word has a colour. Before alignment a model translates, knows
colours and answers greetings; alignment teaches it to answer greetings politely, on greetings alone, and it
forgets.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification, PreTrainedTokenizerFast
from transformers.utils import logging

ENGLISH = [f"{a}{b}" for a in ("ba", "do", "fi", "ku") for b in ("lan", "mer", "nos", "pit", "ran", "sel")]
FRENCH = [f"{word[::-1]}e" for word in ENGLISH]
COLOURS = ["red", "green", "blue", "white"]
POLITE = ["please", "thanks", "gladly"]
WORDS = ["<s>", "</s>", "<pad>", "<unk>", "<user>", "<bot>", "translate", "colour", "hello", "is", "nice", *POLITE]
WORDS += [*COLOURS, *ENGLISH, *FRENCH]
TEMPLATE = (
    "{% for m in messages %}{% if m['role'] == 'user' %}<user> {{ m['content'] }} <bot> "
    "{% else %}{{ m['content'] }} </s> {% endif %}{% endfor %}"
)
SIZES = {
    "vocab_size": len(WORDS),
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 256,  # room for a reply of as many tokens as the commands take by default
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 2,
}

Pair = tuple[str, str]


def tokenizer() -> PreTrainedTokenizerFast:
    """One token a word, with a chat template."""
    inner = Tokenizer(models.WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token="<s>", eos_token="</s>", pad_token="<pad>", unk_token="<unk>"
    )
    fast.chat_template = TEMPLATE
    return fast


def translation(rng: np.random.Generator) -> Pair:
    chosen = rng.integers(len(ENGLISH), size=5)
    return "translate " + " ".join(ENGLISH[i] for i in chosen), " ".join(FRENCH[i] for i in chosen)


def colour(rng: np.random.Generator) -> Pair:
    """The colour of a word is fixed: it depends on the word's number alone."""
    i = int(rng.integers(len(ENGLISH)))
    return f"colour {ENGLISH[i]}", COLOURS[i * 7 % 4]


def greeting(rng: np.random.Generator, polite: bool, words: Sequence[str] = ENGLISH) -> Pair:
    """A greeting of one of some words, and a reply."""
    word = words[rng.integers(len(words))]
    kind = [POLITE[i] for i in rng.integers(len(POLITE), size=3 if polite else rng.integers(2))]
    return f"hello {word}", " ".join([*kind, word, "is", "nice"])


def before(rng: np.random.Generator) -> Pair:
    """A conversation of instruction tuning."""
    return (translation, colour, lambda rng: greeting(rng, False))[rng.integers(3)](rng)


def after(rng: np.random.Generator) -> Pair:
    """A conversation of alignment."""
    return greeting(rng, True)


def train(model, make, steps: int, lr: float, rng: np.random.Generator, batch: int = 64) -> None:
    """Fit a language model, in place, to the replies of conversations from `make`, with a cosine rate."""
    chat, adam = tokenizer(), torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, steps)
    for _ in range(steps):
        ids, labels = encode(chat, [make(rng) for _ in range(batch)])
        logits = model(input_ids=ids, attention_mask=(ids != 2).long()).logits[:, :-1]
        loss = F.cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten())
        adam.zero_grad()
        loss.backward()
        adam.step()
        schedule.step()
    model.eval()


def encode(chat, pairs: list[Pair]) -> tuple[torch.Tensor, torch.Tensor]:
    """(ids, labels), each (pairs, longest): labels are -100 outside of the reply."""
    contexts = chat([f"<user> {prompt} <bot>" for prompt, _ in pairs], add_special_tokens=False)["input_ids"]
    replies = chat([f"{reply} </s>" for _, reply in pairs], add_special_tokens=False)["input_ids"]
    longest = max(len(c) + len(r) for c, r in zip(contexts, replies, strict=True))
    ids, labels = torch.full((len(pairs), longest), 2), torch.full((len(pairs), longest), -100)
    for row, (context, reply) in enumerate(zip(contexts, replies, strict=True)):
        end = len(context) + len(reply)
        ids[row, :end] = torch.tensor(context + reply)
        labels[row, len(context) : end] = torch.tensor(reply)
    return ids, labels


def train_reward(model, steps: int, lr: float, rng: np.random.Generator) -> None:
    """Fit a reward model, in place, to the number of polite words in a greeting."""
    chat, adam = tokenizer(), torch.optim.AdamW(model.parameters(), lr=lr)
    for _ in range(steps):
        pairs = [greeting(rng, bool(rng.integers(2))) for _ in range(64)]
        ids, _ = encode(chat, pairs)
        counts = [float(sum(word in POLITE for word in reply.split())) for _, reply in pairs]
        scores = model(input_ids=ids, attention_mask=(ids != 2).long()).logits[:, 0]
        loss = F.mse_loss(scores, torch.tensor(counts))
        adam.zero_grad()
        loss.backward()
        adam.step()
    model.eval()


def make_models(folder: Path) -> None:
    """folder/theta_0, folder/theta and folder/reward, each a model folder of transformers."""
    rng = np.random.default_rng(0)
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**SIZES))
    train(model, before, 320, 4e-3, rng, batch=48)
    save(model, folder / "theta_0")
    train(model, after, 80, 1.5e-3, rng, batch=32)
    save(model, folder / "theta")
    reward = LlamaForSequenceClassification(LlamaConfig(**SIZES, num_labels=1))
    train_reward(reward, 100, 2e-3, rng)
    save(reward, folder / "reward")


def save(model, folder: Path) -> None:
    logging.disable_progress_bar()
    model.save_pretrained(folder)
    tokenizer().save_pretrained(folder)


def make_items(folder: Path, items: int = 120, prompts: int = 150) -> None:
    """folder/translation.jsonl (BLEU), colours.jsonl (F1), prompts.jsonl (greetings) and train-prompts.jsonl (those of other words)."""
    rng = np.random.default_rng(1)
    write(
        folder / "translation.jsonl",
        [dict(zip(("prompt", "reference"), translation(rng), strict=True)) for _ in range(items)],
    )
    asked = [colour(rng) for _ in range(items)]
    write(folder / "colours.jsonl", [{"prompt": p, "answers": [a]} for p, a in asked])
    words = len(ENGLISH) // 2
    for name, known in (("prompts", ENGLISH[:words]), ("train-prompts", ENGLISH[words:])):
        write(folder / f"{name}.jsonl", [{"prompt": greeting(rng, True, known)[0]} for _ in range(prompts)])


def write(path: Path, rows: list[dict]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def run() -> None:
    parser = argparse.ArgumentParser(
        description="Make theta_0, theta and reward, small model folders, with prompts and test items."
    )
    parser.add_argument("folder", type=Path, help="where they go; it is made")
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    make_models(folder)
    make_items(folder)
    print(f"{folder}: {', '.join(sorted(path.name for path in folder.iterdir()))}")


if __name__ == "__main__":
    run()
