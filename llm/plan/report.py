"""A plan as text, and the one sentence that refuses what a device cannot hold."""

from dataclasses import dataclass
from math import ceil

from ..config import HubPreset, Preset, Sweep
from ..errors import UserError
from . import hub, local
from .steps import Cost, Step, steps

GB = 2**30
HEAD = f"{'step':44} {'GPUs':>4} {'hours':>8} {'memory, GB':>11} {'disk, GB':>9}"


@dataclass(frozen=True)
class Device:
    """What there is. memory: bytes of each GPU, or of the computer for presets that need none; peak: operations a second (bf16)."""

    gpus: int
    memory: float
    peak: float = hub.PEAK


def costs(preset: Preset, sweeps: list[Sweep], peak: float = hub.PEAK) -> list[tuple[Step, Cost]]:
    """Every step of one seed with what it takes."""
    if isinstance(preset, HubPreset):
        return [(step, hub.cost(preset, step, peak)) for step in steps(preset, sweeps)]
    return [(step, local.cost(preset, step)) for step in steps(preset, sweeps)]


def text(preset: Preset, planned: list[tuple[Step, Cost]], seeds: int) -> str:
    """A line a step, then the sums. Disk is what is left behind, and at the end also what the largest step takes meanwhile."""
    lines = [HEAD]
    for step, cost in planned:
        lines.append(f"{step.name:44} {cost.gpus:4} {cost.hours:8.2f} {cost.memory / GB:11.1f} {cost.disk / GB:9.2f}")
    all_costs = [cost for _, cost in planned]
    hours = seeds * sum(cost.gpu_hours if preset.needs_gpus else cost.hours for cost in all_costs)
    disk = seeds * sum(cost.disk for cost in all_costs) + max(cost.scratch for cost in all_costs)
    unit, place = ("GPU hours", "on a GPU") if preset.needs_gpus else ("core hours", "of a step")
    how = (
        "by operations a token and assumed utilisation"
        if isinstance(preset, HubPreset)
        else f"by rough speeds of one {'GPU' if preset.needs_gpus else 'core'}"
    )
    peak = max(cost.memory for cost in all_costs) / GB
    return "\n".join(
        [
            *lines,
            f"{preset.name}, {seeds} seed(s): {hours:.1f} {unit} ({how}), peak memory {place} {peak:.1f} GB, disk {disk / GB:.1f} GB",
        ]
    )


def require_room(preset: Preset, planned: list[tuple[Step, Cost]], device: Device) -> None:
    """UserError that names the step that takes most, if the device is too small for it."""
    step, largest = max(planned, key=lambda pair: pair[1].memory)
    wanted = ceil(largest.memory / GB)
    if preset.needs_gpus and max(cost.gpus for _, cost in planned) > device.gpus:
        needed = max(cost.gpus for _, cost in planned)
        raise UserError(
            f"gpus = {device.gpus} is not allowed with preset = {preset.name}, which is planned for {needed}; "
            "allowed are at least as many, or --gpus and --memory-gb for the plan of another machine"
        )
    if largest.memory > device.memory:
        raise UserError(
            f"memory_gb = {device.memory / GB:.3g} is not allowed with preset = {preset.name}, whose step `{step.name}` takes "
            f"{largest.memory / GB:.1f} GB; allowed are at least {wanted}"
        )
