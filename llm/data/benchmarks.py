"""Which tasks of lm-eval are the paper's, which ability each stands for, and by which of its numbers (paper, section 2); and
their data sets from files, for machines without a hub.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import UserError, first_line
from ..files import read_lines

ENDINGS = (".jsonl", ".parquet")  # of data sets from files: one file a task, rows as in the data set on the hub


@dataclass(frozen=True)
class Benchmark:
    """One task.

    ability: our name of the metric that its number is averaged into. metric: lm-eval's name of the number. data: the data
    set's name on the hub. columns: what one of its rows must have. folder: where the task is described, among lm-eval's own
    tasks; None for `llm/evaluation/benchmarks/tasks`. further: other numbers of the task, lm-eval's name -> ours. instead_of: the
    task of the paper whose place it takes in the ability where that one is not asked for.
    """

    ability: str
    metric: str
    data: str
    columns: tuple[str, ...]
    folder: str | None
    further: Mapping[str, str] = field(default_factory=dict)
    instead_of: str | None = None


_ARC = ("question", "choices", "answerKey")
_DROP = ("query_id", "passage", "question", "answer", "validated_answers")
_SQUAD = ("title", "context", "question", "answers")
BENCHMARKS = {
    "arc_easy": Benchmark("qa", "acc", "allenai/ai2_arc", _ARC, "arc"),
    "arc_challenge": Benchmark("qa", "acc", "allenai/ai2_arc", _ARC, "arc"),
    "race": Benchmark("qa", "acc", "EleutherAI/race", ("article", "problems"), "race"),
    "piqa": Benchmark("qa", "acc", "baber/piqa", ("goal", "sol1", "sol2", "label"), "piqa"),
    "squad_v1_f1": Benchmark("reading_f1", "f1", "rajpurkar/squad", _SQUAD, None, {"exact_match": "squad_v1_em"}),
    "squad_v2_f1": Benchmark(
        "reading_f1", "f1", "lighteval/squad_v2", _SQUAD, None, {"exact_match": "squad_v2_em"}, instead_of="squad_v1_f1"
    ),
    "drop": Benchmark("reading_f1", "f1", "EleutherAI/drop", _DROP, "drop", {"em": "drop_em"}),
    "wmt14-fr-en": Benchmark("bleu", "bleu", "wmt/wmt14", ("translation",), "translation"),
}
PAPER = tuple(name for name, benchmark in BENCHMARKS.items() if benchmark.instead_of is None)


def abilities(tasks: Iterable[str]) -> dict[str, list[str]]:
    """Ability -> all its tasks, for the abilities of which no task is missing, or has one in its place."""
    given = set(tasks)
    others = {str(benchmark.instead_of): name for name, benchmark in BENCHMARKS.items() if name in given}
    found: dict[str, list[str]] = {}
    for name in PAPER:
        own = name if name in given else others.get(name, name)
        found.setdefault(BENCHMARKS[name].ability, []).append(own)
    return {ability: names for ability, names in found.items() if given.issuperset(names)}


def parse_tasks(text: str) -> tuple[str, ...]:
    """ "arc_easy,piqa" as names, or all of the paper's for "all"; UserError for a task that is not in the table."""
    if text == "all":
        return PAPER
    return checked_tasks(name.strip() for name in text.split(",") if name.strip())


def checked_tasks(names: Iterable[str]) -> tuple[str, ...]:
    """The names, each once; UserError if there is none or one is not in the table."""
    found = tuple(dict.fromkeys(names))
    for name in found:
        if name not in BENCHMARKS:
            raise UserError(f"tasks has {name!r}; allowed are {', '.join(BENCHMARKS)}.")
    if not found:
        raise UserError(f"tasks is empty; allowed are {', '.join(BENCHMARKS)}.")
    return found


def local_data(folder: Path, task: str):
    """The rows of `folder`/`task`.jsonl (or .parquet) as a `datasets.Dataset`, in memory.

    Raises UserError for a file that is missing, damaged, or lacks a column that the task reads.
    """
    from datasets import Dataset

    path = local_file(folder, task)
    if path.suffix == ".jsonl":
        found = _dataset(Dataset.from_list, [row for _, row in read_lines(path)], path)
    else:
        found = _dataset(Dataset.from_pandas, _table(path), path)
    missing = [column for column in BENCHMARKS[task].columns if column not in found.column_names]
    if missing:
        needed = ", ".join(BENCHMARKS[task].columns)
        raise UserError(f"{path} has the columns {', '.join(found.column_names)}; the task {task} needs {needed}.")
    return found


def local_file(folder: Path, task: str) -> Path:
    """A task's file in a folder of local data sets; UserError if there is none."""
    paths = [folder / f"{task}{ending}" for ending in ENDINGS]
    for path in paths:
        if path.is_file():
            return path
    raise UserError(f"data is {str(folder)!r}, which holds neither {' nor '.join(path.name for path in paths)}.")


def _table(path: Path):
    import pandas as pd

    try:
        return pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is no Parquet file ({first_line(error)}).") from None


def _dataset(make, rows, path: Path):
    """`datasets` wants one type a column; pyarrow's errors, if there are two, are ValueErrors or TypeErrors."""
    try:
        return make(rows)
    except (ValueError, TypeError) as error:
        raise UserError(f"{path} has rows that do not fit together ({first_line(error)}).") from None
