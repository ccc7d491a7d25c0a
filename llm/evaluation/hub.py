"""Measuring a model as the paper does: the reward of sampled replies, lm-eval's tasks, and PairRM's win rate over theta_0."""

import json
import time
from dataclasses import dataclass
from functools import cached_property
from math import sqrt
from pathlib import Path

import numpy as np

from ..config import HubPreset
from ..data.benchmarks import BENCHMARKS
from ..data.hub import alpaca_eval
from ..data.records import turns_of
from ..models.save import load_model, load_tokenizer
from ..run import Run
from ..training.distributed.data import pairs, place, read_prompts
from . import judging
from .benchmarks.models import in_memory
from .benchmarks.pairrm import PairRM, win_rate
from .benchmarks.suite import Suite, SuiteSettings, load_suite
from .local import Measurement
from .rows import rows_of

CHANCE = {
    "piqa": 1 / 2,
    "arc_easy": 1 / 4,
    "arc_challenge": 1 / 4,
    "race": 1 / 4,
}  # a choice at random; nearly all items of ARC have four


@dataclass(frozen=True)
class HubEvaluator:
    """Everything that stays the same from model to model of one run; called as `llm.evaluation.local.Evaluator` is."""

    run: Run[HubPreset]
    theta_0: Path
    reward: Path

    @cached_property
    def tokenizer(self):
        return load_tokenizer(self.theta_0)

    @property
    def mixed_on(self) -> str:
        """The device where models to be measured are loaded, and averages mixed: the computer's memory has room for theta_0 and theta."""
        return "cpu"

    @cached_property
    def judge(self) -> tuple:
        return judging.load_judge(self.run.preset, self.reward)

    @cached_property
    def prompts(self) -> list[judging.Prompt]:
        """Of HH-RLHF's test split, so many at random as the preset says, or all."""
        found = read_prompts(pairs(self.run, "test-prompts"))
        order = self.run.rng("evaluate").permutation(len(found))[: self.run.preset.evaluate.prompts]
        return [found[i] for i in order]

    @cached_property
    def suite(self) -> Suite:
        preset, settings = self.run.preset, self.run.preset.evaluate
        data = Path(preset.data_dir) / "benchmarks" if preset.data_dir else None
        return load_suite(SuiteSettings(settings.tasks, settings.limit, settings.answer_tokens, data))

    @cached_property
    def instructions(self) -> list[str]:
        count = self.run.preset.evaluate.alpaca_prompts
        return [item.prompt for item in alpaca_eval.items(place(self.run.preset)).records[:count]] if count else []

    @cached_property
    def rivals(self) -> list[str]:
        """theta_0's replies to AlpacaEval's instructions."""
        return self._answers(self._on_device(load_model(self.theta_0)))

    def measure(self, model) -> tuple[dict[str, Measurement], float]:
        """(metric -> measurement, seconds): reward, length, qa, reading_f1, bleu, every task, and win_rate with AlpacaEval's prompts."""
        rivals = self.rivals if self.instructions else []  # before the clock starts: once for all models
        start, preset = time.perf_counter(), self.run.preset
        model = self._on_device(model)
        measured = self._dialogue(model)
        lm = in_memory(model, self.tokenizer, preset.evaluate.batch)
        measured |= self.suite.measure(lm, self.run.rng("evaluate", "bleu"))
        if rivals:
            ranker = PairRM(preset.evaluate.ranker, preset.evaluate.batch, judging.device(preset).type)
            measured["win_rate"] = win_rate(ranker, self.instructions, self._answers(model), rivals)
        return measured, time.perf_counter() - start

    def _dialogue(self, model) -> dict[str, Measurement]:
        replies = self._write(model, self.prompts)
        return {
            "reward": Measurement.mean(
                judging.scores(self.judge, self.prompts, replies, self.run.preset.evaluate.batch)
            ),
            "length": Measurement.mean(np.array([len(reply.split()) for reply, _ in replies], dtype=float)),
        }

    def _answers(self, model) -> list[str]:
        return [reply for reply, _ in self._write(model, [turns_of(text) for text in self.instructions])]

    def _write(self, model, prompts: list[judging.Prompt]) -> list[judging.Reply]:
        settings, rng = self.run.preset.evaluate, self.run.torch_rng("evaluate")
        return judging.write(
            model, self.tokenizer, prompts, settings.max_new_tokens, settings.temperature, rng, settings.batch
        )

    def _on_device(self, model):
        return model.to(judging.device(self.run.preset))


def measure_baseline(evaluator: HubEvaluator) -> list[dict]:
    """Rows of theta_0, of chance, and of the reward model."""
    run = evaluator.run
    measured, seconds = evaluator.measure(load_model(evaluator.theta_0))
    judged = json.loads((run.folder / "reward.json").read_text())
    share, count = judged["accuracy"], judged["n"]
    rows = rows_of(run, "none", "theta_0", {}, measured, seconds)
    rows += rows_of(run, "none", "chance", {}, _chance(measured), 0.0)
    found = {"pair_accuracy": Measurement(share, sqrt(share * (1 - share) / count), count)}
    return rows + rows_of(run, "none", "reward_model", {}, found, 0.0)


def _chance(measured: dict[str, Measurement]) -> dict[str, Measurement]:
    """What guessing gives of each ability that was measured: of generated answers, nothing."""
    floors = {"qa": sum(CHANCE.values()) / len(CHANCE), "reading_f1": 0.0, "bleu": 0.0}
    abilities = {benchmark.ability for benchmark in BENCHMARKS.values()}
    return {key: Measurement(floors[key], 0.0, found.n) for key, found in measured.items() if key in abilities}
