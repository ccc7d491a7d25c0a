"""What `front` and `tax` have in common: settings of how models are measured, the tasks that follow from them, and trying these
before anything is measured.
"""

import hashlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Annotated, Self

import numpy as np
import torch
from pydantic import BeforeValidator, Field, model_validator

from ..averaging.ama.settings import Sources
from ..averaging.pair import Match, Pair
from ..config.base import Count, Items, Positive, Settings, refused
from ..data.formats import read_prompts
from ..errors import UserError
from ..files import described_file
from ..methods import names
from ..models.cache import shown_name
from ..models.chat import context_of, require_longest
from ..models.loading import warn
from ..models.scorers import CommandScorer, ModelScorer
from .benchmarks.harness import manager_for
from .formats import EXAMPLES, read_task
from .harness_task import Harness
from .measurement import Measurement
from .tasks import Answer, Asking, Replies, Scorer, Task

FILES = (".jsonl", ".json")  # of tasks that are no names of lm-eval's
_OTHER_FILES = (".csv", ".tsv", ".txt", ".parquet")  # which people give, and are none either
Progress = Callable[[str, int, int], None]  # (what is measured, how much is done, of how much)


class Measuring(Settings):
    """How models are measured.

    tasks: entries PATH.jsonl, NAME=PATH.jsonl, or names of lm-eval tasks. samples: replies a prompt. match: how far the models
    may differ. alignment: the task that must not be lost, "reward" where there is a reward. chat: local items in the model's
    chat format. task_tokens, tokens: new tokens a reply, of local items and of prompts. limit, task_folder: of lm-eval, and
    refused without a task of it.
    confidence, resamples: of intervals. name, rlhf: what theta is called, by default as it is given, and how it was aligned.
    """

    tasks: Annotated[tuple[str, ...], BeforeValidator(lambda given: (given,) if isinstance(given, str) else given)]
    samples: Count = 1
    match: Match = Match()
    alignment: str = "reward"
    chat: bool = True
    task_tokens: Count = 64
    tokens: Count = 196
    temperature: Positive = 1.0
    batch: Count = 16
    limit: Count | None = None
    task_folder: Path | None = None
    confidence: Annotated[float, Field(ge=0.5, lt=1)] = 0.95
    resamples: Items = 1000
    seed: Annotated[int, Field(ge=0)] = 0
    dtype: str = "float32"
    name: str | None = None
    rlhf: str = "none"

    @model_validator(mode="after")
    def _rlhf_is_known(self) -> Self:
        allowed = ["none", *names("alignment")]
        if self.rlhf not in allowed:
            raise refused(f"rlhf = {self.rlhf!r} is not allowed; allowed are {', '.join(allowed)}")
        return self

    def asking(self, tokens: int) -> Asking:
        return Asking(self.chat, tokens, self.batch, self.samples, self.temperature, self.seed)

    def called(self, theta: Path) -> str:
        return self.name or shown_name(theta)


def tasks_of(sources: Sources, settings: Measuring, device: torch.device, scorer: Scorer | None = None) -> list[Task]:
    """The tasks, each with a name of its own; replies to prompts come first.

    scorer: what scores replies, in place of the sources' reward model or command. UserError for what is missing or damaged.
    """
    named = [entry for entry in settings.tasks if not entry.endswith(FILES)]
    for _, path in map(_named, named):  # before lm-eval's list is read, which takes long
        if path.lower().endswith(_OTHER_FILES) or Path(path).is_file():
            raise UserError(
                f"tasks has the file {path!r}; allowed are files .jsonl of one JSON object a line, as {EXAMPLES['choices']}."
            )
    folder = settings.task_folder
    for key, given in (("limit", settings.limit), ("task_folder", None if folder is None else str(folder))):
        if given is not None and not named:
            raise UserError(f"{key} = {given!r} is not allowed without a task of lm-eval; allowed is to leave it out.")
    own, tasks = None if scorer else sources.scorer(device, settings.dtype, settings.batch), list[Task]()
    scorer = scorer or own
    if sources.prompts is not None:
        prompts = read_prompts(sources.prompts)
        if own is not None:
            own.check(prompts, settings.tokens)
        tasks.append(Replies(scorer, prompts, settings.asking(settings.tokens), "reward" if scorer else "replies"))
    elif scorer is not None:
        raise UserError("a reward model or command is given without prompts; give --prompts with it.")
    manager = manager_for([entry.partition(":")[0] for entry in named], settings.task_folder) if named else None
    for entry in settings.tasks:
        name, path = _named(entry)
        if path.endswith(FILES):
            tasks.append(read_task(name, Path(path), settings.asking(settings.task_tokens)))
        else:
            tasks.append(Harness(entry, settings.batch, manager, settings.limit))
    if settings.samples > 1 and not any(isinstance(task, Replies | Answer) for task in tasks):
        raise UserError(
            f"samples = {settings.samples} is not allowed without prompts and items with answers; allowed is 1."
        )
    called = [task.name for task in tasks]
    if odd := next((name for name in called if "/" in name), None):
        raise UserError(f"tasks has one called {odd!r}; allowed are names without /, as NAME=FILE.")
    if len(set(called)) < len(called):
        raise UserError(f"tasks are called {', '.join(called)}; give each a name of its own, as NAME=FILE.")
    return tasks


def _named(entry: str) -> tuple[str, str]:
    """(name, path) of an entry NAME=PATH, or of a path alone, in which = may stand, too."""
    name, sign, path = entry.partition("=")
    return (name, path) if sign and not Path(entry).is_file() else (Path(entry).stem, entry)


def described_tasks(sources: Sources, settings: Measuring, tasks: Sequence[Task]) -> dict[str, object]:
    """Task -> what decides its numbers beside the models and the settings: files by hash, what scores replies."""
    local = {}
    for entry in settings.tasks:
        name, path = _named(entry)
        if path.endswith(FILES):
            local[name] = described_file(Path(path))["sha256"]
    replies = {key: found for key, found in sources.described.items() if key.startswith(("reward", "prompts"))}
    return {
        task.name: replies | _described_function(task.scorer) if isinstance(task, Replies) else local.get(task.name)
        for task in tasks
    }


def _described_function(scorer: Scorer | None) -> dict[str, object]:
    """The name and the source text of a scorer that is a function or an object of a user's."""
    if scorer is None or isinstance(scorer, ModelScorer | CommandScorer):
        return {}
    kind = scorer if hasattr(scorer, "__qualname__") else type(scorer)
    try:
        source = inspect.getsource(kind)
    except (OSError, TypeError):  # it has none, as what is built in or partly applied
        source = ""
    return {"scorer": {"name": kind.__qualname__, "sha256": hashlib.sha256(source.encode()).hexdigest()}}


def try_tasks(tasks: Sequence[Task], pair: Pair) -> list[Task]:
    """Measure each task's first item, so that what cannot be measured is refused before the rest; chat formats and lengths are tried on all.

    Returns the tasks; those of lm-eval know their metric's name then, by which their numbers are called.
    """
    tried: list[Task] = []
    if not pair.tokenizer.chat_template and any(
        getattr(getattr(task, "asking", None), "chat", False) for task in tasks
    ):
        warn(
            "The tokenizer has no chat template: prompts and items are put as plain text, and answers end with their line."
        )
    for task in tasks:
        context = context_of(pair.model.config)
        require_longest(task.lengths(pair.tokenizer), context, "item", f"of {task.name} with its longest reply")
        metric = next(iter(task.first().measure(pair.model, pair.tokenizer)))
        tried.append(replace(task, kind=metric) if isinstance(task, Harness) else task)
    return tried


def measure_tasks(
    pair: Pair, tasks: Sequence[Task], label: str, progress: Callable[[str], None]
) -> tuple[dict[str, Measurement], dict[str, float]]:
    """(metric -> measurement, metric -> seconds of its task) of the pair's model as it is.

    A task's own metric has its name, others are NAME/METRIC. progress: called with a sentence before each task.
    """
    scores: dict[str, Measurement] = {}
    seconds: dict[str, float] = {}
    for task in tasks:
        progress(f"{label}: {task.name}")
        start = perf_counter()
        for number, (metric, found) in enumerate(task.measure(pair.model, pair.tokenizer).items()):
            key = f"{task.name}/{metric}" if number else task.name
            if not np.isfinite(found.items).all():
                raise UserError(f"the task {key} gives a model a score that is not finite; look at its weights.")
            scores[key] = found
        seconds |= dict.fromkeys([key for key in scores if key not in seconds], perf_counter() - start)
    return scores, seconds


def kinds_of(tasks: Sequence[Task], scores: Mapping[str, Measurement]) -> dict[str, str]:
    """Metric -> what its numbers are."""
    own = {task.name: task.kind for task in tasks}
    return {key: own.get(key) or key.rpartition("/")[2].replace("_", " ") for key in scores}
