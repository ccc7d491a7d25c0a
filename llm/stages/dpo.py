"""DPO, direct preference optimisation (Rafailov et al., arXiv 2305.18290): theta_0 to theta without a reward model.

One training run over the preference pairs that the reward model was fitted to, cut into `iterations` equal stretches of
steps with a checkpoint after each. A checkpoint is the model and, beside it, the optimiser, and the order of the pairs
is drawn anew from the run's seed, so a killed run goes on at the last checkpoint and ends with the same bytes.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from ..config import Dpo
from ..errors import UserError
from ..files import write_json
from ..models.batches import Batch
from ..models.chat import imitation_batch
from ..models.likelihood import reply_log_probs
from ..models.loading import load_model, load_tokenizer, require_model
from ..models.save import save_model
from ..run import LocalRun
from ..training.iterations import is_made, iteration_folder, log_file, read_training, training_file, write_training
from ..training.loop import fit, minibatches, optimiser_for
from ..training.rlhf.preferences import bradley_terry, dpo_margins
from .reward import read_pairs


@dataclass(frozen=True)
class Pairs:
    """Preferred replies in the first half of the batch, the others in the second; theta_0's log p of each reply."""

    batch: Batch
    reference: torch.Tensor  # (2 pairs,)


def dpo(run: LocalRun, theta_0: Path, preferences: Path, out: Path, lr: float | None) -> None:
    """Train at rate `lr` (None: the preset's); `out/iteration<i>` is the model after stretch i = 1, 2, ...

    Beside each model lie `iteration<i>.json`, the mean loss and the share of pairs that the policy itself ranks rightly
    before it learns from them, and `training<i>.safetensors`, the optimiser.

    Args:
        preferences: the file of pairs that stage `reward` wrote; the rows of split "train" are used.
    """
    settings = run.preset.dpo
    if lr is not None:
        settings = settings.model_copy(update={"optimiser": settings.optimiser.model_copy(update={"lr": lr})})
    before = require_model(theta_0)
    if not preferences.is_file():
        raise UserError(f"preferences {preferences} is missing; run the stage `reward`, which makes it, first")
    batches = _batches(run, settings, preferences)
    ends = [len(batches) * i // settings.iterations for i in range(settings.iterations + 1)]
    for i in tqdm(range(1, settings.iterations + 1), desc=f"dpo, lr {settings.optimiser.lr:g}", unit="iteration"):
        if not is_made(out, i, before / "config.json", preferences, training_file(out, i)):
            _stretch(run, settings, theta_0, before, out, i, batches[ends[i - 1] : ends[i]], ends[i - 1], len(batches))
        before = iteration_folder(out, i)


def _batches(run: LocalRun, settings: Dpo, preferences: Path) -> list[list[dict]]:
    """The pairs of every step of the run, in order."""
    rows = [row for row in read_pairs(preferences) if row["split"] == "train"]
    return list(minibatches(rows, settings.batch, settings.epochs, run.rng("dpo")))


def _stretch(
    run: LocalRun,
    settings: Dpo,
    theta_0: Path,
    before: Path,
    out: Path,
    iteration: int,
    batches: list,
    first: int,
    steps: int,
) -> None:
    """Steps `first` to `first + len(batches)` of `steps`."""
    model, tokenizer = load_model(before, run.device), load_tokenizer(before)
    optimiser = optimiser_for(model, settings.optimiser)
    if iteration > 1:
        read_training(training_file(out, iteration - 1), optimiser=optimiser)
    pairs = with_reference(load_model(theta_0, run.device), tokenizer, batches)
    right: list[torch.Tensor] = []

    def loss(model, pairs: Pairs) -> torch.Tensor:
        preferred = dpo_margins(reply_log_probs(model, pairs.batch), pairs.reference, settings.beta)
        right.append(preferred.detach() > 0)
        return bradley_terry(preferred)

    losses = list(fit(model, pairs, loss, settings.optimiser, steps=steps, optimiser=optimiser, first_step=first))
    learned = {"loss": float(np.mean(losses)), "accuracy": float(torch.cat(right).double().mean())}
    log = {"iteration": iteration, "lr": settings.optimiser.lr, "steps": first + len(batches), **learned}
    write_json(log_file(out, iteration), log)
    write_training(training_file(out, iteration), optimiser=optimiser)
    save_model(model, tokenizer, iteration_folder(out, iteration))


@torch.no_grad()
def with_reference(theta_0, tokenizer, batches: list[list[dict]]) -> list[Pairs]:
    """Rows of preferences as training batches, with theta_0's log-probabilities of the replies, computed once."""
    made = [pair_batch(tokenizer, rows) for rows in batches]
    return [Pairs(batch, reply_log_probs(theta_0, batch)) for batch in made]


def pair_batch(tokenizer, rows: list[dict]) -> Batch:
    """Every row's preferred reply, then every row's other reply."""
    sides = ("chosen", "rejected")
    replies = [(row["prompt"], row[side]["text"], row[side]["finished"]) for side in sides for row in rows]
    return imitation_batch(tokenizer, replies)
