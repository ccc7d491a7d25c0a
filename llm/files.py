"""Atomic writes, and lines of JSON."""

import json
import os
import shutil
from glob import escape
from pathlib import Path

from .errors import UserError


def up_to_date(output: Path, *inputs: Path) -> bool:
    """Whether a file is there and not older than the files it was made from, which must be there too."""
    if not all(path.is_file() for path in (output, *inputs)):
        return False
    return output.stat().st_mtime_ns >= max(path.stat().st_mtime_ns for path in inputs)


def write_text(path: Path, text: str) -> None:
    """Write aside, then rename; folders are made as needed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.partial-{os.getpid()}")
    aside.write_text(text)
    os.replace(aside, path)


def remove_leftovers(path: Path) -> None:
    """Remove what processes that no longer run have left beside `path` of writing it."""
    for partial in path.parent.glob(f".{escape(path.name)}.partial-*"):
        process = partial.name.rpartition("-")[2]
        if process.isdecimal() and (int(process) == os.getpid() or not _runs(int(process))):
            if partial.is_dir():
                shutil.rmtree(partial, ignore_errors=True)
            else:
                partial.unlink(missing_ok=True)


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True


def write_json(path: Path, value) -> None:
    """One JSON value, one element a line where it is a list."""
    if isinstance(value, list):
        text = "[\n" + ",\n".join(json.dumps(element) for element in value) + "\n]\n"
    else:
        text = json.dumps(value, indent=1) + "\n"
    write_text(path, text)


def read_lines(path: Path) -> list[tuple[str, dict]]:
    """("file, line n", object) for each line of a JSONL file that is not blank; UserError if there is none."""
    if not path.is_file():
        raise UserError(f"{str(path)!r} is no file; give a JSONL file.")
    found = []
    for number, line in enumerate(path.read_text("utf-8").split("\n"), 1):
        if line.strip():
            where = f"{path}, line {number}"
            try:
                row = json.loads(line)
            except ValueError as error:
                raise UserError(f"{where} is no JSON ({error}).") from None
            if not isinstance(row, dict):
                raise UserError(f"{where} is {row!r}, allowed is a JSON object.")
            found.append((where, row))
    if not found:
        raise UserError(f"{path} holds no lines; give at least one.")
    return found


def text_of(row: dict, key: str, where: str) -> str:
    """The text under `key`; UserError if it is missing or no text."""
    if not isinstance(row.get(key), str):
        raise UserError(f"{where}: {key} is {row.get(key)!r}, allowed is a text.")
    return row[key]


def read_prompts(path: Path) -> list[str]:
    """The "prompt" of each line of a JSONL file."""
    return [text_of(row, "prompt", where) for where, row in read_lines(path)]


def put_between(page: Path, name: str, text: str) -> None:
    """Replace what stands between the marks <!-- name --> and <!-- end of name --> of a Markdown page.

    Raises UserError, and leaves the page as it is, where it lacks one of the marks or has them in another order.
    """
    begin, end = marks(name)
    before, found, rest = page.read_text().partition(begin)
    _, found_end, after = rest.partition(end)
    if not (found and found_end):
        raise UserError(f"page = {page} has no place for the {name}; it must hold the marks {begin} and {end}.")
    write_text(page, f"{before}{begin}\n{text}\n{end}{after}")


def marks(name: str) -> tuple[str, str]:
    """What stands before and after a part of a page that is made by a command."""
    return f"<!-- {name} -->", f"<!-- end of {name} -->"
