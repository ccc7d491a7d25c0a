"""The held-out test items of the three abilities, asked in the chat format, and their chance floors.

`CHECKS` are questions in the pre-training documents' own format, on validation material, by which pre-training may stop.
"""

from collections.abc import Callable
from itertools import product

import numpy as np

from ...errors import UserError
from ..records import ChoiceItem, GenerationItem
from . import words
from .size import Texts
from .texts import ONE_PERSON, asked_person, passage, pick, pick_several, translation
from .world import World

PATIENCE = 20_000  # draws without a new item after which there are no more
QA_FRAMES = ("what is the {relation} of the {animal} ?", "the {animal} has what {relation} ?")
READING_FRAME = "{passage} what are the {relation} of {person} ?"
TRANSLATION_FRAME = "what does this say in english : {french} ?"


def qa_item(world: World, split: str, rng: np.random.Generator, fact: tuple[str, str] | None = None) -> ChoiceItem:
    """A fact, (animal, relation), about an animal of the split, against other values of the relation."""
    animal, relation = fact or (pick(world.animals[split], rng), pick(list(words.FACTS), rng))
    right = world.facts[animal, relation]
    wrong = pick_several([v for v in words.FACTS[relation] if v != right], world.size.choices - 1, rng)
    place = int(rng.integers(world.size.choices))
    choices = (*wrong[:place], right, *wrong[place:])
    return ChoiceItem(
        pick(QA_FRAMES, rng).format(relation=relation, animal=animal), tuple(f"{c} ." for c in choices), place
    )


def qa_items(world: World, split: str, count: int, rng: np.random.Generator) -> list[ChoiceItem]:
    """`count` different ones, of as many facts where the world's size says so; UserError if there are fewer."""
    if not world.size.facts_asked_once:
        return distinct(lambda g: qa_item(world, split, g), count, rng)
    facts = list(product(world.animals[split], words.FACTS))
    if count > len(facts):
        raise _too_many(count, len(facts))
    return [qa_item(world, split, rng, facts[i]) for i in rng.permutation(len(facts))[:count]]


def reading_item(world: World, split: str, rng: np.random.Generator) -> tuple[GenerationItem, str]:
    """A question that only the right name answers, and the answer of a guesser who knows the relation alone."""
    facts = passage(world, split, rng, world.size.items.passages)
    relation, person = pick(list(facts.facts), rng)
    asked = asked_person(facts, relation, person, world.size.items.indirect, rng)
    prompt = READING_FRAME.format(passage=facts.text, relation=relation, person=asked)
    guess = pick(facts.same_kind(relation), rng)
    return GenerationItem(prompt, f"{facts.facts[relation, person]} ."), f"{guess} ."


def translation_item(world: World, split: str, rng: np.random.Generator) -> tuple[GenerationItem, str]:
    """A clause of the split's noun phrases, and the unrelated clause a guesser might say."""
    pair, other = translation(world, split, rng, world.size.items), translation(world, split, rng, world.size.items)
    return GenerationItem(TRANSLATION_FRAME.format(french=pair.french), f"{pair.english} ."), f"{other.english} ."


def distinct(make, count: int, rng: np.random.Generator) -> list:
    """`count` results of `make(rng)` with different prompts; UserError if there are fewer."""
    found: dict[str, object] = {}
    repeats = 0
    while len(found) < count:
        item = make(rng)
        prompt = (item[0] if isinstance(item, tuple) else item).prompt
        repeats = repeats + 1 if prompt in found else 0
        found.setdefault(prompt, item)
        if repeats == PATIENCE:
            raise _too_many(count, len(found))
    return list(found.values())


def _too_many(count: int, most: int) -> UserError:
    return UserError(f"{count} different test items are asked for; allowed are at most {most}, all there are")


def _reading(texts: Callable[[World], Texts]) -> Callable[[World, np.random.Generator], tuple[str, str]]:
    def question(world: World, rng: np.random.Generator) -> tuple[str, str]:
        facts = passage(world, "validation", rng, texts(world).passages)
        relation, person = pick(list(facts.facts), rng)
        asked = asked_person(facts, relation, person, texts(world).indirect, rng)
        context = f"passage : {facts.text} question : what are the {relation} of {asked} ? answer :"
        return context, facts.facts[relation, person]

    return question


def _question_answering(world: World, rng: np.random.Generator) -> tuple[str, str]:
    animal, relation = pick(world.animals["validation"], rng), pick(list(words.FACTS), rng)
    return f"question : what is the {relation} of the {animal} ? answer :", world.facts[animal, relation]


def _translation(world: World, rng: np.random.Generator) -> tuple[str, str]:
    pair = translation(world, "validation", rng, world.size.documents)
    return f"french : {pair.french} . english :", pair.english


CHECKS: dict[str, Callable[[World, np.random.Generator], tuple[str, str]]] = {
    "reading_one": _reading(lambda world: Texts(ONE_PERSON)),
    "reading_several": _reading(lambda world: world.size.documents),
    "question_answering": _question_answering,
    "translation": _translation,
    "reading_few": _reading(lambda world: world.size.prompts),
}
