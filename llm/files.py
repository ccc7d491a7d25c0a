"""Writing files so that they are there whole or not at all."""

import json
import os
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


def write_json(path: Path, value) -> None:
    """One JSON value, one element a line where it is a list."""
    if isinstance(value, list):
        text = "[\n" + ",\n".join(json.dumps(element) for element in value) + "\n]\n"
    else:
        text = json.dumps(value, indent=1) + "\n"
    write_text(path, text)


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
