"""Lengths in tokens of a tokenizer's chat format: what fits a context, and what is done with what does not.

Prompts that are too long are left out, as in the paper's code (those beyond 256 tokens: its raft_aligner.py), or refused
where each one counts. Conversations to imitate lose whole turns from the end, so that every reply that is learned has its
end: FastChat, with which ShareGPT first became training data, also cuts between turns (split_long_conversation.py), but
makes a conversation of each piece. LMFlow instead joins all texts and cuts them into blocks, of 2048 tokens in the paper.
"""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from ...errors import UserError
from ..records import Conversation, Preference, Prompt, Turn, messages, turns_of

Record = TypeVar("Record")


def prompt_length(tokenizer, prompt: Prompt) -> int:
    """Tokens up to where the reply begins."""
    return _length(tokenizer, turns_of(prompt), opened=True)


def conversation_length(tokenizer, conversation: Conversation) -> int:
    """Tokens of a prompt and its reply."""
    return _length(tokenizer, _whole(conversation), opened=False)


def preference_length(tokenizer, pair: Preference) -> int:
    """Tokens of a prompt and the longer of its replies."""
    sides = (Conversation(pair.prompt, reply) for reply in (pair.chosen, pair.rejected))
    return max(conversation_length(tokenizer, side) for side in sides)


def no_longer_than(limit: int, records: Sequence[Record], length: Callable[[Record], int]) -> tuple[list[Record], int]:
    """(the records of at most `limit` tokens, how many were longer)."""
    kept = [record for record in records if length(record) <= limit]
    return kept, len(records) - len(kept)


def require_room(tokenizer, prompts: Sequence[Prompt], context: int, new_tokens: int) -> None:
    """UserError that names the first prompt after which a context of `context` tokens lacks room for a reply."""
    allowed = context - new_tokens
    for number, prompt in enumerate(prompts, 1):
        if (length := prompt_length(tokenizer, prompt)) > allowed:
            raise UserError(
                f"prompt {number} has {length} tokens; allowed are at most {allowed}, "
                f"the context of {context} less {new_tokens} for the reply."
            )


@dataclass(frozen=True)
class Cut:
    """Conversations that fit; how many of them lost turns, and how many are gone, as their first reply ends too late."""

    conversations: list[Conversation]
    shortened: int
    left_out: int

    def summary(self, name: str, limit: int) -> str:
        """One line with the counts."""
        fit = f"{len(self.conversations)} conversations of at most {limit} tokens"
        return f"{name}: {fit}, {self.shortened} of them shortened; left out {self.left_out} too long for one exchange"


def cut(tokenizer, conversations: Sequence[Conversation], limit: int) -> Cut:
    """Drop turns from the end until each conversation has at most `limit` tokens and ends with a reply."""
    kept, shortened = [], 0
    for conversation in conversations:
        if conversation_length(tokenizer, conversation) <= limit:
            kept.append(conversation)
        elif beginning := _beginning(tokenizer, conversation, limit):
            kept.append(beginning)
            shortened += 1
    return Cut(kept, shortened, len(conversations) - len(kept))


def _beginning(tokenizer, conversation: Conversation, limit: int) -> Conversation | None:
    turns = _whole(conversation)
    ends = [index for index, turn in enumerate(turns, 1) if turn.role == "assistant"]
    fitting = bisect_right(ends, limit, key=lambda end: _length(tokenizer, turns[:end], opened=False))
    if not fitting:
        return None
    *prompt, reply = turns[: ends[fitting - 1]]
    return Conversation(tuple(prompt), reply.content)


def _whole(conversation: Conversation) -> tuple[Turn, ...]:
    return (*turns_of(conversation.prompt), Turn("assistant", conversation.reply))


def _length(tokenizer, turns: tuple[Turn, ...], opened: bool) -> int:
    text = tokenizer.apply_chat_template(messages(turns), tokenize=False, add_generation_prompt=opened)
    return len(tokenizer.encode(text, add_special_tokens=False))
