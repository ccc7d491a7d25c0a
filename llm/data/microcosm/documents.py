"""The pre-training corpus: plain documents, each a list of (text, weight) segments.

A weight is the share with which the loss of the segment's tokens counts: context is cheap to predict badly and would
drown the answers, so it weighs little.
"""

from typing import NamedTuple

import numpy as np

from . import chat, words
from .size import FIRST
from .texts import ONE_PERSON, Passage, asked_person, noun_phrase, passage, pick, pick_several, statement, translation
from .world import World

CONTEXT = 0.1
QUESTIONS = 6  # about one passage


class Segment(NamedTuple):
    text: str
    weight: float


Document = list[Segment]


def document(kind: str, world: World, rng: np.random.Generator) -> Document:
    """A training document of the given kind (a key of `KINDS`)."""
    return KINDS[kind](world, rng)


def _copied(world: World) -> list[str]:
    """The words that copying and recall are practised on, no more than the first world's: with more of them binding takes longer."""
    animals, nouns = world.all_animals[: FIRST.animals], list(world.nouns)[: FIRST.nouns]
    belonging = [word for modifiers, things in words.BELONGINGS.values() for word in (*modifiers, *things)]
    return [*words.PEOPLE, *animals, *nouns, *words.GOOD, *belonging]


def _copy(world: World, rng: np.random.Generator) -> Document:
    """Random words and the same again: teaches looking back, on which all reading rests."""
    text = " ".join(pick_several(_copied(world), int(rng.integers(8, 21)), rng))
    return [Segment(f"{text} . say again :", CONTEXT), Segment(f"{text} .", 1.0)]


def _recall(world: World, rng: np.random.Generator) -> Document:
    """Pairs of words and questions about them: the bare form of reading, densely supervised."""
    chosen = pick_several(_copied(world), 2 * int(rng.integers(3, 7)), rng)
    pairs = list(zip(chosen[::2], chosen[1::2]))
    segments = [Segment(" ".join(f"{key} are {value} ." for key, value in pairs), CONTEXT)]
    for _ in range(6):
        key, value = pick(pairs, rng)
        frame = pick(("what are {k} ? answer :", "so {k} are"), rng)
        segments += [Segment(frame.format(k=key), CONTEXT), Segment(f"{value} .", 1.0)]
    return segments


def _declaration(world: World, rng: np.random.Generator) -> Document:
    """Facts about animals, plainly stated; the held-out animals are learned about only here."""
    segments = []
    for _ in range(3):
        beginning, value = statement(world, rng)
        segments += [Segment(beginning, CONTEXT), Segment(value, 1.0), Segment(".", CONTEXT)]
    return segments


def _question_answering(world: World, rng: np.random.Generator) -> Document:
    segments = []
    for _ in range(2):
        animal, relation = pick(world.animals["train"], rng), pick(list(words.FACTS), rng)
        segments += [
            Segment(f"question : what is the {relation} of the {animal} ? answer :", CONTEXT),
            Segment(f"{world.facts[animal, relation]} .", 1.0),
        ]
    return segments


def _reading(facts: Passage, rng: np.random.Generator, indirect: float = 0.0) -> Document:
    """A passage and six questions, drawn with replacement (or the last could be found by elimination)."""
    segments = [Segment(f"passage : {facts.text}", CONTEXT)]
    for _ in range(QUESTIONS):
        relation, person = pick(list(facts.facts), rng)
        frame = pick(("question : what are the {r} of {p} ? answer :", "so the {r} of {p} are"), rng)
        asked = asked_person(facts, relation, person, indirect, rng)
        segments += [Segment(frame.format(r=relation, p=asked), CONTEXT)]
        segments += [Segment(f"{facts.facts[relation, person]} .", 1.0)]
    return segments


def _reading_one(world: World, rng: np.random.Generator) -> Document:
    return _reading(passage(world, "train", rng, ONE_PERSON), rng)


def _reading_several(world: World, rng: np.random.Generator) -> Document:
    texts = world.size.documents
    return _reading(passage(world, "train", rng, texts.passages), rng, texts.indirect)


def _reading_few(world: World, rng: np.random.Generator) -> Document:
    """About no more people than alignment prompts have: binding is learned on few people first (docs/log.md)."""
    return _reading(passage(world, "train", rng, world.size.prompts.passages), rng)


def _translation(world: World, rng: np.random.Generator) -> Document:
    pair = translation(world, "train", rng, world.size.documents)
    return [Segment(f"french : {pair.french} . english :", CONTEXT), Segment(f"{pair.english} .", 1.0)]


def _phrases(world: World, rng: np.random.Generator) -> Document:
    """Single noun phrases: what each word means, before clauses say where it goes."""
    segments = []
    for _ in range(3):
        phrase = noun_phrase(world, "train", rng, 0.0)
        segments += [Segment(f"french : {phrase.french} . english :", CONTEXT), Segment(f"{phrase.english} .", 1.0)]
    return segments


def _dialogue(world: World, rng: np.random.Generator) -> Document:
    """Small talk as found in the wild: mostly rude, and never in the chat format."""
    prompt = chat.small_talk(world, "train", rng)
    return [Segment(f"question : {prompt.text} answer :", CONTEXT), Segment(chat.wild_reply(prompt, rng), 0.3)]


KINDS = {
    "copy": _copy,
    "recall": _recall,
    "declaration": _declaration,
    "question_answering": _question_answering,
    "reading_one": _reading_one,
    "reading_several": _reading_several,
    "translation": _translation,
    "dialogue": _dialogue,
    "reading_few": _reading_few,
    "phrases": _phrases,
}
