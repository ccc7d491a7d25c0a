"""Replies in the format of AlpacaEval (Dubois et al., arXiv 2404.04475), whose GPT-4 judge needs a key of your own.

A file holds one JSON list of {"instruction", "output", "generator", "dataset", "datasplit"}. Judge it with
`alpaca_eval --model_outputs FILE`, or one model's against another's with `--reference_outputs OTHER` as well.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ...errors import UserError, short
from ...files import parse_json, read_lines, require_file, text_of, write_json


@dataclass(frozen=True)
class Instruction:
    """A prompt, and the name of the collection it comes from."""

    text: str
    dataset: str


@dataclass(frozen=True)
class Outputs:
    """What one model, the `generator`, replied to each instruction."""

    generator: str
    instructions: list[str]
    replies: list[str]


@dataclass(frozen=True)
class Sampling:
    """tokens: new ones of a reply at most. temperature: 0 for the likeliest reply. batch: prompts at a time. system: a turn before each."""

    tokens: int
    temperature: float
    batch: int
    seed: int
    system: str | None = None

    def __post_init__(self) -> None:
        for key, least in {"tokens": 1, "batch": 1, "seed": 0}.items():
            if getattr(self, key) < least:
                raise UserError(f"{key} = {getattr(self, key)} is not allowed; allowed are whole numbers from {least}.")
        if not 0 <= self.temperature < float("inf"):
            raise UserError(f"temperature = {self.temperature} is not allowed; allowed are finite numbers from 0.")


def replies_to(prompts: Sequence[str], model, tokenizer, sampling: Sampling) -> list[str]:
    """A reply to each prompt; the same prompts and seed give every model the same random numbers, so that comparisons are paired."""
    import torch

    from ...data.records import turns_of
    from ...models.chat import context_of, generate_replies, ids_of_prompts, require_longest

    asked = [turns_of(prompt, sampling.system) for prompt in prompts]
    lengths = [len(ids) + sampling.tokens for ids in ids_of_prompts(tokenizer, asked)]
    require_longest(lengths, context_of(model.config), "instruction", "with its longest reply")
    written = generate_replies(
        model,
        tokenizer,
        asked,
        max_new_tokens=sampling.tokens,
        temperature=sampling.temperature,
        rng=torch.Generator().manual_seed(sampling.seed) if sampling.temperature > 0 else None,
        batch_size=sampling.batch,
        skip_special_tokens=True,
        own_ends=True,
    )
    return [reply for reply, _ in written]


def read_instructions(path: Path) -> list[Instruction]:
    """AlpacaEval's own instructions (a JSON list of {"instruction", "dataset"}), or lines {"prompt"} of a JSONL file.

    Raises UserError naming file, entry and key for anything else.
    """
    if path.suffix == ".json":
        found = _entries(path, '[{"instruction": "text"}]', "instructions")
        return [Instruction(text_of(row, "instruction", where), row.get("dataset", path.stem)) for where, row in found]
    lines = read_lines(path, "instructions", '{"prompt": "text"}')
    return [Instruction(text_of(row, "prompt", where), path.stem) for where, row in lines]


def write_outputs(path: Path, generator: str, instructions: Sequence[Instruction], replies: Sequence[str]) -> None:
    """Write one model's replies atomically."""
    rows = [
        {
            "instruction": asked.text,
            "output": reply,
            "generator": generator,
            "dataset": asked.dataset,
            "datasplit": "eval",
        }
        for asked, reply in zip(instructions, replies, strict=True)
    ]
    write_json(path, rows)


def read_outputs(path: Path) -> Outputs:
    """The replies of one model; UserError for a file of another format, or of several generators."""
    entries = _entries(path, '[{"instruction": "text", "output": "text", "generator": "name"}]')
    generators = sorted({text_of(row, "generator", where) for where, row in entries})
    if len(generators) > 1:
        raise UserError(f"{path} has the generators {', '.join(generators)}; allowed is one.")
    instructions = [text_of(row, "instruction", where) for where, row in entries]
    return Outputs(generators[0], instructions, [text_of(row, "output", where) for where, row in entries])


def paired(own: Outputs, rival: Outputs) -> tuple[list[str], list[str], list[str]]:
    """(instructions, own replies, the rival's), in the order of `own`; UserError unless both answer the same ones."""
    if own.instructions == rival.instructions:
        return own.instructions, own.replies, rival.replies
    theirs = dict(zip(rival.instructions, rival.replies, strict=True))
    repeated = [one for side in (own, rival) for one, count in Counter(side.instructions).items() if count > 1]
    if repeated:
        raise UserError(
            f"{short(repeated[0])} is answered twice in one of the files; allowed is once, or both in one order."
        )
    for name, missing in (
        (rival.generator, set(own.instructions) - set(theirs)),
        (own.generator, set(theirs) - set(own.instructions)),
    ):
        if missing:
            raise UserError(
                f"{name} has no output for {min(missing)!r}; both models must answer the same instructions."
            )
    return own.instructions, own.replies, [theirs[instruction] for instruction in own.instructions]


def _entries(path: Path, example: str, option: str = "") -> list[tuple[str, dict]]:
    """("file, entry n", object) for each entry of a JSON list."""
    require_file(path, option, f"a JSON list, as {example}")
    named = f"--{option} " if option else ""
    try:
        found = parse_json(path.read_bytes())
    except ValueError as error:
        raise UserError(f"{named}{path} is no JSON ({error}); allowed is {example}.") from None
    if not isinstance(found, list) or not found or not all(isinstance(row, dict) for row in found):
        raise UserError(f"{named}{path} must hold a JSON list of objects, at least one, as {example}.")
    return [(f"{named}{path}, entry {number}", row) for number, row in enumerate(found, 1)]
