"""Pre-training text for experience replay: documents of SlimPajama, RedPajama without its duplicates.

Rows {"text", ...}. The paper replays "pre-training data"; its code (examples/sample_data.py) names `togethercomputer`
files, by their names 100 and 200 M tokens of RedPajama in documents of 2048 tokens and more. Read here is a sample of
SlimPajama of 6 G tokens with its mixture of sources, shuffled by its makers, so that the first documents are a sample of
them all.
"""

from ...errors import UserError
from .parsed import Malformed, Parsed, parse, text_of
from .place import DataSet, Place, rows

DATA = DataSet("slimpajama", "DKYoon/SlimPajama-6B", ("text",), kind="parquet")
FILES = "data/train-*"


def documents(count: int, place: Place) -> Parsed[str]:
    """The first `count` documents; nothing beyond them is read. UserError if there are fewer."""
    parsed = parse(DATA.folder, rows(DATA, [FILES], place, streaming=True), document, limit=count)
    if len(parsed.records) < count:
        raise UserError(
            f"documents = {count} is not allowed; allowed are at most {len(parsed.records)} ({parsed.summary()})."
        )
    return parsed


def document(row: dict) -> str:
    """Raises Malformed."""
    text = text_of(row, "text")
    if not text.strip():
        raise Malformed("empty text")
    return text
