"""What PPO learns from in an iteration, collected by many processes: replies, and what all models say of them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ...models.batches import Batch, pad_replies
from ...models.chat import end_id, prompt_ids
from ...models.likelihood import token_log_probs
from ..rlhf.ppo.experience import Experience, judged
from .batches import Split
from .judging import in_shares, rewards
from .loop import passes
from .models import load_frozen, load_tokenizer
from .ppo_learner import PpoLearner
from .processes import gathered
from .sampling import Sample, write_samples


@dataclass(frozen=True)
class Replies:
    """The same in every process, on the CPU; log: what is to be said of them."""

    experience: Experience
    log: dict


def collect(inputs, learner: PpoLearner, before: str, seed: list[int], folder: Path) -> Replies:
    """Let the model of the iteration before write to fresh prompts.

    Args:
        seed: (iteration, restarts), which tell this collection from others.
        folder: where the replies lie until the iteration is done.
    """
    accelerator, settings, hardware = inputs.accelerator, inputs.settings, inputs.hardware
    tokenizer, numbers = load_tokenizer(inputs.start.model), [inputs.start.seed, *seed]
    drawn = np.random.default_rng(numbers).permutation(len(inputs.prompts))[: settings.prompts]
    asked = [prompt_ids(tokenizer, inputs.prompts[i]) for i in drawn]
    samples = write_samples(accelerator, before, asked, 1, settings.writing, hardware, numbers, folder)
    scores = torch.tensor(rewards(accelerator, inputs.reward, samples, hardware))
    end = end_id(tokenizer)
    pairs = [(sample.prompt_ids, sample.with_end(end)) for sample in samples]
    batch = pad_replies(pairs, tokenizer.pad_token_id)
    log_probs, values = _said_by_learner(learner, pairs, batch, tokenizer.pad_token_id, hardware.generation_batch)
    reference = _said_by_theta_0(inputs, samples, end, tokenizer.pad_token_id, batch)
    found = judged(batch, log_probs, reference, values, scores - settings.baseline, settings)
    log = {
        "reward": float(scores.double().mean()),
        "length": float(found.mask.sum(dim=1).mean()),
        "unfinished": float(np.mean([not sample.finished for sample in samples])),
        "kl": float((log_probs - reference).sum(dim=1).double().mean()),
    }
    return Replies(found, log)


@torch.no_grad()
def _said_by_learner(
    learner: PpoLearner, pairs: list, batch: Batch, pad_id: int, size: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """log p and V of every token of ids[:, 1:], (rows, length - 1); all processes go through the module equally often."""
    accelerator, module = learner.learner.accelerator, learner.learner.module
    module.eval()
    rounds = -(-len(pairs) // (size * accelerator.num_processes))
    said = []
    for rows in passes(
        list(range(len(pairs))), Split(size, rounds), accelerator.num_processes, accelerator.process_index
    ):
        log_probs, values = module(pad_replies([pairs[i] for i in rows or [0]], pad_id).to(accelerator.device))
        said += zip(rows, log_probs.float().tolist(), values.float().tolist(), strict=False)
    ordered = sorted(gathered(accelerator, said), key=lambda row: row[0])
    return tuple(_table([row[which] for row in ordered], batch) for which in (1, 2))


def _said_by_theta_0(inputs, samples: list[Sample], end: int, pad: int, batch: Batch) -> torch.Tensor:
    accelerator = inputs.accelerator
    theta_0 = load_frozen(inputs.start.model, "causal", inputs.hardware, accelerator.device)

    @torch.no_grad()
    def ask(some: list[Sample]) -> list[list[float]]:
        pairs = [(sample.prompt_ids, sample.with_end(end)) for sample in some]
        return token_log_probs(theta_0, pad_replies(pairs, pad).to(accelerator.device)).tolist()

    return _table(in_shares(accelerator, samples, ask, inputs.hardware.generation_batch), batch)


def _table(rows: list[list[float]], batch: Batch) -> torch.Tensor:
    """Rows of different lengths as one table as long as the batch, 0 beyond and outside of replies."""
    length = batch.ids.shape[1] - 1
    return torch.tensor([(row + [0.0] * length)[:length] for row in rows])
