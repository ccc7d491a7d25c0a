"""DPO, direct preference optimisation (Rafailov et al., arXiv 2305.18290): theta_0 to theta without a reward model.

One training run over the preference pairs that the reward model was fitted to, cut into `iterations` equal stretches of
steps with a checkpoint after each. A checkpoint is the model and, beside it, the optimiser, and the order of the pairs
is drawn anew from the run's seed, so a killed run goes on at the last checkpoint and ends with the same bytes. A method that
changes training goes on over the stretches, too, unless each trains something new (LoRA's adapters, several runs): then each has a
fresh optimiser and the schedule anew. Of several runs a stretch each has its pairs in an order of its own.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from ..config import Dpo
from ..errors import UserError
from ..files import write_json
from ..models.batches import Batch, pad_right
from ..models.chat import imitation_batch
from ..models.likelihood import reply_log_probs
from ..models.loading import load_model, load_tokenizer, require_model
from ..models.save import save_model
from ..run import LocalRun
from ..training.iterations import is_made, iteration_folder, log_file, read_training, training_file, write_training
from ..training.loop import minibatches, optimiser_for, token_loss
from ..training.mitigated import Change, fit_mitigated, mitigation_at
from ..training.mitigations.mitigation import Mitigation
from ..training.rlhf.preferences import bradley_terry, dpo_margins
from .reward import read_pairs
from .stopping import Reached, never


@dataclass(frozen=True)
class Pairs:
    """Preferred replies in the first half of the batch, the others in the second; theta_0's log p of each reply.

    extra: examples that are imitated besides, if a method adds some. share: how many there are for each pair, the weight of their mean
        loss.
    """

    batch: Batch
    reference: torch.Tensor  # (2 pairs,)
    extra: Batch | None = None
    share: float = 0.0


@dataclass(frozen=True)
class Stretch:
    """Steps `first` to `first + len(batches)` of `steps`, from the model `before`."""

    iteration: int
    before: Path
    batches: list[list[dict]]
    first: int
    steps: int


def dpo(
    run: LocalRun,
    theta_0: Path,
    preferences: Path,
    out: Path,
    lr: float | None,
    *,
    change: Change | None = None,
    reached: Reached = never,
) -> None:
    """Train at rate `lr` (None: the preset's); `out/iteration<i>` is the model after stretch i = 1, 2, ...

    Beside each model lie `iteration<i>.json`, the mean loss and the share of pairs to whose chosen reply the policy has moved
    from theta_0 by more than to the other, before it learns from them, and `training<i>.safetensors`, the optimiser.

    Args:
        preferences: the file of pairs that stage `reward` wrote; the rows of split "train" are used.
        change: a method that changes every stretch.
        reached: (iteration) -> whether to stop after it.
    """
    settings = run.preset.dpo
    settings = settings.model_copy(update={"optimiser": settings.optimiser.at(lr)})
    before = require_model(theta_0)
    if not preferences.is_file():
        raise UserError(f"preferences {preferences} is missing; run the stage `reward`, which makes it, first")
    batches = _batches(run, settings, preferences)
    ends = [len(batches) * i // settings.iterations for i in range(settings.iterations + 1)]
    for i in tqdm(range(1, settings.iterations + 1), desc=f"dpo, lr {settings.optimiser.lr:g}", unit="iteration"):
        if not is_made(out, i, before / "config.json", preferences, training_file(out, i)):
            stretch = Stretch(i, before, batches[ends[i - 1] : ends[i]], ends[i - 1], len(batches))
            _iterate(run, settings, theta_0, out, stretch, change)
        before = iteration_folder(out, i)
        if reached(i):
            break


def _batches(run: LocalRun, settings: Dpo, preferences: Path) -> list[list[dict]]:
    """The pairs of every step of the run, in order."""
    rows = [row for row in read_pairs(preferences) if row["split"] == "train"]
    return list(minibatches(rows, settings.batch, settings.epochs, run.rng("dpo")))


def _iterate(run: LocalRun, settings: Dpo, theta_0: Path, out: Path, stretch: Stretch, change: Change | None) -> None:
    """All runs of a stretch, of which there is one unless a method has more; what is logged and kept is of the first."""
    mitigation = mitigation_at(change, stretch.iteration, out)
    model, optimiser, learned = _learned(run, settings, theta_0, out, stretch, change, mitigation)
    models = [model]
    for m in range(2, mitigation.runs + 1):
        pairs = [pair for batch in stretch.batches for pair in batch]
        anew = minibatches(pairs, settings.batch, 1, run.rng("dpo", stretch.iteration, "run", m))
        shuffled = replace(stretch, batches=list(anew))
        other = mitigation_at(change, stretch.iteration, out, m)
        models.append(_learned(run, settings, theta_0, out, shuffled, change, other)[0])
    model = mitigation.combine(load_model(stretch.before, run.device) if change else model, models)
    done = stretch.first + len(stretch.batches)
    log = {"iteration": stretch.iteration, "lr": settings.optimiser.lr, "steps": done, **learned}
    write_json(log_file(out, stretch.iteration), log)
    kept = {} if mitigation.memory is None else {"memory": mitigation.memory}
    write_training(training_file(out, stretch.iteration), optimiser=optimiser, **kept)
    save_model(model, load_tokenizer(stretch.before), iteration_folder(out, stretch.iteration))


def _learned(
    run: LocalRun,
    settings: Dpo,
    theta_0: Path,
    out: Path,
    stretch: Stretch,
    change: Change | None,
    mitigation: Mitigation,
) -> tuple[torch.nn.Module, torch.optim.Optimizer, dict]:
    """(the model after a stretch, its optimiser, what is logged of its learning)."""
    model, tokenizer = mitigation.wrap(load_model(stretch.before, run.device)), load_tokenizer(stretch.before)
    optimiser = optimiser_for(model, settings.optimiser)
    if stretch.iteration > 1 and mitigation.goes_on:
        read_training(training_file(out, stretch.iteration - 1), optimiser=optimiser)
    compared = with_reference(load_model(theta_0, run.device), tokenizer, stretch.batches)
    pairs = _with_extra(compared, mitigation, stretch.batches, tokenizer.pad_token_id)
    right: list[torch.Tensor] = []

    def loss(model, pairs: Pairs) -> torch.Tensor:
        preferred = dpo_margins(reply_log_probs(model, pairs.batch), pairs.reference, settings.beta)
        right.append(preferred.detach() > 0)
        value = bradley_terry(preferred)
        return value if pairs.extra is None else value + pairs.share * token_loss(model, pairs.extra)

    steps, first = (stretch.steps, stretch.first) if mitigation.goes_on else (len(stretch.batches), 0)
    losses = fit_mitigated(
        mitigation,
        model,
        change and change.theta_0,
        pairs,
        loss,
        settings.optimiser,
        steps=steps,
        tokens=lambda pairs: pairs.batch,
        optimiser=optimiser,
        first_step=first,
    )
    mean = float(np.mean(list(losses)))
    return mitigation.merge(model), optimiser, {"loss": mean, "accuracy": float(torch.cat(right).double().mean())}


def _with_extra(pairs: list[Pairs], mitigation: Mitigation, batches: list[list[dict]], pad_id: int) -> list[Pairs]:
    """The pairs with the examples that a method mixes into as many as there are pairs."""
    found = []
    for of_step, rows in zip(pairs, batches, strict=True):
        added = mitigation.mix([([], [])] * len(rows))[len(rows) :]
        share = len(added) / len(rows)
        found.append(replace(of_step, extra=pad_right(added, pad_id), share=share) if added else of_step)
    return found


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
