"""States of a TRL trainer that a killed run goes on from; they lie beside the output and go away when it is there."""

import hashlib
import json
import shutil
from pathlib import Path

from ...files import write_json

WHOLE = "whole"  # the file that a state gets when all processes have written their part of it


def checkpoint_folder(out: Path) -> Path:
    return out.parent / f".{out.name}.checkpoints"


def identity(settings: object, launcher: str, model: str, rows: list, seed: int) -> str:
    """A name for what a run trains on, and for how states are written: those of another one are of no use to it."""
    text = json.dumps([repr(settings), launcher, str(model), rows, seed], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def keep_own(folder: Path, name: str) -> None:
    """Remove the states of another run, and those that were not finished."""
    told = folder / "identity.json"
    if folder.exists() and not (told.is_file() and json.loads(told.read_text()) == name):
        shutil.rmtree(folder)
    for state in _states(folder):
        if not (state / WHOLE).is_file():
            shutil.rmtree(state)
    write_json(told, name)


def latest(folder: Path) -> str | None:
    """The last state, as the trainer wants it."""
    return max(map(str, _states(folder)), key=lambda state: int(state.rpartition("-")[2]), default=None)


def _states(folder: Path) -> list[Path]:
    return [path for path in folder.glob("checkpoint-*") if path.is_dir()]


def marks(accelerator):
    """A callback that says of each state when it is whole."""
    from transformers import TrainerCallback

    class Marks(TrainerCallback):
        def on_save(self, args, state, control, **kwargs):
            accelerator.wait_for_everyone()
            if accelerator.is_main_process:
                (Path(args.output_dir) / f"checkpoint-{state.global_step}" / WHOLE).touch()

    return Marks()
