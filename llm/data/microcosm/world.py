"""One world: which animal has which colour, and which combinations are held out. A pure function of its seed."""

from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np

from llm.data.microcosm import words

HELD_OUT_ANIMALS = 50  # their facts are declared in training, never asked about: the QA test items
HELD_OUT_SHARE = 0.2  # of modifier-noun pairs, of French subjects with their adjective, of topic-person pairs


@dataclass(frozen=True)
class World:
    """The facts and splits of one seed.

    Attributes:
        seed: any non-negative integer; two worlds with the same seed are equal.
    """

    seed: int

    @cached_property
    def facts(self) -> dict[tuple[str, str], str]:
        """(animal, relation) -> value."""
        rng = self._rng(0)
        return {
            (animal, relation): values[rng.integers(len(values))]
            for animal in words.ANIMALS
            for relation, values in words.FACTS.items()
        }

    @cached_property
    def animals(self) -> dict[str, list[str]]:
        """Animals that training may ask about ("train") and those that only the test asks about ("test")."""
        order = [words.ANIMALS[i] for i in self._rng(1).permutation(len(words.ANIMALS))]
        return {"test": order[:HELD_OUT_ANIMALS], "train": order[HELD_OUT_ANIMALS:]}

    @cached_property
    def belongings(self) -> dict[str, dict[str, list[str]]]:
        """split -> relation -> its values, each "<modifier> <noun>"; no value is in both splits."""
        rng = self._rng(2)
        parts: dict[str, dict[str, list[str]]] = {"train": {}, "test": {}}
        for relation, (modifiers, nouns) in words.BELONGINGS.items():
            test, train = _split([f"{m} {n}" for m, n in product(modifiers, nouns)], rng)
            parts["test"][relation], parts["train"][relation] = test, train
        return parts

    @cached_property
    def noun_phrases(self) -> dict[str, list[tuple[str, str]]]:
        """split -> (French noun, French adjective) pairs."""
        test, train = _split(list(product(words.NOUNS, words.ADJECTIVES)), self._rng(3))
        return {"test": test, "train": train}

    @cached_property
    def conversations(self) -> dict[str, list[tuple[str, str]]]:
        """split -> (topic, person) pairs: who wants to hear about what."""
        test, train = _split(list(product(words.TOPICS, words.PEOPLE)), self._rng(4))
        return {"test": test, "train": train}

    def _rng(self, purpose: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, purpose])


def _split(values: list, rng: np.random.Generator) -> tuple[list, list]:
    """(held-out share, the rest), drawn at random."""
    order = rng.permutation(len(values))
    cut = round(HELD_OUT_SHARE * len(values))
    return [values[i] for i in order[:cut]], [values[i] for i in order[cut:]]
