"""Where the three rules for the ids of a reply agree, and where they differ."""

import sys
from time import perf_counter

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from hub_tokenizer import byte_tokenizer
from llm.data.hub.templates import set_template
from llm.data.microcosm.tokenizer import build_tokenizer
from llm.data.records import Turn
from llm.errors import UserError
from llm.models import chat
from llm.models.batches import Tokens
from llm.models.chat import encode_apart, encode_marked, encode_together, end_id, pair_ids, prompt_ids

ASKED = (Turn("user", "Why?"),)
MESSAGES = [{"role": "user", "content": "Why?"}]


def three(tokenizer, reply):
    """The finished reply's ids by each rule; all have the prompt's."""
    (apart,), (together,) = (rule(tokenizer, [(ASKED, reply, True)]) for rule in (encode_apart, encode_together))
    marked = pair_ids(tokenizer, {"prompt": MESSAGES, "chosen": reply, "rejected": reply})
    assert apart.context == together.context == marked["prompt_ids"] == prompt_ids(tokenizer, MESSAGES)
    return apart.reply, together.reply, marked["chosen_ids"]


def templated(name, eos="</s>"):
    tokenizer = byte_tokenizer()
    tokenizer.eos_token = eos
    set_template(tokenizer, name)
    return tokenizer


@pytest.mark.parametrize(("name", "eos"), [("zephyr", "</s>"), ("smollm2", "<|im_end|>")])
@pytest.mark.parametrize("reply", ["So be it.", " \n so", ""])
def test_all_agree_where_the_template_ends_a_reply_with_eos(name, eos, reply):
    apart, together, marked = three(templated(name, eos), reply)
    assert apart == together == marked


@pytest.mark.parametrize("finished", [True, False])
def test_the_microcosms_template_gives_the_same_apart_and_together_and_has_no_marks(finished):
    tokenizer = build_tokenizer()
    replies = [("the dog sees .", "the cat sees the dog .", finished), ("a", "", finished)]
    assert encode_apart(tokenizer, replies) == encode_together(tokenizer, replies)
    assert end_id(tokenizer) == tokenizer.eos_token_id
    with pytest.raises(UserError, match="marks no replies"):
        encode_marked(tokenizer, [*MESSAGES, {"role": "assistant", "content": "a dog"}])


@pytest.mark.parametrize("name", ["smollm2", "zephyr-gemma"])
def test_apart_ends_with_eos_where_the_template_has_another_end(name):
    tokenizer = templated(name)
    apart, together, marked = three(tokenizer, "So.")
    assert together == marked == [*apart[:-1], tokenizer.convert_tokens_to_ids("<|im_end|>")]
    assert apart[-1] == tokenizer.eos_token_id


def test_marks_may_enclose_more_than_the_reply():
    """Of openllama the space after the colon."""
    tokenizer = templated("openllama")
    apart, together, marked = three(tokenizer, "So.")
    assert together == marked == tokenizer.encode(" ", add_special_tokens=False) + apart
    assert three(tokenizer, " So.")[1] == together  # of decoders that keep the space
    assert three(tokenizer, "")[1] == apart[-1:]


@pytest.mark.parametrize(("name", "after"), [("zephyr", "</s>\n"), ("smollm2", "<|im_end|>\n"), ("openllama", "</s>")])
def test_a_finished_reply_may_be_followed_by_all_that_the_template_writes(name, after):
    """As published reward models are read, which were trained on whole conversations."""
    tokenizer = templated(name)
    replies = [(ASKED, "So.", finished) for finished in (True, False)]
    plain, closed = encode_together(tokenizer, replies), encode_together(tokenizer, replies, closing=True)
    whole = tokenizer.apply_chat_template([*MESSAGES, {"role": "assistant", "content": "So."}], tokenize=False)
    assert whole.endswith(after)
    assert closed[0].context + closed[0].reply == tokenizer.encode(whole, add_special_tokens=False)
    assert closed[1] == plain[1]


def metaspace(template):
    """A token a character, and as in Llama's tokenizer one for the space that is put before a text."""
    letters = ["</s>", "▁", *"abcdefghijklmnopqrstuvwxyzW?.:\n"]
    core = Tokenizer(models.BPE({letter: index for index, letter in enumerate(letters)}, []))
    core.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    core.decoder = decoders.Metaspace(prepend_scheme="first")
    return PreTrainedTokenizerFast(tokenizer_object=core, eos_token="</s>", pad_token="</s>", chat_template=template)


def test_only_apart_puts_a_space_before_a_reply_where_the_tokenizer_does_so_before_a_text():
    template = (
        "{% for m in messages %}{% if m['role'] == 'assistant' %}{% generation %}{{ m['content'] + eos_token }}"
        "{% endgeneration %}{% else %}{{ m['content'] + 'a:' }}{% endif %}{% endfor %}"
    )
    tokenizer = metaspace(template)
    apart, together, marked = three(tokenizer, "so.")
    assert together == marked
    assert apart == tokenizer.convert_tokens_to_ids(["▁"]) + together


def test_together_encodes_a_reply_by_itself_where_the_prompts_last_token_would_grow():
    letters = ["</s>", "a", "b", ":", ":b"]
    core = Tokenizer(models.BPE({letter: index for index, letter in enumerate(letters)}, [(":", "b")]))
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, eos_token="</s>", chat_template="{% for m in messages %}{{ m['content'] }}{% endfor %}"
    )
    assert encode_together(tokenizer, [("a:", "ba", True)]) == [Tokens([1, 3], [2, 1, 0])]


LOOP = "{% for i in range(90000) %}{% for j in range(90000) %}{% set x = j %}{% endfor %}{% endfor %}"


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{{ raise_exception('roles must alternate') }}", "roles must alternate"),
        ("{{ messages[0].content.missing.more }}", "has no attribute"),
        ("{% if %}", "Expected an expression"),
        ("{{ 1 + messages }}", "unsupported operand"),
        (LOOP, "it takes more than 0.2 s"),
        (LOOP.replace("{% set x = j %}", "x"), "it takes more than 0.2 s"),
    ],
)
def test_a_template_that_refuses_or_does_not_end_is_one_sentence(template, reason, monkeypatch):
    monkeypatch.setattr(chat, "LONGEST", 0.2)
    tokenizer = templated("zephyr")
    tokenizer.chat_template = template
    start, tracing = perf_counter(), sys.gettrace()
    for encode in (prompt_ids, encode_marked, lambda tokenizer, turns: end_id(tokenizer)):
        with pytest.raises(
            UserError, match=rf"^the chat template of '.*' refuses the roles user.* \('.*'\): .*{reason}.*\.$"
        ):
            encode(tokenizer, MESSAGES)
    assert perf_counter() - start < 5
    assert sys.gettrace() is tracing


def test_where_a_reply_comes_from_is_named():
    tokenizer = templated("zephyr")
    tokenizer.chat_template = (
        "{{ raise_exception('no') if messages[0]['content'] == 'odd' }}{{ messages[0]['content'] }}"
    )
    replies = [(text, "so", True) for text in ("Why?", "odd")]
    with pytest.raises(UserError, match="^file, line 7: the chat template"):
        encode_together(tokenizer, replies, ["file, line 3", "file, line 7"])
