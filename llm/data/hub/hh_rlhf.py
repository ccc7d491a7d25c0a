"""HH-RLHF: which of two replies people found more helpful or less harmful (Bai et al., arXiv 2204.05862).

Rows {"chosen", "rejected"}: whole conversations as text, alike up to the last reply, in four parts, each split into
train and test by its authors (hub and github.com/anthropics/hh-rlhf: `<part>/<split>.jsonl.gz`). The conversations
hold offensive text.
"""

import re
from collections.abc import Sequence
from typing import Literal

from ..records import Preference, Role, Turn
from .parsed import Malformed, Parsed, parse, split_reply, text_of
from .place import DataSet, Place, rows

DATA = DataSet("hh-rlhf", "Anthropic/hh-rlhf", ("chosen", "rejected"))
PARTS = ("helpful-base", "helpful-online", "helpful-rejection-sampled", "harmless-base")

_MARK = re.compile(r"\n\n(Human|Assistant):")
_ROLES: dict[str, Role] = {"Human": "user", "Assistant": "assistant"}


def preferences(split: Literal["train", "test"], place: Place, parts: Sequence[str] = PARTS) -> Parsed[Preference]:
    """The pairs of a split of the given parts; the paper uses helpful and harmless ones together."""
    return parse(f"{DATA.folder}, {split}", rows(DATA, files(split, parts), place), preference)


def files(split: str, parts: Sequence[str] = PARTS) -> list[str]:
    """The names of a split's files."""
    return [f"{part}/{split}.jsonl.gz" for part in parts]


def preference(row: dict) -> Preference:
    """Raises Malformed."""
    (prompt, chosen), (other_prompt, rejected) = (split_reply(_turns(row, side)) for side in DATA.columns)
    if prompt != other_prompt:
        raise Malformed("chosen and rejected differ in the prompt")
    if chosen == rejected:
        raise Malformed("identical replies")
    return Preference(prompt, chosen, rejected)


def _turns(row: dict, side: str) -> list[Turn]:
    before, *parts = _MARK.split(text_of(row, side))
    if before.strip():
        raise Malformed("text before the first turn")
    return [Turn(_ROLES[who], text.strip()) for who, text in zip(parts[::2], parts[1::2])]
