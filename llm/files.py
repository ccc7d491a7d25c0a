"""Writing files so that they are there whole or not at all."""

import json
import os
from pathlib import Path


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
