"""Questions in the pre-training documents' own format, on validation material: they say when pre-training may stop."""

from collections.abc import Callable

import numpy as np

from . import words
from .texts import passage, pick, translation
from .world import World


def _reading(n_people: int | None) -> Callable[[World, np.random.Generator], tuple[str, str]]:
    def question(world: World, rng: np.random.Generator) -> tuple[str, str]:
        facts = passage(world, "validation", rng, n_people=n_people)
        relation, person = pick(list(facts.facts), rng)
        context = f"passage : {facts.text} question : what are the {relation} of {person} ? answer :"
        return context, facts.facts[relation, person]

    return question


def _question_answering(world: World, rng: np.random.Generator) -> tuple[str, str]:
    animal, relation = pick(world.animals["validation"], rng), pick(list(words.FACTS), rng)
    return f"question : what is the {relation} of the {animal} ? answer :", world.facts[animal, relation]


def _translation(world: World, rng: np.random.Generator) -> tuple[str, str]:
    pair = translation(world, "validation", rng)
    return f"french : {pair.french} . english :", pair.english


CHECKS: dict[str, Callable[[World, np.random.Generator], tuple[str, str]]] = {
    "reading_one": _reading(1),
    "reading_several": _reading(None),
    "question_answering": _question_answering,
    "translation": _translation,
}
