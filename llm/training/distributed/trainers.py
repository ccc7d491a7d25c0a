"""Instruction tuning, reward models and DPO on accelerate, each one long descent.

Instruction tuning (paper.md section 3, "SFT"): the paper's "block 2048" is an option of LMFlow, the authors' code base: as
it stood then, it laid texts end to end, cut the stream into blocks of that many tokens, and counted every token of its
`text_only` data in the loss, but only the output of its `text2text` data, which knows no more than one turn. Conversations
of many turns, as ShareGPT's, are of the first sort, so `loss_on: all` is the paper's as far as can be known;
`loss_on: replies` counts all replies of a conversation and nothing else. Here the last block of the stream is kept,
shorter than the others.
"""

import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from ...config.trainers import Descending, DpoSettings, Hardware, RewardSettings, SftSettings
from ...errors import UserError
from ...files import write_json, written
from ...models.batches import IGNORED, Tokens, pad_replies, pad_right
from ...models.chat import Message, context_of, encode_marked, pair_ids, require_room
from ...models.likelihood import reply_log_probs
from ...models.rewards import sequence_scores
from ..iterations import iteration_folder
from ..loop import count_minibatches, minibatches, token_loss
from ..rlhf.preferences import bradley_terry, dpo_margins
from .loop import Learner, Objective, fit, learner_of
from .models import Head, Start, age, load_tokenizer, write_model
from .processes import make_accelerator, require_device, split
from .rows import Mapped, Rows, mapped
from .states import States

SIDES = ("chosen_ids", "rejected_ids")
PART = 4096  # pairs that theta_0 reads between two moments from which a killed run goes on


@dataclass(frozen=True)
class Task:
    """One descent on rows of ids.

    Args:
        head, forward: the model, and what is read of it (`llm.training.distributed.loop.Learned`).
        prepare: (learner, a folder that stays until the run is done) -> (a row's number) -> the row as the objective takes it.
    """

    start: Start
    settings: Descending
    hardware: Hardware
    out: Path
    rows: Mapped
    head: Head
    forward: Callable
    objective: Objective
    prepare: Callable[[Learner, Path], Callable[[int], Any]]

    @property
    def steps(self) -> int:
        descent = self.settings.descent
        return count_minibatches(len(self.rows.rows), descent.batch, descent.epochs)

    def run(self, ends: dict[int, Path]) -> list[float]:
        """Train to the end from where an earlier run stopped; the loss of every step. ends: step -> the folder of the model after it."""
        descent, hardware, out = self.settings.descent, self.hardware, self.out
        dealt = split(descent.batch, hardware)
        accelerator = make_accelerator(hardware, dealt)
        learner, origin = learner_of(
            accelerator, self.start, self.head, self.forward, self.settings, self.steps, hardware
        )
        told = (self.settings, hardware.launcher, self.start, age(self.start.model), self.rows.name)
        states = States.beside(accelerator, out, told)
        row_of = self.prepare(learner, states.folder)
        torch.manual_seed(self.start.seed + accelerator.process_index)  # of dropout; a state has its own
        losses = states.load()
        numbers, rng = range(len(self.rows.rows)), np.random.default_rng(self.start.seed)
        order = islice(minibatches(numbers, descent.batch, descent.epochs, rng), len(losses), None)
        batches = (list(map(row_of, batch)) for batch in order)
        steps = fit(learner, batches, self.objective, dealt, steps=self.steps, first_step=len(losses))
        is_main = accelerator.is_main_process
        bar = tqdm(steps, out.name, self.steps, initial=len(losses), unit="step", disable=not is_main)
        for (loss,) in bar:
            losses.append(loss)
            if folder := ends.get(len(losses)):
                weights = learner.weights("model")
                if is_main:
                    write_model(weights, origin, hardware.dtype, folder)
            if len(losses) < self.steps and states.is_due(hardware.checkpoint_minutes):
                states.save(losses)
        if is_main:
            write_json(out.with_name(f"{out.name}.losses.json"), losses)
            shutil.rmtree(self.rows.folder)
        states.forget()
        accelerator.free_memory()
        return losses


def sft(start: Start, conversations: Rows, settings: SftSettings, hardware: Hardware, out: Path) -> list[float]:
    """Write theta_0 to `out`, tuned from theta_pre; the loss of every step, in nats a token.

    Args:
        conversations: lists of messages.

    Raises:
        UserError: the batch does not divide, the block is longer than the context, there is nothing to learn, ...
    """
    tokenizer = _tokenizer_for(start, settings.block, "block", hardware)
    encode = partial(blocks, tokenizer, block=settings.block, loss_on=settings.loss_on)
    made = mapped(conversations, tokenizer, ("blocks", settings.block, settings.loss_on), out, encode)
    objective = Objective(
        collate=lambda rows: pad_right([(row["input_ids"], _weights(row)) for row in rows], tokenizer.pad_token_id),
        count=lambda row: sum(_weights(row)[1:]),
        loss=lambda module, batch: module(batch)[None],
    )
    task = Task(start, settings, hardware, out, made, "causal", token_loss, objective, lambda *_: made.rows.__getitem__)
    return task.run({task.steps: out})


def blocks(
    tokenizer, conversations: Iterable[list[Message]], block: int, loss_on: str
) -> Iterator[dict[str, list[int]]]:
    """{"input_ids", "labels"} of `block` tokens each, the last one maybe shorter; blocks without any label are left out.

    Raises UserError where no block has one.
    """
    ids: list[int] = []
    labels: list[int] = []
    count = made = 0
    for messages in conversations:
        count += 1
        whole, in_reply = encode_marked(tokenizer, messages)
        ids += whole
        labels += [
            token if loss_on == "all" or learned else IGNORED for token, learned in zip(whole, in_reply, strict=True)
        ]
        while len(ids) >= block:
            found, ids, labels = {"input_ids": ids[:block], "labels": labels[:block]}, ids[block:], labels[block:]
            if _has_labels(found):
                made += 1
                yield found
    if _has_labels(last := {"input_ids": ids, "labels": labels}):
        yield last
    elif not made:
        raise UserError(f"conversations: {count} given, without any reply; allowed is at least 1 reply")


def _has_labels(row: dict[str, list[int]]) -> bool:
    """Whether anything is learned: the first token has none before it."""
    return any(_weights(row)[1:])


def _weights(row: dict[str, list[int]]) -> list[float]:
    return [float(label != IGNORED) for label in row["labels"]]


def _tokenizer_for(start: Start, tokens: int, key: str, hardware: Hardware):
    """The start's; UserError where its context has no room for rows of so many tokens, which the settings call `key`, and where the
    hardware is not here.
    """
    from transformers import AutoConfig

    require_device(hardware)
    tokenizer = load_tokenizer(start.model)
    require_room(tokens, context_of(AutoConfig.from_pretrained(start.model)), key)
    return tokenizer


def reward(start: Start, pairs: Rows, settings: RewardSettings, hardware: Hardware, out: Path) -> list[float]:
    """Write a sequence classifier with one output to `out`, the start's body with a new head; the loss of every step.

    The loss is Bradley and Terry's (paper.md section 3).

    Args:
        pairs: rows {"prompt" (messages), "chosen", "rejected" (texts)}.
    """
    tokenizer, made = _encoded(start, pairs, settings, hardware, out)

    def loss(module, sequences: list[Tokens]) -> torch.Tensor:
        chosen, rejected = module(sequences).chunk(2)
        return bradley_terry(chosen - rejected)[None]

    forward = partial(sequence_scores, padding=tokenizer.pad_token_id)
    objective = Objective(collate=_sequences, count=lambda row: 1, loss=loss)
    task = Task(start, settings, hardware, out, made, "reward", forward, objective, lambda *_: made.rows.__getitem__)
    return task.run({task.steps: out})


def dpo(start: Start, pairs: Rows, settings: DpoSettings, hardware: Hardware, out: Path) -> list[float]:
    """DPO (Rafailov et al., arXiv 2305.18290), from theta_0 to theta without a reward model; the loss of every step.

    `out/iteration<i>` is the model after the i-th of `settings.iterations` equal stretches of steps.

    Args:
        pairs: rows {"prompt" (messages), "chosen", "rejected" (texts)}.
    """
    tokenizer, made = _encoded(start, pairs, settings, hardware, out)
    pad = tokenizer.pad_token_id

    def loss(module, given: tuple) -> torch.Tensor:
        batch, reference = given
        log_probs = module(batch)
        return bradley_terry(dpo_margins(log_probs, reference.to(log_probs.device), settings.beta))[None]

    def collate(rows: list[tuple]) -> tuple:
        pairs, read = zip(*rows, strict=True)
        return pad_replies(_sequences(pairs), pad), torch.tensor(np.array(read).T.ravel(), dtype=torch.float32)

    def prepare(learner: Learner, folder: Path) -> Callable[[int], tuple]:
        reference = _reference(
            learner, made.rows, pad, 2 * hardware.per_device_batch, folder
        )  # as many as learn together
        return lambda i: (made.rows[i], reference[i])

    objective = Objective(collate=collate, count=lambda row: 1, loss=loss)
    task = Task(start, settings, hardware, out, made, "causal", reply_log_probs, objective, prepare)
    steps, count = task.steps, settings.iterations
    if count > steps:
        raise UserError(f"iterations = {count} is not allowed; allowed are 1 to {steps}, the number of steps")
    return task.run({steps * i // count: iteration_folder(out, i) for i in range(1, count + 1)})


def _reference(learner: Learner, pairs, pad_id: int, size: int, folder: Path) -> np.ndarray:
    """theta_0's log p of both replies of each pair, (pairs, 2): by the policy, before it learns. A killed run goes on with parts that
    are missing.
    """
    accelerator = learner.accelerator
    parts = [range(start, min(start + PART, len(pairs))) for start in range(0, len(pairs), PART)]
    files = [folder / f"reference{i:05d}.npy" for i in range(len(parts))]
    missing = [not file.is_file() for file in files]  # looked at before anyone writes
    accelerator.wait_for_everyone()
    for part, file, is_missing in zip(parts, files, missing, strict=True):
        if is_missing:
            found = np.array(learner.outputs(_sequences([pairs[i] for i in part]), pad_id, size))
            if accelerator.is_main_process:
                with written(file) as aside:
                    np.save(aside, found.reshape(2, -1).T)
    accelerator.wait_for_everyone()
    return np.concatenate([np.load(file) for file in files])


def _encoded(start: Start, pairs: Rows, settings: RewardSettings | DpoSettings, hardware: Hardware, out: Path):
    """(the tokenizer, the pairs as ids)."""
    tokenizer = _tokenizer_for(start, settings.length, "length", hardware)
    encode = partial(_pairs, tokenizer, length=settings.length)
    return tokenizer, mapped(pairs, tokenizer, ("pairs", settings.length), out, encode)


def _sequences(pairs: Sequence[dict]) -> list[Tokens]:
    """Every pair's preferred reply with its prompt, then every pair's other reply."""
    return [Tokens(pair["prompt_ids"], pair[side]) for side in SIDES for pair in pairs]


def _pairs(tokenizer, pairs: Iterable[dict], length: int) -> Iterator[dict[str, list[int]]]:
    """Pairs as ids; those longer than `length` with either reply are left out, and their number printed."""
    count = left = 0
    for pair in pairs:
        count += 1
        row = pair_ids(tokenizer, pair)
        if len(row["prompt_ids"]) + max(len(row["chosen_ids"]), len(row["rejected_ids"])) <= length:
            yield row
        else:
            left += 1
    if left:
        print(f"{left} of {count} pairs are longer than {length} tokens and left out")
