"""Frozen models on sampled replies, each process on its share: rewards, and whatever else a model gives of a reply."""

from collections.abc import Callable
from pathlib import Path

from ...config.trainers import Hardware
from ...models.batches import Tokens
from ...models.chat import end_id
from .models import load_frozen, load_tokenizer
from .processes import gathered
from .sampling import Sample


def rewards(accelerator, reward: str | Path, samples: list[Sample], hardware: Hardware) -> list[float]:
    """The learned reward of each sample, the same list in every process. The reward model has the tokens of the one that wrote."""
    import torch

    from ...models.rewards import sequence_scores

    model, tokenizer = load_frozen(reward, "reward", hardware, accelerator.device), load_tokenizer(reward)
    end, pad = end_id(tokenizer), tokenizer.pad_token_id

    @torch.no_grad()
    def score(some: list[Sample]) -> list[float]:
        return sequence_scores(model, [Tokens(s.prompt_ids, s.with_end(end)) for s in some], pad).tolist()

    return in_shares(accelerator, samples, score, hardware.generation_batch)


def in_shares(accelerator, samples: list[Sample], ask: Callable[[list[Sample]], list], size: int) -> list:
    """What `ask` gives for each sample, `size` of similar length at a time, in the samples' order and in every process."""
    order = sorted(range(len(samples)), key=lambda i: len(samples[i].prompt_ids) + len(samples[i].reply_ids))
    mine = order[accelerator.process_index :: accelerator.num_processes]
    found = []
    for start in range(0, len(mine), size):
        some = mine[start : start + size]
        found += zip(some, ask([samples[i] for i in some]), strict=True)
    return [answer for _, answer in sorted(gathered(accelerator, found), key=lambda pair: pair[0])]
