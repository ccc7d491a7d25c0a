"""Instruction tuning, reward models and DPO by TRL's trainers, which own the losses; tests compare them with those of
`llm.training.loop` and `llm.training.rlhf.preferences` on a batch.

Instruction tuning (paper.md section 3, "SFT"): the paper's "block 2048" is an option of LMFlow, the authors' code base: as
it stood then, it laid texts end to end, cut the stream into blocks of that many tokens, and counted every token of its
`text_only` data in the loss, but only the output of its `text2text` data, which knows no more than one turn. Conversations
of many turns, as ShareGPT's, are of the first sort, so `loss_on: all` is the paper's as far as can be known;
`loss_on: replies` counts all replies of a conversation and nothing else. Here the last block of the stream is kept,
shorter than the others.
"""

from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

from ...config.trainers import DpoSettings, Hardware, RewardSettings, SftSettings
from ...errors import UserError
from ...models.batches import IGNORED
from ...models.chat import Message, context_of, encode_marked, pair_ids, require_room
from ..iterations import iteration_folder
from .models import Start, load_tokenizer, load_trained
from .processes import require_device
from .rows import Rows, mapped
from .trl_run import arguments, fit, steps_of


def sft(start: Start, conversations: Rows, settings: SftSettings, hardware: Hardware, out: Path) -> list[float]:
    """Write theta_0 to `out`, tuned from theta_pre; the loss of every step, in nats a token.

    Args:
        conversations: lists of messages.

    Raises:
        UserError: the batch does not divide, the block is longer than the context, there is nothing to learn, ...
    """
    require_device(hardware)
    from trl import SFTConfig, SFTTrainer

    tokenizer = _tokenizer_for(start, settings.block, "block")
    encode = partial(blocks, tokenizer, block=settings.block, loss_on=settings.loss_on)
    made = mapped(conversations, tokenizer, ("blocks", settings.block, settings.loss_on), out, encode)
    config = arguments(SFTConfig, settings.descent, hardware, out, start.seed, max_length=settings.block)
    model, origin = load_trained(start, "causal", settings.lora)
    trainer = SFTTrainer(model=model, args=config, train_dataset=made.rows, processing_class=origin.tokenizer)
    ends = {steps_of(len(made.rows), settings.descent): out}
    return fit(trainer, origin, start, hardware, settings, made, out, ends)


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
    return any(label != IGNORED for label in row["labels"][1:])


def _tokenizer_for(start: Start, tokens: int, key: str):
    """The start's; UserError where its context has no room for rows of so many tokens, which the settings call `key`."""
    from transformers import AutoConfig

    tokenizer = load_tokenizer(start.model)
    require_room(tokens, context_of(AutoConfig.from_pretrained(start.model)), key)
    return tokenizer


def reward(start: Start, pairs: Rows, settings: RewardSettings, hardware: Hardware, out: Path) -> list[float]:
    """Write a sequence classifier with one output to `out`, the start's body with a new head; the loss of every step.

    The loss is Bradley and Terry's (paper.md section 3).

    Args:
        pairs: rows {"prompt" (messages), "chosen", "rejected" (texts)}.
    """
    require_device(hardware)
    from trl import RewardConfig, RewardTrainer

    tokenizer = _tokenizer_for(start, settings.length, "length")
    encode = partial(_whole_pairs, tokenizer, length=settings.length)
    made = mapped(pairs, tokenizer, ("whole pairs", settings.length), out, encode)
    own = {"max_length": settings.length, "disable_dropout": False}
    config = arguments(RewardConfig, settings.descent, hardware, out, start.seed, **own)
    model, origin = load_trained(start, "reward", settings.lora)
    trainer = RewardTrainer(model=model, args=config, train_dataset=made.rows, processing_class=origin.tokenizer)
    ends = {steps_of(len(made.rows), settings.descent): out}
    return fit(trainer, origin, start, hardware, settings, made, out, ends)


def dpo(start: Start, pairs: Rows, settings: DpoSettings, hardware: Hardware, out: Path) -> list[float]:
    """DPO (Rafailov et al., arXiv 2305.18290), from theta_0 to theta without a reward model; the loss of every step.

    `out/iteration<i>` is the model after the i-th of `settings.iterations` equal stretches of steps.

    Args:
        pairs: rows {"prompt" (messages), "chosen", "rejected" (texts)}.
    """
    require_device(hardware)
    from trl import DPOConfig

    tokenizer = _tokenizer_for(start, settings.length, "length")
    encode = partial(_pairs, tokenizer, length=settings.length)
    made = mapped(pairs, tokenizer, ("pairs", settings.length), out, encode)
    steps = steps_of(len(made.rows), settings.descent)
    if settings.iterations > steps:
        raise UserError(
            f"iterations = {settings.iterations} is not allowed; allowed are 1 to {steps}, the number of steps"
        )
    own = {"max_length": settings.length, "beta": settings.beta, "disable_dropout": False}
    config = arguments(DPOConfig, settings.descent, hardware, out, start.seed, **own)
    model, origin = load_trained(start, "causal", settings.lora)
    reference = load_trained(start, "causal", None)[0]
    trainer = _dpo_trainer()(
        model=model, ref_model=reference, args=config, train_dataset=made.rows, processing_class=origin.tokenizer
    )
    ends = {steps * i // settings.iterations: iteration_folder(out, i) for i in range(1, settings.iterations + 1)}
    return fit(trainer, origin, start, hardware, settings, made, out, ends)


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


def _whole_pairs(tokenizer, pairs: Iterable[dict], length: int) -> Iterator[dict[str, list[int]]]:
    """The same, each reply with its prompt."""
    for row in _pairs(tokenizer, pairs, length):
        yield {key: row["prompt_ids"] + row[key] for key in ("chosen_ids", "rejected_ids")}


def _dpo_trainer() -> type:
    """TRL's trainer on ids as they are: else it makes its own from texts, which need not be those that sampling makes."""
    from trl import DPOTrainer

    class OnIds(DPOTrainer):
        def _prepare_dataset(self, dataset, *args, **kwargs):
            return dataset

    return OnIds
