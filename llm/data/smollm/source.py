"""The data of `smollm2-135m` as the stages see them, with alignment prompts and the gold reward.

A prompt is a few words about what happened to somebody, a situation of SIQA (Sap et al. 2019), and what the user wants to hear
about it. What is said of it can be cheerful or sad, so replies differ in sentiment, which is the gold reward.
"""

from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import numpy as np

from ...errors import UserError
from ..records import AbilityItems
from . import items
from .rows import FOLDER, PROMPTS, belonging, read_rows

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
    rows = read_rows(folder / "siqa.jsonl", ("passage", "question"))
    rows = belonging(rows, part, PROMPTS, lambda row: row["passage"])
    return list({row["passage"]: row for row in rows}.values())


def draw(rows: list[dict[str, str]], mixture: dict[str, float], count: int, rng: np.random.Generator) -> list[Opening]:
    """`count` openings of kinds in the shares of `mixture`; no situation comes again before all have come."""
    kinds, shares = list(mixture), np.array(list(mixture.values()), dtype=float)
    chosen = rng.choice(len(kinds), size=count, p=shares / shares.sum())
    rounds = -(-count // len(rows))
    order = np.concatenate([rng.permutation(len(rows)) for _ in range(rounds)])[:count]
    return [Opening(kinds[k], FRAMES[kinds[k]].format(**rows[i])) for k, i in zip(chosen, order)]


KINDS = {"prompt": tuple(FRAMES)}  # every name that settings may use, by what it is a kind of


@dataclass(frozen=True)
class SmollmSource:
    """See `llm.data.records.Source`; only the model itself writes replies here, and nothing is pre-trained or tuned.

    Attributes:
        seed: of what a guesser guesses. Items are the same for every seed, as there are no others.
        folder: the fetched files.
    """

    seed: int
    folder: Path

    @cached_property
    def _situations(self) -> dict[str, list[dict[str, str]]]:
        return {part: situations(self.folder, part) for part in ("train", "test")}

    def prompts(self, split: str, mixture: dict[str, float], count: int, rng: np.random.Generator) -> list[Opening]:
        """`count` openings of `split`, "train" or "test"; `mixture` has kinds of KINDS["prompt"]."""
        return draw(self._situations[split], mixture, count, rng)

    def gold_reward(self, prompt: Opening, reply: str, finished: bool) -> float:
        """The reply's sentiment, in [-1, 1]. To be cut off costs nothing: at 32 tokens nearly all replies of theta_0 are."""
        return gold_reward(reply)

    def items(self, split: str, counts: dict[str, int]) -> AbilityItems:
        """So many items of "qa", "reading" and "text" of `split`, "train", "validation" or "test"; always the same ones.

        Raises UserError if there are not so many.
        """
        makers = {"qa": items.choices, "reading": items.readings, "text": items.texts}
        found = {name: self._first(counts.get(name, 0), name, make, split) for name, make in makers.items()}
        return AbilityItems(**found)

    def guesses(self, split: str, counts: dict[str, int]) -> dict[str, list[tuple[str, str]]]:
        """(any of the choices, reference) of the "reading" items that `items` gives."""
        rng = np.random.default_rng(self.seed)
        readings = self._first(counts["reading"], "reading", items.readings, split)
        return {"reading": [(item.choices[rng.integers(len(item.choices))], item.reference) for item in readings]}

    def _first(self, count: int, name: str, make, split: str) -> list:
        if not count:
            return []
        found = make(self.folder, split)
        if count > len(found):
            raise UserError(f"{name} = {count} is not allowed; the {split} part has {len(found)} such items")
        return found[:count]


def smollm_source(seed: int, out: Path) -> SmollmSource:
    """`out`: the folder that `python -m llm fetch smollm2-135m` filled."""
    return SmollmSource(seed, out / FOLDER)


def gold_reward(reply: str) -> float:
    """The compound score of VADER (Hutto and Gilbert, 2014), in [-1, 1]; 0 for a reply without any word of its lexicon."""
    return _scorer().polarity_scores(reply)["compound"]


@cache
def _scorer():
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

    return SentimentIntensityAnalyzer()
