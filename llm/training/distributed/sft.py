"""Instruction tuning by TRL's SFTTrainer: from theta_pre to theta_0, on conversations (paper.md section 3, "SFT").

The paper's "block 2048" is an option of LMFlow, the authors' code base: as it stood then, it laid texts end to end, cut the stream
into blocks of that many tokens, and counted every token of its `text_only` data in the loss, but only the output of
its `text2text` data, which knows no more than one turn. Conversations of many turns, as ShareGPT's, are of the first sort, so
`loss_on: all` is the paper's as far as that can be told; `loss_on: replies` counts all replies of a conversation and
nothing else. Here the last block of the stream is kept, shorter than the others.
"""

from pathlib import Path

from ...config.trainers import Hardware, SftSettings
from ...errors import UserError
from ...models.chat import Message, context_of, encode_marked, require_room
from .models import Start, load_tokenizer, load_trained
from .processes import require_device
from .trl_run import arguments, dataset, fit, steps_of

IGNORED = -100


def sft(
    start: Start, conversations: list[list[Message]], settings: SftSettings, hardware: Hardware, out: Path
) -> list[float]:
    """Write theta_0 to `out`; the loss of every step, in nats a token.

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
        said, in_reply = encode_marked(tokenizer, messages)
        ids += said
        labels += [
            token if loss_on == "all" or learned else IGNORED for token, learned in zip(said, in_reply, strict=True)
        ]
    rows = [{"input_ids": ids[i : i + block], "labels": labels[i : i + block]} for i in range(0, len(ids), block)]
    rows = [row for row in rows if any(label != IGNORED for label in row["labels"][1:])]
    if not rows:
        raise UserError(f"conversations: {len(conversations)} given, without any reply; allowed is at least 1 reply")
    return rows
