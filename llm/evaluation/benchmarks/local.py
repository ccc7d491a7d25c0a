"""Data sets of benchmarks from files, for machines without a hub: one file a task, rows as in the data set on the hub."""

from pathlib import Path

from ...averaging.ama.samples import read_lines
from ...data.benchmarks import BENCHMARKS
from ...errors import UserError, first_line

ENDINGS = (".jsonl", ".parquet")


def local_data(folder: Path, task: str):
    """The rows of `folder`/`task`.jsonl (or .parquet) as a `datasets.Dataset`, in memory.

    Raises UserError for a file that is missing, damaged, or lacks a column that the task reads.
    """
    from datasets import Dataset

    path = _path(folder, task)
    if path.suffix == ".jsonl":
        found = _dataset(Dataset.from_list, [row for _, row in read_lines(path)], path)
    else:
        found = _dataset(Dataset.from_pandas, _table(path), path)
    missing = [column for column in BENCHMARKS[task].columns if column not in found.column_names]
    if missing:
        needed = ", ".join(BENCHMARKS[task].columns)
        raise UserError(f"{path} has the columns {', '.join(found.column_names)}; the task {task} needs {needed}.")
    return found


def _path(folder: Path, task: str) -> Path:
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
