"""What a reward model gives replies: the one scorer of stages, `adapt`, `front`, the paper's models and the trainers."""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from tqdm import tqdm

from .batches import Tokens, batches_of, left_pad, pad_replies, positions
from .chat import Reply, encode_apart, encode_together, pad_id
from .generate import accepted, is_recurrent
from .reader import Reader

REPLIES = "replies"  # `reward_reads` in the configurations of reward models that are trained here


def rule_for(reward_model) -> Callable[..., list[Tokens]]:
    """The rule for ids of what a reward model of any making reads: it was trained on replies with their end token, as ours are, or on
    whole conversations as the chat template writes them, so that it reads the last of what follows that token.
    """
    config = reward_model.config
    older = hasattr(config, "reward_pooling")  # what ours said before they had `reward_reads`
    return partial(encode_together, closing=not older and getattr(config, "reward_reads", None) != REPLIES)


@torch.no_grad()
def reward_scores(
    reward_model,
    tokenizer,
    replies: Sequence[Reply],
    batch_size: int,
    encode: Callable[..., list[Tokens]] = encode_apart,
    reader: Reader | None = None,
) -> torch.Tensor:
    """Learned reward of each (prompt, reply, finished), fp32 on the CPU; shape (replies,). encode: a rule for ids of
    `llm.models.chat`, with the reward model's tokenizer. reader: one of the reward model (a Llama), which reads a prompt once,
    however many replies it has, at this call or a later one.
    """
    if reader is not None:
        return reader_outputs(reader, encode(tokenizer, replies))[:, 0]
    return batched_outputs(reward_model, encode(tokenizer, replies), pad_id(tokenizer), batch_size)[:, 0]


@torch.no_grad()
def batched_outputs(
    reward_model, sequences: Sequence[Tokens], padding: int, batch_size: int, bar: str | None = None
) -> torch.Tensor:
    """`head_outputs`, those of similar length together, on the CPU; (sequences, outputs). bar: a progress bar's name."""
    rows = list(batches_of([sum(map(len, one)) for one in sequences], batch_size, is_recurrent(reward_model)))
    batches = ([sequences[i] for i in some] for some in tqdm(rows, desc=bar, unit="batch", disable=bar is None))
    found = torch.cat([head_outputs(reward_model, batch, padding).float().cpu() for batch in batches])
    in_order = torch.empty_like(found)
    in_order[sum(rows, [])] = found
    return in_order


@torch.no_grad()
def reader_outputs(reader: Reader, sequences: Sequence[Tokens]) -> torch.Tensor:
    """`head_outputs` by a reward model's reader, fp32 on the CPU; (sequences, outputs)."""
    states, counts = reader.states(sequences)
    read, model = [], reader.model
    pooled = getattr(model.config, "reward_pooling", "last") != "last"
    for hidden in states.split(counts):
        read.append(hidden[1:].mean(dim=0) if pooled and len(hidden) > 1 else hidden[-1])
    return model.score(torch.stack(read)).float().cpu()


def sequence_scores(reward_model, sequences: Sequence[Tokens], padding: int) -> torch.Tensor:
    """Learned reward of each (prompt, reply), token ids, with gradient; shape (sequences,)."""
    return head_outputs(reward_model, sequences, padding)[:, 0].float()


def head_outputs(reward_model, sequences: Sequence[Tokens], padding: int) -> torch.Tensor:
    """What the model's head reads of each (prompt, reply), shape (sequences, outputs): at the last token, in the mean over
    the reply's tokens where the configuration has `reward_pooling: mean`, or where its class reads it (BERT's kind at the first).
    """
    if not hasattr(reward_model, "score"):  # classes that read the first token, which padding on the left would move
        batch = pad_replies(sequences, padding).to(reward_model.device)
        return reward_model(input_ids=batch.ids, attention_mask=batch.mask).logits
    ids, mask = left_pad([context + reply for context, reply in sequences], padding, reward_model.device)
    given = {"input_ids": ids, "attention_mask": mask}
    if "position_ids" in accepted(reward_model) and getattr(reward_model.config, "rope_parameters", None) is None:
        given["position_ids"] = positions(mask)  # absolute ones: padding must not count; rotary ones are relative
    if getattr(reward_model.config, "reward_pooling", "last") == "last":
        return reward_model(**given).logits
    read = reward_model.score(reward_model.base_model(**given, use_cache=False).last_hidden_state)
    lengths = torch.tensor([[max(1, len(reply))] for _, reply in sequences], device=ids.device)
    of_reply = torch.arange(ids.shape[1], device=ids.device) >= ids.shape[1] - lengths
    return (read * of_reply[:, :, None]).sum(dim=1) / lengths
