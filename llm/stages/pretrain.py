"""Pre-training: from random weights to theta_pre, a model that has read the microcosm's documents."""

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from ..config import Phase
from ..data.microcosm.tokenizer import build_tokenizer, encode
from ..errors import UserError
from ..models.batches import Batch
from ..models.loading import load_model, load_tokenizer
from ..models.save import build_model, save_model
from ..run import MicrocosmRun
from ..training.loop import fit, token_loss


def pretrain(run: MicrocosmRun, out: Path) -> list[dict]:
    """Train phase by phase, each until the checks on validation material reach its targets; returns the checks, in order.

    Raises:
        UserError: a phase used up `max_tokens` without reaching its targets.
    """
    tokenizer = build_tokenizer(run.preset.world.size)
    model = build_model(run.preset.model, tokenizer, seed=run.seed)
    history: list[dict] = []
    for phase in run.preset.pretrain.phases:
        history += _train_phase(run, phase, model)
        if not _reached(history[-1], phase):
            raise UserError(f"phase {phase.name} stopped at {history[-1]} after {phase.max_tokens} tokens")
    save_model(model, tokenizer, out)
    return history


def take_shipped(run: MicrocosmRun, shipped: Path, out: Path) -> None:
    """Copy the weights that come with the project (made by `pretrain`, at their preset and seed)."""
    model, tokenizer = load_model(shipped), load_tokenizer(shipped)
    wanted = build_model(run.preset.model, build_tokenizer(run.preset.world.size), seed=run.seed)
    if {n: p.shape for n, p in model.named_parameters()} != {n: p.shape for n, p in wanted.named_parameters()}:
        raise UserError(
            f"shipped weights {shipped} are not of the shapes of preset {run.preset.name}; train anew without --shipped"
        )
    save_model(model, tokenizer, out)


def _train_phase(run: MicrocosmRun, phase: Phase, model) -> list[dict]:
    settings = run.preset.pretrain
    step_tokens = settings.rows * settings.row_length
    steps = -(-phase.max_tokens // step_tokens)
    history: list[dict] = []
    losses = fit(model, _batches(run, phase), token_loss, phase.optimiser, steps=None)
    bar = tqdm(total=steps, desc=f"pretrain: {phase.name}", unit="step")
    for step, loss in enumerate(losses, start=1):
        bar.update()
        if step % settings.check_every and step != steps:
            continue
        model.eval()
        seconds = round(bar.format_dict["elapsed"])
        entry = {"phase": phase.name, "tokens": step * step_tokens, "seconds": seconds, "loss": loss}
        history.append(entry | check(run, model))
        model.train()
        bar.set_postfix({k: f"{v:.2f}" for k, v in history[-1].items() if isinstance(v, float)})
        if _reached(history[-1], phase) or step == steps:
            break
    bar.close()
    model.eval()
    return history


def _reached(checks: dict, phase: Phase) -> bool:
    return all(checks[name] >= target for name, target in phase.targets.items())


def _batches(run: MicrocosmRun, phase: Phase) -> Iterator[Batch]:
    rng = run.rng("pretrain", phase.name)
    for _ in count():
        yield packed_batch(run, phase.mixture, rng)


def packed_batch(run: MicrocosmRun, mixture: dict[str, float], rng: np.random.Generator) -> Batch:
    """Whole documents, one after the other in each row (a document is never cut: the cut part could not be learned)."""
    rows, length = run.preset.pretrain.rows, run.preset.pretrain.row_length
    ids, weights = np.zeros((rows, length), np.int64), np.zeros((rows, length), np.float32)
    row = column = 0
    while True:
        tokens, token_weights = draw_document(run, mixture, rng)
        if column + len(tokens) > length:
            row, column = row + 1, 0
        if row == rows:
            break
        ids[row, column : column + len(tokens)] = tokens
        weights[row, column : column + len(tokens)] = token_weights
        column += len(tokens)
    ids = torch.from_numpy(ids)
    return Batch(ids, torch.ones_like(ids), torch.from_numpy(weights))


def draw_document(
    run: MicrocosmRun, mixture: dict[str, float], rng: np.random.Generator
) -> tuple[list[int], list[float]]:
    """(ids, weights) of a document of a random kind, from <bos> on."""
    kinds, shares = list(mixture), np.array(list(mixture.values()))
    size = run.preset.world.size
    ids, weights = encode("<bos>", size), [0.0]
    for text, weight in run.source.document(kinds[rng.choice(len(kinds), p=shares / shares.sum())], rng):
        piece = encode(text, size)
        ids += piece
        weights += [weight] * len(piece)
    return ids, weights


def check(run: MicrocosmRun, model) -> dict[str, float]:
    """Share of validation questions of each kind of which every token of the answer is the most likely one."""
    questions = run.source.checks(run.preset.pretrain.check_items, run.rng("pretrain", "check"))
    return {name: float(np.mean([_answers(run, model, *pair) for pair in pairs])) for name, pairs in questions.items()}


@torch.no_grad()
def _answers(run: MicrocosmRun, model, context: str, answer: str) -> bool:
    size = run.preset.world.size
    ids, wanted = encode(f"<bos> {context}", size), encode(answer, size)
    logits = model(input_ids=torch.tensor([ids + wanted])).logits[0]
    return bool((logits[len(ids) - 1 : -1].argmax(dim=-1) == torch.tensor(wanted)).all())
