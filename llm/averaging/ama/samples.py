"""D_theta: high-reward samples of theta, read from a JSONL file, and the batches that AMA takes from
them (eq. 8).
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from math import isfinite
from pathlib import Path

import numpy as np
import torch

from ...errors import UserError
from ...models.conversations import Message, Tokens, batch_of, conversation

_ROLES = ("system", "user", "assistant")


@dataclass(frozen=True)
class Sample:
    """A conversation that ends with theta's reply, its reward if known, and whether the reply ended by
    itself.
    """

    messages: list[Message]
    reward: float | None = None
    finished: bool = True


def read_samples(path: Path) -> list[Sample]:
    """Samples from lines {"prompt", "reply"} or {"messages"}, with "reward" and "finished" where they
    are known.

    Raises UserError naming file, line and key for anything else, or if only some lines have rewards.
    """
    samples = [_sample(row, where) for where, row in read_lines(path)]
    rewarded = [sample.reward is not None for sample in samples]
    if any(rewarded) and not all(rewarded):
        line = rewarded.index(False) + 1
        raise UserError(f"{path}, sample {line} has no reward, but others have; give all of them one, or none.")
    return samples


def read_lines(path: Path) -> list[tuple[str, dict]]:
    """("file, line n", object) for each line of a JSONL file that is not blank; UserError if there is
    none.
    """
    if not path.is_file():
        raise UserError(f"{str(path)!r} is no file; give a JSONL file.")
    found = []
    for number, line in enumerate(path.read_text("utf-8").split("\n"), 1):
        if line.strip():
            where = f"{path}, line {number}"
            try:
                row = json.loads(line)
            except ValueError as error:
                raise UserError(f"{where} is no JSON ({error}).") from None
            if not isinstance(row, dict):
                raise UserError(f"{where} is {row!r}, allowed is a JSON object.")
            found.append((where, row))
    if not found:
        raise UserError(f"{path} holds no lines; give at least one.")
    return found


def text_of(row: dict, key: str, where: str) -> str:
    """The text under `key`; UserError if it is missing or no text."""
    if not isinstance(row.get(key), str):
        raise UserError(f"{where}: {key} is {row.get(key)!r}, allowed is a text.")
    return row[key]


def select(samples: list[Sample], keep: int, draw: int, rng: np.random.Generator) -> list[Sample]:
    """`draw` at random out of the `keep` with the highest reward (the paper: 2000 of 5000); fewer if
    there are fewer.

    Samples without rewards are drawn from all.
    """
    if samples[0].reward is not None:
        order = np.argsort([-sample.reward for sample in samples], kind="stable")[:keep]
    else:
        order = np.arange(len(samples))
    return [samples[i] for i in rng.permutation(order)[:draw]]


def tokenise(samples: list[Sample], tokenizer, max_length: int) -> tuple[list[Tokens], int]:
    """(token ids, how many samples were left out because their prompt alone reaches `max_length`);
    replies are cut there.

    Raises UserError if none is left.
    """
    found = []
    for sample in samples:
        tokens = conversation(tokenizer, sample.messages, sample.finished)
        room = max_length - len(tokens.context)
        if room > 0 and tokens.reply:
            found.append(Tokens(tokens.context, tokens.reply[:room]))
    if not found:
        raise UserError(f"max-length is {max_length}, which leaves no sample a reply; give more.")
    return found, len(samples) - len(found)


def batches(
    samples: Sequence[Tokens], size: int, steps: int, rng: np.random.Generator, padding: int, first: int = 0
) -> Iterator[dict[str, torch.Tensor]]:
    """The batches of steps `first` .. `steps` - 1, `size` samples each: all samples in random order,
    then anew.

    Which samples a step gets depends on `rng` and the step only, not on `first`.
    """
    order = islice(_orders(len(samples), rng), steps * size)
    for step in range(steps):
        chosen = list(islice(order, size))
        if step >= first:
            yield batch_of([samples[i] for i in chosen], padding)


def _orders(count: int, rng: np.random.Generator) -> Iterator[int]:
    while True:
        yield from rng.permutation(count).tolist()


def _sample(row: dict, where: str) -> Sample:
    messages = (
        row["messages"]
        if "messages" in row
        else [
            {"role": "user", "content": text_of(row, "prompt", where)},
            {"role": "assistant", "content": text_of(row, "reply", where)},
        ]
    )
    reward, finished = row.get("reward"), row.get("finished", True)
    if reward is not None and (isinstance(reward, bool) or not isinstance(reward, int | float) or not isfinite(reward)):
        raise UserError(f"{where}: reward is {reward!r}, allowed are finite numbers.")
    if not isinstance(finished, bool):
        raise UserError(f"{where}: finished is {finished!r}, allowed are true and false.")
    return Sample(_checked(messages, where), reward, finished)


def _checked(messages, where: str) -> list[Message]:
    if not isinstance(messages, list) or not messages:
        raise UserError(f"{where}: messages is {messages!r}, allowed is a list of messages.")
    for message in messages:
        if not isinstance(message, dict) or message.get("role") not in _ROLES:
            raise UserError(f"{where}: messages has {message!r}, allowed roles are {', '.join(_ROLES)}.")
        text_of(message, "content", where)
    if messages[-1]["role"] != "assistant" or len(messages) < 2:
        raise UserError(f"{where}: messages must end with a prompt and the assistant's reply to it.")
    return messages
