"""lm-eval, asked for the items of tasks: what both `suite` and `front` (`llm.evaluation.harness_task`) need of it, and a model as it
wants it: from memory, or from a folder by transformers or vLLM.
"""

import logging
import sys
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from ...data.benchmarks import BENCHMARKS
from ...errors import UserError
from ...models.folder import read_folder
from ...models.generate import is_recurrent
from ...models.loading import device_of, dtype_on, load_model, load_tokenizer
from ..measurement import BLEU, MEAN, bleu_statistics
from . import squad

OWN_TASKS = Path(__file__).parent / "tasks"
sys.modules["alignment_tax_squad"] = squad  # what tasks/*.yaml call it, whatever name this package is installed under
FEWSHOT_SEED = 1234  # lm-eval's own, for tasks that show examples
BACKENDS = ("hf", "vllm")


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

    lm: from `in_memory` or `from_folder`. tasks: from `load_tasks`. limit: the first items only. chat: asked in the
    model's chat format. Where the device's memory is full they are asked anew, in smaller batches (`fitting`).
    """
    from lm_eval import evaluate

    from ...models.batches import fitting

    def asked(batch: int) -> dict:
        lm.batch_size_per_gpu = batch
        return evaluate(
            lm=lm,
            task_dict={"tasks": dict(tasks), "groups": {}},
            limit=limit,
            bootstrap_iters=0,  # standard errors are ours, from the items
            log_samples=True,
            apply_chat_template=chat,
        )

    results = fitting(getattr(lm, "batch_size_per_gpu", 1), asked)
    return {
        name: [sample for sample in samples if sample["filter"] == samples[0]["filter"]]
        for name, samples in results["samples"].items()
    }


def with_choices(lm, task, samples: list[dict]) -> list[dict]:
    """The samples of `samples_of`; of multiple choice with one right answer each with its "choices": (log-likelihoods of the choices,
    {"choices", "answer"}, tokens of the right one).
    """
    if getattr(task, "OUTPUT_TYPE", None) != "multiple_choice":
        return samples
    found = []
    for sample in samples:
        choices = task.doc_to_choice(sample["doc"])
        answer = task.doc_to_text(sample["doc"]) if task.multiple_input else sample["target"]
        answer = choices.index(answer) if isinstance(answer, str) and answer in choices else answer
        if type(answer) is not int or not 0 <= answer < len(choices):
            return samples  # several are right, or none
        sums = np.array([likelihood for likelihood, _ in sample["filtered_resps"][: len(choices)]])
        _, right = lm._encode_pair(*sample["arguments"][answer])  # where lm-eval has told prompt and choice apart
        found.append(sample | {"choices": (sums, {"choices": choices, "answer": answer}, len(right))})
    return found


def items_of(task: str, samples: Sequence[dict], metric: str) -> tuple[np.ndarray, str]:
    """(the values of one of lm-eval's metrics, item by item, their statistic), as `Measurement` has them; UserError for a
    metric that has none.
    """
    found = [sample[metric] for sample in samples]
    if metric == "bleu":
        references = [pair[0] if isinstance(pair[0], str) else pair[0][0] for pair in found]
        replies = [pair[1] if isinstance(pair[1], str) else pair[1][0] for pair in found]
        return bleu_statistics(replies, references, tokenize="13a"), BLEU
    try:
        return np.array([float(value) for value in found]), MEAN
    except (TypeError, ValueError):
        raise UserError(f"tasks has {task!r}, whose {metric} has no value an item.") from None


def in_memory(model, tokenizer, batch: int):
    """lm-eval's view of a transformers model, wherever it is; `batch` sequences at a time."""
    from lm_eval.models.huggingface import HFLM

    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    return HFLM(pretrained=model, tokenizer=tokenizer, batch_size=1 if is_recurrent(model) else batch)


def from_folder(
    folder: Path,
    *,
    batch: int,
    dtype: str = "auto",
    device: str = "auto",
    backend: str = "hf",
    memory: float = 0.9,
    length: int | None = None,
):
    """lm-eval's view of the model in a local folder.

    dtype, device: as for `load_folder`; vLLM takes the accelerator that it finds, and decides on the batch itself. memory: vLLM's
    share of the accelerator's, length: the tokens of its longest text (the model's context). Raises UserError as `load_folder`
    does, and for vLLM where it is not installed.
    """
    check_how(batch, dtype, device, backend)
    if backend == "vllm":
        return _by_vllm(folder, dtype, device, memory, length)
    return in_memory(*load_folder(folder, dtype, device), batch)


def check_how(batch: int, dtype: str, device: str, backend: str) -> None:
    """UserError for what `from_folder` would refuse, beside the folder, so that it is known before data are read."""
    if backend not in BACKENDS:
        raise UserError(f"backend = {backend!r} is not allowed; allowed are {', '.join(BACKENDS)}.")
    if batch < 1:
        raise UserError(f"batch = {batch} is not allowed; allowed are whole numbers from 1.")
    if backend == "hf":
        dtype_on(dtype, device_of(device))


def load_folder(folder: Path, dtype: str = "auto", device: str = "auto") -> tuple[Any, Any]:
    """(model, tokenizer) of a local folder.

    dtype: one of `llm.models.loading.DTYPES`. device: auto, cpu, cuda, .. Raises UserError for a folder that holds no
    whole model, and a device that cannot be used or is too small. Never runs code from a folder.
    """
    check_folder(folder)
    place = device_of(device)
    return load_model(folder, place, dtype_on(dtype, place)), load_tokenizer(folder)


def check_folder(folder: Path) -> None:
    """UserError unless the folder holds a whole model, as far as can be told without reading its weights."""
    if read_folder(folder, "model").is_adapter:
        raise UserError(
            f"model is {str(folder)!r}, an adapter; put it into its model first (`average --alpha 1 --full`)."
        )


def _by_vllm(folder: Path, dtype: str, device: str, memory: float, length: int | None):
    if find_spec("vllm") is None:
        raise UserError("backend is 'vllm', which is not installed; install the extra `gpu`, or take hf.")
    if device != "auto":
        raise UserError(f"device = {device!r} is not allowed with backend vllm; allowed is auto.")
    check_folder(folder)
    from lm_eval.models.vllm_causallms import VLLM

    how = {"gpu_memory_utilization": memory, "generation_config": "vllm", "max_model_len": length}
    return VLLM(pretrained=str(folder), dtype=dtype, batch_size="auto", **how)
