"""The rows that trainers learn from: read line by line, turned into ids once, and mapped from one file by all processes of a launch."""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from ...errors import UserError
from ...files import by_one, each_line, written

WRITTEN = 1000  # rows that are in memory at a time


@dataclass(frozen=True)
class Lines:
    """The rows of a file of JSON lines, read anew each time, one in memory at a time: a data set of conversations takes gigabytes as Python's
    objects. columns: of several the whole row is taken, of one its content.

    Raises UserError, when they are read, for a line that is damaged.
    """

    file: Path
    columns: tuple[str, ...]

    def __iter__(self) -> Iterator[Any]:
        for where, row in each_line(self.file):
            if not row.keys() >= set(self.columns):
                names = ", ".join(sorted(self.columns))
                raise UserError(f"data = {where} has the keys {', '.join(row)}; allowed are {names}")
            yield row if len(self.columns) > 1 else row[self.columns[0]]


Rows = Lines | list  # a list: those of a caller who has them in memory


def digest(rows: Rows) -> str:
    """Of the file's bytes, or of rows in memory."""
    if isinstance(rows, Lines):
        with rows.file.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


@dataclass(frozen=True)
class Mapped:
    """Rows of ids. name: a hash of all that they follow from. folder: where they lie, while they are needed."""

    rows: Any
    name: str
    folder: Path


def mapped(
    rows: Rows, tokenizer, told: tuple, out: Path, encode: Callable[[Iterable], Iterator[dict[str, list[int]]]]
) -> Mapped:
    """What `encode` makes of rows, by the first process that comes here, in a file that all of them map.

    told: what `encode` follows from beside the rows and the tokenizer. Raises UserError where it makes nothing.
    """
    from datasets import Dataset, disable_progress_bars

    disable_progress_bars()
    how = (tokenizer.backend_tokenizer.to_str(), tokenizer.chat_template, told)
    name = hashlib.sha256(repr((digest(rows), how)).encode()).hexdigest()
    folder = out.parent / f".{out.name}.tokens"
    file = folder / f"{name[:16]}.arrow"
    try:
        with by_one(file):
            if not file.is_file():
                _write(file, encode(rows))
    except UserError:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return Mapped(Dataset.from_file(str(file)), name, folder)


def _write(file: Path, rows: Iterator[dict[str, list[int]]]) -> None:
    from datasets import Features, Sequence, Value
    from datasets.arrow_writer import ArrowWriter

    first = next(rows, None)
    if first is None:
        raise UserError("data has 0 rows that are short enough; allowed is at least 1")
    columns = Features({key: Sequence(Value("int32")) for key in first})
    with written(file) as aside, ArrowWriter(path=str(aside), features=columns, writer_batch_size=WRITTEN) as writer:
        for row in chain([first], rows):
            writer.write(row)
        writer.finalize()
