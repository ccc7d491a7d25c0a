"""The texts of a regression average of two folders: read from files, or written by the two models themselves."""

import json
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ...data.formats import prompt_of, read_prompts
from ...data.records import Prompt
from ...errors import UserError
from ...files import described_file, read_lines, require_file, text_of, write_text
from ...models.batches import Tokens
from ...models.chat import Reply, context_of, encode_together, ids_of_prompts, require_room
from ..whole.free import KINDS, opening, write

LENGTH = 128  # new tokens of a sample, at most
BATCH = 32  # samples written together
FILE = "samples.jsonl"  # in the folder of what is made on the way, or of a front
Texts = Mapping[str, list[Tokens]]  # "theta_0": what theta_0 wrote; "theta": theta's replies
ModelOf = Callable[[int], AbstractContextManager[nn.Module]]  # 0: a live model with theta_0's weights, 1: with theta's


@dataclass(frozen=True)
class Drawing:
    """files: of samples, JSONL: {"text"} by theta_0 and {"prompt", "reply"} (and "finished") by theta; or as this module writes them, {"model",
    "context", "reply"} in token ids. Without files the models write `count` samples each: theta_0 from its first token, and every
    other one behind its chat template's user prefix where there is one; theta replies to `prompts`, a JSONL file of {"prompt"}, or
    to the users' words that theta_0 wrote.
    """

    files: tuple[Path, ...] = ()
    prompts: Path | None = None
    count: int = 128
    seed: int = 0

    def __post_init__(self) -> None:
        for key, least in {"count": 1, "seed": 0}.items():
            if getattr(self, key) < least:
                raise UserError(f"{key} = {getattr(self, key)} is not allowed; allowed are whole numbers from {least}")
        if self.files and self.prompts:
            raise UserError("samples and prompts are both given; allowed is one of them.")

    def or_kept(self, file: Path) -> "Drawing":
        """The samples that an earlier run has kept in `file`, or these where it has not."""
        return replace(self, files=(file,), prompts=None) if file.is_file() else self

    @cached_property
    def described(self) -> dict[str, Any]:
        """What decides the texts beside the two models, files by name and hash, as they are when it is first asked for; UserError for one
        that is not there.
        """
        for file in self.files:
            require_file(file, "samples", SAMPLES)
        if self.prompts:
            require_file(self.prompts, "prompts", '{"prompt": "text"}')
        if self.files:
            return {"files": list(map(described_file, self.files))}
        return {
            "prompts": self.prompts and described_file(self.prompts),
            "count": self.count,
            "length": LENGTH,
            "seed": self.seed,
        }


SAMPLES = '{"text": "what theta_0 wrote"} or {"prompt": "text", "reply": "what theta replied"}'


def samples_of(
    drawing: Drawing, model_of: ModelOf, tokenizer, files: str = "samples", prompts: str = "prompts"
) -> Texts:
    """The texts of both models, read from files or written now; UserError where there are none of one of them.

    files, prompts: the options that gave these, for messages.
    """
    if not drawing.files:
        asked = read_prompts(drawing.prompts, prompts) if drawing.prompts else None
        return _drawn(drawing, asked, model_of, tokenizer)
    texts: dict[str, list[Tokens]] = {"theta_0": [], "theta": []}
    for file in drawing.files:
        for where, row in read_lines(file, files, SAMPLES):
            model, tokens = _read(row, where, tokenizer)
            texts[model].append(tokens)
    for model, what in (
        ("theta_0", 'samples of theta-0, lines {"text"}'),
        ("theta", 'replies of theta, lines {"prompt", "reply"}'),
    ):
        if not texts[model]:
            raise UserError(f"{files} hold no {what}; allowed are files with some of both.")
    return texts


def write_samples(file: Path, texts: Texts) -> None:
    """As `samples_of` reads them, in token ids."""
    rows = [{"model": model, **one._asdict()} for model, found in texts.items() for one in found]
    write_text(file, "".join(f"{json.dumps(row)}\n" for row in rows))


def _read(row: dict, where: str, tokenizer) -> tuple[str, Tokens]:
    if "model" in row:
        ids = [row.get(key) for key in ("context", "reply")]
        right = all(isinstance(part, list) and all(type(token) is int for token in part) for part in ids)
        if row["model"] not in ("theta_0", "theta") or not right:
            raise UserError(f'{where}: allowed are "model" theta_0 or theta and token ids under "context" and "reply".')
        return row["model"], Tokens(*ids)
    if "text" in row:
        return "theta_0", Tokens([], tokenizer.encode(text_of(row, "text", where)))
    finished = row.get("finished", True)
    if not isinstance(finished, bool):
        raise UserError(f"{where}: finished = {finished!r} is not allowed; allowed are true and false.")
    reply: Reply = (prompt_of(row, where), text_of(row, "reply", where), finished)
    return "theta", encode_together(tokenizer, [reply], [where])[0]


def _drawn(drawing: Drawing, asked: list[Prompt] | None, model_of: ModelOf, tokenizer) -> Texts:
    kinds = KINDS if tokenizer.chat_template else ("free",)
    if asked is None and "chat" not in kinds:
        raise UserError(
            "prompts = none is not allowed: the tokenizer has no chat template; give prompts, or samples of both models."
        )
    contexts = [opening(tokenizer, kinds[number % len(kinds)]) for number in range(drawing.count)]

    def written(side: int, contexts: list[list[int]]) -> list[Tokens]:
        rng = torch.Generator().manual_seed(2 * drawing.seed + side)
        with model_of(side) as model:
            room, longest = context_of(model.config), max(map(len, contexts))
            if side:
                require_room(longest + LENGTH, room, "the longest prompt + its reply")
            return write(model, tokenizer, contexts, min(LENGTH, room - longest), rng, BATCH)

    free = written(0, contexts)
    if asked is None:
        special = {*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder}
        asked = [_words(tokenizer, one.reply, special) for one in free[1 :: len(kinds)]]
        asked = [words for words in asked if words]
    if not asked:
        raise UserError(
            "theta-0 wrote no user's words behind its chat template; give prompts, or samples of both models."
        )
    prompts = [asked[number % len(asked)] for number in range(drawing.count)]
    return {"theta_0": free, "theta": written(1, ids_of_prompts(tokenizer, prompts))}


def _words(tokenizer, reply: list[int], special: set[int]) -> str:
    """A user's words: what comes before the first special token."""
    end = next((place for place, token in enumerate(reply) if token in special), len(reply))
    return tokenizer.decode(reply[:end]).strip()
