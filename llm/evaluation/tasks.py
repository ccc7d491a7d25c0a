"""What `front` measures: local items (choice, F1, BLEU), the reward of sampled replies, and any task of lm-eval.

A task is measured on the same items, and with the same random numbers, for every model, so differences are paired.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from ..errors import UserError, first_line
from ..files import read_lines, read_prompts, text_of
from ..models.batches import Tokens
from ..models.chat import continue_texts, encode_together, end_id, generate_replies, ids_of_prompts, pad_id
from ..models.likelihood import log_likelihoods
from ..models.loading import dtype_on, load_reward_model, load_tokenizer
from ..models.rewards import reward_scores
from .benchmarks.harness import in_memory, items_of, load_tasks, samples_of
from .measurement import BLEU, Measurement, bleu_statistics, f1

_PREFERRED = ("acc", "f1", "exact_match", "em", "bleu")  # of lm-eval's metrics, if a task's name does not give one
KINDS = {"choices": "accuracy", "answers": "F1", "reference": "BLEU"}  # the key of an item -> what is measured


@dataclass(frozen=True)
class Asking:
    """How items are put to a model: in its chat format or as plain text; `tokens` new ones at most; `batch` at a time."""

    chat: bool
    tokens: int
    batch: int


class Task(Protocol):
    """`kind` is what the numbers are, for people: accuracy, F1, BLEU, reward."""

    @property
    def name(self) -> str: ...

    @property
    def kind(self) -> str: ...

    def measure(self, model, tokenizer) -> Measurement: ...


@dataclass(frozen=True)
class Choice:
    """Accuracy of the choice with the highest log-likelihood, summed over its tokens."""

    name: str
    items: list[dict]
    asking: Asking
    kind: str = "accuracy"

    def measure(self, model, tokenizer) -> Measurement:
        pairs = [pair for item in self.items for pair in _question(tokenizer, item, self.asking.chat)]
        sums = log_likelihoods(model, pairs, pad_id(tokenizer), self.asking.batch)
        ends = np.cumsum([len(item["choices"]) for item in self.items])
        chosen = [int(part.argmax()) for part in np.split(sums, ends[:-1])]
        right = [float(c == item["answer"]) for c, item in zip(chosen, self.items, strict=True)]
        return Measurement.of(np.array(right))


@dataclass(frozen=True)
class Answer:
    """F1 of the words of the whole reply, the best over the right answers (SQuAD's normalisation), in [0, 1]."""

    name: str
    items: list[dict]
    asking: Asking
    kind: str = "F1"

    def measure(self, model, tokenizer) -> Measurement:
        replies = _replies(model, tokenizer, self.items, self.asking)
        pairs = zip(replies, self.items, strict=True)
        return Measurement.of(np.array([max(f1(reply, right) for right in item["answers"]) for reply, item in pairs]))


@dataclass(frozen=True)
class Translation:
    """Corpus BLEU of the replies, in [0, 100]."""

    name: str
    items: list[dict]
    asking: Asking
    kind: str = "BLEU"

    def measure(self, model, tokenizer) -> Measurement:
        replies = _replies(model, tokenizer, self.items, self.asking)
        references = [item["reference"] for item in self.items]
        return Measurement.of(bleu_statistics(replies, references, tokenize="13a"), BLEU)


@dataclass(frozen=True)
class Reward:
    """Mean score of a reward model for one sampled reply a prompt, in the model's own unit."""

    scorer: tuple  # (reward model, its tokenizer)
    prompts: list[str]
    tokens: int
    temperature: float
    seed: int
    batch: int
    name: str = "reward"
    kind: str = "reward"

    def measure(self, model, tokenizer) -> Measurement:
        replies = generate_replies(
            model,
            tokenizer,
            self.prompts,
            max_new_tokens=self.tokens,
            temperature=self.temperature,
            rng=torch.Generator().manual_seed(self.seed),
            batch_size=self.batch,
            skip_special_tokens=True,
        )
        triples = [(prompt, *reply) for prompt, reply in zip(self.prompts, replies, strict=True)]
        return Measurement.of(reward_scores(*self.scorer, triples, self.batch, encode_together).double().numpy())


@dataclass(frozen=True)
class Harness:
    """One task of EleutherAI's lm-evaluation-harness, as the harness asks it: plain text, its own number of examples.

    name: the task's, and its metric's after a colon if it is not the first of acc, f1, exact_match, em, bleu that the task
    has (`arc_easy`, `arc_challenge:acc_norm`). manager: from `manager_for`. limit: the first items only. Raises UserError
    for a task that is not known; and when measured for one that cannot be loaded, or has no such metric with a value an item.
    """

    name: str
    batch: int
    manager: Any
    limit: int | None = None
    kind: str = "lm-eval"

    def __post_init__(self) -> None:
        task = self.name.partition(":")[0]
        if task not in self.manager.all_tasks:
            raise UserError(f"tasks has {task!r}, which is no file and no task of lm-eval.")

    def measure(self, model, tokenizer) -> Measurement:
        task, _, metric = self.name.partition(":")
        samples = self._samples(task, model, tokenizer)
        metric = metric or next((m for m in _PREFERRED if m in samples[0]), "")
        if metric not in samples[0]:
            known = ", ".join(samples[0].get("metrics", [])) or "none"
            raise UserError(f"tasks has {self.name!r}, whose metrics are {known}; give one of them after a colon.")
        return Measurement.of(*items_of(self.name, samples, metric))

    def _samples(self, task: str, model, tokenizer) -> list[dict]:
        try:
            tasks = load_tasks(self.manager, task)
            if task not in tasks:
                raise UserError(f"tasks has {task!r}, a group; give its single tasks ({', '.join(tasks)}).")
            return samples_of(in_memory(model, tokenizer, self.batch), tasks, self.limit)[task]
        except (OSError, ValueError, KeyError) as error:
            raise UserError(f"tasks has {task!r}, which lm-eval cannot run ({first_line(error)}).") from None


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
    task: Any = {"choices": Choice, "answers": Answer, "reference": Translation}[key]
    return task(name, items, asking)


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
    scorer = load_reward_model(folder, device, dtype_on(dtype, device)), load_tokenizer(folder)
    return Reward(scorer, asked, tokens, temperature, seed, batch)


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


def _question(tokenizer, item: dict, chat: bool) -> list[Tokens]:
    """The prompt with each choice."""
    if chat:
        return encode_together(tokenizer, [(item["prompt"], choice, False) for choice in item["choices"]])
    context = tokenizer.encode(item["prompt"])
    return [Tokens(context, tokenizer.encode(choice, add_special_tokens=False)) for choice in item["choices"]]


def _replies(model, tokenizer, items: list[dict], asking: Asking) -> list[str]:
    """The likeliest reply to each item's prompt, token by token; a plain text's ends with its line."""
    prompts = [item["prompt"] for item in items]
    replies = continue_texts(
        model,
        tokenizer,
        ids_of_prompts(tokenizer, prompts) if asking.chat else [tokenizer.encode(prompt) for prompt in prompts],
        end_id(tokenizer) if asking.chat else tokenizer.eos_token_id,
        max_new_tokens=asking.tokens,
        temperature=0.0,
        batch_size=asking.batch,
        skip_special_tokens=True,
    )
    texts = [reply.strip() for reply, _ in replies]
    return texts if asking.chat else [text.split("\n")[0] for text in texts]
