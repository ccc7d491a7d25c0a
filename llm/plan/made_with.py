"""The settings that a preset's folder of runs was made with, so that an edited preset or sweep does not go on among older numbers."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..config import AnyPreset, Sweep
from ..errors import UserError, short
from ..files import read_made, write_json

# What changes no number: where and how fast a run goes, and which entries of sweeps it takes.
FREE: Mapping[str, Any] = {
    "hardware": True,
    "threads": True,
    "entries": True,
    "data_dir": True,
    "evaluate": {"batch", "sampler"},
}


def refuse_others(file: Path, preset: AnyPreset, sweeps: Mapping[str, Sweep]) -> None:
    """UserError that names the first setting of a preset, or of a sweep's entry, that differs from what `file` says its runs were made
    with. What it does not have yet is no difference.
    """
    if not file.is_file():
        return
    made, given = read_made(file), _settings(preset, sweeps)
    for name in made.keys() & given.keys():
        if found := _first_difference(made[name], given[name]):
            key, before, now = found
            raise UserError(
                f"{name}: {key} = {short(now)} is not allowed, since {file.parent} was made with {short(before)}; remove that folder and "
                "its rows, or give the preset another name"
            )


def keep(file: Path, preset: AnyPreset, sweeps: Mapping[str, Sweep]) -> None:
    """Write down what is run, beside what was before."""
    made = read_made(file) if file.is_file() else {}
    if (now := made | _settings(preset, sweeps)) != made:
        write_json(file, now)


def _settings(preset: AnyPreset, sweeps: Mapping[str, Sweep]) -> dict[str, Any]:
    """Of the preset, and of each entry of the sweeps."""
    entries = {
        f"sweep {name}, entry {entry.label}": entry.model_dump(mode="json")
        for name, sweep in sweeps.items()
        for entry in (*sweep.averaging, *sweep.training)
    }
    return {f"preset {preset.name}": preset.model_dump(mode="json", exclude=FREE)} | entries


def _first_difference(made: Any, given: Any, key: str = "") -> tuple[str, Any, Any] | None:
    """(key, before, now) of the first setting that was there and is another one now; new keys are those of a later version."""
    if not (isinstance(made, dict) and isinstance(given, dict)):
        return None if made == given else (key.removeprefix("."), made, given)
    found = (_first_difference(value, given.get(name), f"{key}.{name}") for name, value in made.items())
    return next(filter(None, found), None)
