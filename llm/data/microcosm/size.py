"""How large and how hard a world is. The defaults are the first microcosm's."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Texts:
    """How hard one kind of texts is.

    Attributes:
        passages: (people, relations that each of them has) of the passages, equally likely.
        indirect: the probability that a question names a person by another of his belongings, where he has one.
        extras: the probability of each extra part of a French clause: a second adjective and an owner of the subject, the
            same of the object, and a place.
    """

    passages: tuple[tuple[int, int], ...] = ((2, 2), (3, 1))
    indirect: float = 0.0
    extras: float = 0.0


@dataclass(frozen=True)
class Size:
    """The size of a world and the difficulty of its texts.

    Attributes:
        animals: how many there are; all of them have facts.
        test_animals, validation_animals: how many of them nobody asks about in training.
        skew: how many times as often the commonest animal is told about as the rarest.
        word_skew: how many times as often the commonest French noun is drawn in training as the rarest; likewise adjectives and verbs.
            Held-out clauses draw evenly.
        choices: of a question about a fact.
        facts_asked_once: whether no two test items ask for the same fact; else one item may ask for it in each of the frames.
        nouns, adjectives, verbs: how many there are of each in French.
        documents, prompts, items: texts to pre-train on, of alignment prompts, and to test with (and to tune with).
    """

    animals: int = 101
    test_animals: int = 50
    validation_animals: int = 15
    skew: float = 1.0
    word_skew: float = 1.0
    choices: int = 4
    facts_asked_once: bool = False
    nouns: int = 20
    adjectives: int = 12
    verbs: int = 10
    documents: Texts = Texts()
    prompts: Texts = Texts()
    items: Texts = Texts()

    @property
    def has_extras(self) -> bool:
        return any(texts.extras > 0 for texts in (self.documents, self.prompts, self.items))


FIRST = Size()
