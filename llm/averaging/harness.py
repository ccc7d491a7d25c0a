"""Any task of EleutherAI's lm-evaluation-harness, by its name, as a task of `front`."""

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from llm.averaging.scores import BLEU, Scores, sentence_statistics
from llm.errors import UserError

_PREFERRED = ("acc", "f1", "exact_match", "em", "bleu")  # the metric, if the name does not give one


@dataclass(frozen=True)
class Harness:
    """One task, as the harness asks it: plain text, its own number of examples.

    name: the task's, and its metric's after a colon if it is not the first of acc, f1, exact_match, em,
    bleu that the task has (`arc_easy`, `arc_challenge:acc_norm`). folder: of further task files. limit:
    the first items only. Raises UserError for a task that is not known, cannot be loaded, or has no such
    metric with a value an item.
    """

    name: str
    batch: int
    folder: Path | None = None
    limit: int | None = None
    kind: str = "lm-eval"

    def measure(self, model, tokenizer) -> Scores:
        task, _, metric = self.name.partition(":")
        samples = self._samples(task, model, tokenizer)
        metric = metric or next((m for m in _PREFERRED if m in samples[0]), "")
        if metric not in samples[0]:
            known = ", ".join(samples[0].get("metrics", [])) or "none"
            raise UserError(
                f"tasks has {self.name!r}, whose metrics are {known}; give one of them after a colon."
            )
        found = [sample[metric] for sample in samples]
        if metric == "bleu":
            references = [pair[0] if isinstance(pair[0], str) else pair[0][0] for pair in found]
            replies = [pair[1] if isinstance(pair[1], str) else pair[1][0] for pair in found]
            return Scores(sentence_statistics(replies, references), BLEU)
        try:
            return Scores(np.array([float(value) for value in found]))
        except (TypeError, ValueError):
            raise UserError(f"tasks has {self.name!r}, whose {metric} has no value an item.") from None

    def manager(self):
        """The harness's list of tasks; UserError if this one is not in it."""
        from lm_eval.tasks import TaskManager

        logging.getLogger("lm_eval").setLevel(logging.ERROR)
        task = self.name.partition(":")[0]
        manager = TaskManager(include_path=str(self.folder) if self.folder else None)
        if task not in manager.all_tasks:
            raise UserError(f"tasks has {task!r}, which is no file and no task of lm-eval.")
        return manager

    def _samples(self, task: str, model, tokenizer) -> list[dict]:
        """What the harness logs for each item, through the first of the task's filters."""
        from lm_eval import simple_evaluate
        from lm_eval.models.huggingface import HFLM

        manager = self.manager()
        try:
            results = simple_evaluate(
                model=HFLM(pretrained=model, tokenizer=tokenizer, batch_size=self.batch),
                tasks=[task],
                task_manager=manager,
                limit=self.limit,
                bootstrap_iters=0,
                log_samples=True,
            )
        except (OSError, ValueError, KeyError) as error:
            line = next(iter(str(error).splitlines()), type(error).__name__)
            raise UserError(f"tasks has {task!r}, which lm-eval cannot run ({line}).") from None
        samples = results["samples"].get(task)
        if not samples:
            raise UserError(
                f"tasks has {task!r}, a group; give its single tasks ({', '.join(results['samples'])})."
            )
        return [sample for sample in samples if sample["filter"] == samples[0]["filter"]]
