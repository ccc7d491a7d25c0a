"""Training shares no prompt with the test, whatever the order of the rows."""

from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from llm.data.hub.parsed import distinct_prompts, without_prompts_of
from llm.data.records import Preference, Turn, turns_of

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


@given(RECORDS, RECORDS)
def test_no_prompt_of_the_test_is_trained_on_and_no_other_record_is_lost(train, test):
    kept = without_prompts_of(test, train)
    assert not asked(kept) & asked(test)
    assert len(train) - len(kept) == sum(turns_of(record.prompt) in asked(test) for record in train)
    assert kept == [record for record in train if record in kept]


@given(st.data(), RECORDS, RECORDS)
def test_what_is_kept_does_not_depend_on_the_order_of_rows(data, train, test):
    shuffled = without_prompts_of(data.draw(st.permutations(test)), data.draw(st.permutations(train)))
    assert sorted(map(repr, without_prompts_of(test, train))) == sorted(map(repr, shuffled))


@given(RECORDS)
def test_distinct_prompts_come_once_in_the_order_of_rows(records):
    found = distinct_prompts(records)
    assert set(found) == asked(records) and len(set(found)) == len(found)
    firsts = [next(i for i, record in enumerate(records) if turns_of(record.prompt) == prompt) for prompt in found]
    assert firsts == sorted(firsts)
