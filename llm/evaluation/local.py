"""Measuring a model: learned and gold reward on held-out prompts, and the abilities on held-out items.

The abilities are asked in the chat format (but for plain choices) and the whole reply counts, so chatter costs F1 and BLEU.
Prompts, items and random numbers are the same for every model of a run, so differences between models are paired.
"""

import time
from dataclasses import dataclass
from functools import cached_property
from math import log
from pathlib import Path
from typing import cast

import numpy as np
import torch

from ..config import PublicModel
from ..data.records import AbilityItems, ChoiceItem
from ..models.chat import generate_replies, prompt_ids, reply_ids
from ..models.likelihood import choice_log_likelihoods, log_likelihoods
from ..models.loading import load_model, load_reward_model, load_tokenizer
from ..models.rewards import reward_scores
from ..run import LocalRun
from .measurement import BLEU, Measurement, bleu_statistics, f1


@dataclass(frozen=True)
class Evaluator:
    """Everything that stays the same from model to model of one run."""

    run: LocalRun
    theta_0: Path
    reward: Path

    @property
    def mixed_on(self) -> torch.device:
        """The device where models to be measured are loaded, and averages mixed."""
        return self.run.device

    @cached_property
    def tokenizer(self):
        return load_tokenizer(self.theta_0)

    @cached_property
    def reward_model(self):
        return load_reward_model(self.reward, self.run.device)

    @cached_property
    def items(self) -> AbilityItems:
        return self.run.source.items("test", self.run.preset.evaluate.counts)

    @cached_property
    def prompts(self) -> list:
        preset = self.run.preset
        return self.run.source.prompts("test", preset.prompts, preset.evaluate.prompts, self.run.rng("evaluate"))

    @cached_property
    def rival_gold(self) -> np.ndarray:
        """Gold reward of theta_0's own reply to each of the prompts, (prompts,)."""
        return self.dialogue(load_model(self.theta_0, self.run.device), self.prompts)["gold_reward"].items

    def measure(self, model) -> tuple[dict[str, Measurement], float]:
        """(metric -> measurement, seconds it took).

        Metrics: reward, gold_reward, length, win_rate (the share of prompts to which the model's reply has more gold reward
        than theta_0's; equal ones count half), and of the abilities that have items: qa, reading_f1, bleu, log_likelihood.
        """
        rival = self.rival_gold  # before the clock starts: it is measured once for all models
        start = time.perf_counter()
        measured = self.dialogue(model, self.prompts)
        gold = measured["gold_reward"].items
        measured["win_rate"] = Measurement.of(np.where(gold == rival, 0.5, (gold > rival).astype(float)))
        measured |= self._abilities(model)
        return measured, time.perf_counter() - start

    def dialogue(self, model, prompts: list) -> dict[str, Measurement]:
        """Metrics reward, gold_reward, length of one sampled reply a prompt, by the same random numbers at every call."""
        replies = self._write(model, [prompt.text for prompt in prompts], temperature=1.0)
        triples = [(prompt.text, *reply) for prompt, reply in zip(prompts, replies)]
        learned = reward_scores(self.reward_model, self.tokenizer, triples, self.run.preset.evaluate.batch)
        gold = [self.run.source.gold_reward(prompt, *reply) for prompt, reply in zip(prompts, replies)]
        return {
            "reward": Measurement.of(learned.double().numpy()),
            "gold_reward": Measurement.of(np.array(gold)),
            "length": Measurement.of(np.array([len(reply.split()) for reply, _ in replies], dtype=float)),
        }

    def _abilities(self, model) -> dict[str, Measurement]:
        items, measured = self.items, {}
        answers, translations = self._answers(model)
        if items.qa:
            right = self._choices(model, items.qa) == np.array([item.answer for item in items.qa])
            measured["qa"] = Measurement.of(right.astype(float))
        if items.reading:
            measured["reading_f1"] = Measurement.of(
                np.array([f1(*pair) for pair in zip(answers, [item.reference for item in items.reading])])
            )
        if items.translation:
            references = [item.reference for item in items.translation]
            statistics, rng = bleu_statistics(translations, references), self.run.rng("evaluate", "bleu")
            measured["bleu"] = Measurement.of(statistics, BLEU, rng)
        if items.text:
            measured["log_likelihood"] = Measurement.of(self._likely(model, items.text))
        return measured

    def _answers(self, model) -> tuple[list[str], list[str]]:
        """Greedy replies to the items of reading and translation; where reading has choices, the likeliest of them."""
        reading, translation, chosen = self.items.reading, self.items.translation, []
        if reading and isinstance(reading[0], ChoiceItem):
            chosen = [item.choices[choice] for item, choice in zip(reading, self._choices(model, reading))]
            reading = []
        replies = [
            reply for reply, _ in self._write(model, [item.prompt for item in reading + translation], temperature=0.0)
        ]
        return chosen + replies[: len(reading)], replies[len(reading) :]

    def _likely(self, model, texts: list[str]) -> np.ndarray:
        """Of each text the mean log p of a token given those before it, in nats; the first token is given, (texts,)."""
        tokens = [self.tokenizer.encode(text, add_special_tokens=False) for text in texts]
        preset, longest = self.run.preset, max(map(len, tokens))
        rows = max(
            1, preset.evaluate.batch * preset.max_new_tokens // longest
        )  # no more logits at a time than replies have
        sums = log_likelihoods(model, [(ids[:1], ids[1:]) for ids in tokens], self.tokenizer.pad_token_id, rows)
        return sums / np.array([len(ids) - 1 for ids in tokens])

    def _choices(self, model, items: list[ChoiceItem]) -> np.ndarray:
        """The number of each item's likeliest choice, (items,)."""
        tokenizer = self.tokenizer
        asked = []
        for item in items:
            plain = tokenizer.encode(item.prompt, add_special_tokens=False) if item.is_plain else None
            choices = [reply_ids(tokenizer, choice, finished=False) for choice in item.choices]
            asked.append((prompt_ids(tokenizer, item.prompt) if plain is None else plain, choices))
        scores = choice_log_likelihoods(model, asked, tokenizer.pad_token_id, self.run.preset.evaluate.batch)
        return np.array([of_item.argmax() for of_item in scores])

    def _write(self, model, prompts: list[str], temperature: float) -> list[tuple[str, bool]]:
        preset = self.run.preset
        return generate_replies(
            model,
            self.tokenizer,
            prompts,
            max_new_tokens=preset.max_new_tokens,
            temperature=temperature,
            rng=self.run.torch_rng("evaluate") if temperature > 0 else None,
            batch_size=preset.evaluate.batch,
        )


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
