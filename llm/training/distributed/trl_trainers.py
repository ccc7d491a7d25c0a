"""Instruction tuning, reward models and DPO by TRL's trainers, which own the losses; tests compare them with those of
`llm.training.loop` and `llm.training.rlhf.preferences` on a batch.

Instruction tuning (paper.md section 3, "SFT"): the paper's "block 2048" is an option of LMFlow, the authors' code base: as
it stood then, it laid texts end to end, cut the stream into blocks of that many tokens, and counted every token of its
`text_only` data in the loss, but only the output of its `text2text` data, which knows no more than one turn. Conversations
of many turns, as ShareGPT's, are of the first sort, so `loss_on: all` is the paper's as far as can be known;
`loss_on: replies` counts all replies of a conversation and nothing else. Here the last block of the stream is kept,
shorter than the others.
"""

from pathlib import Path

from ...config.trainers import DpoSettings, Hardware, RewardSettings, SftSettings
from ...errors import UserError
from ...models.batches import IGNORED
from ...models.chat import Message, context_of, encode_marked, pair_ids, require_room
from ..iterations import iteration_folder
from .models import Start, load_tokenizer, load_trained
from .processes import print_once, require_device
from .trl_run import arguments, dataset, fit, steps_of


def sft(
    start: Start, conversations: list[list[Message]], settings: SftSettings, hardware: Hardware, out: Path
) -> list[float]:
    """Write theta_0 to `out`, tuned from theta_pre; the loss of every step, in nats a token.

    Raises:
        UserError: the batch does not divide, the block is longer than the context, there is nothing to learn, ...
    """
    require_device(hardware)
    from trl import SFTConfig, SFTTrainer

    rows = blocks(load_tokenizer(start.model), conversations, settings.block, settings.loss_on)
    made = dataset(rows, "conversations")
    config = arguments(SFTConfig, settings.descent, hardware, out, start.seed, max_length=settings.block)
    model, origin = load_trained(start, "causal", settings.lora)
    require_room(settings.block, context_of(model.config), "block")
    trainer = SFTTrainer(model=model, args=config, train_dataset=made, processing_class=origin.tokenizer)
    return fit(trainer, origin, start, hardware, settings, rows, out, {steps_of(len(rows), settings.descent): out})


def blocks(tokenizer, conversations: list[list[Message]], block: int, loss_on: str) -> list[dict[str, list[int]]]:
    """{"input_ids", "labels"} of `block` tokens each, the last one maybe shorter; blocks without any label are left out."""
    ids: list[int] = []
    labels: list[int] = []
    for messages in conversations:
        whole, in_reply = encode_marked(tokenizer, messages)
        ids += whole
        labels += [
            token if loss_on == "all" or learned else IGNORED for token, learned in zip(whole, in_reply, strict=True)
        ]
    rows = [{"input_ids": ids[i : i + block], "labels": labels[i : i + block]} for i in range(0, len(ids), block)]
    rows = [row for row in rows if any(label != IGNORED for label in row["labels"][1:])]
    if not rows:
        raise UserError(f"conversations: {len(conversations)} given, without any reply; allowed is at least 1 reply")
    return rows


def reward(start: Start, pairs: list[dict], settings: RewardSettings, hardware: Hardware, out: Path) -> list[float]:
    """Write a sequence classifier with one output to `out`, the start's body with a new head; the loss of every step.

    The loss is Bradley and Terry's (paper.md section 3).

    Args:
        pairs: rows {"prompt" (messages), "chosen", "rejected" (texts)}.
    """
    require_device(hardware)
    from trl import RewardConfig, RewardTrainer

    ids = _tokenised(load_tokenizer(start.model), pairs, settings.length)
    rows = [{key: row["prompt_ids"] + row[key] for key in ("chosen_ids", "rejected_ids")} for row in ids]
    made = dataset(rows, "pairs")
    own = {"max_length": settings.length, "disable_dropout": False}
    config = arguments(RewardConfig, settings.descent, hardware, out, start.seed, **own)
    model, origin = load_trained(start, "reward", settings.lora)
    require_room(settings.length, context_of(model.config), "length")
    trainer = RewardTrainer(model=model, args=config, train_dataset=made, processing_class=origin.tokenizer)
    return fit(trainer, origin, start, hardware, settings, rows, out, {steps_of(len(rows), settings.descent): out})


def dpo(start: Start, pairs: list[dict], settings: DpoSettings, hardware: Hardware, out: Path) -> list[float]:
    """DPO (Rafailov et al., arXiv 2305.18290), from theta_0 to theta without a reward model; the loss of every step.

    `out/iteration<i>` is the model after the i-th of `settings.iterations` equal stretches of steps.

    Args:
        pairs: rows {"prompt" (messages), "chosen", "rejected" (texts)}.
    """
    require_device(hardware)
    from trl import DPOConfig

    rows = _tokenised(load_tokenizer(start.model), pairs, settings.length)
    made, steps = dataset(rows, "pairs"), steps_of(len(rows), settings.descent)
    if settings.iterations > steps:
        raise UserError(
            f"iterations = {settings.iterations} is not allowed; allowed are 1 to {steps}, the number of steps"
        )
    own = {"max_length": settings.length, "beta": settings.beta, "disable_dropout": False}
    config = arguments(DPOConfig, settings.descent, hardware, out, start.seed, **own)
    model, origin = load_trained(start, "causal", settings.lora)
    require_room(settings.length, context_of(model.config), "length")
    reference = load_trained(start, "causal", None)[0]
    trainer = _dpo_trainer()(
        model=model, ref_model=reference, args=config, train_dataset=made, processing_class=origin.tokenizer
    )
    ends = {steps * i // settings.iterations: iteration_folder(out, i) for i in range(1, settings.iterations + 1)}
    return fit(trainer, origin, start, hardware, settings, rows, out, ends)


def _tokenised(tokenizer, pairs: list[dict], length: int) -> list[dict[str, list[int]]]:
    """Pairs as ids; those longer than `length` with either reply are left out, and their number printed."""
    rows = [pair_ids(tokenizer, pair) for pair in pairs]
    kept = [
        row for row in rows if len(row["prompt_ids"]) + max(len(row["chosen_ids"]), len(row["rejected_ids"])) <= length
    ]
    if len(kept) < len(rows):
        print_once(f"{len(rows) - len(kept)} of {len(rows)} pairs are longer than {length} tokens and left out")
    return kept


def _dpo_trainer() -> type:
    """TRL's trainer on ids as they are: else it makes its own from texts, which need not be those that sampling makes."""
    from trl import DPOTrainer

    class OnIds(DPOTrainer):
        def _prepare_dataset(self, dataset, *args, **kwargs):
            return dataset

    return OnIds
