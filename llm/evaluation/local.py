"""Measuring a model: learned and gold reward of its replies to held-out prompts, how far these are from theta_0's and from one
another, and the abilities on held-out items (`llm.evaluation.abilities`).

Prompts, items and random numbers are the same for every model of a run, so differences between models are paired.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from ..models.batches import Tokens
from ..models.chat import continue_texts, end_id, ids_of_prompts, reply_ids
from ..models.kv_cache import parts_of
from ..models.likelihood import divergences, states_before
from ..models.loading import load_model, load_reward_model, load_tokenizer
from ..models.reader import Reader
from ..models.rewards import reader_outputs
from ..run import LocalRun
from .abilities import Abilities
from .diversity import distinct_items, self_bleu_items
from .measurement import Measurement, per_token

Reply = tuple[str, bool]  # and whether it ended by itself
COMPARED = 200  # replies whose tokens are compared with theta_0's; more cost more than they tell


@dataclass(frozen=True)
class Rival:
    """What theta_0 says to the prompts, with which every model is compared.

    said: to the first of them. states: before each token of that. gold: the reward of all.
    """

    reader: Reader
    said: list[Tokens]
    states: torch.Tensor
    gold: np.ndarray


@torch.no_grad()
def displacement(model, theta_0) -> float:
    """||model - theta_0|| / ||theta_0|| over all parameters. Of two models whose logits are mixed (`llm.models.mixture`), which has no
    weights of its own, the share of the second one's.
    """
    if parts := parts_of(model):
        return abs(model.share) * displacement(parts[1], theta_0)
    start, own = (dict(one.named_parameters()) for one in (theta_0, model))
    moved = sum(float((own[name].double() - before.double()).square().sum()) for name, before in start.items())
    return math.sqrt(moved / sum(float(before.double().square().sum()) for before in start.values()))


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
    def judge(self) -> Reader:
        """The reward model, which reads each prompt once for all models."""
        return Reader(load_reward_model(self.reward, self.run.device))

    @cached_property
    def abilities(self) -> Abilities:
        return Abilities(self.run, self.tokenizer)

    @cached_property
    def prompts(self) -> list:
        preset = self.run.preset
        return self.run.source.prompts("test", preset.prompts, preset.evaluate.prompts, self.run.rng("evaluate"))

    @cached_property
    def rival(self) -> Rival:
        reader = Reader(load_model(self.theta_0, self.run.device))  # which reads as a model's does, in the same order
        replies = self._write(reader, self.prompts)
        said = self._encode(self.prompts, replies)[:COMPARED]
        return Rival(reader, said, states_before(reader, said)[0], self._gold(self.prompts, replies))

    def measure(self, model) -> tuple[dict[str, Measurement], float]:
        """(metric -> measurement, seconds it took).

        Metrics: those of `dialogue`; win_rate, the share of prompts to which the model's reply has more gold reward than
        theta_0's (equal ones count half); forward_kl, reverse_kl; weight_displacement; distinct_n, self_bleu; and those of `Abilities`.
        """
        rival = self.rival  # before the clock starts: it is made once for all models
        start = time.perf_counter()
        reader = Reader(model)
        replies = self._write(reader, self.prompts)
        said, texts = self._encode(self.prompts, replies), [text for text, _ in replies]
        measured = self._judged(self.prompts, replies, said)
        gold = measured["gold_reward"].items
        measured["win_rate"] = Measurement.of(np.where(gold == rival.gold, 0.5, (gold > rival.gold).astype(float)))
        measured |= self._divergences(reader, said[:COMPARED])
        measured["weight_displacement"] = Measurement(displacement(model, rival.reader.model), None, 1)
        measured["distinct_n"] = Measurement.of(distinct_items(texts))
        measured["self_bleu"] = Measurement.of(self_bleu_items(texts))
        measured |= self.abilities.measure(model)
        return measured, time.perf_counter() - start

    def dialogue(self, model, prompts: list) -> dict[str, Measurement]:
        """Metrics reward, gold_reward, length of one sampled reply a prompt, by the same random numbers at every call."""
        replies = self._write(Reader(model), prompts)
        return self._judged(prompts, replies, self._encode(prompts, replies))

    def _judged(self, prompts: list, replies: list[Reply], said: list[Tokens]) -> dict[str, Measurement]:
        return {
            "reward": Measurement.of(reader_outputs(self.judge, said)[:, 0].double().numpy()),
            "gold_reward": Measurement.of(self._gold(prompts, replies)),
            "length": Measurement.of(np.array([len(reply.split()) for reply, _ in replies], dtype=float)),
        }

    def _gold(self, prompts: list, replies: list[Reply]) -> np.ndarray:
        return np.array([self.run.source.gold_reward(prompt, *reply) for prompt, reply in zip(prompts, replies)])

    def _divergences(self, reader: Reader, said: list[Tokens]) -> dict[str, Measurement]:
        """forward_kl, KL(pi_0 || pi) a token of theta_0's replies, and reverse_kl, KL(pi || pi_0) a token of the model's own;
        exact over the vocabulary at each token. Of theta_0 itself both are exactly 0.
        """
        rival = self.rival
        model, start = reader.model, rival.reader.model
        forward = divergences(start, rival.states, model, states_before(reader, rival.said)[0])
        own, others = (states_before(one, said)[0] for one in (reader, rival.reader))
        return {
            "forward_kl": Measurement.of(per_token(forward, [len(reply) for _, reply in rival.said])),
            "reverse_kl": Measurement.of(per_token(divergences(model, own, start, others), [len(r) for _, r in said])),
        }

    def _encode(self, prompts: list, replies: list[Reply]) -> list[Tokens]:
        """As `encode_apart` does; a reply whose text has no token ends at once."""
        made = [reply_ids(self.tokenizer, *reply) or [self.tokenizer.eos_token_id] for reply in replies]
        return [Tokens(ids, reply) for ids, reply in zip(self._ids(prompts), made, strict=True)]

    @cached_property
    def _known(self) -> dict[str, list[int]]:
        return {}

    def _ids(self, prompts: Sequence) -> list[list[int]]:
        """Token ids of the prompts, made once for all models."""
        texts = [prompt.text for prompt in prompts]
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        self._known.update(zip(new, ids_of_prompts(self.tokenizer, new), strict=True))
        return [self._known[text] for text in texts]

    def _write(self, reader: Reader, prompts: list) -> list[Reply]:
        """One sampled reply a prompt."""
        preset = self.run.preset
        return continue_texts(
            reader.model,
            self.tokenizer,
            self._ids(prompts),
            end_id(self.tokenizer),
            max_new_tokens=preset.max_new_tokens,
            temperature=1.0,
            rng=self.run.torch_rng("evaluate"),
            batch_size=preset.evaluate.batch,
            reader=reader,
        )
