"""How large and how hard the microcosm is, as presets say it."""

from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from ..data.microcosm.size import Size, Texts
from ..data.microcosm.words import ADJECTIVES, ANIMALS, BELONGINGS, FACTS, NOUNS, VERBS
from ..data.microcosm.world import HELD_OUT_SHARES
from .base import Count, Settings, Share, refused

FEWEST_WORDS = 10  # French nouns and adjectives, so that every split has some pairs of them
MOST_PEOPLE = min(  # each has another value, and so many has the test split of every relation
    round(HELD_OUT_SHARES["test"] * len(modifiers) * len(nouns)) for modifiers, nouns in BELONGINGS.values()
)


class MicrocosmTexts(Settings):
    """How hard one kind of texts is (`llm.data.microcosm.size.Texts`)."""

    passages: Annotated[
        dict[Annotated[int, Field(ge=2, le=MOST_PEOPLE)], Annotated[int, Field(ge=1, le=len(BELONGINGS))]],
        Field(min_length=1),
    ]
    indirect: Share
    extras: Share

    @property
    def texts(self) -> Texts:
        return Texts(tuple(self.passages.items()), self.indirect, self.extras)


class HeldOut(Settings):
    test: Count
    validation: Count


class World(Settings):
    """How large and how hard the world is (`llm.data.microcosm.size.Size`)."""

    animals: Annotated[int, Field(ge=3, le=len(ANIMALS))]
    held_out_animals: HeldOut
    skew: Annotated[float, Field(ge=1)]
    word_skew: Annotated[float, Field(ge=1)]
    choices: Annotated[int, Field(ge=2, le=min(map(len, FACTS.values())))]
    facts_asked_once: bool
    nouns: Annotated[int, Field(ge=FEWEST_WORDS, le=len(NOUNS))]
    adjectives: Annotated[int, Field(ge=FEWEST_WORDS, le=len(ADJECTIVES))]
    verbs: Annotated[int, Field(ge=1, le=len(VERBS))]
    documents: MicrocosmTexts
    prompts: MicrocosmTexts
    items: MicrocosmTexts

    @property
    def size(self) -> Size:
        numbers: dict[str, Any] = self.model_dump(exclude={"held_out_animals", "documents", "prompts", "items"})
        texts = {key: getattr(self, key).texts for key in ("documents", "prompts", "items")}
        held_out = self.held_out_animals
        return Size(test_animals=held_out.test, validation_animals=held_out.validation, **numbers, **texts)

    @model_validator(mode="after")
    def _some_animals_are_asked_about(self) -> Self:
        held_out = self.held_out_animals.test + self.held_out_animals.validation
        if held_out >= self.animals:
            raise refused(
                f"held_out_animals = {held_out} is not allowed with animals = {self.animals}; allowed are fewer than there are"
            )
        return self
