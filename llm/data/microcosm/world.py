"""One world: which animal has which colour, and which combinations are held out. A pure function of its seed."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np

from . import words

# What training never asks about. Test items are made of "test" alone; pre-training stops, and settings are chosen, by
# what is made of "validation".
HELD_OUT_ANIMALS = {"test": 50, "validation": 15}  # their facts are declared in training
HELD_OUT_SHARES = {"test": 0.2, "validation": 0.1}  # of modifier-noun, French noun-adjective and topic-person pairs


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
        """split -> its animals; those of "train" are asked about in training."""
        return _split(words.ANIMALS, HELD_OUT_ANIMALS, self._rng(1))

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
        return _shares(list(product(words.NOUNS, words.ADJECTIVES)), self._rng(3))

    @cached_property
    def conversations(self) -> dict[str, list[tuple[str, str]]]:
        """split -> (topic, person) pairs: who wants to hear about what."""
        return _shares(list(product(words.TOPICS, words.PEOPLE)), self._rng(4))

    def _rng(self, purpose: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, purpose])


def _shares(values: Sequence, rng: np.random.Generator) -> dict[str, list]:
    return _split(values, {split: round(share * len(values)) for split, share in HELD_OUT_SHARES.items()}, rng)


def _split(values: Sequence, held_out: dict[str, int], rng: np.random.Generator) -> dict[str, list]:
    """split -> its values, drawn at random: so many of each held-out split, and "train" with the rest."""
    order = [values[i] for i in rng.permutation(len(values))]
    splits = {}
    for split, count in held_out.items():
        splits[split], order = order[:count], order[count:]
    return splits | {"train": order}
