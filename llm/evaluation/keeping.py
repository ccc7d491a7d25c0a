"""Rows of models that are measured one after the other, or of other things that take long, kept as they come: a killed job goes on."""

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..config import Preset
from ..files import read_lines, write_text

Rows = list[dict]
Keep = Callable[[Any, Callable[[], Rows]], Rows]  # (which rows, as JSON; what makes them) -> the rows


def anew(which: Any, make: Callable[[], Rows]) -> Rows:
    """Keep nothing."""
    return make()


@dataclass(frozen=True)
class Kept:
    """Rows in a folder, a file for all that were made at once.

    told: what the rows follow from beside their own name, by which files of another run are no more found. The code is no part of it:
    rows say which version made them.
    """

    folder: Path
    told: str

    @classmethod
    def beside(cls, file: Path, preset: Preset, *models: Path) -> "Kept":
        """Those of the job that makes `file`. models: folders that its rows follow from, or are no more valid if they are made again."""
        configs = [folder / "config.json" for folder in models]
        ages = [
            config.stat().st_mtime_ns if config.is_file() else None for config in configs
        ]  # the job refuses what it lacks
        return cls(file.with_name(f".{file.name}.kept"), preset.model_dump_json() + repr(ages))

    def __call__(self, which: Any, make: Callable[[], Rows]) -> Rows:
        name = hashlib.sha256(json.dumps([self.told, which]).encode()).hexdigest()[:16]
        file = self.folder / f"{name}.jsonl"
        if not file.is_file():
            write_text(file, "".join(json.dumps(row) + "\n" for row in make()))
        return [row for _, row in read_lines(file)] if file.stat().st_size else []

    def forget(self) -> None:
        """Once the job's own file is there."""
        shutil.rmtree(self.folder, ignore_errors=True)
