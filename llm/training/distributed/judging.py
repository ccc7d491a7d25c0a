"""What whole, frozen copies of models say of sampled replies: rewards, and log-probabilities; each process asks about its share."""

from collections.abc import Callable
from pathlib import Path

from ...config.trainers import Hardware
from ...models.conversations import end_id
from .models import load_frozen, load_tokenizer
from .processes import gathered
from .sampling import Sample


def rewards(accelerator, reward: str | Path, samples: list[Sample], hardware: Hardware) -> list[float]:
    """The learned reward of each sample, the same list in every process. The reward model has the tokens of the one that wrote."""
    import torch

    model, tokenizer = load_frozen(reward, "reward", hardware, accelerator.device), load_tokenizer(reward)
    end, pad = end_id(tokenizer), tokenizer.pad_token_id

    def judge(some: list[Sample]) -> list[float]:
        batch = padded([(sample.prompt_ids, sample.with_end(end)) for sample in some], pad, accelerator.device)
        with torch.no_grad():
            return model(input_ids=batch.ids, attention_mask=batch.mask).logits[:, 0].float().tolist()

    return in_shares(accelerator, samples, judge, hardware.generation_batch)


def in_shares(accelerator, samples: list[Sample], ask: Callable[[list[Sample]], list], size: int) -> list:
    """What `ask` says of each sample, `size` of similar length at a time, in the order of the samples and in every process."""
    order = sorted(range(len(samples)), key=lambda i: len(samples[i].prompt_ids) + len(samples[i].reply_ids))
    mine = order[accelerator.process_index :: accelerator.num_processes]
    said = []
    for start in range(0, len(mine), size):
        some = mine[start : start + size]
        said += zip(some, ask([samples[i] for i in some]), strict=True)
    return [answer for _, answer in sorted(gathered(accelerator, said), key=lambda pair: pair[0])]


def padded(pairs: list[tuple[list[int], list[int]]], pad_id: int, device):
    """(prompt, reply) ids as an `llm.training.loop.Batch` on the device, in which the reply's tokens have weight 1."""
    from ...models.batches import Batch, pad_right

    examples = [(prompt + reply, [0.0] * len(prompt) + [1.0] * len(reply)) for prompt, reply in pairs]
    made = pad_right(examples, pad_id)
    return Batch(made.ids.to(device), made.mask.to(device), made.weights.to(device))
