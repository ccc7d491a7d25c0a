"""From words to token ids, through the tokenizer's own chat template."""

import torch
from tqdm import tqdm

from ..data.records import Prompt, messages, turns_of
from .batches import left_pad, pad_right
from .generate import Reply, generate


def prompt_ids(tokenizer, prompt: Prompt) -> list[int]:
    """The turns so far and the start of the assistant's."""
    text = tokenizer.apply_chat_template(messages(turns_of(prompt)), tokenize=False, add_generation_prompt=True)
    return tokenizer.encode(text, add_special_tokens=False)


def ids_of_prompts(tokenizer, prompts: list[Prompt]) -> list[list[int]]:
    """`prompt_ids` of each; one that is there many times, as when it gets several replies, is written only once."""
    known = {prompt: prompt_ids(tokenizer, prompt) for prompt in dict.fromkeys(prompts)}
    return [known[prompt] for prompt in prompts]


def reply_ids(tokenizer, reply: str, finished: bool = True) -> list[int]:
    """A reply, with the end token if it ended by itself."""
    return tokenizer.encode(reply, add_special_tokens=False) + [tokenizer.eos_token_id] * finished


def imitation_example(tokenizer, prompt: Prompt, reply: str, finished: bool = True) -> tuple[list[int], list[float]]:
    """(ids, weights) of a conversation of which only the reply is learned, its end only if it came by itself."""
    context, answer = prompt_ids(tokenizer, prompt), reply_ids(tokenizer, reply, finished)
    return context + answer, [0.0] * len(context) + [1.0] * len(answer)


def imitation_batch(tokenizer, replies: list[tuple]):
    """A training batch of (prompt, reply) or (prompt, reply, finished)."""
    return pad_right([imitation_example(tokenizer, *reply) for reply in replies], tokenizer.pad_token_id)


def write_replies(
    model, tokenizer, prompts: list[Prompt], *, max_new_tokens: int, temperature: float, rng=None, batch_size: int
) -> list[tuple[str, bool]]:
    """(reply, finished) for each prompt."""
    replies: list[Reply] = generate(
        model,
        ids_of_prompts(tokenizer, prompts),
        max_new_tokens=max_new_tokens,
        end_id=tokenizer.eos_token_id,
        pad_id=tokenizer.pad_token_id,
        temperature=temperature,
        rng=rng,
        batch_size=batch_size,
    )
    return [(tokenizer.decode(reply.ids), reply.finished) for reply in replies]


@torch.no_grad()
def reward_scores(reward_model, tokenizer, replies: list[tuple[Prompt, str, bool]], batch_size: int) -> torch.Tensor:
    """Learned reward of each (prompt, reply, finished); shape (replies,)."""
    contexts = ids_of_prompts(tokenizer, [prompt for prompt, _, _ in replies])
    sequences = [(context, reply_ids(tokenizer, r, done)) for context, (_, r, done) in zip(contexts, replies)]
    return batched_outputs(reward_model, sequences, tokenizer.pad_token_id, batch_size)[:, 0]


@torch.no_grad()
def batched_outputs(
    reward_model, sequences: list[tuple[list[int], list[int]]], pad_id: int, batch_size: int, bar: str | None = None
) -> torch.Tensor:
    """`head_outputs`, those of similar length together, on the processor; (sequences, outputs). bar: the name of a progress bar."""
    order = sorted(range(len(sequences)), key=lambda i: sum(map(len, sequences[i])))
    starts = tqdm(range(0, len(order), batch_size), desc=bar, unit="batch", disable=bar is None)
    batches = ([sequences[i] for i in order[start : start + batch_size]] for start in starts)
    found = torch.cat([head_outputs(reward_model, batch, pad_id).float().cpu() for batch in batches])
    in_order = torch.empty_like(found)
    in_order[order] = found
    return in_order


def sequence_scores(reward_model, sequences: list[tuple[list[int], list[int]]], pad_id: int) -> torch.Tensor:
    """Learned reward of each (prompt, reply), token ids, with gradient; shape (sequences,)."""
    return head_outputs(reward_model, sequences, pad_id)[:, 0].float()


def head_outputs(reward_model, sequences: list[tuple[list[int], list[int]]], pad_id: int) -> torch.Tensor:
    """What the model's head reads at the last token of each (prompt, reply), or in the mean over the reply's tokens where the
    model says `reward_pooling`; shape (sequences, outputs).
    """
    ids, mask = left_pad([context + reply for context, reply in sequences], pad_id, reward_model.device)
    if getattr(reward_model.config, "reward_pooling", "last") == "last":
        return reward_model(input_ids=ids, attention_mask=mask).logits
    read = reward_model.score(reward_model.model(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state)
    lengths = torch.tensor([[max(1, len(reply))] for _, reply in sequences], device=ids.device)
    of_reply = torch.arange(ids.shape[1], device=ids.device) >= ids.shape[1] - lengths
    return (read * of_reply[:, :, None]).sum(dim=1) / lengths
