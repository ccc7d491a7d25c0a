"""One run of a TRL trainer: our settings in its words, going on after a kill, and ordinary model folders at the end.

An epoch's last batch may be smaller than the others. On several processes, accelerate then fills each one's share up
with rows from the beginning, so there, and only there, the number of processes matters. States that a killed run goes on
from lie beside the output and are removed when it is there.
"""

import hashlib
import json
import shutil
from pathlib import Path

from ...config.trainers import Descent, Hardware
from ...files import write_json
from .models import Origin, Start, write_model
from .processes import prepare_state, sharding, split
from .rows import Mapped

COMPLETE = "complete"  # the file that a state gets when all processes have written their part of it


def arguments(config: type, descent: Descent, hardware: Hardware, out: Path, seed: int, **own):
    """The trainer's `config` (SFTConfig, ...), with the options that are its own."""
    made, adam = split(descent.batch, hardware), descent.optimiser
    taken = {"use_configured_state": True} if prepare_state(hardware) else {}
    made_config = config(
        output_dir=str(checkpoint_folder(out)),
        per_device_train_batch_size=made.per_device,
        gradient_accumulation_steps=made.accumulation,
        num_train_epochs=descent.epochs,
        learning_rate=adam.lr,
        lr_scheduler_type="cosine" if adam.schedule == "cosine" else "constant_with_warmup",
        warmup_steps=adam.warmup_share,
        adam_beta1=adam.betas[0],
        adam_beta2=adam.betas[1],
        weight_decay=adam.weight_decay,
        max_grad_norm=adam.clip,
        optim="adamw_torch_fused",
        seed=seed,
        data_seed=seed,
        bf16=hardware.dtype == "bf16",
        gradient_checkpointing=hardware.checkpointing,
        use_cpu=hardware.device == "cpu",
        save_strategy="steps",
        save_steps=hardware.checkpoint_steps,
        save_total_limit=2,  # a kill while one is written leaves the other
        logging_steps=1,
        report_to=[],
        accelerator_config={**taken, "gradient_accumulation_kwargs": {"sync_each_batch": True}},
        **own,
    )
    made_config.fsdp_plugin_args = sharding(hardware)
    return made_config


def fit(
    trainer, origin: Origin, start: Start, hardware: Hardware, settings, rows: Mapped, out: Path, ends: dict[int, Path]
) -> list[float]:
    """Train to the end from where an earlier run stopped; the loss of every step.

    Args:
        rows: what `trainer` was given, to tell this run from others.
        ends: step -> the folder that the model after it goes to; the last one is the run's last.
    """
    accelerator, folder = trainer.accelerator, checkpoint_folder(out)
    if accelerator.is_main_process:
        keep_own(folder, identity(settings, hardware.launcher, start.model, rows.name, start.seed))
    accelerator.wait_for_everyone()
    trainer.add_callback(_model_writer(trainer, origin, hardware, ends))
    trainer.add_callback(completion_marks(accelerator))
    trainer.train(resume_from_checkpoint=latest(folder))
    if trainer.state.global_step != max(ends):
        raise RuntimeError(f"the trainer made {trainer.state.global_step} steps, not {max(ends)}")
    losses = [log["loss"] for log in trainer.state.log_history if "loss" in log]
    if accelerator.is_main_process:
        write_json(out.parent / f"{out.name}.log.json", trainer.state.log_history)
        shutil.rmtree(folder)
        shutil.rmtree(rows.folder)
    accelerator.wait_for_everyone()
    return losses


def _model_writer(trainer, origin: Origin, hardware: Hardware, ends: dict[int, Path]):
    """A callback that writes the model after each of the steps of `ends`."""
    from transformers import TrainerCallback

    class ModelWriter(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            if state.global_step in ends:
                weights = trainer.accelerator.get_state_dict(trainer.model_wrapped)
                if trainer.accelerator.is_main_process:
                    write_model(weights, origin, hardware.dtype, ends[state.global_step])
                trainer.accelerator.wait_for_everyone()

    return ModelWriter()


def steps_of(rows: int, descent: Descent) -> int:
    """How many steps the trainer makes of so many rows; the last one of an epoch may have fewer rows."""
    return -(-rows // descent.batch) * descent.epochs


def checkpoint_folder(out: Path) -> Path:
    return out.parent / f".{out.name}.checkpoints"


def identity(settings: object, launcher: str, model: str, rows: str, seed: int) -> str:
    """A hash of what a run trains on and of how states are written: those of another run are of no use to it."""
    text = json.dumps([repr(settings), launcher, str(model), rows, seed], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def keep_own(folder: Path, name: str) -> None:
    """Remove the states of another run, and those that were not finished."""
    written = folder / "identity.json"
    if folder.exists() and not (written.is_file() and written.read_bytes() == f"{json.dumps(name)}\n".encode()):
        shutil.rmtree(folder)
    for state in _states(folder):
        if not (state / COMPLETE).is_file():
            shutil.rmtree(state)
    write_json(written, name)


def latest(folder: Path) -> str | None:
    """The last state, as the trainer wants it."""
    return max(map(str, _states(folder)), key=lambda state: int(state.rpartition("-")[2]), default=None)


def _states(folder: Path) -> list[Path]:
    return [path for path in folder.glob("checkpoint-*") if path.is_dir()]


def completion_marks(accelerator):
    """A callback that marks each state when it is complete."""
    from transformers import TrainerCallback

    class CompletionMarks(TrainerCallback):
        def on_save(self, args, state, control, **kwargs):
            accelerator.wait_for_everyone()
            if accelerator.is_main_process:
                (Path(args.output_dir) / f"checkpoint-{state.global_step}" / COMPLETE).touch()

    return CompletionMarks()
