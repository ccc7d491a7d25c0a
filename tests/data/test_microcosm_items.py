"""The held-out items: answers that are right and unique, and floors that guessing really reaches."""

import re
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from llm.config import load_preset
from llm.data.microcosm import chat, words
from llm.data.microcosm.items import distinct, qa_item
from llm.data.microcosm.size import Texts
from llm.data.microcosm.source import KINDS, Microcosm
from llm.data.microcosm.texts import passage
from llm.data.microcosm.world import World
from llm.errors import UserError
from llm.evaluation.abilities import chance
from llm.evaluation.measurement import f1
from llm.run import Run
from microcosm_runs import second_size, smoke

SOURCES = {"first, 0": Microcosm(0), "first, 5": Microcosm(5), "second, 0": Microcosm(0, second_size())}
COUNTS = {"qa": 400, "reading": 400, "translation": 400}
FACT = re.compile(r"the (\w+) of (\w+) are (\w+ \w+) \.")
QUESTION = re.compile(r"what are the (\w+) of (?:the one with (\w+ \w+)|(\w+)) \?")
ARTICLE = "|".join(words.ARTICLES)
THING = rf"(?:{ARTICLE})(?: (?!(?:{ARTICLE})\b)\w+){{2,3}}?"  # an article, a noun and one or two adjectives
OWNED = rf"{THING}(?: de {THING})?"
VERB = "|".join(words.VERBS)
CLAUSE = re.compile(rf"(?:({'|'.join(words.PLACES)}) ({THING}) )?({OWNED})( ne)? ({VERB})( pas)? ({OWNED})")


@pytest.fixture(scope="module")
def items():
    return {name: source.items("test", COUNTS) for name, source in SOURCES.items()}


@pytest.fixture(scope="module", params=SOURCES)
def name(request):
    return request.param


@pytest.fixture(scope="module")
def readings(items, name):
    """(relation, facts as the prompt states them, the right answer) of every reading item."""
    found = []
    for item in items[name].reading:
        facts = {(relation, person): value for relation, person, value in FACT.findall(item.prompt)}
        assert len(facts) == len(FACT.findall(item.prompt))  # nothing is said twice of anyone
        ((relation, owned, person),) = QUESTION.findall(item.prompt)
        if owned:
            ((other, person),) = [key for key, value in facts.items() if value == owned]
            assert other != relation
        assert item.reference == f"{facts[relation, person]} ."
        found.append((relation, facts, facts[relation, person]))
    return found


def of_relation(facts, relation):
    return [value for (other, _), value in facts.items() if other == relation]


def test_there_are_400_different_items_of_each_ability_and_the_same_at_every_call(items, name):
    for ability in COUNTS:
        prompts = {item.prompt for item in getattr(items[name], ability)}
        assert len(prompts) == len(getattr(items[name], ability)) == 400
    source = SOURCES[name]
    assert Microcosm(source.seed, source.size).items("test", COUNTS) == items[name]
    assert items["first, 0"] != items["first, 5"]


@pytest.mark.parametrize("preset", ["microcosm", "microcosm-1", "smoke"])
def test_presets_ask_for_no_more_items_than_there_are(preset):
    settings = load_preset(preset)
    settings.source(0, None).items("test", settings.evaluate.counts)


def test_a_census_of_the_second_world_asks_for_each_of_800_facts_once():
    source = SOURCES["second, 0"]
    counts = {"qa": 4 * source.size.test_animals, "reading": 2, "translation": 2}
    said = [set(item.prompt.split()) for item in source.items("test", counts).qa]
    facts = {(*(told & set(source.world.animals["test"])), *(told & set(words.FACTS))) for told in said}
    assert len(facts) == len(said) == counts["qa"] >= 800
    assert all(len(fact) == 2 for fact in facts)
    more = counts | {"qa": counts["qa"] + 1}
    with pytest.raises(
        UserError, match=f"{more['qa']} different test items are asked for; allowed are at most {counts['qa']}"
    ):
        source.items("test", more)


def test_more_different_items_than_there_are_is_refused():
    world, rng = World(0), np.random.default_rng(0)
    with pytest.raises(
        UserError, match="401 different test items are asked for; allowed are at most 400, all there are"
    ):
        distinct(lambda g: qa_item(world, "test", g), 401, rng)


def test_a_passages_answer_is_unique_and_its_relation_names_several_values(readings, name):
    for relation, facts, _ in readings:
        values = of_relation(facts, relation)
        assert len(values) == len(set(values)) >= 2
    people = {n for n, _ in SOURCES[name].size.items.passages}
    assert {len(of_relation(facts, relation)) for relation, facts, _ in readings} == people


def test_neither_the_first_nor_the_last_value_of_the_relation_is_right_more_often_than_chance(readings):
    for place in (0, -1):
        hits = [of_relation(facts, relation)[place] == right for relation, facts, right in readings]
        chances = np.array([1 / len(of_relation(facts, relation)) for relation, facts, _ in readings])
        error = np.sqrt((chances * (1 - chances)).sum()) / len(chances)
        assert abs(np.mean(hits) - chances.mean()) < 4 * error


@pytest.fixture(scope="module")
def floors():
    first, second = smoke(), smoke().model_copy(update={"world": load_preset("microcosm").world})
    presets = [p.model_copy(update={"evaluate": p.evaluate.model_copy(update=COUNTS)}) for p in (first, first, second)]
    found = zip(SOURCES.items(), presets, strict=True)
    return {name: chance(Run(preset, source.seed, out=None)) for (name, source), preset in found}


def test_the_readings_floor_is_what_knowing_the_relation_alone_gives(readings, floors, name):
    expected = [
        np.mean([f1(value, right) for value in of_relation(facts, relation)]) for relation, facts, right in readings
    ]
    floor = floors[name]["reading_f1"]
    assert abs(floor.value - np.mean(expected)) < 4 * floor.stderr
    people = [n for n, _ in SOURCES[name].size.items.passages]
    assert 1 / max(people) < floor.value < 0.6
    assert (floor.n, len(floor.items)) == (400, 400)


def test_the_translations_floor_is_near_nothing(floors):
    for floor in floors.values():
        assert 0 < floor["bleu"].value < 20
        assert 0 < floor["bleu"].stderr < 3


def test_guesses_belong_to_the_items(items, name):
    guesses = SOURCES[name].guesses("test", COUNTS)
    assert [reference for _, reference in guesses["reading"]] == [item.reference for item in items[name].reading]
    references = [item.reference for item in items[name].translation]
    assert [reference for _, reference in guesses["translation"]] == references


def test_the_right_choice_is_the_worlds_fact_and_the_others_are_of_the_same_relation(items, name, floors):
    world = SOURCES[name].world
    for item in items[name].qa:
        said = set(item.prompt.split())
        (animal,), (relation,) = said & set(world.animals["test"]), said & set(words.FACTS)
        choices = [choice.removesuffix(" .") for choice in item.choices]
        assert choices[item.answer] == world.facts[animal, relation]
        assert len(set(choices)) == world.size.choices
        assert set(choices) <= set(words.FACTS[relation])
    assert (floors[name]["qa"].value, floors[name]["qa"].stderr) == pytest.approx((1 / world.size.choices, 0))


def test_neither_the_place_nor_the_commonest_value_gives_the_right_choice_away(items, name):
    places, world = Counter(item.answer for item in items[name].qa), SOURCES[name].world
    floor = 1 / world.size.choices
    error = np.sqrt(400 * floor * (1 - floor))
    assert all(abs(places[place] - 400 * floor) < 4 * error for place in range(world.size.choices))
    common = Counter(world.facts[animal, relation] for animal in world.animals["train"] for relation in words.FACTS)
    chosen = [int(np.argmax([common[choice.removesuffix(" .")] for choice in item.choices])) for item in items[name].qa]
    assert np.mean([place == item.answer for place, item in zip(chosen, items[name].qa, strict=True)]) < floor + 0.1


def thing(french: str) -> tuple[str, str]:
    """(article, the rest) in English: adjectives before the noun, the last one first."""
    article, noun, *adjectives = french.split()
    return words.ARTICLES[article], " ".join([words.ADJECTIVES[a] for a in reversed(adjectives)] + [words.NOUNS[noun]])


def owned(french: str) -> str:
    """The owner goes before what is owned, which loses its article."""
    what, _, owner = french.partition(" de ")
    article, rest = thing(what)
    return f"{' '.join(thing(owner))} 's {rest}" if owner else f"{article} {rest}"


def english(french: str) -> str:
    """A translation by rule: as above, "ne .. pas" becomes "does not", and a place goes to the end."""
    where, place, subject, ne, verb, pas, object_ = CLAUSE.fullmatch(french).groups()
    assert bool(ne) == bool(pas)
    third, base = words.VERBS[verb]
    clause = f"{owned(subject)} {f'does not {base}' if ne else third} {owned(object_)}"
    return f"{clause} {words.PLACES[where]} {' '.join(thing(place))}" if where else clause


def test_references_of_translations_follow_from_the_french(items, name):
    for item in items[name].translation:
        french = item.prompt.removeprefix("what does this say in english : ").removesuffix(" ?")
        assert f"{english(french)} ." == item.reference


@pytest.mark.parametrize("people", [1, 2, 3])
def test_passages_name_as_many_people_as_asked_who_share_their_relations(people):
    world, rng = World(0), np.random.default_rng(0)
    for _ in range(50):
        facts = passage(world, "train", rng, ((people, {1: 0, 2: 2, 3: 1}[people]),)).facts
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


@pytest.mark.parametrize("indirect", [0.0, 0.4, 1.0])
def test_questions_name_people_by_other_belongings_as_often_as_the_size_says(indirect):
    texts = Texts(((3, 2),), indirect=indirect)
    source = Microcosm(0, replace(second_size(), items=texts))
    said = [item.prompt for item in source.items("test", {"qa": 2, "reading": 400, "translation": 2}).reading]
    share = np.mean([" the one with " in prompt for prompt in said])
    assert abs(share - indirect) <= 4 * np.sqrt(indirect * (1 - indirect) / 400)
