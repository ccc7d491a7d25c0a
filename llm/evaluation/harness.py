"""Any task of EleutherAI's lm-evaluation-harness, by its name, as a task of `front`."""

from dataclasses import dataclass

from ..errors import UserError, first_line
from .benchmarks.models import in_memory
from .benchmarks.running import load_tasks, samples_of, scores_of
from .scores import Scores

_PREFERRED = ("acc", "f1", "exact_match", "em", "bleu")  # the metric, if the name does not give one


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
            raise UserError(f"tasks has {self.name!r}, whose metrics are {known}; give one of them after a colon.")
        return scores_of(self.name, samples, metric)

    def _samples(self, task: str, model, tokenizer) -> list[dict]:
        try:
            tasks = load_tasks(self.manager, task)
            if task not in tasks:
                raise UserError(f"tasks has {task!r}, a group; give its single tasks ({', '.join(tasks)}).")
            return samples_of(in_memory(model, tokenizer, self.batch), tasks, self.limit)[task]
        except (OSError, ValueError, KeyError) as error:
            raise UserError(f"tasks has {task!r}, which lm-eval cannot run ({first_line(error)}).") from None
