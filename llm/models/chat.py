"""From conversations to token ids by the tokenizer's own chat template, and from prompts to replies.

Three rules say which ids a reply has. All take the prompt's from `prompt_ids`, and they agree where the template ends a
reply with eos and a reply is cut into tokens alike with and without what stands before it (the microcosm, zephyr, SmolLM2);
`tests/models/test_chat.py` shows where they differ:

* `encode_apart`: the reply by itself, then eos. What the stages of the microcosm and of SmolLM2 train on and score.
* `encode_together`: the reply as it follows its prompt's text in the template, behind the space that this may put there, then the token
  that ends a reply (`end_id`). What `adapt`, `front` and the measuring of the paper's models use: for any tokenizer, and nearest to what
  sampling gives.
* `encode_marked`: the whole conversation, in which the template's `{% generation %}` marks what the assistant wrote; its
  end token, and what else the marks enclose, is a part of it. What the trainers of the paper's models learn from.
"""

import sys
from collections.abc import Sequence
from time import thread_time

import torch

from ..data.records import Prompt, Turn, messages, turns_of
from ..errors import UserError, first_line
from .batches import Batch, Tokens, pad_replies
from .generate import generate
from .reader import Reader

LONGEST = 5.0  # seconds of the CPU in which a chat template must be done
Message = dict[str, str]  # {"role", "content"}
Reply = tuple[Prompt | Sequence[Message], str, bool]  # prompt, reply, whether the reply ended by itself


def prompt_ids(tokenizer, prompt: Prompt | Sequence[Message]) -> list[int]:
    """The turns so far and the start of the assistant's: by the chat template, or as plain text where there is none."""
    turns = _messages(prompt)
    if not tokenizer.chat_template:
        return tokenizer.encode("\n".join(message["content"] for message in turns))  # of several turns a line each
    return tokenizer.encode(_opening(tokenizer, turns), add_special_tokens=False)


def ids_of_prompts(tokenizer, prompts: Sequence[Prompt]) -> list[list[int]]:
    """`prompt_ids` of each; one that is there many times, as when it gets several replies, is encoded only once."""
    known = {prompt: prompt_ids(tokenizer, prompt) for prompt in dict.fromkeys(prompts)}
    return [known[prompt] for prompt in prompts]


def reply_ids(tokenizer, reply: str, finished: bool = True) -> list[int]:
    """A reply by itself, with eos if it ended by itself."""
    return tokenizer.encode(reply, add_special_tokens=False) + [tokenizer.eos_token_id] * finished


def encode_apart(tokenizer, replies: Sequence[tuple[Prompt, str, bool]]) -> list[Tokens]:
    """Prompt and reply encoded one by one; prompts are texts or tuples of turns."""
    contexts = ids_of_prompts(tokenizer, [prompt for prompt, _, _ in replies])
    return [Tokens(ids, reply_ids(tokenizer, text, finished)) for ids, (_, text, finished) in zip(contexts, replies)]


def encode_together(
    tokenizer, replies: Sequence[Reply], places: Sequence[str] = (), closing: bool = False
) -> list[Tokens]:
    """The reply split from the text as a whole, as it would have been sampled, where the prompt's ids begin the whole's;
    else it is encoded by itself. places: where each comes from, for messages. closing: whether a finished reply is followed by all that the
    template writes after it, as reward models are read that were trained on whole conversations (a line break after the end token).
    """
    (gap, after), found = _around(tokenizer), []
    end = tokenizer.encode(after, add_special_tokens=False) if closing and after else [_end(tokenizer, after)]
    for number, reply in enumerate(replies):
        try:
            found.append(_together(tokenizer, *reply, gap, end))
        except UserError as error:
            raise UserError(f"{places[number]}: {error}" if places else str(error)) from None
    return found


def _together(
    tokenizer, prompt: Prompt | Sequence[Message], text: str, finished: bool, gap: str, end: list[int]
) -> Tokens:
    context = prompt_ids(tokenizer, prompt)
    reply = tokenizer.encode(text, add_special_tokens=False)
    if tokenizer.chat_template:
        gap = "" if not text or text.startswith(gap) else gap  # decoders of SentencePiece drop it, others do not
        whole = tokenizer.encode(_opening(tokenizer, _messages(prompt)) + gap + text, add_special_tokens=False)
        if whole[: len(context)] == context:
            reply = whole[len(context) :]
    return Tokens(context, reply + end * finished)


def encode_marked(tokenizer, conversation: list[Message]) -> tuple[list[int], list[bool]]:
    """(ids, whether the id is part of a reply) of a whole conversation; a reply's end token is a part of it.

    Raises UserError where the chat template does not mark replies.
    """
    made = _templated(tokenizer, conversation, tokenize=True, return_dict=True, return_assistant_tokens_mask=True)
    in_reply = [bool(mark) for mark in made["assistant_masks"]]
    if not any(in_reply) and any(message["role"] == "assistant" for message in conversation):
        raise UserError(
            f"chat template of {tokenizer.name_or_path!r} marks no replies; "
            "allowed are templates that have {% generation %} and {% endgeneration %} around them"
        )
    return made["input_ids"], in_reply


def pair_ids(tokenizer, row: dict) -> dict[str, list[int]]:
    """A row {"prompt", "chosen", "rejected"} (messages, text, text) as ids of the prompt and of both replies with their end,
    by `encode_marked`.
    """
    replies = {f"{side}_ids": _last_marked(tokenizer, row["prompt"], row[side]) for side in ("chosen", "rejected")}
    return {"prompt_ids": prompt_ids(tokenizer, row["prompt"]), **replies}


def _last_marked(tokenizer, prompt: list[Message], reply: str) -> list[int]:
    ids, in_reply = encode_marked(tokenizer, [*prompt, {"role": "assistant", "content": reply}])
    end = len(ids) - in_reply[::-1].index(True)
    begin = max((i + 1 for i in range(end) if not in_reply[i]), default=0)
    return ids[begin:end]


def imitation_example(tokenizer, prompt: Prompt, reply: str, finished: bool = True) -> tuple[list[int], list[float]]:
    """(ids, weights) of a conversation of which only the reply is learned, its end only if it came by itself."""
    ((context, answer),) = encode_apart(tokenizer, [(prompt, reply, finished)])
    return context + answer, [0.0] * len(context) + [1.0] * len(answer)


def imitation_batch(tokenizer, replies: list[tuple]) -> Batch:
    """A training batch of (prompt, reply) or (prompt, reply, finished)."""
    return pad_replies(encode_apart(tokenizer, [(*reply, True)[:3] for reply in replies]), tokenizer.pad_token_id)


def generate_replies(model, tokenizer, prompts: Sequence[Prompt], **settings) -> list[tuple[str, bool]]:
    """(reply, whether it ended by itself) for each prompt; `settings` as for `continue_texts`."""
    return continue_texts(model, tokenizer, ids_of_prompts(tokenizer, prompts), end_id(tokenizer), **settings)


def continue_texts(
    model,
    tokenizer,
    contexts: list[list[int]],
    end: int,
    *,
    max_new_tokens: int,
    temperature: float,
    rng: torch.Generator | None = None,
    batch_size: int,
    skip_special_tokens: bool = False,
    own_ends: bool = False,
    reader: Reader | None = None,
) -> list[tuple[str, bool]]:
    """(text, whether it ended with the token `end` within `max_new_tokens`) for each context; by the same random numbers
    whichever model it is, as far as a batch before has been written to its end. skip_special_tokens: leave other special tokens out of the
    text. own_ends: whether the tokenizer's eos and those of the model's generation_config end a text, too, as a model ends it that was
    trained on another format. reader: as for `generate`.
    """
    ends = {end} | (_own_ends(model, tokenizer) if own_ends else set())
    replies = generate(
        model,
        contexts,
        max_new_tokens=max_new_tokens,
        end_id=ends,
        pad_id=pad_id(tokenizer),
        temperature=temperature,
        rng=rng,
        batch_size=batch_size,
        reader=reader,
    )
    texts = [tokenizer.decode(reply.ids, skip_special_tokens=skip_special_tokens) for reply in replies]
    return [(text, reply.finished) for text, reply in zip(texts, replies, strict=True)]


def _own_ends(model, tokenizer) -> set[int]:
    configured = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    listed = configured if isinstance(configured, list) else [configured]
    return {end for end in (tokenizer.eos_token_id, *listed) if end is not None}


def end_id(tokenizer) -> int:
    """The token that ends a reply: the first special one that the chat template puts after it, or eos.

    Raises UserError for a tokenizer that has neither.
    """
    return _end(tokenizer, _around(tokenizer)[1])


def _end(tokenizer, after: str) -> int:
    """The end token in what the chat template writes after a reply."""
    closing = tokenizer.encode(after, add_special_tokens=False) if after else []
    special = {*tokenizer.added_tokens_decoder, *tokenizer.all_special_ids}
    found = next((token for token in closing if token in special), None)
    return _eos(tokenizer) if found is None else found


def _around(tokenizer) -> tuple[str, str]:
    """(the white space that the chat template puts before a reply, all that it writes after one); empty where it writes other words before."""
    if not tokenizer.chat_template:
        return "", ""
    question, word = [{"role": "user", "content": "a"}], "b"
    opening = _opening(tokenizer, question)
    whole = _templated(tokenizer, [*question, {"role": "assistant", "content": word}])
    rest = whole.removeprefix(opening)
    gap = rest[: len(rest) - len(rest.lstrip())]
    if not whole.startswith(opening) or not rest.startswith(gap + word):
        return "", ""
    return gap, rest.removeprefix(gap + word)


def _eos(tokenizer) -> int:
    if tokenizer.eos_token_id is None:
        raise UserError(
            f"the tokenizer of {tokenizer.name_or_path!r} has no end token: its chat template ends a reply with no special "
            "token and it has no eos_token; give it one (in tokenizer_config.json)."
        )
    return tokenizer.eos_token_id


def pad_id(tokenizer) -> int:
    """The padding token's id, or the end token's where there is none: padding is masked anyway."""
    found = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    return end_id(tokenizer) if found is None else found


def require_room(tokens: int, context: int, key: str) -> None:
    """UserError if so many tokens do not fit into a model's context."""
    if tokens > context:
        raise UserError(
            f"{key} = {tokens} tokens is not allowed: the model's context is {context}; allowed are 1 to {context}"
        )


def require_longest(lengths: Sequence[int], context: int, kind: str, beside: str) -> None:
    """`require_room` for the longest of several, which is called by its kind, its number from 1, and what is beside it."""
    if longest := max(lengths, default=0):
        require_room(longest, context, f"{kind} {lengths.index(longest) + 1} {beside}")


def context_of(config) -> int:
    """How many tokens a model reads at most; where its configuration has no limit, more than any text has."""
    return getattr(config.get_text_config(), "max_position_embeddings", 1 << 20)


def _messages(prompt) -> list[Message]:
    is_record = isinstance(prompt, str) or all(isinstance(turn, Turn) for turn in prompt)
    return messages(turns_of(prompt)) if is_record else list(prompt)


def _opening(tokenizer, turns: list[Message]) -> str:
    """The text up to where the assistant's begins."""
    return _templated(tokenizer, turns, add_generation_prompt=True)


def _templated(tokenizer, turns: list[Message], **options):
    """The text that the tokenizer's chat template makes of the turns.

    Raises UserError where it refuses them, as Gemma's does the role "system", or takes longer than `LONGEST`.
    """
    end, before = thread_time() + LONGEST, sys.gettrace()

    def watch(frame, _event, _argument):
        if thread_time() > end:
            raise TimeoutError(f"it takes more than {LONGEST:g} s")
        return watch if frame.f_code.co_filename == "<template>" else None

    sys.settrace(watch)  # called for each line of the template; a signal would reach the main thread only
    try:
        return tokenizer.apply_chat_template(turns, **{"tokenize": False} | options)
    except Exception as error:  # a template's are of any kind
        last = turns[-1]["content"]
        what = f"{', '.join(turn['role'] for turn in turns)} ({last[:40]!r}{'..' if len(last) > 40 else ''})"
        name = tokenizer.name_or_path
        raise UserError(f"the chat template of {name!r} refuses the roles {what}: {first_line(error)}.") from None
    finally:
        sys.settrace(before)
