"""Replies of a model to prompts, and their scores by a reward model."""

import numpy as np
import torch

from ...models.conversations import Message, context_ids, conversation, end_id, pad_id
from ...models.generate import generate, left_pad
from ...models.loading import OnProcessor


def write_replies(
    model, tokenizer, prompts: list[str], *, tokens: int, temperature: float, rng: torch.Generator | None, batch: int
) -> list[tuple[str, bool]]:
    """(reply, whether it ended by itself within `tokens` tokens) for each prompt, `batch` at a time."""
    replies = generate(
        OnProcessor(model),
        [context_ids(tokenizer, [{"role": "user", "content": prompt}]) for prompt in prompts],
        max_new_tokens=tokens,
        end_id=end_id(tokenizer),
        pad_id=pad_id(tokenizer),
        temperature=temperature,
        rng=rng,
        batch_size=batch,
    )
    return [(tokenizer.decode(reply.ids, skip_special_tokens=True), reply.finished) for reply in replies]


@torch.no_grad()
def rewards(scorer, tokenizer, conversations: list[tuple[list[Message], bool]], batch: int) -> np.ndarray:
    """The reward model's score of each (messages, whether the reply ended by itself); (conversations,)."""
    tokens = [conversation(tokenizer, *one) for one in conversations]
    sequences = [one.context + one.reply for one in tokens]
    order = sorted(range(len(sequences)), key=lambda i: len(sequences[i]))
    scores, device = np.empty(len(sequences)), next(scorer.parameters()).device
    for start in range(0, len(order), batch):
        rows = order[start : start + batch]
        ids, mask = left_pad([sequences[i] for i in rows], pad_id(tokenizer))
        scores[rows] = scorer(input_ids=ids.to(device), attention_mask=mask.to(device)).logits[:, 0].double().cpu()
    return scores
