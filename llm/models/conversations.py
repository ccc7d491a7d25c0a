"""From prompts and replies to the token ids of a model's own chat format, for any tokenizer."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

Message = dict[str, str]


@dataclass(frozen=True)
class Tokens:
    """Token ids of what the model is given, and of the reply, its end token included if it ended by
    itself.
    """

    context: list[int]
    reply: list[int]


def context_ids(tokenizer, messages: Sequence[Message]) -> list[int]:
    """Ids up to where the assistant begins to speak: by the chat template, or the plain text where there
    is none.
    """
    if tokenizer.chat_template:
        return tokenizer.encode(_opening(tokenizer, messages), add_special_tokens=False)
    return tokenizer.encode("\n".join(message["content"] for message in messages))


def conversation(tokenizer, messages: Sequence[Message], finished: bool = True) -> Tokens:
    """Ids of a conversation whose last message is the assistant's reply; both parts hold at least one id.

    The reply is split from the text as a whole, as it would have been sampled, where the context's ids
    begin the whole's; else it is encoded alone.
    """
    *before, last = messages
    context, text = context_ids(tokenizer, before), last["content"]
    reply = tokenizer.encode(text, add_special_tokens=False)
    if tokenizer.chat_template:
        whole = tokenizer.encode(_opening(tokenizer, before) + text, add_special_tokens=False)
        if whole[: len(context)] == context:
            reply = whole[len(context) :]
    return Tokens(context, reply + [end_id(tokenizer)] * finished)


def end_id(tokenizer) -> int:
    """The token that ends a reply: the first special one that the chat template puts after it, or eos."""
    if not tokenizer.chat_template:
        return tokenizer.eos_token_id
    question, word = [{"role": "user", "content": "a"}], "b"
    whole = tokenizer.apply_chat_template([*question, {"role": "assistant", "content": word}], tokenize=False)
    opening = _opening(tokenizer, question) + word
    closing = tokenizer.encode(whole[len(opening) :], add_special_tokens=False) if whole.startswith(opening) else []
    special = {*tokenizer.added_tokens_decoder, *tokenizer.all_special_ids}
    return next((token for token in closing if token in special), tokenizer.eos_token_id)


def pad_id(tokenizer) -> int:
    """The padding token's id, or the end token's where there is none: padding is masked anyway."""
    return tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id


def batch_of(samples: Sequence[Tokens], padding: int) -> dict[str, torch.Tensor]:
    """{"input_ids", "attention_mask", "labels"}, each (samples, longest); padded on the right, labels of
    replies only.
    """
    longest = max(len(sample.context) + len(sample.reply) for sample in samples)
    ids = torch.full((len(samples), longest), padding)
    mask = torch.zeros((len(samples), longest), dtype=torch.long)
    labels = torch.full((len(samples), longest), -100)
    for row, sample in enumerate(samples):
        whole = torch.tensor(sample.context + sample.reply)
        ids[row, : len(whole)], mask[row, : len(whole)] = whole, 1
        labels[row, len(sample.context) : len(whole)] = whole[len(sample.context) :]
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


def _opening(tokenizer, messages: Sequence[Message]) -> str:
    return tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=True)
