"""The one loop of all trainers on accelerate: a step of a global batch, however many processes and passes share it.

Models are trained as modules whose forward is all that learning needs: sharded weights are whole only within it. Losses
are means over tokens, and every token of a global batch counts the same wherever it is read. So a pass is weighted by its
share of the batch's tokens; accelerate averages over processes and passes, whose number is multiplied in again.
"""

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch

from ...config import Optimiser
from ...config.trainers import Descending, Hardware, PpoSettings, RsfSettings
from ...errors import UserError
from ...models.batches import Batch, pad_replies
from ...models.chat import Message, context_of
from ...models.likelihood import token_log_probs
from ..loop import optimiser_for, rate_at
from ..rlhf.ppo.experience import Critic
from .models import Head, Origin, Start, load_tokenizer, load_trained
from .processes import Split, gathered, make_accelerator, require_device, split
from .sampling import fitting

SomeSettings = TypeVar("SomeSettings", RsfSettings, PpoSettings)


@dataclass(frozen=True)
class Inputs(Generic[SomeSettings]):
    """What stays the same from iteration to iteration of RSF and PPO. prompts: those that are short enough. told: a hash of all by which
    samples differ from those of another run.
    """

    accelerator: Any
    split: Split
    start: Start
    reward: Path
    prompts: list[list[Message]]
    settings: SomeSettings
    hardware: Hardware
    out: Path
    told: str


def prepared(
    start: Start,
    reward: Path,
    prompts: list[list[Message]],
    settings: SomeSettings,
    batch: int,
    hardware: Hardware,
    out: Path,
) -> Inputs[SomeSettings]:
    """An accelerator for a global batch, and the prompts that fit; UserError where the hardware or the prompts do not."""
    from transformers import AutoConfig

    require_device(hardware)
    hardware = settings.on(hardware)
    made, tokenizer = split(batch, hardware), load_tokenizer(start.model)
    short = fitting(tokenizer, prompts, settings.writing, context_of(AutoConfig.from_pretrained(start.model)))
    if len(short) < settings.prompts:
        raise UserError(
            f"prompts = {settings.prompts} is not allowed: there are {len(short)}; allowed are 1 to {len(short)}"
        )
    told = hashlib.sha256(repr((settings, start, short)).encode()).hexdigest()
    return Inputs(make_accelerator(hardware, made), made, start, reward, short, settings, hardware, out, told)


class Learned(torch.nn.Module):
    """A model, and `forward` of it: (model, given) -> what a loss follows from."""

    def __init__(self, model, forward: Callable) -> None:
        super().__init__()
        self.model, self.read = model, forward
        self._no_split_modules = model._no_split_modules  # by which accelerate finds the layers to shard

    def forward(self, given) -> torch.Tensor:
        return self.read(self.model, given).clone()  # FSDP2 wants no views


class ActorCritic(torch.nn.Module):
    """A policy and its critic, which share nothing: one module, since accelerate shards one."""

    def __init__(self, actor, critic: Critic) -> None:
        super().__init__()
        self.actor, self.critic = actor, critic
        self._no_split_modules = actor._no_split_modules

    def forward(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """log p of each of ids[:, 1:] (0 outside of replies) and V of the text before it; (rows, length - 1) each."""
        return token_log_probs(self.actor, batch), self.critic(batch).clone()  # FSDP2 wants no views


@dataclass(frozen=True)
class Objective:
    """What is learned from rows.

    collate: rows -> what the module takes. count: row -> tokens that count. loss: (module, collated) -> means over these
    tokens, (parts,), whose sum is descended.
    """

    collate: Callable
    count: Callable
    loss: Callable


@dataclass(frozen=True)
class Learner:
    """A module and its optimiser, both prepared by the accelerator, and the schedule of each of the optimiser's groups."""

    accelerator: Any
    module: Any
    optimiser: Any
    schedules: tuple[Optimiser, ...]

    def weights(self, name: str) -> dict:
        """Those of one of the module's parts, under the part's own names: whole in the main process only; a collective operation."""
        state = self.accelerator.get_state_dict(self.module)
        return {key.removeprefix(f"{name}."): value for key, value in state.items() if key.startswith(f"{name}.")}

    @torch.no_grad()
    def outputs(self, pairs: Sequence[tuple[list[int], list[int]]], pad_id: int, size: int) -> list[tuple]:
        """What the module gives for each (context, reply), `size` of similar length at a time, in every process.

        All processes go through the module equally often. Tensors become lists, of the length of the batch that a pair was in.
        """
        accelerator, parts = self.accelerator, Split(size, -(-len(pairs) // (size * self.accelerator.num_processes)))
        order = sorted(range(len(pairs)), key=lambda i: sum(map(len, pairs[i])))
        self.module.eval()
        found: list[tuple] = []
        for rows in passes(order, parts, accelerator.num_processes, accelerator.process_index):
            given = self.module(pad_replies([pairs[i] for i in rows or [0]], pad_id).to(accelerator.device))
            columns = given if isinstance(given, tuple) else (given,)
            found += zip(rows, *(column.float().tolist() for column in columns), strict=False)
        return [row[1:] for row in sorted(gathered(accelerator, found), key=lambda row: row[0])]


def learner_of(
    accelerator, start: Start, head: Head, forward: Callable, settings: Descending, steps: int, hardware: Hardware
) -> tuple[Learner, Origin]:
    """A fresh learner of one model, and the model's origin."""
    model, origin = load_trained(start, head, settings.lora)
    if hardware.checkpointing:
        model.gradient_checkpointing_enable()
    schedule, module = settings.descent.optimiser.optimiser(steps), Learned(model, forward)
    module, optimiser = accelerator.prepare(module, optimiser_for(module, schedule))
    return Learner(accelerator, module, optimiser, (schedule,)), origin


def fit(
    learner: Learner,
    batches: Iterable[list],
    objective: Objective,
    split: Split,
    *,
    steps: int,
    first_step: int = 0,
    frozen: Iterable = (),
) -> Iterator[list[float]]:
    """A step on each global batch, the same in every process, yielding the parts of its loss, means over its tokens.

    Args:
        batches: at most per_device * accumulation * processes rows each; a smaller one leaves some passes without weight.
        steps: how long the schedules last. first_step: where in them this begins.
        frozen: parameters that stay as they are, the optimiser's memory of them too.

    Raises:
        FloatingPointError: the loss is not finite.
    """
    accelerator, fixed = learner.accelerator, list(frozen)
    learner.module.train()
    for step, batch in enumerate(batches, start=first_step):
        for group, schedule in zip(learner.optimiser.param_groups, learner.schedules, strict=True):
            group["lr"] = rate_at(step, steps, schedule)
        total = float(sum(objective.count(row) for row in batch))
        found = [
            _pass(learner, rows or batch[:1], objective, bool(rows) / total, split, fixed)
            for rows in passes(batch, split, accelerator.num_processes, accelerator.process_index)
        ]
        values = accelerator.reduce(sum(found), "sum").tolist()
        if not all(map(math.isfinite, values)):
            raise FloatingPointError(f"loss = {values} at step {step}; allowed are finite numbers")
        yield values
    learner.module.eval()


def passes(batch: list, split: Split, processes: int, process: int) -> list[list]:
    """The rows of one process, pass by pass; the rows of a pass of all processes stand together in the batch, in even shares."""
    stride, found = split.per_device * processes, []
    for start in range(0, split.accumulation * stride, stride):
        together = batch[start : start + stride]
        size = -(-len(together) // processes)
        found.append(together[process * size : (process + 1) * size])
    return found


def _pass(learner: Learner, rows: list, objective: Objective, weight: float, split: Split, frozen: list):
    """Forward, backward, and the step after the last pass; what the rows add to the means, (parts,).

    weight: of a token; 0 where the process has no rows and computes with others', as collective operations need all.
    """
    accelerator, optimiser = learner.accelerator, learner.optimiser
    with accelerator.accumulate(learner.module):
        parts = (
            objective.loss(learner.module, objective.collate(rows)) * sum(objective.count(row) for row in rows) * weight
        )
        accelerator.backward(parts.sum() * accelerator.num_processes * split.accumulation)
        if accelerator.sync_gradients:
            for group, schedule in zip(optimiser.param_groups, learner.schedules, strict=True):
                accelerator.clip_grad_norm_(group["params"], schedule.clip)
            for parameter in frozen:
                parameter.grad = None
        optimiser.step()
        optimiser.zero_grad()
    return parts.detach().float()
