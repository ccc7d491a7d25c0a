"""From messages to token ids. A prompt is a list of {"role", "content"} that ends with a user's turn.

Text becomes tokens as a whole, by the tokenizer's own chat template, whose `{% generation %}` marks say which of them are the
assistant's: a reply encoded alone would begin with other tokens in some tokenizers than after its prompt.
"""

from ..errors import UserError

Message = dict[str, str]


def prompt_ids(tokenizer, prompt: list[Message]) -> list[int]:
    """The conversation so far and the start of the assistant's turn."""
    text = tokenizer.apply_chat_template(prompt, tokenize=False, add_generation_prompt=True)
    return tokenizer.encode(text, add_special_tokens=False)


def conversation_ids(tokenizer, messages: list[Message]) -> tuple[list[int], list[bool]]:
    """(ids, whether the id is part of a reply) of a whole conversation; a reply's end token is a part of it.

    Raises:
        UserError: the chat template does not mark replies.
    """
    made = tokenizer.apply_chat_template(messages, tokenize=True, return_dict=True, return_assistant_tokens_mask=True)
    in_reply = [bool(mark) for mark in made["assistant_masks"]]
    if not any(in_reply) and any(message["role"] == "assistant" for message in messages):
        raise UserError(
            f"chat template of {tokenizer.name_or_path!r} marks no replies; "
            "allowed are templates that have {% generation %} and {% endgeneration %} around them"
        )
    return made["input_ids"], in_reply


def pair_ids(tokenizer, row: dict) -> dict[str, list[int]]:
    """A row {"prompt", "chosen", "rejected"} (messages, text, text) as ids of the prompt and of both replies with their end."""
    replies = {f"{side}_ids": _last_reply(tokenizer, row["prompt"], row[side]) for side in ("chosen", "rejected")}
    return {"prompt_ids": prompt_ids(tokenizer, row["prompt"]), **replies}


def _last_reply(tokenizer, prompt: list[Message], reply: str) -> list[int]:
    ids, in_reply = conversation_ids(tokenizer, [*prompt, {"role": "assistant", "content": reply}])
    end = len(ids) - in_reply[::-1].index(True)
    begin = max((i + 1 for i in range(end) if not in_reply[i]), default=0)
    return ids[begin:end]


def require_room(tokens: int, context: int, key: str) -> None:
    """UserError if so many tokens do not fit into a model's context."""
    if tokens > context:
        raise UserError(
            f"{key} = {tokens} tokens is not allowed: the model's context is {context}; allowed are 1 to {context}"
        )


def context_of(config) -> int:
    """How many tokens a model reads at most."""
    return config.max_position_embeddings
