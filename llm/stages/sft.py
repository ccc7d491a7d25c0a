"""Instruction tuning: from theta_pre to theta_0, which answers in the chat format (paper.md section 3, "SFT")."""

from pathlib import Path

import numpy as np
from tqdm import tqdm

from ..models.chat import imitation_batch
from ..models.loading import load_model, load_tokenizer
from ..models.save import save_model
from ..run import MicrocosmRun
from ..training.loop import fit, token_loss


def sft(run: MicrocosmRun, pretrained: Path, out: Path) -> None:
    """Imitate conversations of the preset's mixture; the loss counts the replies only."""
    settings = run.preset.sft
    model, tokenizer = load_model(pretrained), load_tokenizer(pretrained)
    losses = fit(model, _batches(run, tokenizer), token_loss, settings.optimiser, steps=settings.steps)
    bar = tqdm(losses, total=settings.steps, desc="sft", unit="step")
    for loss in bar:
        bar.set_postfix(loss=f"{loss:.3f}")
    save_model(model, tokenizer, out)


def _batches(run: MicrocosmRun, tokenizer):
    settings, rng = run.preset.sft, run.rng("sft")
    kinds, shares = list(settings.mixture), np.array(list(settings.mixture.values()))
    for _ in range(settings.steps):
        drawn = rng.choice(len(kinds), size=settings.batch, p=shares / shares.sum())
        talks = [run.source.conversation(kinds[k], rng) for k in drawn]
        yield imitation_batch(tokenizer, [(talk.prompt, talk.reply) for talk in talks])
