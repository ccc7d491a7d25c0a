"""Presets and sweeps read from their YAML files, in one place."""

from importlib import resources
from pathlib import Path
from typing import Literal

import yaml
from pydantic import ValidationError

from llm.config.base import Settings, short
from llm.config.preset import Preset
from llm.config.sweep import Sweep
from llm.errors import UserError


def load_preset(name: str) -> Preset:
    """A preset by the name of its file in llm/presets, or by the path of a YAML file."""
    return _load(Preset, "presets", name)


def load_sweep(name: str) -> Sweep:
    """A sweep by the name of its file in llm/sweeps, or by the path of a YAML file."""
    return _load(Sweep, "sweeps", name)


def names(folder: Literal["presets", "sweeps"]) -> list[str]:
    """The names that come with the package."""
    files = resources.files("llm").joinpath(folder).iterdir()
    return sorted(p.name.removesuffix(".yaml") for p in files if p.name.endswith(".yaml"))


def _load(kind: type[Settings], folder: str, name: str):
    path = Path(name) if name.endswith((".yaml", ".yml")) else resources.files("llm").joinpath(folder, f"{name}.yaml")
    if not path.is_file():
        known = ", ".join(names(folder))
        raise UserError(f"{folder[:-1]} = {name!r} is unknown; allowed are {known}, or the path of a YAML file")
    try:
        return kind.model_validate(yaml.safe_load(path.read_text()))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    except ValidationError as error:
        raise UserError(f"{path}: {_sentence(error)}") from None


def _sentence(error: ValidationError) -> str:
    """The first problem: key, value, what is allowed."""
    first = error.errors()[0]
    key = ".".join(map(str, first["loc"]))
    if first["type"] == "missing":
        return f"the key {key} is missing; every key must be given"
    if first["type"] == "refused":
        return f"{key}: {first['msg']}" if key else first["msg"]
    return f"{key or 'the file'} = {short(first['input'])} is not allowed: {first['msg']}"
