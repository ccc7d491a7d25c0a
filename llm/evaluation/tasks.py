"""What `front` measures: local items (choice, F1, BLEU) and the reward of sampled replies.

A task is measured on the same items, and with the same random numbers, for every model, so differences
are paired.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from ..averaging.ama.samples import exchange, read_lines, read_prompts, text_of
from ..averaging.ama.sampling import rewards, write_replies
from ..errors import UserError
from ..models.conversations import Tokens, context_ids, conversation, end_id, pad_id
from ..models.generate import generate
from ..models.loading import OnProcessor, load_scorer
from .metrics import f1, log_likelihoods
from .scores import BLEU, Scores, sentence_statistics

KINDS = {"choices": "accuracy", "answers": "F1", "reference": "BLEU"}  # the key that tells what an item asks for


@dataclass(frozen=True)
class Asking:
    """How items are put to a model: in its chat format or as plain text; `tokens` new ones at most;
    `batch` at a time.
    """

    chat: bool
    tokens: int
    batch: int


class Task(Protocol):
    """`kind` is what the numbers are, for people: accuracy, F1, BLEU, reward."""

    name: str
    kind: str

    def measure(self, model, tokenizer) -> Scores: ...


@dataclass(frozen=True)
class Choice:
    """Accuracy of the choice with the highest log-likelihood, summed over its tokens."""

    name: str
    items: list[dict]
    asking: Asking
    kind: str = "accuracy"

    def measure(self, model, tokenizer) -> Scores:
        pairs = [
            _question(tokenizer, item["prompt"], choice, self.asking.chat)
            for item in self.items
            for choice in item["choices"]
        ]
        sums = log_likelihoods(
            OnProcessor(model), [(pair.context, pair.reply) for pair in pairs], pad_id(tokenizer), self.asking.batch
        )
        ends = np.cumsum([len(item["choices"]) for item in self.items])
        chosen = [int(part.argmax()) for part in np.split(sums, ends[:-1])]
        return Scores(np.array([float(c == item["answer"]) for c, item in zip(chosen, self.items, strict=True)]))


@dataclass(frozen=True)
class Answer:
    """F1 of the words of the whole reply, the best over the right answers (SQuAD's normalisation), in
    [0, 1].
    """

    name: str
    items: list[dict]
    asking: Asking
    kind: str = "F1"

    def measure(self, model, tokenizer) -> Scores:
        replies = _replies(model, tokenizer, self.items, self.asking)
        pairs = zip(replies, self.items, strict=True)
        return Scores(np.array([max(f1(reply, right) for right in item["answers"]) for reply, item in pairs]))


@dataclass(frozen=True)
class Translation:
    """Corpus BLEU of the replies, in [0, 100]."""

    name: str
    items: list[dict]
    asking: Asking
    kind: str = "BLEU"

    def measure(self, model, tokenizer) -> Scores:
        replies = _replies(model, tokenizer, self.items, self.asking)
        return Scores(sentence_statistics(replies, [item["reference"] for item in self.items]), BLEU)


@dataclass(frozen=True)
class Reward:
    """Mean score of a reward model for one sampled reply a prompt, in the model's own unit."""

    scorer: tuple
    prompts: list[str]
    tokens: int
    temperature: float
    seed: int
    batch: int
    name: str = "reward"
    kind: str = "reward"

    def measure(self, model, tokenizer) -> Scores:
        replies = write_replies(
            model,
            tokenizer,
            self.prompts,
            tokens=self.tokens,
            temperature=self.temperature,
            rng=torch.Generator().manual_seed(self.seed),
            batch=self.batch,
        )
        pairs = zip(self.prompts, replies, strict=True)
        return Scores(
            rewards(*self.scorer, [(exchange(prompt, reply), done) for prompt, (reply, done) in pairs], self.batch)
        )


def read_task(name: str, path: Path, asking: Asking) -> Task:
    """A task from a JSONL file, all of whose lines are of one kind: {"prompt"} and one of these.

    "choices" and "answer" (the right one, or its index from 0); "answers" (one or more); "reference".
    Raises UserError naming file, line and key.
    """
    rows = read_lines(path)
    kinds = {next((key for key in KINDS if key in row), None) for _, row in rows}
    if len(kinds) != 1 or None in kinds:
        raise UserError(f"{path}: each line must have the same one of {', '.join(KINDS)}.")
    key = kinds.pop()
    items = [{"prompt": text_of(row, "prompt", where)} | _READERS[key](row, where) for where, row in rows]
    return {"choices": Choice, "answers": Answer, "reference": Translation}[key](name, items, asking)


def reward_task(
    folder: Path,
    prompts: Path,
    *,
    tokens: int,
    temperature: float,
    seed: int,
    batch: int,
    dtype: str,
    device: torch.device,
) -> Reward:
    """The reward model in `folder` on the prompts of a JSONL file."""
    asked = read_prompts(prompts)
    return Reward(load_scorer(folder, dtype, device), asked, tokens, temperature, seed, batch)


def _choice(row: dict, where: str) -> dict:
    choices, answer = row["choices"], row.get("answer")
    if not isinstance(choices, list) or len(choices) < 2 or not all(isinstance(c, str) and c for c in choices):
        raise UserError(f"{where}: choices is {choices!r}, allowed is a list of at least two texts.")
    if isinstance(answer, str) and choices.count(answer) == 1:
        answer = choices.index(answer)
    if isinstance(answer, bool) or not isinstance(answer, int) or not 0 <= answer < len(choices):
        raise UserError(f"{where}: answer is {answer!r}, allowed is one of the choices or its index from 0.")
    return {"choices": choices, "answer": answer}


def _answers(row: dict, where: str) -> dict:
    answers = row["answers"]
    if not isinstance(answers, list) or not answers or not all(isinstance(answer, str) for answer in answers):
        raise UserError(f"{where}: answers is {answers!r}, allowed is a list of at least one text.")
    return {"answers": answers}


def _reference(row: dict, where: str) -> dict:
    return {"reference": text_of(row, "reference", where)}


_READERS = {"choices": _choice, "answers": _answers, "reference": _reference}


def _question(tokenizer, prompt: str, reply: str, chat: bool) -> Tokens:
    if chat:
        return conversation(tokenizer, exchange(prompt, reply), finished=False)
    return Tokens(tokenizer.encode(prompt), tokenizer.encode(reply, add_special_tokens=False))


def _replies(model, tokenizer, items: list[dict], asking: Asking) -> list[str]:
    """The likeliest reply to each item's prompt, token by token; a plain text's ends with its line."""
    prompts = [item["prompt"] for item in items]
    if asking.chat:
        contexts = [context_ids(tokenizer, [{"role": "user", "content": prompt}]) for prompt in prompts]
    else:
        contexts = [tokenizer.encode(prompt) for prompt in prompts]
    replies = generate(
        OnProcessor(model),
        contexts,
        max_new_tokens=asking.tokens,
        end_id=end_id(tokenizer) if asking.chat else tokenizer.eos_token_id,
        pad_id=pad_id(tokenizer),
        temperature=0.0,
        batch_size=asking.batch,
    )
    texts = [tokenizer.decode(reply.ids, skip_special_tokens=True).strip() for reply in replies]
    return texts if asking.chat else [text.split("\n")[0] for text in texts]
