"""Pairs of replies to a prompt, as token ids."""

from ...models.chat import pair_ids
from .processes import say


def tokenised(tokenizer, pairs: list[dict], length: int) -> list[dict[str, list[int]]]:
    """Rows {"prompt", "chosen", "rejected"} as ids; those longer than `length` with either reply are left out, and counted aloud."""
    rows = [pair_ids(tokenizer, pair) for pair in pairs]
    kept = [
        row for row in rows if len(row["prompt_ids"]) + max(len(row["chosen_ids"]), len(row["rejected_ids"])) <= length
    ]
    if len(kept) < len(rows):
        say(f"{len(rows) - len(kept)} of {len(rows)} pairs are longer than {length} tokens and left out")
    return kept
