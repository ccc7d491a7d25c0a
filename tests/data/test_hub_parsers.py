"""Rows of the real data sets become records, and every malformed row is counted under its reason."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.data.hub import alpaca_eval, hh_rlhf, sharegpt
from llm.data.hub.parsed import Malformed, Parsed, parse
from llm.data.records import ComparisonItem, Conversation, Preference, Turn, messages, turns_of
from llm.errors import UserError

PLAIN = st.text(st.characters(codec="utf-8", exclude_characters="\n"), min_size=1).map(str.strip).filter(bool)
TALK = "\n\nHuman: Hello.\n\nAssistant: Hi.\n\nHuman: Which day is it?\n\nAssistant: "


def user(text):
    return Turn("user", text)


def assistant(text):
    return Turn("assistant", text)


def hh(*said):
    return "".join(f"\n\n{who}: {text}" for who, text in zip(("Human", "Assistant") * len(said), said))


def chat(*said):
    return {"id": "x", "conversations": [{"from": who, "value": text} for who, text in said]}


def test_a_pair_of_hh_rlhf_is_the_turns_before_the_last_and_the_two_last_replies():
    row = {"chosen": TALK + "Friday.\n\nA good day.", "rejected": TALK + " Who knows? "}
    prompt = (user("Hello."), assistant("Hi."), user("Which day is it?"))
    assert hh_rlhf.preference(row) == Preference(prompt, "Friday.\n\nA good day.", "Who knows?")


@pytest.mark.parametrize(
    ("chosen", "rejected", "reason"),
    [
        (hh("a", "b", "c"), hh("a", "b", "c"), "no final assistant turn"),
        (hh("a", "b"), hh("c", "d"), "chosen and rejected differ in the prompt"),
        (hh("a", "b"), hh("a", "b", "c", "d"), "chosen and rejected differ in the prompt"),
        (hh("a", "b"), "\n\nHuman: a\n\nAssistant:", "empty reply"),
        (hh("a", "", "c", "d"), hh("a", "", "c", "e"), "empty turn"),
        (hh("a", "b"), hh("a", " b "), "identical replies"),
        ("\n\nHuman: a\n\nHuman: b\n\nAssistant: c", hh("a", "b"), "two turns of one side in a row"),
        ("\n\nAssistant: a\n\nHuman: b\n\nAssistant: c", hh("a", "b"), "does not begin with the user"),
        ("Human: a\n\nAssistant: b", hh("a", "c"), "text before the first turn"),
        ("", hh("a", "b"), "does not begin with the user"),
        (None, hh("a", "b"), "chosen is no text"),
        (hh("a", "b"), 7, "rejected is no text"),
    ],
)
def test_malformed_pairs(chosen, rejected, reason):
    with pytest.raises(Malformed, match=f"^{reason}$"):
        hh_rlhf.preference({"chosen": chosen, "rejected": rejected})


@given(st.lists(PLAIN, min_size=1, max_size=5).filter(lambda said: len(said) % 2), PLAIN, PLAIN)
def test_a_pair_gives_back_what_was_said(said, chosen, rejected):
    row = {"chosen": hh(*said, chosen), "rejected": hh(*said, rejected)}
    if chosen == rejected:
        with pytest.raises(Malformed, match="identical"):
            hh_rlhf.preference(row)
        return
    pair = hh_rlhf.preference(row)
    assert ([turn.content for turn in pair.prompt], pair.chosen, pair.rejected) == (said, chosen, rejected)
    assert [turn.role for turn in pair.prompt] == (["user", "assistant"] * len(said))[: len(said)]


def test_a_conversation_of_sharegpt_may_begin_with_a_system_turn_and_have_several_exchanges():
    said = [("system", "Be brief."), ("human", "a "), ("gpt", "b"), ("user", "c"), ("chatgpt", "d")]
    prompt = (Turn("system", "Be brief."), user("a"), assistant("b"), user("c"))
    assert sharegpt.conversation(chat(*said)) == Conversation(prompt, "d")


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ([], "does not begin with the user"),
        ([("system", "a")], "does not begin with the user"),
        ([("gpt", "a"), ("human", "b"), ("gpt", "c")], "does not begin with the user"),
        ([("human", "a")], "no final assistant turn"),
        ([("human", "a"), ("gpt", "b"), ("gpt", "c")], "two turns of one side in a row"),
        ([("human", "a"), ("system", "b"), ("gpt", "c")], "system turn after the first"),
        ([("human", "a"), ("bard", "b")], "unknown role"),
        ([("human", "a"), (["gpt"], "b")], "unknown role"),
        ([("human", "a"), ("gpt", "\n")], "empty reply"),
        ([("human", ""), ("gpt", "a")], "empty turn"),
        ([("system", ""), ("human", "a"), ("gpt", "b")], "empty turn"),
        ([("human", "a"), ("gpt", None)], "value is no text"),
    ],
)
def test_malformed_conversations(said, reason):
    with pytest.raises(Malformed, match=f"^{reason}$"):
        sharegpt.conversation(chat(*said))


@pytest.mark.parametrize("said", [None, "hello", ["hello"], {"from": "human"}])
def test_conversations_that_are_no_list_of_turns(said):
    with pytest.raises(Malformed, match="^conversations is no list of turns$"):
        sharegpt.conversation({"id": "x", "conversations": said})


def test_an_item_of_alpaca_eval_keeps_its_instruction_letter_for_letter():
    row = {"instruction": "Say hello. ", "output": "Hello.", "generator": "gpt4_1106_preview", "dataset": "koala"}
    assert alpaca_eval.item(row) == ComparisonItem("Say hello. ", "Hello.", "koala")
    for change, reason in (
        ({"instruction": " "}, "empty instruction"),
        ({"output": ""}, "empty reply"),
        ({"dataset": 3}, "dataset is no text"),
    ):
        with pytest.raises(Malformed, match=f"^{reason}$"):
            alpaca_eval.item(row | change)


def test_a_prompt_given_as_text_is_one_user_turn():
    turns = (Turn("system", "a"), user("b"))
    assert turns_of("b") == (user("b"),) and turns_of(turns) is turns
    assert messages(turns) == [{"role": "system", "content": "a"}, {"role": "user", "content": "b"}]


def positive(row):
    if row["n"] < 0:
        raise Malformed("negative")
    if row["n"] == 0:
        raise Malformed("zero")
    return row["n"]


def test_what_is_left_out_is_counted_by_reason_and_told_in_one_line():
    parsed = parse("numbers", [{"n": n} for n in (3, 0, -1, 2, -5)], positive)
    assert parsed == Parsed("numbers", [3, 2], 5, Counter(negative=2, zero=1))
    assert parsed.summary() == "numbers: 2 records from 5 rows; left out 3: negative 2, zero 1"
    assert parse("numbers", [{"n": 1}], positive).summary() == "numbers: 1 records from 1 rows"


def test_a_data_set_without_a_usable_row_is_refused():
    with pytest.raises(
        UserError, match=r"^nothing to use in numbers: 0 records from 2 rows; left out 2: negative 1, zero 1\.$"
    ):
        parse("numbers", [{"n": 0}, {"n": -1}], positive)


@given(st.lists(st.integers(-3, 3)))
def test_every_row_read_is_a_record_or_counted(numbers):
    rows = [{"n": 1}, *({"n": n} for n in numbers)]
    parsed = parse("numbers", rows, positive)
    assert len(parsed.records) + parsed.left_out.total() == parsed.rows == len(rows)
