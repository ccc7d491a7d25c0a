"""D_theta: high-reward samples of theta, drawn from it or read from a JSONL file, and the batches that AMA takes from them
(paper, section 5 and eq. 8).

Replies are generated in chunks of prompts, each with random numbers of its own, and kept in a file as they come: a killed
run goes on with the next chunk and ends with the same samples.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from math import isfinite
from pathlib import Path

import numpy as np
import torch

from ...data.formats import prompt_of, turns_from
from ...data.records import Prompt, messages, turns_of
from ...errors import UserError
from ...files import parse_json, read_lines, text_of, write_text
from ...models.batches import Tokens, pad_replies
from ...models.chat import Message, encode_together, generate_replies
from ...models.loading import warn
from ...models.scorers import Scorer


@dataclass(frozen=True)
class Sample:
    """A conversation that ends with theta's reply, its reward if known, whether the reply ended by itself, file and line."""

    messages: list[Message]
    reward: float | None = None
    finished: bool = True
    place: str = field(default="", compare=False)


def read_samples(path: Path) -> list[Sample]:
    """Samples from lines with a prompt (`llm.data.formats`) and "reply", or {"messages"} that end with the reply; with "reward"
    and "finished" where they are known.

    Raises UserError naming file, line and key for anything else, or if only some lines have rewards.
    """
    samples = [_sample(row, where) for where, row in read_lines(path, "data", '{"prompt": "text", "reply": "text"}')]
    rewarded = [sample.reward is not None for sample in samples]
    if any(rewarded) and not all(rewarded):
        line = rewarded.index(False) + 1
        raise UserError(f"{path}, sample {line} has no reward, but others have; give all of them one, or none.")
    return samples


def draw_samples(
    model,
    tokenizer,
    scorer: Scorer,
    prompts: list[Prompt],
    out: Path,
    *,
    samples: int,
    tokens: int,
    temperature: float,
    seed: int,
    batch: int,
    progress: Callable[[int, int], None],
) -> None:
    """Write `samples` scored replies a prompt to the JSONL file `out`, atomically.

    Lines: {"prompt", "reply", "finished", "reward"}.
    progress: called with the numbers of replies so far and in all.
    """
    repeated = [prompt for prompt in prompts for _ in range(samples)]
    partial = partial_of(out)
    lines = _whole_lines(partial, batch)
    for start in range(len(lines), len(repeated), batch):
        chunk = repeated[start : start + batch]
        rng = torch.Generator().manual_seed(int(np.random.default_rng([seed, start]).integers(2**62)))
        replies = generate_replies(
            model,
            tokenizer,
            chunk,
            max_new_tokens=tokens,
            temperature=temperature,
            rng=rng,
            batch_size=batch,
            skip_special_tokens=True,
            own_ends=True,
        )
        triples = [(prompt, *reply) for prompt, reply in zip(chunk, replies, strict=True)]
        scores = scorer(triples)
        if not np.isfinite(scores).all():
            raise UserError("the reward model gave a score that is not finite; look at its weights.")
        keys = ("prompt", "reply", "finished", "reward")
        rows = [(_plain(prompt), *reply, score) for (prompt, *reply), score in zip(triples, scores.tolist())]
        lines += [json.dumps(dict(zip(keys, row, strict=True))) for row in rows]
        try:
            with partial.open("a", encoding="utf-8") as file:
                file.write("".join(f"{line}\n" for line in lines[start:]))
        except OSError as error:  # of a full disk has no name
            error.filename = str(partial)
            raise
        progress(len(lines), len(repeated))
    write_text(out, "".join(f"{line}\n" for line in lines))
    partial.unlink(missing_ok=True)


def partial_of(out: Path) -> Path:
    """Where samples lie until all are there."""
    return out.with_name(f".{out.name}.partial")


def _whole_lines(partial: Path, batch: int) -> list[str]:
    """Lines of complete chunks that an earlier run has left; the file is cut to them."""
    if not partial.exists():
        return []
    lines = []
    for line in partial.read_bytes().split(b"\n")[:-1]:  # what follows the last line's end was cut off in writing
        try:
            parse_json(line)
        except ValueError:
            break
        lines.append(line.decode())
    lines = lines[: len(lines) // batch * batch]
    write_text(partial, "".join(f"{line}\n" for line in lines))
    return lines


def note_on_keeping(samples: list[Sample], keep: int) -> list[str]:
    """A note where all of several scored samples are kept."""
    if len(samples) > keep or samples[0].reward is None:
        return []
    return [
        f"keep = {keep} keeps all {len(samples)} samples, so that their rewards decide nothing: the ratios make all of theta's replies likelier, "
        "not its best ones; give a smaller keep, or more prompts."
    ]


def selected(file: Path, keep: int, draw: int, seed: int) -> list[Sample]:
    """`select` from the samples of a file, by random numbers of a seed; warns where all of them are kept."""
    samples = read_samples(file)
    for note in note_on_keeping(samples, keep):
        warn(note)
    return select(samples, keep, draw, np.random.default_rng([seed, 0]))


def select(samples: list[Sample], keep: int, draw: int, rng: np.random.Generator) -> list[Sample]:
    """`draw` at random out of the `keep` with the highest reward (the paper: 2000 of 5000); fewer if there are fewer.

    Samples without rewards are drawn from all.
    """
    if samples[0].reward is not None:
        order = np.argsort([-sample.reward for sample in samples], kind="stable")[:keep]
    else:
        order = np.arange(len(samples))
    return [samples[i] for i in rng.permutation(order)[:draw]]


def tokenise(samples: list[Sample], tokenizer, max_length: int) -> tuple[list[Tokens], int]:
    """(token ids, how many samples were left out because their prompt alone reaches `max_length`); replies are cut there.

    Raises UserError if none is left.
    """
    found = []
    replies = [(one.messages[:-1], one.messages[-1]["content"], one.finished) for one in samples]
    for tokens in encode_together(tokenizer, replies, [one.place for one in samples]):
        room = max_length - len(tokens.context)
        if room > 0 and tokens.reply:
            found.append(Tokens(tokens.context, tokens.reply[:room]))
    if not found:
        raise UserError(f"max-length is {max_length}, which leaves no sample a reply; give more.")
    return found, len(samples) - len(found)


def batches(
    samples: Sequence[Tokens],
    size: int,
    steps: int,
    rng: np.random.Generator,
    padding: int,
    device: torch.device | str = "cpu",
    first: int = 0,
) -> Iterator[dict[str, torch.Tensor]]:
    """The batches of steps `first` .. `steps` - 1, `size` samples each: all samples in random order, then anew.

    Which samples a step gets depends on `rng` and the step only, not on `first`.
    """
    order = islice(_orders(len(samples), rng), steps * size)
    for step in range(steps):
        chosen = list(islice(order, size))
        if step >= first:
            yield pad_replies([samples[i] for i in chosen], padding).to(device).labelled()


def _orders(count: int, rng: np.random.Generator) -> Iterator[int]:
    while True:
        yield from rng.permutation(count).tolist()


def _plain(prompt: Prompt) -> str | list[Message]:
    """A prompt as JSON has it."""
    return prompt if isinstance(prompt, str) else messages(prompt)


def _sample(row: dict, where: str) -> Sample:
    if "messages" in row:
        said = messages(turns_from(row["messages"], "messages", where))
        if said[-1]["role"] != "assistant" or len(said) < 2:
            raise UserError(f"{where}: messages must end with a prompt and the assistant's reply to it.")
    else:
        said = messages(turns_of(prompt_of(row, where)))
        said.append({"role": "assistant", "content": text_of(row, "reply", where)})
    reward, finished = row.get("reward"), row.get("finished", True)
    if reward is not None and (isinstance(reward, bool) or not isinstance(reward, int | float) or not isfinite(reward)):
        raise UserError(f"{where}: reward = {reward!r} is not allowed; allowed are finite numbers.")
    if not isinstance(finished, bool):
        raise UserError(f"{where}: finished = {finished!r} is not allowed; allowed are true and false.")
    return Sample(said, reward, finished, where)
