"""Any task of EleutherAI's lm-evaluation-harness, by its name, as a task of `front`."""

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from llm.averaging.scores import BLEU, Scores, sentence_statistics
from llm.errors import UserError

_PREFERRED = ("acc", "f1", "exact_match", "em", "bleu")  # the metric, if the name does not give one


def manager_for(folder: Path | None):
    """lm-eval's list of all its tasks and of those in `folder`; takes some ten seconds."""
    from lm_eval.tasks import TaskManager

    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    return TaskManager(include_path=str(folder) if folder else None)


@dataclass(frozen=True)
class Harness:
    """One task, as the harness asks it: plain text, its own number of examples.

    name: the task's, and its metric's after a colon if it is not the first of acc, f1, exact_match, em,
    bleu that the task has (`arc_easy`, `arc_challenge:acc_norm`). manager: from `manager_for`. limit: the
    first items only. Raises UserError for a task that is not known; and when measured for one that cannot
    be loaded, or has no such metric with a value an item.
    """

    name: str
    batch: int
    manager: object
    limit: int | None = None
    kind: str = "lm-eval"

    def __post_init__(self) -> None:
        task = self.name.partition(":")[0]
        if task not in self.manager.all_tasks:
            raise UserError(f"tasks has {task!r}, which is no file and no task of lm-eval.")

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

    def _samples(self, task: str, model, tokenizer) -> list[dict]:
        """What the harness logs for each item, through the first of the task's filters."""
        from lm_eval import simple_evaluate
        from lm_eval.models.huggingface import HFLM

        try:
            results = simple_evaluate(
                model=HFLM(pretrained=model, tokenizer=tokenizer, batch_size=self.batch),
                tasks=[task],
                task_manager=self.manager,
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
