"""The paper's abilities of a real model, by lm-eval (paper, section 2): qa, reading_f1, bleu, and each task's own number."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import sqrt
from pathlib import Path

import numpy as np

from ...data.benchmarks import BENCHMARKS, PAPER, abilities, checked_tasks, local_data
from ...errors import UserError, first_line
from ...models.chat import prompt_ids
from ...models.loading import warn
from ..measurement import Measurement
from .harness import items_of, load_tasks, manager_for, samples_of


@dataclass(frozen=True)
class SuiteSettings:
    """What is asked, and how.

    tasks: names of the table (`llm.data.benchmarks`). limit: the first items of each only, at least 2. tokens: new tokens
    of an answer at most (None: lm-eval's 256). data: a folder of local data sets (`llm.data.benchmarks.local_data`; None: the hub, or
    what was fetched from it before). chat: in the model's chat format, or as plain text. cut: cut the beginning of prompts
    that are too long for the model, as lm-eval does, with a word on how many, instead of refusing them.
    """

    tasks: Sequence[str] = PAPER
    limit: int | None = None
    tokens: int | None = None
    data: Path | None = None
    chat: bool = False
    cut: bool = False

    def __post_init__(self) -> None:
        checked_tasks(self.tasks)
        for key, least in (("limit", 2), ("tokens", 1)):
            given = getattr(self, key)
            if given is not None and given < least:
                raise UserError(f"{key} = {given} is not allowed; allowed are whole numbers from {least}.")


@dataclass(frozen=True)
class Suite:
    """Tasks that are loaded once (`load_suite`) and measured on any number of models, all on the same items.

    tasks: name -> lm-eval's task with its data.
    """

    settings: SuiteSettings
    tasks: Mapping[str, object]

    def measure(self, lm, rng: np.random.Generator) -> dict[str, Measurement]:
        """Metric -> measurement: of each task (by its name, and its further numbers by theirs), and of each ability
        whose tasks are all asked for: qa and reading_f1 in [0, 1], bleu in [0, 100].

        lm: from `llm.evaluation.benchmarks.harness`. rng: of the bootstrap that gives BLEU's standard error. Raises UserError for
        prompts that are too long for the model, a chat format that it does not have, a device that is too small, and a
        task with a single item.
        """
        if self.settings.chat and not lm.tokenizer.chat_template:
            raise UserError("chat is asked for, but the model's tokenizer has no chat template; ask in plain text.")
        if self.settings.chat:
            prompt_ids(lm.tokenizer, "a")  # raises if the template refuses any
        for name, task in self.tasks.items():
            self._check_lengths(lm, name, task)
        found: dict[str, Measurement] = {}
        for name, samples in samples_of(lm, self.tasks, self.settings.limit, self.settings.chat).items():
            if len(samples) < 2:
                raise UserError(f"the task {name} has {len(samples)} item; a standard error needs at least 2.")
            benchmark = BENCHMARKS[name]
            for metric, ours in {benchmark.metric: name, **benchmark.further}.items():
                found[ours] = Measurement.of(*items_of(name, samples, metric), rng)
        return found | ability_means(found)

    def _check_lengths(self, lm, name: str, task) -> None:
        """lm-eval would cut the beginning of a prompt with no more than a warning in its log."""
        chat, context = self.settings.chat, lm.max_length
        with _readable(name, self.settings):
            template = lm.apply_chat_template if chat else None
            task.build_all_requests(limit=self.settings.limit, apply_chat_template=chat, chat_template=template)
        whole, shortest = ([_tokens(lm, cut, *request.args) for request in task.instances] for cut in (False, True))
        needs = shortest if self.settings.cut else whole
        long = sum(need > context for need in needs)
        if long:
            raise UserError(
                f"the task {name} has {long} of {len(needs)} prompts that are too long: with their answers they need up to "
                f"{max(needs)} tokens, the model takes {context}; allow fewer tokens an answer, or let prompts be cut."
            )
        if cut := sum(need > context for need in whole):
            warn(f"{cut} of {len(whole)} prompts of {name} do not fit into {context} tokens and lose their beginning")


def load_suite(settings: SuiteSettings) -> Suite:
    """The tasks with their data; UserError for data that are not there or do not fit their task."""
    manager = manager_for(settings.tasks)
    return Suite(settings, {name: _load(manager, name, settings) for name in settings.tasks})


def _load(manager, name: str, settings: SuiteSettings):
    if settings.data is not None:
        rows = local_data(settings.data, name)
        splits = dict.fromkeys(("train", "validation", "test"), rows)  # a task takes the one it knows
        replaced = {"task": name, "custom_dataset": lambda **_: splits}
        with _readable(name, settings):  # only as part of a group do lm-eval's tasks keep what is not replaced
            return load_tasks(manager, {"group": "local", "task": [replaced]}, settings.tokens)[name]
    try:
        return load_tasks(manager, name, settings.tokens)[name]
    except (OSError, ValueError) as error:
        raise UserError(
            f"the task {name} needs the data set {BENCHMARKS[name].data}, which is neither here nor could be fetched "
            f"({first_line(error)}); give a folder with {name}.jsonl or {name}.parquet as data."
        ) from None


@contextmanager
def _readable(name: str, settings: SuiteSettings) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # a task's own code and templates raise anything on rows they do not expect
        where, kind = settings.data or BENCHMARKS[name].data, type(error).__name__
        raise UserError(f"the task {name} cannot read the rows of {where} ({kind}: {first_line(error)}).") from None


def _tokens(lm, cut: bool, text: str, rest: str | Mapping) -> int:
    """What a request takes of the context: text and continuation but for the last token, or text and new tokens."""
    if isinstance(rest, str):
        return 1 if cut else len(lm.tok_encode(text + rest)) - 1
    return (1 if cut else len(lm.tok_encode(text))) + rest.get("max_gen_toks", lm.max_gen_toks)


def ability_means(found: Mapping[str, Measurement]) -> dict[str, Measurement]:
    """Ability -> the mean of its tasks, whose errors are independent; `n` counts all their items."""
    return {
        ability: _mean([found[name] for name in names])
        for ability, names in abilities(name for name in found if name in BENCHMARKS).items()
    }


def _mean(tasks: Sequence[Measurement]) -> Measurement:
    count = len(tasks)
    error = sqrt(sum(task.stderr**2 for task in tasks)) / count
    return Measurement(sum(task.value for task in tasks) / count, error, sum(task.n for task in tasks))
