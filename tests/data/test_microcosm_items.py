"""The held-out items: answers that are right and unique, and floors that guessing really reaches."""

import re
from collections import Counter

import numpy as np
import pytest

from llm.config import load_preset
from llm.data.microcosm import chat, words
from llm.data.microcosm.items import distinct, qa_item
from llm.data.microcosm.source import KINDS, Microcosm
from llm.data.microcosm.texts import passage
from llm.data.microcosm.world import World
from llm.errors import UserError
from llm.evaluation.abilities import chance
from llm.evaluation.measurement import f1
from llm.run import Run
from microcosm_runs import smoke

SEEDS = (0, 5)
COUNTS = {"qa": 400, "reading": 400, "translation": 400}
FACT = re.compile(r"the (\w+) of (\w+) are (\w+ \w+) \.")
QUESTION = re.compile(r"what are the (\w+) of (\w+) \?")
CLAUSE = re.compile(r"(\w+) (\w+) (\w+)( ne)? (\w+)( pas)? (\w+) (\w+) (\w+)")


@pytest.fixture(scope="module")
def items():
    return {seed: Microcosm(seed).items("test", COUNTS) for seed in SEEDS}


@pytest.fixture(scope="module")
def readings(items):
    """(relation, facts as the prompt states them, the right answer) of every reading item."""
    found = []
    for item in (item for seed in SEEDS for item in items[seed].reading):
        facts = {(relation, person): value for relation, person, value in FACT.findall(item.prompt)}
        assert len(facts) == len(FACT.findall(item.prompt))  # nothing is said twice of anyone
        ((relation, person),) = QUESTION.findall(item.prompt)
        assert item.reference == f"{facts[relation, person]} ."
        found.append((relation, facts, facts[relation, person]))
    return found


def of_relation(facts, relation):
    return [value for (other, _), value in facts.items() if other == relation]


def test_there_are_400_different_items_of_each_ability_and_the_same_at_every_call(items):
    for seed in SEEDS:
        for name in COUNTS:
            prompts = {item.prompt for item in getattr(items[seed], name)}
            assert len(prompts) == len(getattr(items[seed], name)) == 400
        assert Microcosm(seed).items("test", COUNTS) == items[seed]
    assert items[0] != items[5]


def test_presets_ask_for_no_more_items_than_there_are():
    for name in ("microcosm", "smoke"):
        evaluate = load_preset(name).evaluate
        Microcosm(0).items(
            "test", {"qa": evaluate.qa, "reading": evaluate.reading, "translation": evaluate.translation}
        )


def test_more_different_items_than_there_are_is_refused():
    world, rng = World(0), np.random.default_rng(0)
    with pytest.raises(
        UserError, match="401 different test items are asked for; allowed are at most 400, all there are"
    ):
        distinct(lambda g: qa_item(world, "test", g), 401, rng)


def test_a_passages_answer_is_unique_and_its_relation_names_several_values(readings):
    for relation, facts, _ in readings:
        values = of_relation(facts, relation)
        assert len(values) == len(set(values)) >= 2
    assert {len(of_relation(facts, relation)) for relation, facts, _ in readings} == {2, 3}


def test_neither_the_first_nor_the_last_value_of_the_relation_is_right_more_often_than_chance(readings):
    for place in (0, -1):
        hits = [of_relation(facts, relation)[place] == right for relation, facts, right in readings]
        chances = np.array([1 / len(of_relation(facts, relation)) for relation, facts, _ in readings])
        error = np.sqrt((chances * (1 - chances)).sum()) / len(chances)
        assert abs(np.mean(hits) - chances.mean()) < 4 * error


@pytest.fixture(scope="module")
def floors():
    preset = smoke().model_copy(update={"evaluate": smoke().evaluate.model_copy(update=COUNTS)})
    return {seed: chance(Run(preset, seed, out=None)) for seed in SEEDS}


def test_the_readings_floor_is_what_knowing_the_relation_alone_gives(readings, floors):
    expected = [
        np.mean([f1(value, right) for value in of_relation(facts, relation)]) for relation, facts, right in readings
    ]
    for k, seed in enumerate(SEEDS):
        floor = floors[seed]["reading_f1"]
        assert abs(floor.value - np.mean(expected[400 * k : 400 * (k + 1)])) < 4 * floor.stderr
        assert 0.3 < floor.value < 0.6
        assert (floor.n, len(floor.items)) == (400, 400)


def test_the_translations_floor_is_near_nothing(floors):
    for floor in floors.values():
        assert 0 < floor["bleu"].value < 20
        assert 0 < floor["bleu"].stderr < 3


def test_guesses_belong_to_the_items(items):
    guesses = Microcosm(0).guesses("test", COUNTS)
    assert [reference for _, reference in guesses["reading"]] == [item.reference for item in items[0].reading]
    assert [reference for _, reference in guesses["translation"]] == [item.reference for item in items[0].translation]


@pytest.mark.parametrize("seed", SEEDS)
def test_the_right_choice_is_the_worlds_fact_and_the_others_are_of_the_same_relation(items, seed, floors):
    world = World(seed)
    for item in items[seed].qa:
        said = set(item.prompt.split())
        (animal,), (relation,) = said & set(words.ANIMALS), said & set(words.FACTS)
        choices = [choice.removesuffix(" .") for choice in item.choices]
        assert choices[item.answer] == world.facts[animal, relation]
        assert len(set(choices)) == 4
        assert set(choices) <= set(words.FACTS[relation])
    assert (floors[seed]["qa"].value, floors[seed]["qa"].stderr) == (0.25, 0)


@pytest.mark.parametrize("seed", SEEDS)
def test_neither_the_place_nor_the_commonest_value_gives_the_right_choice_away(items, seed):
    places = Counter(item.answer for item in items[seed].qa)
    assert all(abs(places[place] - 100) < 4 * np.sqrt(400 * 0.25 * 0.75) for place in range(4))
    world = World(seed)
    common = Counter(world.facts[animal, relation] for animal in world.animals["train"] for relation in words.FACTS)
    chosen = [int(np.argmax([common[choice.removesuffix(" .")] for choice in item.choices])) for item in items[seed].qa]
    assert np.mean([place == item.answer for place, item in zip(chosen, items[seed].qa, strict=True)]) < 0.35


def english(french: str) -> str:
    """A translation by rule: the adjective goes before its noun, "ne .. pas" becomes "does not"."""
    article, noun, adjective, ne, verb, pas, article_2, noun_2, adjective_2 = CLAUSE.fullmatch(french).groups()
    assert bool(ne) == bool(pas)
    third, base = words.VERBS[verb]
    first, second = (
        f"{words.ARTICLES[a]} {words.ADJECTIVES[j]} {words.NOUNS[n]}"
        for a, n, j in ((article, noun, adjective), (article_2, noun_2, adjective_2))
    )
    return f"{first} does not {base} {second}" if ne else f"{first} {third} {second}"


@pytest.mark.parametrize("seed", SEEDS)
def test_references_of_translations_follow_from_the_french(items, seed):
    for item in items[seed].translation:
        french = item.prompt.removeprefix("what does this say in english : ").removesuffix(" ?")
        assert f"{english(french)} ." == item.reference


@pytest.mark.parametrize("people", [1, 2, 3])
def test_passages_name_as_many_people_as_asked_who_share_their_relations(people):
    world, rng = World(0), np.random.default_rng(0)
    for _ in range(50):
        facts = passage(world, "train", rng, n_people=people).facts
        relations = {person: {r for r, other in facts if other == person} for _, person in facts}
        assert len(relations) == people
        assert len({frozenset(of_one) for of_one in relations.values()}) == 1
        assert len(facts) in {1: (2, 3, 4), 2: (4,), 3: (3,)}[people]


def gives(prompt, reply: str) -> bool:
    """Whether a reply says what was asked for: of small talk the topic and a word that belongs to it."""
    if prompt.kind == "talk":
        return prompt.content[0] in reply.split() and bool(set(prompt.content[1:]) & set(reply.split()))
    return f" {' '.join(prompt.content)} ." in f" {reply}"


@pytest.mark.parametrize("kind", KINDS["prompt"])
def test_an_alignment_prompt_asks_for_its_content_and_instruction_tunings_writers_give_it(kind):
    source, rng = Microcosm(0), np.random.default_rng(0)
    for prompt in source.prompts("train", {kind: 1.0}, 100, rng):
        assert prompt.kind == kind
        assert gives(prompt, chat.wild_reply(prompt, rng))
        if kind == "talk":
            assert prompt.content[0] in prompt.text.split()


@pytest.mark.parametrize("kind", KINDS["prompt"])
def test_some_of_the_compared_replies_are_wrong_and_some_say_nothing(kind):
    source, rng = Microcosm(0), np.random.default_rng(0)
    prompts = source.prompts("train", {kind: 1.0}, 1000, rng)
    replies = [source.written_reply(prompt, rng) for prompt in prompts]
    right = np.mean([gives(prompt, reply) for prompt, reply in zip(prompts, replies, strict=True)])
    expected = 1 - chat.MISTAKEN - chat.EVASIVE
    assert abs(right - expected) < 4 * np.sqrt(expected * (1 - expected) / 1000)
    worth = [source.gold_reward(p, r, True) for p, r in zip(prompts, replies, strict=True)]
    assert np.std(worth) > 0.5


def test_a_mistaken_reader_says_what_another_person_has():
    source, rng = Microcosm(0), np.random.default_rng(0)
    for prompt in source.prompts("train", {"reading": 1.0}, 100, rng):
        wrong = chat._mistaken(prompt, source.world, rng).content
        assert wrong != prompt.content
        assert f" are {' '.join(wrong)} ." in prompt.text


def test_prompts_are_mixed_by_their_shares():
    prompts = Microcosm(0).prompts("train", {"talk": 3.0, "fact": 1.0}, 1000, np.random.default_rng(0))
    assert abs(sum(prompt.kind == "talk" for prompt in prompts) - 750) < 4 * np.sqrt(1000 * 0.75 * 0.25)
