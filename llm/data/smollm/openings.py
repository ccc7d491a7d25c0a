"""Alignment prompts: a few words about what happened to somebody, and what the user wants to hear about it.

The situations are those of SIQA (Sap et al. 2019); what is said of them can be cheerful or sad, so replies differ in sentiment.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .parts import PROMPTS, belonging
from .rows import read_rows

FRAMES = {  # kind -> what is asked
    "question": "{passage} {question}",
    "opinion": "{passage} What do you think about that?",
    "story": "Continue this story: {passage}",
}


@dataclass(frozen=True)
class Opening:
    """What a user says; `kind` is one of FRAMES."""

    kind: str
    text: str


def situations(folder: Path, part: str) -> list[dict[str, str]]:
    """Rows {"passage", "question"} of part "train" or "test", no passage twice."""
    rows = belonging(
        read_rows(folder / "siqa.jsonl", ("passage", "question")), part, PROMPTS, lambda row: row["passage"]
    )
    return list({row["passage"]: row for row in rows}.values())


def draw(rows: list[dict[str, str]], mixture: dict[str, float], count: int, rng: np.random.Generator) -> list[Opening]:
    """`count` openings of kinds in the shares of `mixture`; no situation comes again before all have come."""
    kinds, shares = list(mixture), np.array(list(mixture.values()), dtype=float)
    chosen = rng.choice(len(kinds), size=count, p=shares / shares.sum())
    rounds = -(-count // len(rows))
    order = np.concatenate([rng.permutation(len(rows)) for _ in range(rounds)])[:count]
    return [Opening(kinds[k], FRAMES[kinds[k]].format(**rows[i])) for k, i in zip(chosen, order)]
