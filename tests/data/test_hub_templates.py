"""Conversations as the paper's models read them, letter for letter, and back."""

from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub_tokenizer import CHATML, byte_tokenizer
from llm.data.hub.templates import NAMES, TEMPLATES, set_template
from llm.data.records import Turn, messages
from llm.errors import UserError
from llm.models.chat import imitation_example, prompt_ids, reply_ids

ASKED = (Turn("user", "Hi."),)
FOLLOWED = (*ASKED, Turn("assistant", "Hello."), Turn("user", "Why?"))
SYSTEM = (Turn("system", "Be kind."), *ASKED)
REPLY = Turn("assistant", "So be it.")
SMOLLM = "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
QWEN = "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n"
TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=("Cc",)), min_size=1, max_size=20)


@cache
def templated(name):
    tokenizer = byte_tokenizer()
    set_template(tokenizer, name)
    return tokenizer


def written(name, turns, opened):
    return templated(name).apply_chat_template(messages(turns), tokenize=False, add_generation_prompt=opened)


@pytest.mark.parametrize(
    ("name", "turns", "text"),
    [
        ("openllama", ASKED, "<s>###Human: Hi.###Assistant:"),
        ("openllama", FOLLOWED, "<s>###Human: Hi.###Assistant: Hello.</s>###Human: Why?###Assistant:"),
        ("openllama", SYSTEM, "<s>Be kind.###Human: Hi.###Assistant:"),
        ("zephyr", ASKED, "<s><|user|>\nHi.</s>\n<|assistant|>\n"),
        ("zephyr", FOLLOWED, "<s><|user|>\nHi.</s>\n<|assistant|>\nHello.</s>\n<|user|>\nWhy?</s>\n<|assistant|>\n"),
        ("zephyr", SYSTEM, "<s><|system|>\nBe kind.</s>\n<|user|>\nHi.</s>\n<|assistant|>\n"),
        ("zephyr-gemma", ASKED, "<s><|im_start|>user\nHi.<|im_end|>\n<|im_start|>assistant\n"),
        (
            "zephyr-gemma",
            FOLLOWED,
            "<s><|im_start|>user\nHi.<|im_end|>\n<|im_start|>assistant\nHello.<|im_end|>\n"
            "<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\n",
        ),
        ("tulu", ASKED, "<|user|>\nHi.\n<|assistant|>\n"),
        ("tulu", SYSTEM, "<|system|>\nBe kind.\n<|user|>\nHi.\n<|assistant|>\n"),
        ("tulu", FOLLOWED, "<|user|>\nHi.\n<|assistant|>\nHello.</s>\n<|user|>\nWhy?\n<|assistant|>\n"),
        ("olmo2", FOLLOWED, "<s><|user|>\nHi.\n<|assistant|>\nHello.</s>\n<|user|>\nWhy?\n<|assistant|>\n"),
        ("qwen2.5", ASKED, QWEN + "<|im_start|>user\nHi.<|im_end|>\n<|im_start|>assistant\n"),
        ("smollm2", ASKED, SMOLLM + "<|im_start|>user\nHi.<|im_end|>\n<|im_start|>assistant\n"),
        (
            "smollm2",
            SYSTEM,
            "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nHi.<|im_end|>\n<|im_start|>assistant\n",
        ),
    ],
)
def test_a_prompt_ends_where_the_reply_begins(name, turns, text):
    assert written(name, turns, opened=True) == text


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("openllama", "<s>###Human: Hi.###Assistant: So be it.</s>"),
        ("zephyr", "<s><|user|>\nHi.</s>\n<|assistant|>\nSo be it.</s>\n"),
        ("zephyr-gemma", "<s><|im_start|>user\nHi.<|im_end|>\n<|im_start|>assistant\nSo be it.<|im_end|>\n</s>"),
        ("tulu", "<|user|>\nHi.\n<|assistant|>\nSo be it.</s>"),
        ("olmo2", "<s><|user|>\nHi.\n<|assistant|>\nSo be it.</s>"),
        ("qwen2.5", QWEN + "<|im_start|>user\nHi.<|im_end|>\n<|im_start|>assistant\nSo be it.<|im_end|>\n"),
        ("smollm2", SMOLLM + "<|im_start|>user\nHi.<|im_end|>\n<|im_start|>assistant\nSo be it.<|im_end|>\n"),
    ],
)
def test_a_whole_conversation(name, text):
    assert written(name, (*ASKED, REPLY), opened=False) == text


@pytest.mark.parametrize("name", TEMPLATES)
@settings(max_examples=30)
@given(st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=3))
def test_tokens_give_the_text_back_and_mark_what_the_assistant_said(name, said):
    tokenizer = templated(name)
    turns = tuple(turn for asked, reply in said for turn in (Turn("user", asked), Turn("assistant", reply)))
    text = tokenizer.apply_chat_template(messages(turns), tokenize=False)
    marked = tokenizer.apply_chat_template(messages(turns), return_dict=True, return_assistant_tokens_mask=True)
    assert tokenizer.decode(marked["input_ids"]) == text
    learned = [i for i, mine in zip(marked["input_ids"], marked["assistant_masks"]) if mine]
    space, end = (" " if name == "openllama" else ""), ("<|im_end|>" if TEMPLATES[name].tokens else "</s>")
    assert tokenizer.decode(learned) == "".join(space + reply + end for _, reply in said)


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize("turns", [ASKED, FOLLOWED, SYSTEM])
def test_the_tokens_of_a_prompt_begin_those_of_the_conversation(name, turns):
    tokenizer = templated(name)
    whole = tokenizer.apply_chat_template(messages((*turns, REPLY)), return_dict=True)["input_ids"]
    prompt = prompt_ids(tokenizer, turns)
    assert whole[: len(prompt)] == prompt
    assert imitation_example(tokenizer, turns, "a") == (
        prompt + reply_ids(tokenizer, "a"),
        [0.0] * len(prompt) + [1.0] * len(reply_ids(tokenizer, "a")),
    )
    assert tokenizer.decode(whole[len(prompt) :]).strip().startswith("So be it.")


@pytest.mark.parametrize("begins", [True, False])
@pytest.mark.parametrize("writes_it", [True, False])
def test_an_own_template_writes_the_beginning_once_where_the_tokenizer_has_one(begins, writes_it):
    tokenizer = byte_tokenizer(begins=begins)
    tokenizer.chat_template = "{{ bos_token }}" * writes_it + "{{ messages[0]['content'] }}"
    set_template(tokenizer, "own")
    set_template(tokenizer, "own")
    text = tokenizer.apply_chat_template(messages(ASKED), tokenize=False)
    assert text == ("<s>Hi." if begins or writes_it else "Hi.")


def test_olmo_begins_with_its_end_token_where_no_beginning_token_is_named():
    tokenizer = byte_tokenizer()
    tokenizer.bos_token = None
    set_template(tokenizer, "olmo2")
    assert tokenizer.apply_chat_template(messages(ASKED), tokenize=False) == "</s><|user|>\nHi.\n"


def test_templates_that_do_not_fit_are_refused():
    with pytest.raises(UserError, match=f"^template = 'llama' is unknown; allowed are {', '.join(NAMES)}.$"):
        set_template(byte_tokenizer(), "llama")
    with pytest.raises(
        UserError, match="^template = 'own' is not allowed, as the tokenizer has none; allowed are openllama, "
    ):
        set_template(byte_tokenizer(), "own")
    for name in ("zephyr-gemma", "smollm2", "qwen2.5"):
        with pytest.raises(
            UserError,
            match=rf"'{name}' is not allowed, .* lacks <\|im_start\|>; allowed are openllama, zephyr, tulu, olmo2\.$",
        ):
            set_template(byte_tokenizer(extra=()), name)
    assert TEMPLATES["smollm2"].tokens == CHATML
