"""Making D_theta: replies of theta to prompts, scored by a reward model (paper, section 5).

Replies are written in chunks of prompts, each with random numbers of its own, and kept in a file as they
come: a killed run goes on with the next chunk and ends with the same samples.
"""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from ...errors import UserError
from ...files import write_text
from ...models.batches import left_pad
from ...models.conversations import Message, context_ids, conversation, end_id, pad_id
from ...models.generate import generate
from ...models.loading import OnProcessor
from .samples import read_lines, text_of


def read_prompts(path: Path) -> list[str]:
    """The "prompt" of each line of a JSONL file."""
    return [text_of(row, "prompt", where) for where, row in read_lines(path)]


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


def exchange(prompt: str, reply: str) -> list[Message]:
    """One question and its answer."""
    return [{"role": "user", "content": prompt}, {"role": "assistant", "content": reply}]


def draw_samples(
    model,
    tokenizer,
    scorer: tuple,
    prompts: list[str],
    out: Path,
    *,
    samples: int,
    tokens: int,
    temperature: float,
    seed: int,
    batch: int,
    progress: Callable[[int, int], None],
) -> None:
    """Write `samples` scored replies a prompt to the JSONL file `out`, whole or not at all.

    Lines: {"prompt", "reply", "finished", "reward"}. scorer: (reward model, its tokenizer).
    progress: called with the numbers of replies so far and in all.
    """
    asked = [prompt for prompt in prompts for _ in range(samples)]
    partial = out.with_name(f".{out.name}.partial")
    lines = _whole_lines(partial, batch)
    for start in range(len(lines), len(asked), batch):
        chunk = asked[start : start + batch]
        rng = torch.Generator().manual_seed(int(np.random.default_rng([seed, start]).integers(2**62)))
        replies = write_replies(model, tokenizer, chunk, tokens=tokens, temperature=temperature, rng=rng, batch=batch)
        pairs = list(zip(chunk, replies, strict=True))
        scores = rewards(*scorer, [(exchange(prompt, reply), done) for prompt, (reply, done) in pairs], batch)
        if not np.isfinite(scores).all():
            raise UserError("the reward model gave a score that is not finite; look at its weights.")
        rows = [
            {"prompt": prompt, "reply": reply, "finished": done, "reward": float(score)}
            for (prompt, (reply, done)), score in zip(pairs, scores, strict=True)
        ]
        lines += [json.dumps(row) for row in rows]
        with partial.open("a", encoding="utf-8") as file:
            file.write("".join(f"{line}\n" for line in lines[start:]))
        progress(len(lines), len(asked))
    write_text(out, "".join(f"{line}\n" for line in lines))
    partial.unlink(missing_ok=True)


def _whole_lines(partial: Path, batch: int) -> list[str]:
    """Lines of complete chunks that an earlier run has left; the file is cut to them."""
    if not partial.exists():
        return []
    text = partial.read_text("utf-8")
    lines = text.split("\n")[:-1]  # what follows the last line's end was cut off in writing
    lines = lines[: len(lines) // batch * batch]
    write_text(partial, "".join(f"{line}\n" for line in lines))
    return lines
