"""`python -m llm bench train`: what a training step costs here and in TRL, for instruction tuning and for DPO.

Both train the preset's model from the same weights on the same batches in the same order, with the same optimiser; equal
mean losses show that they do the same work. Ours is timed with all that a step needs, making the batch from text and
theta_0's log-probabilities included; TRL's texts have become tokens before its clock starts. TRL's gradient checkpointing
is off, since it would add a forward pass.
"""

import tempfile
import warnings
from pathlib import Path
from statistics import median
from typing import Annotated

import typer

from . import Preset, Repeats, Seed, Threads, in_turns, processor_seconds, ratio


def bench_train(
    preset: Preset = "microcosm",
    seed: Seed = 0,
    steps: Annotated[int, typer.Option(min=1, help="steps that are timed together")] = 10,
    repeats: Repeats = 3,
    threads: Threads = 1,
) -> None:
    """Time of our training steps against TRL's SFTTrainer and DPOTrainer."""
    import torch

    from ..config import load_preset
    from ..run import Run

    torch.set_num_threads(threads)
    run = Run(load_preset(preset), seed, Path("out"))
    print(f"preset {run.preset.name}, {threads} thread(s), {steps} steps, processor time, medians of {repeats}")
    titles = f"{'ours, ms':>9} {'TRL, ms':>9} {'TRL / ours':>11} {'loss, ours':>11} {'loss, TRL':>10}"
    print(f"{'step':4} {'batch':>6} {titles}")
    for name, measured in (("sft", measure_sft), ("dpo", measure_dpo)):
        found, losses = measured(run, steps, repeats)
        ours, theirs = (1000 * median(found[way]) for way in ("ours", "TRL"))
        print(
            f"{name:4} {getattr(run.preset, name).batch:6} {ours:9.1f} {theirs:9.1f} {ratio(found, 'TRL', 'ours'):11.2f} "
            f"{losses['ours']:11.5f} {losses['TRL']:10.5f}"
        )


_SIDES = ("chosen", "rejected")
Found = tuple[dict[str, list[float]], dict[str, float]]  # way -> seconds a step, one number a repeat; way -> mean loss


def measure_sft(run, steps: int, repeats: int) -> Found:
    """Imitation of conversations."""
    from ..models.chat import imitation_batch
    from ..training.loop import fit, token_loss

    settings, rng = run.preset.sft, run.rng("bench", "sft")
    kinds = list(settings.mixture)
    talks = [run.source.conversation(kinds[i % len(kinds)], rng) for i in range(steps * settings.batch)]
    batches = [talks[i : i + settings.batch] for i in range(0, len(talks), settings.batch)]

    def train(model, tokenizer, optimiser) -> list[float]:
        made = (imitation_batch(tokenizer, [(talk.prompt, talk.reply) for talk in batch]) for batch in batches)
        return list(fit(model, made, token_loss, optimiser, steps=None))

    rows = [{"prompt": _turn("user", talk.prompt), "completion": _turn("assistant", talk.reply)} for talk in talks]
    return _compare(run, settings, train, "SFT", rows, steps, repeats)


def measure_dpo(run, steps: int, repeats: int) -> Found:
    """DPO on pairs of written replies, theta_0 being another model of random weights."""
    from ..models.likelihood import reply_log_probs
    from ..stages.dpo import with_reference
    from ..training.loop import fit
    from ..training.rlhf.preferences import bradley_terry, dpo_margins

    settings, rng = run.preset.dpo, run.rng("bench", "dpo")
    prompts = run.source.prompts("train", run.preset.prompts, steps * settings.batch, rng)
    replies = [[run.source.written_reply(prompt, rng) for prompt in prompts] for _ in range(2)]
    rows = [
        {"prompt": prompt.text} | {side: {"text": reply, "finished": True} for side, reply in zip(_SIDES, pair)}
        for prompt, *pair in zip(prompts, *replies, strict=True)
    ]
    batches = [rows[i : i + settings.batch] for i in range(0, len(rows), settings.batch)]
    theta_0, _ = _model(run, seed=run.seed + 1)

    def loss(model, pairs):
        return bradley_terry(dpo_margins(reply_log_probs(model, pairs.batch), pairs.reference, settings.beta))

    def train(model, tokenizer, optimiser) -> list[float]:
        return list(fit(model, with_reference(theta_0, tokenizer, batches), loss, optimiser, steps=None))

    sides = [{side: _turn("assistant", row[side]["text"]) for side in _SIDES} for row in rows]
    texts = [{"prompt": _turn("user", row["prompt"])} | replies for row, replies in zip(rows, sides)]
    return _compare(run, settings, train, "DPO", texts, steps, repeats, beta=settings.beta, ref_model=theta_0)


def _turn(role: str, text: str) -> list[dict[str, str]]:
    return [{"role": role, "content": text}]


def _model(run, seed: int):
    from ..data.microcosm.tokenizer import build_tokenizer
    from ..models.save import build_model

    tokenizer = build_tokenizer(run.preset.world.size)
    return build_model(run.preset.model, tokenizer, seed=seed), tokenizer


def _compare(run, settings, train, kind: str, rows: list[dict], steps: int, repeats: int, **options) -> Found:
    """train: (model, tokenizer, optimiser) -> losses. kind, rows: of TRL's trainer and its data set."""
    from statistics import mean

    constant = settings.optimiser.model_copy(update={"warmup_steps": 0, "final_share": 1.0})
    losses: dict[str, float] = {}

    def ours() -> float:
        model, tokenizer = _model(run, run.seed)
        made: list[float] = []
        seconds = processor_seconds(lambda: made.extend(train(model, tokenizer, constant)))
        losses["ours"] = mean(made)
        return seconds / steps

    def theirs() -> float:
        with tempfile.TemporaryDirectory(prefix="bench-") as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of transformers, about settings that TRL makes
            model, tokenizer = _model(run, run.seed)
            trainer, clock = _trainer(Path(folder), model, tokenizer, kind, rows, constant, settings.batch, **options)
            losses["TRL"] = trainer.train().training_loss
        return clock.seconds / steps

    return in_turns({"ours": ours, "TRL": theirs}, repeats), losses


def _trainer(folder: Path, model, tokenizer, kind: str, rows: list, optimiser, batch: int, beta=None, ref_model=None):
    """(TRL's trainer for one pass over the rows in their order, the clock that it starts and stops)."""
    import trl
    from datasets import Dataset, disable_progress_bars
    from transformers import PrinterCallback

    from ..models.loading import load_tokenizer
    from ..models.save import save_model

    disable_progress_bars()
    save_model(model, tokenizer, folder / "model")  # TRL wants a tokenizer that was loaded, with its chat template
    given = {} if beta is None else {"beta": beta}
    steps = {"per_device_train_batch_size": batch, "num_train_epochs": 1, "train_sampling_strategy": "sequential"}
    adam = {"learning_rate": optimiser.lr, "weight_decay": optimiser.weight_decay, "max_grad_norm": optimiser.clip}
    adam |= {"adam_beta1": optimiser.betas[0], "adam_beta2": optimiser.betas[1], "optim": "adamw_torch_fused"}
    quiet = {"report_to": [], "save_strategy": "no", "logging_strategy": "no", "disable_tqdm": True}
    plain = {"lr_scheduler_type": "constant", "gradient_checkpointing": False, "use_cpu": True, "bf16": False}
    settings = getattr(trl, f"{kind}Config")(output_dir=str(folder), **steps, **adam, **quiet, **plain, **given)
    clock = _clock()
    models = {"model": model} | ({} if ref_model is None else {"ref_model": ref_model})
    data = {"processing_class": load_tokenizer(folder / "model"), "train_dataset": Dataset.from_list(rows)}
    trainer = getattr(trl, f"{kind}Trainer")(**models, args=settings, **data, callbacks=[clock])
    trainer.remove_callback(PrinterCallback)
    return trainer, clock


def _clock():
    """A callback that takes the processor time from the first step's begin to the last one's end."""
    from time import process_time

    from transformers import TrainerCallback

    class Clock(TrainerCallback):
        seconds = 0.0

        def on_train_begin(self, args, state, control, **kwargs):
            self.start = process_time()

        def on_step_end(self, args, state, control, **kwargs):
            self.seconds = process_time() - self.start

    return Clock()
