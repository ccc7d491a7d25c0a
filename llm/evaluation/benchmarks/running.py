"""lm-eval, asked for the items of tasks: what both `llm.evaluation.benchmarks` and `front` (`llm.evaluation.harness`) need of it."""

import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ...data.benchmarks import BENCHMARKS
from ...errors import UserError
from ..scores import BLEU, Scores, sentence_statistics
from . import squad

OWN_TASKS = Path(__file__).parent / "tasks"
sys.modules["alignment_tax_squad"] = (
    squad  # the name that tasks/*.yaml call it by, whatever name this package is installed under
)
FEWSHOT_SEED = 1234  # lm-eval's own, for tasks that show examples


def manager_for(names: Sequence[str], folder: Path | None = None):
    """lm-eval's list of tasks: the paper's, those in `folder`, and all others only if a name is none of these.

    All of them are fourteen thousand files, which take up to two minutes to read.
    """
    import lm_eval.tasks

    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    theirs = Path(lm_eval.tasks.__file__).parent
    own = [OWN_TASKS, *([folder] if folder else [])]
    paper = sorted({theirs / benchmark.folder for benchmark in BENCHMARKS.values() if benchmark.folder})
    manager = lm_eval.tasks.TaskManager(include_path=[*paper, *own], include_defaults=False)
    if set(names) <= set(manager.all_tasks):
        return manager
    return lm_eval.tasks.TaskManager(include_path=own)


def load_tasks(manager, wanted: str | dict, tokens: int | None = None) -> dict:
    """Name -> task, with its data: one, or the tasks of a group.

    wanted: a name, or a group as lm-eval describes it. tokens: new tokens of an answer, instead of the task's own number.
    """
    tasks = manager.load([wanted])["tasks"]
    for task in tasks.values():
        if task.get_config("num_fewshot") is None:
            task.set_config(key="num_fewshot", value=0)
        task.set_fewshot_seed(seed=FEWSHOT_SEED)
        if tokens and task.get_config("output_type") == "generate_until":
            task.set_config(key="generation_kwargs", value={"max_gen_toks": tokens}, update=True)
    return tasks


def samples_of(lm, tasks: Mapping, limit: int | None = None, chat: bool = False) -> dict[str, list[dict]]:
    """Task's name -> what lm-eval logs for each of its items, through the first of the task's filters.

    lm: lm-eval's, see `llm.evaluation.benchmarks.models`. tasks: from `load_tasks`. limit: the first items only. chat: asked in the
    model's chat format. Raises UserError if the device's memory is too small.
    """
    import torch
    from lm_eval import evaluate

    try:
        results = evaluate(
            lm=lm,
            task_dict={"tasks": dict(tasks), "groups": {}},
            limit=limit,
            bootstrap_iters=0,  # standard errors are ours, from the items
            log_samples=True,
            apply_chat_template=chat,
        )
    except torch.OutOfMemoryError:
        raise UserError("the device has too little memory for the tasks; give a smaller batch.") from None
    return {
        name: [sample for sample in samples if sample["filter"] == samples[0]["filter"]]
        for name, samples in results["samples"].items()
    }


def scores_of(task: str, samples: Sequence[dict], metric: str) -> Scores:
    """The values of one of lm-eval's metrics, item by item; UserError for one that has none."""
    found = [sample[metric] for sample in samples]
    if metric == "bleu":
        references = [pair[0] if isinstance(pair[0], str) else pair[0][0] for pair in found]
        replies = [pair[1] if isinstance(pair[1], str) else pair[1][0] for pair in found]
        return Scores(sentence_statistics(replies, references), BLEU)
    try:
        return Scores(np.array([float(value) for value in found]))
    except (TypeError, ValueError):
        raise UserError(f"tasks has {task!r}, whose {metric} has no value an item.") from None
