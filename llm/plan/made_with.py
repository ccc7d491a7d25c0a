"""The settings that a preset's folder of runs was made with, so that an edited preset or sweep does not go on among older numbers."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from ..config import AnyPreset, Sweep
from ..config.sweep import Entry
from ..errors import UserError, short
from ..files import read_made, write_json

# What changes no number: where and how fast a run goes, and which entries of sweeps it takes.
FREE = {
    *("threads", "entries", "data_dir", "memory_gb", "hardware.device", "hardware.launcher", "hardware.processes"),
    *("hardware.per_device_batch", "hardware.checkpointing", "hardware.checkpoint_minutes"),
}
ALGORITHMS = ("rsf", "dpo", "ppo")  # sections of a preset that count once their runs have begun


def refuse_others(file: Path, preset: AnyPreset, sweeps: Mapping[str, Sweep]) -> None:
    """UserError that names the first setting of a preset, or of a sweep's entry that has rows, that differs from what `file` says its runs
    were made with. A field of settings that it does not have is one of a later version.
    """
    if not file.is_file():
        return
    made, folder = read_made(file), file.parent
    begun = {name for name in ALGORITHMS if any(folder.glob(f"seed*/{name}*"))}
    free = FREE | {name for name in ALGORITHMS if name not in begun}
    compared: list[tuple[str, BaseModel]] = [(f"preset {preset.name}", preset)]
    compared += [(name, entry) for name, sweep, entry in _entries(sweeps) if _has_rows(folder, sweep, entry)]
    for name, settings in compared:
        if name in made and (found := _first_difference(made[name], settings, free)):
            key, before, now = found
            raise UserError(
                f"{name}: {key} = {short(now)} is not allowed, since {folder} was made with {short(before)}; remove that folder and its "
                "rows, or give the preset another name"
            )


def keep(file: Path, preset: AnyPreset, sweeps: Mapping[str, Sweep]) -> None:
    """Write down what is run, beside what was before; raises as `refuse_others`."""
    refuse_others(file, preset, sweeps)
    made = read_made(file) if file.is_file() else {}
    given = {f"preset {preset.name}": preset} | {name: entry for name, _, entry in _entries(sweeps)}
    now = made | {name: settings.model_dump(mode="json") for name, settings in given.items()}
    if now != made:
        write_json(file, now)


def _entries(sweeps: Mapping[str, Sweep]) -> Iterator[tuple[str, Sweep, Entry]]:
    for name, sweep in sweeps.items():
        for entry in (*sweep.averaging, *sweep.training):
            yield f"sweep {name}, entry {entry.label}", sweep, entry


def _has_rows(folder: Path, sweep: Sweep, entry: Entry) -> bool:
    """Whether an entry's rows, or those of some of its models, are there."""
    names = (f"{entry.label}.jsonl", f".{entry.label}.jsonl.kept")
    return any(any(folder.glob(f"seed*/rows/{rlhf}/*/{name}")) for rlhf in sweep.rlhf for name in names)


def _first_difference(
    made: Mapping[str, Any], given: BaseModel, free: set[str], above: str = ""
) -> tuple[str, Any, Any] | None:
    """(key, before, now) of the first field that was there and is another one now. Dicts whose keys a preset chooses, such as mixtures, count
    as wholes.
    """
    dumped = given.model_dump(mode="json")
    for name, before in made.items():
        key, value = f"{above}{name}", getattr(given, name, None)
        if key in free:
            continue
        if isinstance(value, BaseModel) and isinstance(before, dict):
            if found := _first_difference(before, value, free, f"{key}."):
                return found
        elif before != dumped.get(name):
            return key, before, dumped.get(name)
    return None
