"""From messages to token ids. A prompt is a list of {"role", "content"} that ends with a user's turn.

Whatever is learned from or judged is laid together from the same pieces that sampling makes: the ids of the prompt, rendered by the
tokenizer's own chat template up to the start of the reply, then those of the reply and the end token.
"""

from llm.chat import reply_ids
from llm.errors import UserError

Message = dict[str, str]


def prompt_ids(tokenizer, prompt: list[Message]) -> list[int]:
    """The conversation so far and the start of the assistant's turn."""
    return tokenizer.encode(_rendered(tokenizer, prompt, to_reply=True), add_special_tokens=False)


def pair_ids(tokenizer, row: dict) -> dict[str, list[int]]:
    """A row {"prompt", "chosen", "rejected"} (messages, text, text) as ids of the prompt and of both replies with their end."""
    replies = {f"{side}_ids": reply_ids(tokenizer, row[side]) for side in ("chosen", "rejected")}
    return {"prompt_ids": prompt_ids(tokenizer, row["prompt"]), **replies}


def conversation_ids(tokenizer, messages: list[Message]) -> tuple[list[int], list[bool]]:
    """(ids, whether the id is part of a reply) of a whole conversation; a reply's end token is a part of it.

    Raises:
        UserError: the chat template does not lay turns one after the other.
    """
    ids: list[int] = []
    in_reply: list[bool] = []
    said = ""
    for turn in (i for i, message in enumerate(messages) if message["role"] == "assistant"):
        before = _rendered(tokenizer, messages[:turn], to_reply=True)
        after = _rendered(tokenizer, messages[: turn + 1], to_reply=False)
        if not (before.startswith(said) and after.startswith(before)):
            raise UserError(
                f"chat template of {tokenizer.name_or_path} renders turn {turn + 1} differently when others follow; "
                "allowed are templates that only add to what stands before"
            )
        for text, learned in ((before[len(said) :], False), (after[len(before) :], True)):
            piece = tokenizer.encode(text, add_special_tokens=False)
            ids += piece
            in_reply += [learned] * len(piece)
        said = after
    return ids, in_reply


def _rendered(tokenizer, messages: list[Message], to_reply: bool) -> str:
    return tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=to_reply)


def require_room(tokens: int, context: int, key: str) -> None:
    """UserError if so many tokens do not fit into a model's context."""
    if tokens > context:
        raise UserError(f"{key} = {tokens} tokens is not allowed: the model's context is {context}; allowed are 1 to {context}")


def context_of(config) -> int:
    """How many tokens a model reads at most."""
    return config.max_position_embeddings
