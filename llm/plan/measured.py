"""Speeds that were measured on a GPU (`llm.bench.speed`), beside what the plan says: those of one H200, or the user's own."""

from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from ..config import AnyPreset, HubPreset
from ..config.base import Count, Positive, Settings
from ..errors import UserError
from ..files import parse_json
from .costs import Together, gpu_speed
from .hub import LAUNCHES, STARTED
from .local import PACES
from .report import Device

# of an H200, by examples/gpu-session.sh with torch 2.11 and transformers 5.17
H200 = Path(__file__).with_name("h200.json")
CARDS = {"NVIDIA H200": (989e12, 4.8e12)}  # bf16 operations and bytes of memory a second, by the data sheet


class Measured(Settings):
    """speed: tokens a second, or seconds until an engine had started. together: rows. prompt, reply: tokens of each that was written."""

    preset: str
    device: str
    what: Literal["written by transformers", "written by vLLM", "trained", "engine of vLLM started"]
    speed: Positive
    together: Count
    prompt: Count
    reply: Count

    def planned(self, preset: AnyPreset, device: Device) -> float:
        """The same by the plan, for the card it was measured on where that is known, else for `device`."""
        if self.what.startswith("engine"):
            return STARTED
        if isinstance(preset, HubPreset):
            peak, bandwidth = CARDS.get(self.device, (device.peak, device.bandwidth))
            context = self.prompt + self.reply / 2
            how = Together(self.together, context, LAUNCHES * (self.what != "written by vLLM"))
            speed = gpu_speed(preset.model, peak, bandwidth, preset.hardware.checkpointing, how)
        else:
            speed = PACES[preset.data, preset.device].speed
        return speed.trained if self.what == "trained" else speed.written


def read_measured(file: Path) -> list[Measured]:
    """UserError for what is no such file."""
    try:
        return TypeAdapter(list[Measured]).validate_python(parse_json(file.read_bytes()))
    except FileNotFoundError:
        raise UserError(f"measured = {file} is no file; give one that `bench speed --to` has written") from None
    except ValueError as error:  # of JSON, too
        why = f": {error.errors()[0]['msg']}" if isinstance(error, ValidationError) else ""
        raise UserError(
            f"measured = {file} is not allowed{why}; give one that `bench speed --to` has written"
        ) from None


def lines(preset: AnyPreset, rows: list[Measured], device: Device) -> list[str]:
    """A line for each row of the preset."""
    found = []
    for row in rows:
        if row.preset != preset.name:
            continue
        unit = "seconds" if row.what.startswith("engine") else f"tokens a second, {row.together} rows together"
        found.append(
            f"measured on {row.device}: {row.what}, {row.speed:.0f} {unit} (planned: {row.planned(preset, device):.0f})"
        )
    return found
