"""States that a killed run goes on from. They lie beside the run's output and are removed when it is there."""

import hashlib
import os
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...files import read_made, write_json

LOSSES = "losses.json"


def save_state(accelerator, folder: Path, losses: list[float] | None = None) -> None:
    """Write models, optimisers and random numbers, and the losses so far, into a folder that appears whole; a collective operation."""
    aside = folder.with_name(f".{folder.name}.partial")
    if accelerator.is_main_process:
        for old in (aside, folder):
            shutil.rmtree(old, ignore_errors=True)
    accelerator.wait_for_everyone()
    accelerator.save_state(str(aside))
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        if losses is not None:
            write_json(aside / LOSSES, losses)
        os.replace(aside, folder)
    accelerator.wait_for_everyone()


@dataclass
class States:
    """Those of one run, in a folder that is named after all that it follows from. since: the last one, or the beginning, by this process's clock."""

    accelerator: Any
    folder: Path
    since: float = field(default_factory=time.monotonic, compare=False)

    @classmethod
    def beside(cls, accelerator, out: Path, *told: object) -> "States":
        """Of the run that makes `out`; those that another one has left there are removed. told: what tells runs apart, by its `repr`."""
        name = hashlib.sha256(repr(told).encode()).hexdigest()[:16]
        states = cls(accelerator, out.parent / f".{out.name}.states" / name)
        if accelerator.is_main_process:
            for other in states.folder.parent.glob("*"):
                if other != states.folder:
                    shutil.rmtree(other)
            states.folder.mkdir(parents=True, exist_ok=True)
        accelerator.wait_for_everyone()
        return states

    def load(self) -> list[float]:
        """Put everything into the last state; the losses of the steps before it, none where there is no state."""
        last = max(self.folder.glob("step*"), default=None)
        if last is None:
            return []
        self.accelerator.load_state(str(last))
        return read_made(last / LOSSES)

    def save(self, losses: list[float]) -> None:
        """After as many steps as there are losses; the state before goes when this one is whole."""
        new = self.folder / f"step{len(losses):08d}"
        save_state(self.accelerator, new, losses)
        if self.accelerator.is_main_process:
            for old in self.folder.glob("step*"):
                if old != new:
                    shutil.rmtree(old)
        self.since = time.monotonic()

    def is_due(self, minutes: float) -> bool:
        """Whether the last state is so many minutes old, by the main process's clock; a collective operation."""
        from accelerate.utils import broadcast_object_list

        return broadcast_object_list([time.monotonic() - self.since >= 60 * minutes])[0]

    def forget(self) -> None:
        if self.accelerator.is_main_process:
            shutil.rmtree(self.folder.parent)
        self.accelerator.wait_for_everyone()
