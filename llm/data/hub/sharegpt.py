"""ShareGPT: conversations with ChatGPT that their users made public, for instruction tuning.

Rows {"id", "conversations": [{"from": "human" or "gpt" or "system", "value": text}, ...]}. The paper tunes on "ShareGPT"
without a version; its code (github.com/avalonstrel/Mitigating-the-Alignment-Tax-of-RLHF, examples/sample_data.py) names
a file `sharegpt_en_10w.json`, by its name 100,000 English conversations, which is not public. Read here is the cleaned
set on the hub that others train on.
"""

from ..records import Conversation, Role, Turn
from .parsed import Malformed, Parsed, parse, split_reply, text_of
from .place import DataSet, Place, rows

DATA = DataSet("sharegpt", "anon8231489123/ShareGPT_Vicuna_unfiltered", ("conversations",))
FILE = "ShareGPT_V3_unfiltered_cleaned_split.json"

_ROLES: dict[str, Role] = {"system": "system", "human": "user", "user": "user"}
_ROLES |= {"gpt": "assistant", "chatgpt": "assistant", "assistant": "assistant"}


def conversations(place: Place) -> Parsed[Conversation]:
    """All conversations; the source has no splits of its own."""
    return parse(DATA.folder, rows(DATA, [FILE], place), conversation)


def conversation(row: dict) -> Conversation:
    """Raises Malformed."""
    turns = row["conversations"]
    if not isinstance(turns, list) or not all(isinstance(turn, dict) for turn in turns):
        raise Malformed("conversations is no list of turns")
    return Conversation(*split_reply([_turn(turn) for turn in turns]))


def _turn(turn: dict) -> Turn:
    role = turn.get("from")
    if not isinstance(role, str) or role not in _ROLES:
        raise Malformed("unknown role")
    return Turn(_ROLES[role], text_of(turn, "value").strip())
