"""Sampling replies on many processes: each takes its share of the prompts, and all write into one folder.

Prompts are drawn for in chunks: what is drawn for a reply follows from the seed, its chunk's number and its place in the chunk, so
replies are the same, but for rounding, however many processes write them. Each process has an even share of the prompts, of
whole chunks and parts of chunks. A finished part is a file that appears whole; a killed run goes on with those that are missing.
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
from ...models.batches import Tokens, left_pad
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


@dataclass(frozen=True)
class Part:
    """Prompts that a process answers together, all of them of one chunk. number, chunk: of that chunk, and all of its prompts."""

    number: int
    chunk: range
    prompts: range

    @property
    def places(self) -> range:
        """The prompts' places in the chunk."""
        return range(self.prompts.start - self.chunk.start, self.prompts.stop - self.chunk.start)

    @property
    def file(self) -> str:
        return f"prompts{self.prompts.start:06d}-{self.prompts.stop:06d}.jsonl"


def chunks_of(prompts: int, samples: int, hardware: Hardware) -> list[range]:
    """Prompts that one process would answer together, about `generation_batch` replies a chunk."""
    size = max(1, hardware.generation_batch // samples)
    return [range(start, min(start + size, prompts)) for start in range(0, prompts, size)]


def parts_of(chunks: list[range], processes: int) -> list[list[Part]]:
    """The parts of each process: of n prompts each has n / processes, rounded down or up, one after the other."""
    prompts = chunks[-1].stop
    ends = [prompts * process // processes for process in range(processes + 1)]
    shares = [range(start, stop) for start, stop in zip(ends, ends[1:])]
    return [
        [
            Part(number, chunk, common)
            for number, chunk in enumerate(chunks)
            if (common := range(max(chunk.start, share.start), min(chunk.stop, share.stop)))
        ]
        for share in shares
    ]


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
        folder: where the parts go, of this sampling only.
    """
    shares = parts_of(chunks_of(len(prompts), samples, hardware), accelerator.num_processes)
    mine = [part for part in shares[accelerator.process_index] if not (folder / part.file).is_file()]
    if mine:
        asked, leave = {part: [prompts[p] for p in part.prompts] for part in mine}, partial(_leave, folder, prompts)
        if hardware.sampler == "vllm":  # on this process's GPU
            gpu = accelerator.local_process_index
            vllm_writer.answer(gpu, str(model), asked, samples, writing, hardware, seed, leave)
        else:
            for part, replies in by_transformers(accelerator, model, asked, samples, writing, hardware, seed):
                leave(part, replies)
    accelerator.wait_for_everyone()
    return [Sample(**row) for share in shares for part in share for _, row in read_lines(folder / part.file)]


def _leave(folder: Path, prompts: list[list[int]], part: Part, replies: list[list[tuple]]) -> None:
    answered = zip(part.prompts, replies, strict=True)
    rows = [Sample(p, prompts[p], *reply) for p, group in answered for reply in group]
    write_text(folder / part.file, "".join(json.dumps(vars(row)) + "\n" for row in rows))


def samples_folder(out: Path, model: str, iteration: int, told: object, hardware: Hardware) -> Path:
    """A folder named after all that samples follow from, so that those of another run are not taken for this one's.

    told: settings and whatever else shapes them, by its `repr`; of `hardware` what writes them.
    """
    by = hardware.sampler, hardware.dtype, hardware.generation_batch
    name = hashlib.sha256(repr((told, model, age(model), by)).encode()).hexdigest()[:12]
    return out / f".samples{iteration:02d}-{name}"


def by_transformers(
    accelerator,
    model,
    asked: dict[Part, list[list[int]]],
    samples: int,
    writing: Writing,
    hardware: Hardware,
    seed: list[int],
):
    """(part, for each prompt its replies as (ids, finished, text)) by `generate` of transformers."""
    import numpy as np
    import torch
    from transformers import GenerationConfig, LogitsProcessorList

    writer, tokenizer = load_frozen(model, "causal", hardware, accelerator.device), load_tokenizer(model)
    end = end_id(tokenizer)
    require_room(
        writing.prompt_tokens + writing.max_new_tokens, context_of(writer.config), "prompt_tokens + max_new_tokens"
    )
    # Everything that shapes the distribution is set, so that nothing of a model's own generation settings is left.
    limits = {"max_new_tokens": writing.max_new_tokens, "eos_token_id": end}
    writer.generation_config = GenerationConfig(do_sample=False, **limits, pad_token_id=tokenizer.pad_token_id)
    for part, prompts in asked.items():
        ids, mask = left_pad([prompt for prompt in prompts for _ in range(samples)], tokenizer.pad_token_id)
        drawn = int(np.random.default_rng([*seed, part.number]).integers(2**62))
        draw = LogitsProcessorList([partial(_race, _generator(accelerator.device, drawn), part, writing.temperature)])
        given = {"input_ids": ids.to(accelerator.device), "attention_mask": mask.to(accelerator.device)}
        with torch.no_grad():
            written = writer.generate(**given, logits_processor=draw)
        replies = [_ended(row, end, tokenizer) for row in written[:, ids.shape[1] :].tolist()]
        yield part, [replies[k : k + samples] for k in range(0, len(replies), samples)]


def _generator(device, seed: int):
    import torch

    return torch.Generator(device).manual_seed(seed)


def _race(rng, part: Part, temperature: float, ids, logits):
    """Logits -> numbers whose largest is the token that `torch.multinomial` would draw if it drew for the whole chunk.

    It divides probabilities by numbers of the exponential distribution and takes the largest, which has token i with probability p_i.
    Those of all rows are drawn here, (rows of the chunk, vocabulary), and the part's own are used.
    """
    samples = len(logits) // len(part.prompts)
    noise = logits.new_empty(len(part.chunk) * samples, logits.shape[1]).exponential_(generator=rng)
    own = noise[part.places.start * samples : part.places.stop * samples]
    return (logits / temperature).softmax(dim=-1) / own


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
