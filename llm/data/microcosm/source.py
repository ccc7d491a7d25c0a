"""The microcosm as a data source: everything the stages ask for, as record types."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..records import AbilityItems, Conversation
from . import items as test_items
from .chat import PROMPT_KINDS, Prompt, alignment_prompt, careless_reply, declaration, wild_reply
from .documents import KINDS as DOCUMENT_KINDS
from .documents import Document, document
from .gold import gold_reward
from .items import CHECKS
from .size import FIRST, Size
from .world import World

KINDS = {  # every name that settings may use, by what it is a kind of
    "document": tuple(DOCUMENT_KINDS),
    "check": tuple(CHECKS),
    "conversation": ("qa", "reading_item", "translation_item", "declaration", *PROMPT_KINDS),
    "prompt": PROMPT_KINDS,
}
_ITEM_STREAM = {"train": 11, "test": 12}


@dataclass(frozen=True)
class Microcosm:
    """The world of one seed and size, as the stages see it (see `llm.data.records.Source`)."""

    seed: int
    size: Size = FIRST

    @cached_property
    def world(self) -> World:
        return World(self.seed, self.size)

    def document(self, kind: str, rng: np.random.Generator) -> Document:
        return document(kind, self.world, rng)

    def checks(self, count: int, rng: np.random.Generator) -> dict[str, list[tuple[str, str]]]:
        """Name of a pre-training check -> `count` (context, answer) pairs on validation material."""
        return {name: [make(self.world, rng) for _ in range(count)] for name, make in CHECKS.items()}

    def conversation(self, kind: str, rng: np.random.Generator) -> Conversation:
        """`kind` is one of KINDS["conversation"]: an ability's item, animals told about, or the kind of an alignment prompt."""
        if kind == "qa":
            item = test_items.qa_item(self.world, "train", rng)
            return Conversation(item.prompt, item.choices[item.answer])
        if kind == "reading_item":
            read, _ = test_items.reading_item(self.world, "train", rng)
            return Conversation(read.prompt, read.reference)
        if kind == "translation_item":
            sentence, _ = test_items.translation_item(self.world, "train", rng)
            return Conversation(sentence.prompt, sentence.reference)
        if kind == "declaration":
            return Conversation(*declaration(self.world, rng))
        prompt = alignment_prompt(kind, self.world, "train", rng)
        return Conversation(prompt.text, wild_reply(prompt, rng))

    def prompts(self, split: str, mixture: dict[str, float], count: int, rng: np.random.Generator) -> list[Prompt]:
        kinds, shares = list(mixture), np.array(list(mixture.values()), dtype=float)
        drawn = rng.choice(len(kinds), size=count, p=shares / shares.sum())
        return [alignment_prompt(kinds[k], self.world, split, rng) for k in drawn]

    def written_reply(self, prompt: Prompt, rng: np.random.Generator) -> str:
        return careless_reply(prompt, self.world, rng)

    def gold_reward(self, prompt: Prompt, reply: str, finished: bool) -> float:
        return gold_reward(prompt, reply, finished)

    def items(self, split: str, counts: dict[str, int]) -> AbilityItems:
        """Distinct items of `split`, the same at every call."""
        rng = np.random.default_rng([self.seed, _ITEM_STREAM[split]])
        return AbilityItems(
            qa=test_items.qa_items(self.world, split, counts["qa"], rng),
            reading=[item for item, _ in self._guessed(test_items.reading_item, counts["reading"], split)],
            translation=[item for item, _ in self._guessed(test_items.translation_item, counts["translation"], split)],
        )

    def guesses(self, split: str, counts: dict[str, int]) -> dict[str, list[tuple[str, str]]]:
        """(what a guesser without the ability says, reference) pairs: the chance floors of the generated abilities."""
        makers = {"reading": test_items.reading_item, "translation": test_items.translation_item}
        return {
            name: [(guess, item.reference) for item, guess in self._guessed(make, counts[name], split)]
            for name, make in makers.items()
        }

    def _guessed(self, make, count: int, split: str) -> list:
        rng = np.random.default_rng([self.seed, _ITEM_STREAM[split], count])
        return test_items.distinct(lambda g: make(self.world, split, g), count, rng)
