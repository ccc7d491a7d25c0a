"""The abilities of a model: whether it chooses and says what is right, how likely it finds that, and how well it is calibrated.

Items are the same for every model of a run. What an item asks is read once, whatever is then measured of it; prompts and answers
become token ids once for all models.
"""

from dataclasses import dataclass
from functools import cached_property
from math import log
from typing import Any, cast

import numpy as np

from ..config import PublicModel
from ..data.records import AbilityItems, ChoiceItem, GenerationItem
from ..models.chat import continue_texts, end_id, prompt_ids, reply_ids
from ..models.likelihood import log_likelihoods, reply_log_likelihoods
from ..models.reader import TOGETHER, Reader
from ..run import LocalRun
from .calibration import choice_items
from .measurement import BLEU, Measurement, bleu_statistics, f1

Ids = list[int]


@dataclass(frozen=True)
class Abilities:
    """The test items of a run, as its models are asked them."""

    run: LocalRun
    tokenizer: Any

    @cached_property
    def items(self) -> AbilityItems:
        return self.run.source.items("test", self.run.preset.evaluate.counts)

    def measure(self, model) -> dict[str, Measurement]:
        """Metrics qa, reading_f1, bleu, log_likelihood, of abilities that have items, and continuous scores of the same items:
        qa_log_likelihood, qa_probability, qa_brier, qa_ece, reading_log_likelihood, translation_log_likelihood.

        `*_log_likelihood` is the mean over items of log p a token of the right choice, or of the reference reply with its end.
        """
        measured = self._choices(model) if self.items.qa else {}
        measured |= self._readings(model) if self._chooses_readings else {}
        measured |= self._generated(model)
        if self.items.text:
            measured["log_likelihood"] = Measurement.of(self._likely(model))
        return measured

    @property
    def _chooses_readings(self) -> bool:
        return bool(self.items.reading) and isinstance(self.items.reading[0], ChoiceItem)

    def _choices(self, model) -> dict[str, Measurement]:
        tokens = self._choice_log_likelihoods(model, self._asked_choices["qa"])
        answers = [item.answer for item in self.items.qa]
        found = choice_items([np.array([one.sum() for one in of_item]) for of_item in tokens], answers)
        right = [of_item[answer].mean() for of_item, answer in zip(tokens, answers, strict=True)]
        measured = {"qa": Measurement.of(found.pop("accuracy")), "qa_log_likelihood": Measurement.of(np.array(right))}
        return measured | {f"qa_{name}": Measurement.of(items) for name, items in found.items()}

    def _readings(self, model) -> dict[str, Measurement]:
        """Of readings that give choices; the likeliest of them counts as the reply."""
        items = cast(list[ChoiceItem], self.items.reading)
        tokens = self._choice_log_likelihoods(model, self._asked_choices["reading"])
        chosen = [int(np.argmax([one.sum() for one in of_item])) for of_item in tokens]
        scores = [f1(item.choices[choice], item.reference) for item, choice in zip(items, chosen, strict=True)]
        right = [of_item[item.answer].mean() for of_item, item in zip(tokens, items, strict=True)]
        return {
            "reading_f1": Measurement.of(np.array(scores)),
            "reading_log_likelihood": Measurement.of(np.array(right)),
        }

    def _generated(self, model) -> dict[str, Measurement]:
        """Of readings and translations whose whole greedy reply counts, so that chatter costs F1 and BLEU."""
        if not self._asked_replies:
            return {}
        reader, measured = Reader(model), {}
        readings = 0 if self._chooses_readings else len(self.items.reading)
        replies = self._write(reader, [context for context, _ in self._asked_replies])
        likely = np.array([one.mean() for one in reply_log_likelihoods(reader, self._asked_replies)])
        if readings:
            references = [item.reference for item in self.items.reading]
            measured["reading_f1"] = Measurement.of(np.array([f1(*pair) for pair in zip(replies, references)]))
            measured["reading_log_likelihood"] = Measurement.of(likely[:readings])
        if self.items.translation:
            references = [item.reference for item in self.items.translation]
            statistics = bleu_statistics(replies[readings:], references)
            measured["bleu"] = Measurement.of(statistics, BLEU, self.run.rng("evaluate", "bleu"))
            measured["translation_log_likelihood"] = Measurement.of(likely[readings:])
        return measured

    @cached_property
    def _asked_choices(self) -> dict[str, list[tuple[Ids, list[Ids]]]]:
        """Name of an ability -> (what is asked, choices) of each of its items."""
        given = {"qa": self.items.qa} | ({"reading": self.items.reading} if self._chooses_readings else {})
        return {name: [self._asked_choice(cast(ChoiceItem, item)) for item in items] for name, items in given.items()}

    def _asked_choice(self, item: ChoiceItem) -> tuple[Ids, list[Ids]]:
        plain = item.is_plain
        asked = self.tokenizer.encode(item.prompt, add_special_tokens=False) if plain else self._prompt(item)
        return asked, [reply_ids(self.tokenizer, choice, finished=False) for choice in item.choices]

    @cached_property
    def _asked_replies(self) -> list[tuple[Ids, Ids]]:
        """(what is asked, the reference reply) of the readings and then of the translations."""
        items = [*([] if self._chooses_readings else self.items.reading), *self.items.translation]
        return [(self._prompt(item), reply_ids(self.tokenizer, item.reference)) for item in items]

    def _prompt(self, item: ChoiceItem | GenerationItem) -> Ids:
        return prompt_ids(self.tokenizer, item.prompt)

    def _choice_log_likelihoods(self, model, asked: list[tuple[Ids, list[Ids]]]) -> list[list[np.ndarray]]:
        """log p of each token of each choice of each item."""
        order = sorted(range(len(asked)), key=lambda i: len(asked[i][0]))
        found: dict[int, list[np.ndarray]] = {}
        for start in range(0, len(order), TOGETHER):  # so many questions are kept in memory at a time
            some = order[start : start + TOGETHER]
            pairs = [(asked[i][0], choice) for i in some for choice in asked[i][1]]
            tokens = iter(reply_log_likelihoods(Reader(model), pairs))
            found |= {i: [next(tokens) for _ in asked[i][1]] for i in some}
        return [found[i] for i in range(len(asked))]

    def _write(self, reader: Reader, contexts: list[Ids]) -> list[str]:
        preset = self.run.preset
        replies = continue_texts(
            reader.model,
            self.tokenizer,
            contexts,
            end_id(self.tokenizer),
            max_new_tokens=preset.max_new_tokens,
            temperature=0.0,
            batch_size=max(len(contexts), preset.evaluate.batch) if preset.device == "cpu" else preset.evaluate.batch,
            reader=reader,
        )
        return [reply for reply, _ in replies]

    def _likely(self, model) -> np.ndarray:
        """Of each text the mean log p of a token given those before it, in nats; the first token is given, (texts,)."""
        tokens = [self.tokenizer.encode(text, add_special_tokens=False) for text in self.items.text]
        preset, longest = self.run.preset, max(map(len, tokens))
        rows = max(1, preset.evaluate.batch * preset.max_new_tokens // longest)  # no more logits than replies have
        sums = log_likelihoods(model, [(ids[:1], ids[1:]) for ids in tokens], self.tokenizer.pad_token_id, rows)
        return sums / np.array([len(ids) - 1 for ids in tokens])


def chance(run: LocalRun) -> dict[str, Measurement]:
    """What guessing gives of each ability that has items: a choice at random, a value of the right relation at random, an
    unrelated translation, every token of the vocabulary alike.
    """
    counts, measured = run.preset.evaluate.counts, {}
    items, guesses = run.source.items("test", counts), run.source.guesses("test", counts)
    if items.qa:
        measured["qa"] = Measurement.of(np.array([1 / len(item.choices) for item in items.qa]))
    if items.reading:
        measured["reading_f1"] = Measurement.of(np.array([f1(*pair) for pair in guesses["reading"]]))
    if items.translation:
        replies, references = zip(*guesses["translation"])
        measured["bleu"] = Measurement.of(bleu_statistics(replies, references), BLEU, run.rng("chance"))
    if items.text:
        tokens = cast(PublicModel, run.preset.model).vocabulary
        measured["log_likelihood"] = Measurement(-log(tokens), 0.0, n=len(items.text))
    return measured
