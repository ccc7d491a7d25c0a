"""Texts that a model writes by itself: from its first token alone, or behind what a chat template puts before a user's words.

What a model writes from its first token gives an unbiased estimate of another's divergence from it (arXiv 2505.13811); a user's words written
by the model itself are the self-synthesised prompts of Magpie (arXiv 2406.08464). Neither needs data.
"""

from collections.abc import Sequence

import torch

from ...errors import UserError
from ...models.batches import Tokens
from ...models.chat import end_id, pad_id
from ...models.generate import generate

KINDS = ("free", "chat")
_WORDS = "\u2042"  # stands for a user's words in the template; no template has it


def opening(tokenizer, kind: str) -> list[int]:
    """The token ids that a text begins with: of kind "free" bos, or eos where there is none; of "chat" the template's up to the user's words.

    Raises UserError for another kind, and where the tokenizer has no such token or template.
    """
    if kind == "chat" and tokenizer.chat_template:
        text = tokenizer.apply_chat_template([{"role": "user", "content": _WORDS}], tokenize=False)
        return tokenizer.encode(text.partition(_WORDS)[0].rstrip(" "), add_special_tokens=False)
    first = tokenizer.eos_token_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id
    if kind != "free" or first is None:
        usable = [name for name, has in zip(KINDS, (first is not None, tokenizer.chat_template), strict=True) if has]
        raise UserError(f"kind = {kind!r} is not allowed with this tokenizer; allowed are {', '.join(usable) or 'none'}")
    return [first]


def write(
    model, tokenizer, contexts: Sequence[list[int]], length: int, rng: torch.Generator, batch_size: int
) -> list[Tokens]:
    """One text behind each context, sampled at temperature 1 up to the model's end token or `length` tokens."""
    end = end_id(tokenizer)
    written = generate(
        model,
        list(contexts),
        max_new_tokens=length,
        end_id=end,
        pad_id=pad_id(tokenizer),
        temperature=1.0,
        rng=rng,
        batch_size=batch_size,
    )
    return [Tokens(context, one.ids + [end] * one.finished) for context, one in zip(contexts, written, strict=True)]
