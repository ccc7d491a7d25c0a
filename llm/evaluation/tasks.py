"""What `front` and `tax` measure: local items (choice, F1, BLEU) and replies to prompts with their reward; `harness_task` has lm-eval's tasks.

A task is measured on the same items, and with the same random numbers, for every model, so differences are paired. `formats`
reads tasks from files.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray

from ..data.records import Prompt, plain_text
from ..errors import UserError, short
from ..models.batches import Tokens
from ..models.chat import continue_texts, encode_together, end_id, generate_replies, ids_of_prompts, pad_id
from ..models.likelihood import log_likelihoods
from .choices import of_choices
from .diversity import distinct_items
from .measurement import BLEU, Measurement, bleu_statistics, f1, normalise
from .scores import pass_at, self_bleu

WORDS = "words a reply"  # the kind of replies without a reward
Scorer = Callable[[Sequence[tuple[Prompt, str, bool]]], NDArray[np.float64]]  # (prompt, reply, finished) -> rewards


@dataclass(frozen=True)
class Asking:
    """How items are put to a model: in its chat format or as plain text; `tokens` new ones at most; `batch` at a time.

    samples: replies a prompt where they are drawn, at `temperature` and by random numbers of `seed`.
    """

    chat: bool
    tokens: int
    batch: int
    samples: int = 1
    temperature: float = 1.0
    seed: int = 0

    def sampled(self, model, tokenizer, prompts: Sequence[Prompt]) -> list[list[tuple[str, bool]]]:
        """`samples` (reply, whether it ended by itself) to each prompt."""
        replies = generate_replies(
            model,
            tokenizer,
            [prompt for prompt in prompts for _ in range(self.samples)],
            max_new_tokens=self.tokens,
            temperature=self.temperature,
            rng=torch.Generator().manual_seed(self.seed),
            batch_size=self.batch,
            skip_special_tokens=True,
            own_ends=True,
        )
        return [replies[start : start + self.samples] for start in range(0, len(replies), self.samples)]


class Task(Protocol):
    """`kind` is what the first of the numbers is, for people: accuracy, F1, BLEU, reward.

    measure: metric -> measurement, over the same items; the task's own metric comes first. first: the same task with its first
    item alone, to see whether it can be measured at all. count: how many items it has, None where that shows only when it is measured.
    lengths: for each item, the tokens of its prompt and of the longest that
    is read or written after it; none where the task sees to that itself.
    """

    @property
    def name(self) -> str: ...

    @property
    def kind(self) -> str: ...

    @property
    def count(self) -> int | None: ...

    def measure(self, model, tokenizer) -> dict[str, Measurement]: ...

    def first(self) -> Self: ...

    def lengths(self, tokenizer) -> list[int]: ...


@dataclass(frozen=True)
class _Local:
    """A task on items of a file."""

    name: str
    items: list[dict]
    asking: Asking

    @property
    def count(self) -> int:
        return len(self.items)

    def first(self) -> Self:
        return replace(self, items=self.items[:1])

    def lengths(self, tokenizer) -> list[int]:
        prompts = _contexts(tokenizer, [item["prompt"] for item in self.items], self.asking.chat)
        return [len(prompt) + self.asking.tokens for prompt in prompts]


@dataclass(frozen=True)
class Choice(_Local):
    """Accuracy of the choice with the highest log-likelihood, summed over its tokens (`acc` of lm-eval).

    Beside it: accuracy with each sum divided by the choice's length in characters (lm-eval's `acc_norm`); of the choices'
    probabilities, the softmax of the sums, the Brier score in [0, 2] and the expected calibration error in [0, 1]; and the
    right choice's log-likelihood in nats a token.
    """

    kind: str = "accuracy"

    def lengths(self, tokenizer) -> list[int]:
        return [max(len(pair.context) + len(pair.reply) for pair in pairs) for pairs in self._asked(tokenizer)]

    def measure(self, model, tokenizer) -> dict[str, Measurement]:
        asked = self._asked(tokenizer)
        sums = log_likelihoods(model, [pair for pairs in asked for pair in pairs], pad_id(tokenizer), self.asking.batch)
        ends = np.cumsum([len(pairs) for pairs in asked])
        tokens = [len(pairs[item["answer"]].reply) for pairs, item in zip(asked, self.items, strict=True)]
        return of_choices(zip(np.split(sums, ends[:-1]), self.items, tokens, strict=True))

    def _asked(self, tokenizer) -> list[list[Tokens]]:
        """Each item's prompt with each of its choices; UserError where one has no token, or where the right one's are another's, too."""
        found = [_question(tokenizer, item, self.asking.chat) for item in self.items]
        for number, (pairs, item) in enumerate(zip(found, self.items, strict=True), 1):
            replies = [pair.reply for pair in pairs]
            same = replies.count(replies[item["answer"]]) > 1
            if same or not all(replies):
                choice = item["choices"][item["answer"] if same else replies.index([])]
                why = "has the same tokens as another choice" if same else "has no token"
                raise UserError(
                    f"tasks: item {number} of {self.name} has the choice {choice!r:.80}, which {why} in this tokenizer; allowed are "
                    "choices that it can tell apart."
                )
        return found


@dataclass(frozen=True)
class Answer(_Local):
    """F1 of the words of the whole likeliest reply, the best over the right answers (SQuAD's normalisation), in [0, 1].

    With several samples also pass@1 and pass@samples of sampled replies: one passes if a right answer stands in it, its words
    together and in order, normalised as for F1.
    """

    kind: str = "F1"

    def measure(self, model, tokenizer) -> dict[str, Measurement]:
        replies = _replies(model, tokenizer, self.items, self.asking)
        pairs = zip(replies, self.items, strict=True)
        found = {"F1": np.array([max(f1(reply, right) for right in item["answers"]) for reply, item in pairs])}
        count = self.asking.samples
        if count > 1:
            asked = [item for item in self.items for _ in range(count)]
            drawn = zip(_replies(model, tokenizer, asked, self.asking, sampled=True), asked, strict=True)
            passed = [any(_stands_in(answer, reply) for answer in item["answers"]) for reply, item in drawn]
            right = np.reshape(passed, (-1, count)).sum(axis=1).tolist()
            found |= {f"pass@{k}": np.array([pass_at(count, number, k) for number in right]) for k in (1, count)}
        return {metric: Measurement.of(items) for metric, items in found.items()}


@dataclass(frozen=True)
class Translation(_Local):
    """Corpus BLEU of the replies, in [0, 100]."""

    kind: str = "BLEU"

    def measure(self, model, tokenizer) -> dict[str, Measurement]:
        replies = _replies(model, tokenizer, self.items, self.asking)
        references = [item["reference"] for item in self.items]
        return {"BLEU": Measurement.of(bleu_statistics(replies, references, tokenize="13a"), BLEU)}


@dataclass(frozen=True)
class Replies:
    """Sampled replies to prompts; each number is first the mean over a prompt's replies, so that prompts are the items.

    reward, where there is a scorer: its score, in its own unit. length: words. distinct_2: different bigrams of words over all
    of a prompt's replies, in [0, 1]. self_bleu, with several samples: how alike a prompt's replies are, in [0, 100].
    """

    scorer: Scorer | None
    prompts: list[Prompt]
    asking: Asking
    name: str = "reward"

    @property
    def kind(self) -> str:
        return "reward" if self.scorer else WORDS

    @property
    def count(self) -> int:
        return len(self.prompts)

    def first(self) -> Self:
        return replace(self, prompts=self.prompts[:1])

    def lengths(self, tokenizer) -> list[int]:
        return [len(prompt) + self.asking.tokens for prompt in _contexts(tokenizer, self.prompts, True)]

    def measure(self, model, tokenizer) -> dict[str, Measurement]:
        drawn = self.asking.sampled(model, tokenizer, self.prompts)
        texts = [[reply for reply, _ in of_prompt] for of_prompt in drawn]
        found = {}
        if self.scorer:
            pairs = zip(self.prompts, drawn, strict=True)
            triples = [(prompt, *reply) for prompt, of_prompt in pairs for reply in of_prompt]
            rewards = _one_number_each(self.scorer(triples), len(triples))
            found["reward"] = rewards.reshape(len(self.prompts), -1).mean(axis=1)
        found["length"] = np.array([np.mean([len(text.split()) for text in some]) for some in texts])
        found["distinct_2"] = np.array([distinct_items(some, 2).mean() for some in texts])
        if self.asking.samples > 1:
            found["self_bleu"] = np.array([self_bleu(some) for some in texts])
        return {metric: Measurement.of(items) for metric, items in found.items()}


def _one_number_each(scores: Any, count: int) -> NDArray[np.float64]:
    """What a scorer has returned, (count,); UserError for anything but a finite number a reply."""
    try:
        found = np.asarray(scores, dtype=np.float64)
    except (TypeError, ValueError):
        found = np.empty(0)
    if found.shape != (count,) or not np.isfinite(found).all():
        raise UserError(
            f"the scorer of replies returned {short(scores)}; allowed is a finite number for each of {count} replies."
        )
    return found


def _question(tokenizer, item: dict, chat: bool) -> list[Tokens]:
    """The prompt with each choice."""
    if chat and tokenizer.chat_template:
        return encode_together(tokenizer, [(item["prompt"], choice, False) for choice in item["choices"]])
    (context,) = _contexts(tokenizer, [item["prompt"]], chat)
    text = plain_text(item["prompt"])
    return [Tokens(*_split(tokenizer, text, choice, context)) for choice in item["choices"]]


def _split(tokenizer, text: str, choice: str, context: list[int]) -> tuple[list[int], list[int]]:
    """(ids of a text, ids of a choice after it), split from both together, where spaces at the text's end belong to the choice as in
    lm-eval; the choice by itself where the text's ids, `context`, do not begin the whole's.
    """
    shorter = text.rstrip(" ") or text
    start, whole = tokenizer.encode(shorter), tokenizer.encode(text + choice)
    if start and whole[: len(start)] == start and len(whole) > len(start):
        return start, whole[len(start) :]
    return context, tokenizer.encode(choice, add_special_tokens=False)


def _contexts(tokenizer, prompts: Sequence[Prompt], chat: bool) -> list[list[int]]:
    """What a model reads before it writes, prompt by prompt; UserError where that is nothing."""
    found = ids_of_prompts(tokenizer, prompts) if chat else [tokenizer.encode(plain_text(prompt)) for prompt in prompts]
    if not all(found):
        raise UserError(
            f"a prompt is {plain_text(prompts[found.index([])])!r:.80}; allowed are those that have a token."
        )
    return found


def _stands_in(answer: str, reply: str) -> bool:
    """Whether the answer's words stand in the reply, together and in order."""
    return f" {' '.join(normalise(answer))} " in f" {' '.join(normalise(reply))} "


def _replies(model, tokenizer, items: list[dict], asking: Asking, sampled: bool = False) -> list[str]:
    """The likeliest reply to each item's prompt, token by token, or one drawn; a plain text's ends with its line."""
    chat = asking.chat and bool(tokenizer.chat_template)
    replies = continue_texts(
        model,
        tokenizer,
        _contexts(tokenizer, [item["prompt"] for item in items], asking.chat),
        end_id(tokenizer),
        max_new_tokens=asking.tokens,
        temperature=asking.temperature if sampled else 0.0,
        rng=torch.Generator().manual_seed(asking.seed) if sampled else None,
        batch_size=asking.batch,
        skip_special_tokens=True,
        own_ends=True,
    )
    texts = [reply.strip() for reply, _ in replies]
    return texts if chat else [text.split("\n")[0] for text in texts]
