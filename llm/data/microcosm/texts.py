"""Sentences about a world: facts, passages, questions and translations. Every function draws from a Generator."""

from dataclasses import dataclass

import numpy as np

from . import words
from .world import World


def pick(values, rng: np.random.Generator):
    """One of a sequence, uniformly."""
    return values[rng.integers(len(values))]


def pick_several(values, count: int, rng: np.random.Generator) -> list:
    """`count` different ones of a sequence, in random order."""
    return [values[i] for i in rng.permutation(len(values))[:count]]


def statement(world: World, rng: np.random.Generator) -> tuple[str, str]:
    """A plain fact about any animal, the held-out ones included: (all but its last word, the value)."""
    animal, relation = pick(words.ANIMALS, rng), pick(list(words.FACTS), rng)
    frame = pick(("the {r} of the {a} is", "so the {a} has the {r}", "{a} : {r}"), rng)
    return frame.format(a=animal, r=relation), world.facts[animal, relation]


@dataclass(frozen=True)
class Passage:
    """What is said about some people: facts[(relation, person)] = value."""

    facts: dict[tuple[str, str], str]

    @property
    def text(self) -> str:
        return " ".join(f"the {r} of {person} are {value} ." for (r, person), value in self.facts.items())

    def same_kind(self, relation: str) -> list[str]:
        """All values of this relation: what a reader who ignores the name may choose from."""
        return [value for (other, _), value in self.facts.items() if other == relation]


def passage(world: World, split: str, rng: np.random.Generator, n_people: int | None = None) -> Passage:
    """Two people with the same two relations each, or three with one; n_people = 1: one person, two to four relations.

    Facts stand in random order; the values of one relation differ, so only the name tells which is asked for.
    """
    n_people = n_people or int(rng.integers(2, 4))
    n_relations = {1: int(rng.integers(2, 5)), 2: 2, 3: 1}[n_people]
    people = pick_several(words.PEOPLE, n_people, rng)
    facts = {}
    for relation in pick_several(list(words.BELONGINGS), n_relations, rng):
        for person, value in zip(people, pick_several(world.belongings[split][relation], n_people, rng)):
            facts[relation, person] = value
    keys = list(facts)
    return Passage({keys[i]: facts[keys[i]] for i in rng.permutation(len(keys))})


@dataclass(frozen=True)
class Translation:
    french: str
    english: str


def translation(world: World, split: str, rng: np.random.Generator) -> Translation:
    """A French clause (adjective after noun, "ne .. pas") and its English; noun-adjective pairs are of one split."""
    subject, object_ = (_noun_phrase(world, split, rng) for _ in range(2))
    verb = pick(list(words.VERBS), rng)
    third, base = words.VERBS[verb]
    if rng.random() < 0.5:
        return Translation(f"{subject.french} {verb} {object_.french}", f"{subject.english} {third} {object_.english}")
    return Translation(
        f"{subject.french} ne {verb} pas {object_.french}", f"{subject.english} does not {base} {object_.english}"
    )


def _noun_phrase(world: World, split: str, rng: np.random.Generator) -> Translation:
    article = pick(list(words.ARTICLES), rng)
    noun, adjective = pick(world.noun_phrases[split], rng)
    return Translation(
        f"{article} {noun} {adjective}", f"{words.ARTICLES[article]} {words.ADJECTIVES[adjective]} {words.NOUNS[noun]}"
    )
