"""Measuring a model as the paper does: the reward of sampled replies, lm-eval's tasks, and PairRM's win rate over theta_0 or GPT-4 Turbo."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import islice
from math import sqrt
from pathlib import Path

import numpy as np
import torch

from ..config import HubPreset
from ..config.hub import RANDOM
from ..data.benchmarks import BENCHMARKS
from ..data.hub import alpaca_eval
from ..data.records import ComparisonItem, Prompt, Turn, turns_of
from ..files import by_one, read_lines, read_made
from ..models.batches import fitting
from ..models.chat import generate_replies, prompt_ids
from ..models.loading import device_of, load_model, load_reward_model, load_tokenizer
from ..models.rewards import reward_scores, rule_for
from ..run import Run
from ..training.distributed.data import pairs, place, read_prompts
from . import by_vllm
from .benchmarks.harness import in_memory
from .benchmarks.pairrm import Longer, PairRM, Ranker, win_rate
from .benchmarks.suite import Suite, SuiteSettings, load_suite
from .by_vllm import DTYPES, Replies, Texts
from .keeping import Kept
from .measurement import Measurement, rows_of

CHANCE = {"piqa": 1 / 2} | dict.fromkeys(("arc_easy", "arc_challenge", "race"), 1 / 4)  # nearly all of ARC's have four


class Judge:
    """The reward model in `folder`, where the preset's hardware computes."""

    def __init__(self, preset: HubPreset, folder: Path) -> None:
        self.model = load_reward_model(folder, device(preset), dtype(preset))
        self.tokenizer, self.batch = load_tokenizer(folder), preset.evaluate.batch

    def __call__(self, prompts: Sequence[Prompt], replies: list[tuple[str, bool]]) -> np.ndarray:
        """Learned rewards of (reply, finished), (prompts,)."""
        triples = [(prompt, *reply) for prompt, reply in zip(prompts, replies, strict=True)]
        scored = partial(reward_scores, self.model, self.tokenizer, triples, encode=rule_for(self.model))
        return fitting(self.batch, lambda rows: scored(batch_size=rows)).double().numpy()


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
    def judge(self) -> Judge:
        return Judge(self.run.preset, self.reward)

    @cached_property
    def prompts(self) -> list[Prompt]:
        """Of HH-RLHF's test split, as many as the preset has it."""
        settings, rng = self.run.preset.evaluate, self.run.rng("evaluate")
        return drawn_prompts(self.run, "test-prompts", self.tokenizer, settings.prompts, settings.max_new_tokens, rng)

    @property
    def tasks(self) -> SuiteSettings:
        preset, settings = self.run.preset, self.run.preset.evaluate
        data = Path(preset.data_dir) / "benchmarks" if preset.data_dir else None
        return SuiteSettings(settings.tasks, settings.limit, settings.answer_tokens, data, cut=settings.cut)

    @cached_property
    def suite(self) -> Suite:
        return load_suite(self.tasks)

    @cached_property
    def _items(self) -> list[ComparisonItem]:
        count = self.run.preset.evaluate.alpaca_prompts
        return alpaca_eval.items(place(self.run.preset)).records[:count] if count else []

    @property
    def instructions(self) -> list[str]:
        return [str(item.prompt) for item in self._items]

    @cached_property
    def rivals(self) -> list[str]:
        """What replies to AlpacaEval's instructions are compared with: GPT-4 Turbo's, or theta_0's, which are written once a run."""
        if self.run.preset.evaluate.compared.by_gpt4:
            return [item.reference for item in self._items]
        file = self.run.folder / "theta_0-replies"

        def written() -> list[dict]:
            (answers,), _ = self._read(load_model(self.theta_0), [self._instructed()], tasks=False)
            return [{"reply": reply} for reply, _ in answers]

        with by_one(file):
            return [row["reply"] for row in Kept.beside(file, self.run.preset, self.theta_0)("all", written)]

    def measure(self, model, answers: list[str] | None = None) -> tuple[dict[str, Measurement], float]:
        """(metric -> measurement, seconds): reward, length, qa, reading_f1, bleu, every task, and win_rate with AlpacaEval's prompts.

        answers: the model's to AlpacaEval's instructions, where they were written before.
        """
        rivals = self.rivals if self.instructions else []  # before the clock starts: once for all models
        start, preset = time.perf_counter(), self.run.preset
        asked = [Texts(self.prompts, preset.evaluate.temperature, preset.evaluate.max_new_tokens)]
        asked += [self._instructed()] if rivals and answers is None else []
        (replies, *own), tasks = self._read(model, asked)
        lengths = np.array([len(reply.split()) for reply, _ in replies], dtype=float)
        measured = {
            "reward": Measurement.of(self.judge(self.prompts, replies)),
            "length": Measurement.of(lengths),
        } | tasks
        if rivals:
            said = [reply for reply, _ in own[0]] if answers is None else answers
            measured["win_rate"] = win_rate(self._ranker(), self.instructions, said, rivals)
        return measured, time.perf_counter() - start

    def _ranker(self) -> Ranker:
        """Loaded for each model anew, so that it takes no memory while the next one writes."""
        settings = self.run.preset.evaluate
        return (
            Longer()
            if settings.ranker == RANDOM
            else PairRM(settings.ranker, settings.batch, device(self.run.preset).type)
        )

    def _instructed(self) -> Texts:
        how = self.run.preset.evaluate.compared
        prompts: list[Prompt] = [turns_of(text, how.system) for text in self.instructions]
        return Texts(prompts, how.temperature, how.max_new_tokens)

    def _read(self, model, asked: list[Texts], tasks: bool = True) -> tuple[list[Replies], dict[str, Measurement]]:
        """The model's replies to all that is asked, and, if they are wanted, lm-eval's tasks."""
        if by_vllm.is_taken(self.run.preset):
            return by_vllm.read_model(self.run, model, self.tokenizer, asked, self.tasks if tasks else None)
        model, batch = model.to(device(self.run.preset)), self.run.preset.evaluate.batch
        replies = [replies_of(self.run, model, self.tokenizer, one, "evaluate") for one in asked]
        if not tasks:
            return replies, {}
        lm = in_memory(model, self.tokenizer, batch)
        return replies, self.suite.measure(lm, self.run.rng("evaluate", "bleu"))


def replies_of(run: Run[HubPreset], model, tokenizer, asked: Texts, *purpose: str | int) -> Replies:
    """By transformers, as many at a time as the preset says or the memory holds. purpose: tells random streams apart."""
    write = partial(generate_replies, model, tokenizer, asked.prompts, skip_special_tokens=True)
    how = {"max_new_tokens": asked.max_new_tokens, "temperature": asked.temperature}
    return fitting(run.preset.evaluate.batch, lambda rows: write(**how, rng=run.torch_rng(*purpose), batch_size=rows))


def drawn_prompts(
    run: Run[HubPreset], name: str, tokenizer, count: int | None, new_tokens: int, rng: np.random.Generator
) -> list[Prompt]:
    """So many of HH-RLHF's prompts at random, or all, of those that fit into the context with a reply. name: of the file (`pairs`)."""
    known, room = read_prompts(pairs(run, name)), run.preset.context - new_tokens
    order = (known[i] for i in rng.permutation(len(known)))
    return list(islice((prompt for prompt in order if len(prompt_ids(tokenizer, prompt)) <= room), count))


def device(preset: HubPreset) -> torch.device:
    """Where the preset's hardware writes and scores replies."""
    return device_of("cpu" if preset.hardware.device == "cpu" else "auto")


def dtype(preset: HubPreset) -> str:
    """The hardware's number format as `llm.models.loading` names it."""
    return DTYPES[preset.hardware.dtype]


def accuracy(run: Run[HubPreset], reward: Path) -> dict[str, float]:
    """ "accuracy": the share of held-out pairs whose chosen reply has the higher reward; "n": how many pairs."""
    rows = [row for _, row in read_lines(pairs(run, "test"))]
    prompts = [tuple(Turn(**turn) for turn in row["prompt"]) for row in rows]
    judge = Judge(run.preset, reward)
    chosen, rejected = (judge(prompts, [(row[side], True) for row in rows]) for side in ("chosen", "rejected"))
    return {"accuracy": float((chosen > rejected).mean()), "n": len(rows)}


def measure_baseline(evaluator: HubEvaluator) -> list[dict]:
    """Rows of theta_0, of chance, and of the reward model."""
    run = evaluator.run
    written = bool(evaluator.instructions) and not run.preset.evaluate.compared.by_gpt4
    theta_0 = load_model(evaluator.theta_0)
    measured, seconds = evaluator.measure(theta_0, evaluator.rivals if written else None)
    share, count = read_made(run.folder / "reward.json", lambda judged: (judged["accuracy"], judged["n"]))
    rows = rows_of(run, "none", "theta_0", {}, measured, seconds)
    rows += rows_of(run, "none", "chance", {}, _chance(measured), 0.0)
    found = {"pair_accuracy": Measurement(share, sqrt(share * (1 - share) / count), count)}
    return rows + rows_of(run, "none", "reward_model", {}, found, 0.0)


def _chance(measured: dict[str, Measurement]) -> dict[str, Measurement]:
    """What guessing gives of each ability that was measured: of generated answers, nothing."""
    floors = {"qa": sum(CHANCE.values()) / len(CHANCE), "reading_f1": 0.0, "bleu": 0.0}
    abilities = {benchmark.ability for benchmark in BENCHMARKS.values()}
    return {key: Measurement(floors[key], 0.0, found.n) for key, found in measured.items() if key in abilities}
