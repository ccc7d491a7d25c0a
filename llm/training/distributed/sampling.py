"""Sampling replies on many processes: each takes its share of the prompts, and all write into one folder.

Prompts are dealt out in chunks, and a chunk's replies follow from the seed and its number alone, so they are the same whichever
process writes them. A finished chunk is a file that appears whole; a killed run goes on with those that are missing.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ...config.trainers import Hardware, Writing
from ...errors import UserError
from ...files import read_lines, write_text
from ...models.batches import Tokens
from ...models.chat import Message, context_of, end_id, prompt_ids, require_room
from . import vllm_writer
from .models import age, load_frozen, load_tokenizer
from .processes import gathered, print_once, read_together


@dataclass(frozen=True)
class Sample:
    """One reply as it was sampled. reply_ids: without the end token. finished: whether the model ended it by itself."""

    prompt: int  # its place in the list of prompts
    prompt_ids: list[int]
    reply_ids: list[int]
    finished: bool
    text: str

    @property
    def length(self) -> int:
        """Tokens of the prompt and the reply."""
        return len(self.prompt_ids) + len(self.reply_ids)

    def with_end(self, end_id: int) -> list[int]:
        """The reply's ids, with the end token if it was reached."""
        return self.reply_ids + [end_id] * self.finished


def fitting(tokenizer, prompts: list[list[Message]], writing: Writing, context: int) -> list[list[Message]]:
    """The prompts that are short enough; the number of those left out is printed.

    Raises:
        UserError: replies to the longest prompts allowed would not fit into the context, or no prompt is short enough.
    """
    require_room(writing.prompt_tokens + writing.max_new_tokens, context, "prompt_tokens + max_new_tokens")
    kept = [prompt for prompt in prompts if len(prompt_ids(tokenizer, prompt)) <= writing.prompt_tokens]
    if not kept:
        raise UserError(
            f"prompts: none of {len(prompts)} has at most prompt_tokens = {writing.prompt_tokens} tokens; allowed is at least 1"
        )
    if len(kept) < len(prompts):
        print_once(
            f"{len(prompts) - len(kept)} of {len(prompts)} prompts are longer than {writing.prompt_tokens} tokens and left out"
        )
    return kept


def chunks_of(prompts: int, samples: int, hardware: Hardware) -> list[range]:
    """Prompts that are answered together, about `generation_batch` replies a chunk."""
    size = max(1, hardware.generation_batch // samples)
    return [range(start, min(start + size, prompts)) for start in range(0, prompts, size)]


def write_samples(
    accelerator,
    model: str | Path,
    prompts: list[list[int]],
    samples: int,
    writing: Writing,
    hardware: Hardware,
    seed: list[int],
    folder: Path,
) -> list[Sample]:
    """`samples` replies to each prompt, prompt by prompt, the same list in every process.

    Args:
        model: a folder; each process loads it whole.
        seed: numbers that tell this sampling from others.
        folder: where the chunks go, of this sampling only.
    """
    parts = chunks_of(len(prompts), samples, hardware)
    own = range(accelerator.process_index, len(parts), accelerator.num_processes)
    mine = [i for i in own if not _file(folder, i).is_file()]
    if mine:
        asked, leave = {i: [prompts[p] for p in parts[i]] for i in mine}, partial(_leave, folder, parts, prompts)
        if hardware.sampler == "vllm":  # on this process's GPU
            gpu = accelerator.local_process_index
            vllm_writer.answer(gpu, str(model), asked, samples, writing, hardware, seed, leave)
        else:
            for i, replies in _transformers_writer(accelerator, model, asked, samples, writing, hardware, seed):
                leave(i, replies)
    accelerator.wait_for_everyone()
    return [Sample(**row) for i in range(len(parts)) for _, row in read_lines(_file(folder, i))]


def _leave(folder: Path, parts: list[range], prompts: list[list[int]], chunk: int, replies: list[list[tuple]]) -> None:
    answered = zip(parts[chunk], replies, strict=True)
    rows = [Sample(p, prompts[p], *reply) for p, group in answered for reply in group]
    write_text(_file(folder, chunk), "".join(json.dumps(vars(row)) + "\n" for row in rows))


def samples_folder(out: Path, model: str, iteration: int, told: object) -> Path:
    """A folder named after all that samples follow from, so that those of another run are not taken for this one's.

    told: settings and whatever else shapes them, by its `repr`.
    """
    name = hashlib.sha256(repr((told, model, age(model))).encode()).hexdigest()[:12]
    return out / f".samples{iteration:02d}-{name}"


def _file(folder: Path, chunk: int) -> Path:
    return folder / f"chunk{chunk:05d}.jsonl"


def _transformers_writer(
    accelerator,
    model,
    asked: dict[int, list[list[int]]],
    samples: int,
    writing: Writing,
    hardware: Hardware,
    seed: list[int],
):
    """(chunk, for each prompt its replies as (ids, finished, text)) by `generate` of transformers."""
    import numpy as np
    import torch
    from transformers import GenerationConfig

    from ...models.batches import left_pad
    from ...models.chat import end_id
    from .models import load_frozen, load_tokenizer

    writer, tokenizer = load_frozen(model, "causal", hardware, accelerator.device), load_tokenizer(model)
    end = end_id(tokenizer)
    require_room(
        writing.prompt_tokens + writing.max_new_tokens, context_of(writer.config), "prompt_tokens + max_new_tokens"
    )
    # Everything that shapes the distribution is set, so that nothing of a model's own generation settings is left.
    sampled = {"do_sample": True, "temperature": writing.temperature, "top_k": 0, "top_p": 1.0}
    limits = {"max_new_tokens": writing.max_new_tokens, "num_return_sequences": samples, "eos_token_id": end}
    writer.generation_config = GenerationConfig(**sampled, **limits, pad_token_id=tokenizer.pad_token_id)
    devices = [accelerator.device] if accelerator.device.type == "cuda" else []
    for chunk, prompts in asked.items():
        ids, mask = left_pad(prompts, tokenizer.pad_token_id)
        with torch.random.fork_rng(devices=devices), torch.no_grad():
            torch.manual_seed(int(np.random.default_rng([*seed, chunk]).integers(2**62)))
            written = writer.generate(input_ids=ids.to(accelerator.device), attention_mask=mask.to(accelerator.device))
        replies = [_ended(row, end, tokenizer) for row in written[:, ids.shape[1] :].tolist()]
        yield chunk, [replies[k : k + samples] for k in range(0, len(replies), samples)]


def _ended(ids: list[int], end: int, tokenizer) -> tuple[list[int], bool, str]:
    finished = end in ids
    kept = ids[: ids.index(end)] if finished else ids
    return kept, finished, tokenizer.decode(kept, skip_special_tokens=True)


def rewards(accelerator, reward: str | Path, samples: list[Sample], hardware: Hardware) -> list[float]:
    """The learned reward of each sample, the same list in every process. The reward model has the tokens of the one that wrote."""
    import torch

    from ...models.rewards import sequence_scores

    model, tokenizer = load_frozen(reward, "reward", hardware, accelerator.device), load_tokenizer(reward)
    end, pad = end_id(tokenizer), tokenizer.pad_token_id

    @torch.no_grad()
    def score(some: list[Sample]) -> list[float]:
        return sequence_scores(model, [Tokens(s.prompt_ids, s.with_end(end)) for s in some], pad).tolist()

    longest = max(sample.length for sample in samples)
    return in_shares(accelerator, samples, score, read_together(hardware.generation_batch, longest))


def in_shares(accelerator, samples: list[Sample], ask: Callable[[list[Sample]], list], size: int) -> list:
    """What `ask` gives for each sample, `size` of similar length at a time, in the samples' order and in every process."""
    order = sorted(range(len(samples)), key=lambda i: samples[i].length)
    mine = order[accelerator.process_index :: accelerator.num_processes]
    found: list[tuple] = []
    for start in range(0, len(mine), size):
        some = mine[start : start + size]
        found += zip(some, ask([samples[i] for i in some]), strict=True)
    return [answer for _, answer in sorted(gathered(accelerator, found), key=lambda pair: pair[0])]
