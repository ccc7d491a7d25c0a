"""Lengths in tokens, and what is done with prompts and conversations that are too long."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub_tokenizer import byte_tokenizer
from llm.data.hub.lengths import (
    conversation_length,
    cut,
    no_longer_than,
    preference_length,
    prompt_length,
    require_room,
)
from llm.data.hub.templates import set_template
from llm.data.records import Conversation, Preference, Turn, turns_of
from llm.errors import UserError

TOKENIZER = byte_tokenizer()
set_template(TOKENIZER, "openllama")
BEGIN, USER, ASSISTANT, END = 1, len("###Human: "), len("###Assistant:"), 1  # tokens: a byte each, special ones one


def talk(*said, system=()):
    turns = tuple(Turn(("user", "assistant")[i % 2], text) for i, text in enumerate(said))
    return Conversation((*system, *turns[:-1]), turns[-1].content)


def exchange(asked, reply):
    return USER + len(asked) + ASSISTANT + 1 + len(reply) + END


def test_lengths_by_value():
    assert prompt_length(TOKENIZER, "Hi.") == BEGIN + USER + 3 + ASSISTANT
    assert (
        prompt_length(TOKENIZER, talk("Hi.", "Hello.", "Why?", "So.").prompt)
        == BEGIN + exchange("Hi.", "Hello.") + USER + 4 + ASSISTANT
    )
    assert conversation_length(TOKENIZER, Conversation("Hi.", "Hello.")) == BEGIN + exchange("Hi.", "Hello.")
    for pair in (Preference("Hi.", "Hello.", "Yes"), Preference("Hi.", "Yes", "Hello.")):
        assert preference_length(TOKENIZER, pair) == BEGIN + exchange("Hi.", "Hello.")


def test_what_is_longer_than_a_limit_is_left_out_and_counted():
    prompts = ["abc", "abcd", "abcde", "a"]
    limit = prompt_length(TOKENIZER, "abcd")
    assert no_longer_than(limit, prompts, lambda prompt: prompt_length(TOKENIZER, prompt)) == (["abc", "abcd", "a"], 1)


def test_a_prompt_that_leaves_no_room_for_a_reply_is_refused_with_its_length_and_the_allowed_one():
    longest = prompt_length(TOKENIZER, "abcd")
    require_room(TOKENIZER, ["abc", "abcd"], context=longest + 20, new_tokens=20)
    with pytest.raises(
        UserError,
        match=rf"^prompt 2 has {longest} tokens; allowed are at most {longest - 1}, "
        rf"the context of {longest + 20} less 21 for the reply\.$",
    ):
        require_room(TOKENIZER, ["abc", "abcd"], context=longest + 20, new_tokens=21)


def test_long_conversations_lose_whole_turns_from_the_end():
    long = talk("Hi.", "Hello.", "Why?", "So.", "And?", "Done.", system=(Turn("system", "Be kind."),))
    two = BEGIN + len("Be kind.") + exchange("Hi.", "Hello.") + exchange("Why?", "So.")
    assert cut(TOKENIZER, [long], two).conversations == [Conversation(long.prompt[:4], "So.")]
    assert cut(TOKENIZER, [long], two - 1).conversations == [Conversation(long.prompt[:2], "Hello.")]
    one = two - exchange("Why?", "So.")
    made = cut(TOKENIZER, [long, Conversation("a", "b"), talk("a" * 90, "b", "c", "d")], one)
    assert made.conversations == [Conversation(long.prompt[:2], "Hello."), Conversation("a", "b")]
    assert made.summary("chats", one) == (
        f"chats: 2 conversations of at most {one} tokens, 1 of them shortened; left out 1 too long for one exchange"
    )


WORD = st.text("ab", min_size=1, max_size=30)


@settings(max_examples=40)
@given(
    st.lists(st.lists(WORD, min_size=2, max_size=8).filter(lambda said: len(said) % 2 == 0), max_size=4),
    st.integers(20, 200),
)
def test_cut_conversations_fit_begin_as_before_and_could_not_be_longer(said, limit):
    talks = [talk(*texts) for texts in said]
    made = cut(TOKENIZER, talks, limit)
    assert made.left_out == sum(BEGIN + exchange(*texts[:2]) > limit for texts in said)
    kept = [texts for texts in said if BEGIN + exchange(*texts[:2]) <= limit]
    shortened = 0
    for texts, found in zip(kept, made.conversations, strict=True):
        back = [*(turn.content for turn in turns_of(found.prompt)), found.reply]
        assert back == texts[: len(back)]
        length = BEGIN + sum(exchange(*pair) for pair in zip(back[::2], back[1::2]))
        assert length <= limit
        if len(back) < len(texts):
            shortened += 1
            assert length + exchange(*texts[len(back) : len(back) + 2]) > limit
    assert made.shortened == shortened
