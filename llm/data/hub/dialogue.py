"""What makes a list of turns a conversation that a model can learn from, the same for every source of chats."""

from collections.abc import Sequence
from itertools import pairwise

from ..records import Turn
from .parsed import Malformed


def split_reply(turns: Sequence[Turn]) -> tuple[tuple[Turn, ...], str]:
    """(the turns before, the assistant's last reply) of a whole conversation.

    A system turn may come first; then user and assistant alternate, beginning with the user and ending with the
    assistant, and no turn is empty. Raises Malformed with the first of these that does not hold.
    """
    spoken = list(turns[1:] if turns and turns[0].role == "system" else turns)
    if any(turn.role == "system" for turn in spoken):
        raise Malformed("system turn after the first")
    if not spoken or spoken[0].role != "user":
        raise Malformed("does not begin with the user")
    if any(one.role == next_one.role for one, next_one in pairwise(spoken)):
        raise Malformed("two turns of one side in a row")
    if spoken[-1].role != "assistant":
        raise Malformed("no final assistant turn")
    if not spoken[-1].content:
        raise Malformed("empty reply")
    if not all(turn.content for turn in turns):
        raise Malformed("empty turn")
    return tuple(turns[:-1]), spoken[-1].content
