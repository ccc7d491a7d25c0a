"""One world: which animal has which colour, and which combinations are held out. A pure function of its seed."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np

from . import words
from .size import FIRST, Size

# What training never asks about. Test items are made of "test" alone; pre-training stops, and settings are chosen, by
# what is made of "validation". The facts of held-out animals are declared in training.
HELD_OUT_SHARES = {"test": 0.2, "validation": 0.1}  # of modifier-noun, French noun-adjective and topic-person pairs


@dataclass(frozen=True)
class World:
    """The facts and splits of one seed.

    Attributes:
        seed: any non-negative integer; two worlds with the same seed and size are equal.
    """

    seed: int
    size: Size = FIRST

    @cached_property
    def all_animals(self) -> list[str]:
        return words.ANIMALS[: self.size.animals]

    @cached_property
    def told_up_to(self) -> np.ndarray:
        """Cumulative shares of how often each of `all_animals` is told about."""
        return np.cumsum(_spread(len(self.all_animals), self.size.skew, self._rng(5)))

    @cached_property
    def pairs_up_to(self) -> np.ndarray:
        """Cumulative shares of how often training draws each of its noun phrases."""
        rng, skew = self._rng(6), self.size.word_skew
        nouns, adjectives = (
            dict(zip(table, _spread(len(table), skew, rng))) for table in (self.nouns, self.adjectives)
        )
        shares = np.array([nouns[noun] * adjectives[adjective] for noun, adjective in self.noun_phrases["train"]])
        return np.cumsum(shares) / shares.sum()

    @cached_property
    def verbs_up_to(self) -> np.ndarray:
        """Cumulative shares of how often training draws each verb."""
        return np.cumsum(_spread(len(self.verbs), self.size.word_skew, self._rng(7)))

    @cached_property
    def facts(self) -> dict[tuple[str, str], str]:
        """(animal, relation) -> value."""
        rng = self._rng(0)
        return {
            (animal, relation): values[rng.integers(len(values))]
            for animal in self.all_animals
            for relation, values in words.FACTS.items()
        }

    @cached_property
    def animals(self) -> dict[str, list[str]]:
        """split -> its animals; those of "train" are asked about in training."""
        held_out = {"test": self.size.test_animals, "validation": self.size.validation_animals}
        return _split(self.all_animals, held_out, self._rng(1))

    @cached_property
    def belongings(self) -> dict[str, dict[str, list[str]]]:
        """split -> relation -> its values, each "<modifier> <noun>"; no value is in two splits."""
        rng = self._rng(2)
        splits: dict[str, dict[str, list[str]]] = {}
        for relation, (modifiers, nouns) in words.BELONGINGS.items():
            for split, values in _shares([f"{m} {n}" for m, n in product(modifiers, nouns)], rng).items():
                splits.setdefault(split, {})[relation] = values
        return splits

    @cached_property
    def noun_phrases(self) -> dict[str, list[tuple[str, str]]]:
        """split -> (French noun, French adjective) pairs."""
        return _shares(list(product(self.nouns, self.adjectives)), self._rng(3))

    @cached_property
    def adjectives_of(self) -> dict[str, dict[str, list[str]]]:
        """split -> French noun -> the French adjectives that it is paired with."""
        found: dict[str, dict[str, list[str]]] = {}
        for split, pairs in self.noun_phrases.items():
            for noun, adjective in pairs:
                found.setdefault(split, {}).setdefault(noun, []).append(adjective)
        return found

    @cached_property
    def nouns(self) -> dict[str, str]:
        """French -> English."""
        return words.first(words.NOUNS, self.size.nouns)

    @cached_property
    def adjectives(self) -> dict[str, str]:
        """French -> English."""
        return words.first(words.ADJECTIVES, self.size.adjectives)

    @cached_property
    def verbs(self) -> dict[str, tuple[str, str]]:
        """French -> (third person, base form)."""
        return words.first(words.VERBS, self.size.verbs)

    @cached_property
    def conversations(self) -> dict[str, list[tuple[str, str]]]:
        """split -> (topic, person) pairs: who wants to hear about what."""
        return _shares(list(product(words.TOPICS, words.PEOPLE)), self._rng(4))

    def _rng(self, purpose: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, purpose])


def _spread(count: int, skew: float, rng: np.random.Generator) -> np.ndarray:
    """Shares of `count` things, from the largest to the smallest, 1/skew of it, evenly spread on a log scale; in random order."""
    shares = skew ** (rng.permutation(count) / max(1, count - 1))
    return shares / shares.sum()


def _shares(values: Sequence, rng: np.random.Generator) -> dict[str, list]:
    return _split(values, {split: round(share * len(values)) for split, share in HELD_OUT_SHARES.items()}, rng)


def _split(values: Sequence, held_out: dict[str, int], rng: np.random.Generator) -> dict[str, list]:
    """split -> its values, drawn at random: so many of each held-out split, and "train" with the rest."""
    order = [values[i] for i in rng.permutation(len(values))]
    splits = {}
    for split, count in held_out.items():
        splits[split], order = order[:count], order[count:]
    return splits | {"train": order}
