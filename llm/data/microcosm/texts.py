"""Sentences about a world: facts, passages, questions and translations. Every function draws from a Generator."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from . import words
from .size import Texts
from .world import World

ONE_PERSON = ((1, 0),)  # the sizes of passages about one person


def pick(values, rng: np.random.Generator):
    """One of a sequence, uniformly."""
    return values[rng.integers(len(values))]


def _drawn(values, shares_up_to: np.ndarray, rng: np.random.Generator):
    """One of a sequence, by cumulative shares whose last may be 1 but for rounding."""
    return values[min(int(np.searchsorted(shares_up_to, rng.random())), len(values) - 1)]


def pick_several(values, count: int, rng: np.random.Generator) -> list:
    """`count` different ones of a sequence, in random order."""
    return [values[i] for i in rng.permutation(len(values))[:count]]


def statement(world: World, rng: np.random.Generator) -> tuple[str, str]:
    """A plain fact about any animal, the held-out ones included: (all but its last word, the value)."""
    animal, relation = _told_about(world, rng), pick(list(words.FACTS), rng)
    frame = pick(("the {r} of the {a} is", "so the {a} has the {r}", "{a} : {r}"), rng)
    return frame.format(a=animal, r=relation), world.facts[animal, relation]


def _told_about(world: World, rng: np.random.Generator) -> str:
    if world.size.skew == 1:
        return pick(world.all_animals, rng)
    return _drawn(world.all_animals, world.told_up_to, rng)


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


def passage(world: World, split: str, rng: np.random.Generator, sizes: Sequence[tuple[int, int]]) -> Passage:
    """Some people with the same relations each, facts in random order; the values of one relation differ, so only the name tells
    which is asked for. The validation split, which has few values, has no more people than these.

    Args:
        sizes: (people, relations) of which one is drawn; a single person has two to four relations whatever is said.
    """
    n_people, n_relations = pick(sizes, rng)
    of_one = int(rng.integers(2, 5))
    n_relations = of_one if n_people == 1 else n_relations
    people = pick_several(words.PEOPLE, n_people, rng)
    facts = {}
    for relation in pick_several(list(words.BELONGINGS), n_relations, rng):
        for person, value in zip(people, pick_several(world.belongings[split][relation], n_people, rng)):
            facts[relation, person] = value
    keys = list(facts)
    return Passage({keys[i]: facts[keys[i]] for i in rng.permutation(len(keys))})


def asked_person(facts: Passage, relation: str, person: str, indirect: float, rng: np.random.Generator) -> str:
    """How a question names the person whose `relation` it asks for: by name, or by another belonging."""
    others = [value for (other, owner), value in facts.facts.items() if owner == person and other != relation]
    if indirect > 0 and others and rng.random() < indirect:
        return f"the one with {pick(others, rng)}"
    return person


@dataclass(frozen=True)
class Translation:
    french: str
    english: str


def translation(world: World, split: str, rng: np.random.Generator, texts: Texts) -> Translation:
    """A French clause (adjectives after nouns, "ne .. pas") and its English; noun-adjective pairs are of one split.

    With extras, things have owners, who stand after them in French and before them in English, a second adjective goes
    before the first, and a place at the beginning moves to the end: "sur le mur vieux le roi sage voit un chien sale gros de un
    juge triste" is "the wise king sees a sad judge 's fat dirty dog upon the ancient wall".
    """
    subject, object_ = (noun_phrase(world, split, rng, texts.extras) for _ in range(2))
    evenly = world.size.word_skew == 1 or split != "train"
    verb = pick(list(world.verbs), rng) if evenly else _drawn(list(world.verbs), world.verbs_up_to, rng)
    third, base = world.verbs[verb]
    if rng.random() < 0.5:
        french, english = f"{verb}", third
    else:
        french, english = f"ne {verb} pas", f"does not {base}"
    french, english = f"{subject.french} {french} {object_.french}", f"{subject.english} {english} {object_.english}"
    if _has_extra(texts.extras, rng):
        there, place = pick(list(words.PLACES), rng), noun_phrase(world, split, rng, 0.0)
        french, english = f"{there} {place.french} {french}", f"{english} {words.PLACES[there]} {place.english}"
    return Translation(french, english)


def _has_extra(extras: float, rng: np.random.Generator) -> bool:
    return extras > 0 and rng.random() < extras


def noun_phrase(world: World, split: str, rng: np.random.Generator, extras: float) -> Translation:
    article = pick(list(words.ARTICLES), rng)
    evenly = world.size.word_skew == 1 or split != "train"
    pairs = world.noun_phrases[split]
    noun, adjective = pick(pairs, rng) if evenly else _drawn(pairs, world.pairs_up_to, rng)
    adjectives = [adjective]
    if _has_extra(extras, rng):
        adjectives += pick_several([a for a in world.adjectives_of[split][noun] if a != adjective], 1, rng)
    french, described = f"{noun} {' '.join(adjectives)}", [world.adjectives[a] for a in reversed(adjectives)]
    english = f"{' '.join(described)} {world.nouns[noun]}"
    if not _has_extra(extras, rng):
        return Translation(f"{article} {french}", f"{words.ARTICLES[article]} {english}")
    owner, (of, possessive) = noun_phrase(world, split, rng, 0.0), words.OWNER
    return Translation(f"{article} {french} {of} {owner.french}", f"{owner.english} {possessive} {english}")
