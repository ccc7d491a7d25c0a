"""Tasks of EleutherAI's lm-evaluation-harness as `front` and `tax` measure them (`llm.evaluation.tasks`)."""

from dataclasses import dataclass, replace
from typing import Any, Self

from ..errors import UserError, first_line
from .benchmarks.harness import in_memory, items_of, load_tasks, samples_of, with_choices
from .choices import of_choices
from .measurement import Measurement

_PREFERRED = ("acc", "f1", "exact_match", "em", "bleu")  # of lm-eval's metrics, if a task's name does not give one
_BESIDE = ("acc_norm",)  # of lm-eval's metrics, measured beside that one


@dataclass(frozen=True)
class Harness:
    """One task of EleutherAI's lm-evaluation-harness, as the harness asks it: plain text, its own number of examples.

    name: the task's, and its metric's after a colon if it is not the first of acc, f1, exact_match, em, bleu that the task
    has (`arc_easy`, `arc_challenge:acc_norm`); acc_norm is measured beside it where the task has it, and of multiple choice with one
    right answer what `tasks.Choice` says of probabilities. manager: from `manager_for`. limit: the first items only. kind: the metric's name,
    once it has been tried (`measuring.try_tasks`). Raises UserError for a task that is not known; and when measured for one that cannot be
    loaded, or has no such metric with a value an item.
    """

    name: str
    batch: int
    manager: Any
    limit: int | None = None
    kind: str = "lm-eval"

    def __post_init__(self) -> None:
        task = self.name.partition(":")[0]
        if task not in self.manager.all_tasks:
            raise UserError(
                f"tasks has {task!r}, which is no file and no task of lm-eval; items of your own go as FILE.jsonl."
            )

    @property
    def count(self) -> int | None:
        return self.limit  # or fewer, if the task has no more

    def first(self) -> Self:
        return replace(self, limit=1)

    def lengths(self, tokenizer) -> list[int]:
        return []  # lm-eval cuts what is too long

    def measure(self, model, tokenizer) -> dict[str, Measurement]:
        task, _, metric = self.name.partition(":")
        samples, better = self._samples(task, model, tokenizer)
        metric = metric or next((m for m in _PREFERRED if m in samples[0]), "")
        if metric not in samples[0]:
            known = ", ".join(samples[0].get("metrics", [])) or "none"
            raise UserError(f"tasks has {self.name!r}, whose metrics are {known}; give one of them after a colon.")
        if better.get(metric) is False:  # None: lm-eval does not know
            rising = ", ".join(m for m in samples[0].get("metrics", []) if better.get(m) is not False) or "none here"
            raise UserError(
                f"tasks = {self.name!r} is not allowed, since less of {metric} is better; allowed are metrics of which more is ({rising})"
            )
        metrics = dict.fromkeys([metric, *(beside for beside in _BESIDE if beside in samples[0])])
        found = {one: Measurement.of(*items_of(self.name, samples, one)) for one in metrics}
        if "choices" in samples[0]:
            sure = of_choices(sample["choices"] for sample in samples)
            found |= {one: sure[one] for one in ("brier", "calibration_error", "log_likelihood")}
        return found

    def _samples(self, task: str, model, tokenizer) -> tuple[list[dict], dict[str, bool]]:
        """(what lm-eval logs for each item, metric -> whether more of it is better)."""
        try:
            tasks = load_tasks(self.manager, task)
            if task not in tasks:
                raise UserError(f"tasks has {task!r}, a group; give its single tasks ({', '.join(tasks)}).")
            lm = in_memory(model, tokenizer, self.batch)
            samples = with_choices(lm, tasks[task], samples_of(lm, tasks, self.limit)[task])
            return samples, tasks[task].higher_is_better()
        except UserError:
            raise
        except Exception as error:  # tasks are code of their own, and data sets come from anywhere
            raise UserError(
                f"tasks has {task!r}, which lm-eval cannot run ({first_line(error)}); items of your own go as FILE.jsonl."
            ) from None
