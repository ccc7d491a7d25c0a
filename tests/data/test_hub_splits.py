"""Splits are disjoint in prompts, depend on no order, and tell what they left out."""

from hashlib import sha256
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.data.hub.splits import distinct_prompts, split
from llm.data.records import Conversation, Preference, Turn, turns_of

QUESTIONS = [f"question {number}" for number in range(8)]
FOLLOWED = [
    (Turn("user", first), Turn("assistant", "Go on."), Turn("user", second))
    for first, second in product(QUESTIONS[:4], repeat=2)
]
PROMPTS = [
    *QUESTIONS,
    *map(turns_of, QUESTIONS),
    *((Turn("system", "Be kind."), *turns) for turns in FOLLOWED[:6]),
    *FOLLOWED,
]
RECORDS = st.lists(
    st.sampled_from([Preference(prompt, reply, "c") for prompt in PROMPTS for reply in "ab"]), max_size=20
)


def asked(records):
    return {turns_of(record.prompt) for record in records}


def openings(records):
    return {next(turn.content for turn in turns_of(record.prompt) if turn.role == "user") for record in records}


@given(RECORDS, RECORDS, st.floats(0, 1))
def test_no_prompt_is_in_two_splits_and_no_record_is_lost(train, test, share):
    made = split(train, test, share)
    assert made.test == test
    assert not asked(made.train) & asked(made.test)
    assert not asked(made.validation) & asked(made.test)
    assert not openings(made.train) & openings(made.validation)
    assert len(made.train) + len(made.validation) + made.in_test == len(train)
    assert made.in_test == sum(turns_of(record.prompt) in asked(test) for record in train)


@given(st.data(), RECORDS, RECORDS, st.floats(0, 1))
def test_splits_do_not_depend_on_the_order_of_rows_or_on_other_rows(data, train, test, share):
    made = split(train, test, share)
    shuffled = split(data.draw(st.permutations(train)), data.draw(st.permutations(test)), share)
    for side in ("train", "validation", "test"):
        assert sorted(map(repr, getattr(made, side))) == sorted(map(repr, getattr(shuffled, side)))
    assert made.in_test == shuffled.in_test
    half = train[: len(train) // 2]
    assert split(half, test, share).validation == made.validation[: len(split(half, test, share).validation)]


def test_the_share_is_about_what_was_asked_for_and_a_larger_one_takes_in_a_smaller_one():
    records = [Conversation(f"question {number}", "answer") for number in range(4000)]
    small, large = (split(records, [], share).validation for share in (0.05, 0.2))
    assert len(small) == pytest.approx(200, abs=5 * (4000 * 0.05 * 0.95) ** 0.5)
    assert len(large) == pytest.approx(800, abs=5 * (4000 * 0.2 * 0.8) ** 0.5)
    assert asked(small) < asked(large)
    assert split(records, [], 0).validation == [] and split(records, [], 1).train == []


def test_the_side_is_decided_by_the_hash_of_the_first_user_turn():
    questions = [f"question {number}" for number in range(20)]
    made = split([Conversation((Turn("system", "a"), Turn("user", question)), "b") for question in questions], [], 0.2)
    below = [question for question in questions if sha256(question.encode()).hexdigest()[:12] < "333333333333"]
    assert [record.prompt[1].content for record in made.validation] == below != []


def test_the_sizes_are_told_in_one_line():
    made = split([Conversation("a", "b"), Conversation("c", "d")], [Conversation("c", "e")], 0)
    assert made.summary("chats") == (
        "chats: 1 train, 0 validation, 1 test; left out of training 1 with a prompt of the test split"
    )


@given(RECORDS)
def test_distinct_prompts_come_once_in_the_order_of_rows(records):
    found, repeats = distinct_prompts(records)
    assert len(found) + repeats == len(records)
    assert set(found) == asked(records) and len(set(found)) == len(found)
    firsts = [next(i for i, record in enumerate(records) if turns_of(record.prompt) == prompt) for prompt in found]
    assert firsts == sorted(firsts)
