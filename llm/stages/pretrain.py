"""Pre-training: from random weights to theta_pre, a model that has read the microcosm's documents."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count, islice, takewhile
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from ..config import Phase
from ..data.microcosm.tokenizer import build_tokenizer, encode
from ..errors import UserError
from ..files import read_made, write_json
from ..models.batches import Batch
from ..models.loading import load_model, load_tokenizer
from ..models.save import build_model, save_model
from ..run import MicrocosmRun
from ..training.iterations import read_training, write_training
from ..training.loop import fit, optimiser_for, token_loss


def pretrain(run: MicrocosmRun, out: Path) -> list[dict]:
    """Train phase by phase, each until the checks on validation material reach its targets; returns the checks, in order. Where the
    first phase does not reach them it begins anew, from other random weights and with other documents, `attempts` times in all.

    After each check the model, the optimiser and the checks so far are kept beside `out`, so a killed run goes on at the last one
    and ends with the same bytes.

    Raises:
        UserError: a phase used up `max_tokens` without reaching its targets.
    """
    settings, tokenizer = run.preset.pretrain, build_tokenizer(run.preset.world.size)
    kept = _Kept(out.with_name("pretraining.safetensors"), out.with_name("pretraining.json"))
    history: list[dict] = []
    for place, phase in enumerate(settings.phases):
        for attempt in range(1, (1 if place else settings.attempts) + 1):
            if not place:
                model = build_model(run.preset.model, tokenizer, seed=_seed(run, attempt))
            history += _train_phase(run, phase, attempt, model, history, kept)
            if _reached(history[-1], phase):
                break
        else:
            kept.remove()
            raise UserError(f"phase {phase.name} stopped at {history[-1]} after {phase.max_tokens} tokens")
    save_model(model, tokenizer, out)
    kept.remove()
    return history


def _seed(run: MicrocosmRun, attempt: int) -> int:
    """Of the random weights that an attempt begins with."""
    return run.seed if attempt == 1 else int(run.rng("weights", attempt).integers(2**62))


@dataclass(frozen=True)
class _Kept:
    """What a killed run goes on from: the state after a number of steps of a phase, and the checks up to then."""

    state: Path
    checks: Path

    def write(self, model, optimiser: torch.optim.Optimizer, history: list[dict]) -> None:
        """The checks first: a state is only of use with them."""
        write_json(self.checks, history)
        write_training(self.state, model=model, optimiser=optimiser, at={"checks": torch.tensor(len(history))})

    def read(self, phase: Phase, attempt: int, before: int, model, optimiser: torch.optim.Optimizer) -> list[dict]:
        """The checks of a phase; if it was the last one under way, the model and the optimiser become what they were then.

        before: the checks of the phases before it.
        """
        if not self.state.is_file() or not self.checks.is_file():
            return []
        found: dict[str, torch.Tensor] = {}
        read_training(self.state, at=found)
        checks = read_made(self.checks, lambda told: [check | {"tokens": int(check["tokens"])} for check in told])
        checks = checks[before : int(found["checks"])]
        own = list(takewhile(lambda check: (check["phase"], check["attempt"]) == (phase.name, attempt), checks))
        if own and own == checks:  # else a later phase was under way
            read_training(self.state, model=model, optimiser=optimiser)
        return own

    def remove(self) -> None:
        self.state.unlink(missing_ok=True)
        self.checks.unlink(missing_ok=True)


def take_shipped(run: MicrocosmRun, shipped: Path, out: Path) -> None:
    """Copy the weights that come with the project (made by `pretrain`, at their preset and seed)."""
    model, tokenizer = load_model(shipped), load_tokenizer(shipped)
    wanted = build_model(run.preset.model, build_tokenizer(run.preset.world.size), seed=run.seed)
    if {n: p.shape for n, p in model.named_parameters()} != {n: p.shape for n, p in wanted.named_parameters()}:
        raise UserError(
            f"shipped weights {shipped} are not of the shapes of preset {run.preset.name}; train anew without --shipped"
        )
    save_model(model, tokenizer, out)


def _train_phase(run: MicrocosmRun, phase: Phase, attempt: int, model, before: list[dict], kept: _Kept) -> list[dict]:
    """The checks of a phase; `before`: of those before it."""
    settings = run.preset.pretrain
    step_tokens = settings.rows * settings.row_length
    steps = -(-phase.max_tokens // step_tokens)
    optimiser = optimiser_for(model, phase.optimiser)
    history = kept.read(phase, attempt, len(before), model, optimiser)
    done, earlier = (history[-1]["tokens"] // step_tokens, history[-1]["seconds"]) if history else (0, 0)
    if history and (_reached(history[-1], phase) or done == steps):
        return history
    batches = islice(_batches(run, phase, attempt), done, None)
    losses = fit(model, batches, token_loss, phase.optimiser, steps=None, optimiser=optimiser, first_step=done)
    with tqdm(total=steps, initial=done, desc=f"pretrain: {phase.name}", unit="step") as bar:
        for step, loss in enumerate(losses, start=done + 1):
            bar.update()
            if step % settings.check_every and step != steps:
                continue
            model.eval()
            seconds = earlier + round(bar.format_dict["elapsed"])
            entry = {
                "phase": phase.name,
                "attempt": attempt,
                "tokens": step * step_tokens,
                "seconds": seconds,
                "loss": loss,
            }
            history.append(entry | check(run, model))
            model.train()
            kept.write(model, optimiser, before + history)
            bar.set_postfix({k: f"{v:.2f}" for k, v in history[-1].items() if isinstance(v, float)})
            if _reached(history[-1], phase) or step == steps:
                break
    model.eval()
    return history


def _reached(checks: dict, phase: Phase) -> bool:
    return all(checks[name] >= target for name, target in phase.targets.items())


def _batches(run: MicrocosmRun, phase: Phase, attempt: int) -> Iterator[Batch]:
    rng = run.rng("pretrain", phase.name, *([attempt] if attempt > 1 else []))
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
