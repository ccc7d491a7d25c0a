"""A plan as text, what a scheduler is asked for, and the one sentence that refuses what a device cannot hold."""

import os
from dataclasses import dataclass
from math import ceil

from ..config import AnyPreset, HubPreset, Preset, Sweep
from ..errors import UserError
from . import hub, local
from .costs import FULL, HALF, Cost, Step, parameters, steps

GB, MB = 2**30, 1e6
SLACK = 2  # the time a scheduler is asked for, over the time planned
LEAST = 15  # minutes: to start Python and read a model
HEAD = f"{'step':44} {'GPUs':>4} {'hours':>8} {'memory, GB':>11} {'disk, GB':>9}"


@dataclass(frozen=True)
class Device:
    """What there is. memory: bytes of each GPU, or of the computer for presets that need none; peak: operations a second (bf16). bandwidth: bytes a
    second of a GPU's memory."""

    gpus: int
    memory: float
    peak: float = hub.PEAK
    bandwidth: float = hub.BANDWIDTH


def costs(
    preset: AnyPreset, sweeps: list[Sweep], peak: float = hub.PEAK, bandwidth: float = hub.BANDWIDTH
) -> list[tuple[Step, Cost]]:
    """Every step of one seed with what it takes."""
    if isinstance(preset, HubPreset):
        return [(step, hub.cost(preset, step, peak, bandwidth)) for step in steps(preset, sweeps)]
    return [(step, local.cost(preset, step)) for step in steps(preset, sweeps)]


def text(preset: Preset, planned: list[tuple[Step, Cost]], seeds: int) -> str:
    """A line a step of one seed, then the sums of all seeds. Disk is what is left behind, and at the end also what the largest step takes
    meanwhile; what all seeds share is in the sum once.
    """
    lines = [HEAD]
    for step, cost in planned:
        lines.append(f"{step.name:44} {cost.gpus:4} {cost.hours:8.2f} {cost.memory / GB:11.1f} {cost.disk / GB:9.2f}")
    all_costs = [cost for _, cost in planned]
    hours = seeds * sum(cost.gpu_hours if preset.needs_gpus else cost.hours for cost in all_costs)
    shared = sum(cost.shared for cost in all_costs)
    disk = shared + seeds * (sum(cost.disk for cost in all_costs) - shared) + max(cost.scratch for cost in all_costs)
    unit, place, one = ("GPU hours", "on a GPU", "GPU") if preset.needs_gpus else ("core hours", "of a step", "core")
    by_speed = f"by rough speeds of one {one}"
    how = "by operations a token, bytes moved and shares of the peaks" if isinstance(preset, HubPreset) else by_speed
    peak = max(cost.memory for cost in all_costs) / GB
    total = f"{preset.name}, {seeds} seed(s): {hours:.1f} {unit} ({how}), peak memory {place} {peak:.1f} GB, disk {disk / GB:.1f} GB"
    once = f", {shared / GB:.1f} of it once for all seeds (data sets and public models)" if shared else ""
    return "\n".join([*lines, total + once])


def require_room(preset: Preset, planned: list[tuple[Step, Cost]], device: Device) -> None:
    """UserError that names the step that takes most, if the device is too small for it."""
    step, largest = max(planned, key=lambda pair: pair[1].memory)
    needed, wanted = max(cost.gpus for _, cost in planned), ceil(largest.memory / GB)
    if preset.needs_gpus and needed > device.gpus:
        raise UserError(
            f"gpus = {device.gpus} is not allowed with preset = {preset.name}, which is planned for {needed}; "
            "allowed are at least as many, or --gpus and --memory-gb for the plan of another machine"
        )
    if largest.memory > device.memory:
        raise UserError(
            f"memory_gb = {device.memory / GB:.3g} is not allowed with preset = {preset.name}, whose step `{step.name}` takes "
            f"{largest.memory / GB:.1f} GB; allowed are at least {wanted}"
        )


def require_gpus(gpus: int, device: Device) -> None:
    """UserError where a run is to share more GPUs than there are."""
    if gpus > device.gpus:
        raise UserError(f"gpus = {gpus} is not allowed: torch can use {device.gpus} here; allowed are at most as many")


def resources(preset: AnyPreset, step: Step) -> dict[str, int]:
    """gpu: GPUs; mem_mb: memory of the computer, in MB; runtime: minutes, after which a scheduler may stop the job.

    A process of a training run reads all that it trains in fp32 before it keeps its share; an average is mixed of theta_0 and
    theta there, in bf16, with a copy of both; the reward model is read there in bf16.
    """
    if isinstance(preset, HubPreset):
        cost, count = hub.cost(preset, step), parameters(preset.model)
        gpus = cost.gpus * (preset.hardware.device == "gpu")
        together = preset.section(step.rlhf).trained_at_once if step.aligns and preset.is_trained else 1
        trained = max(1, cost.gpus) * (local.PROGRAM + together * FULL * count)
        memory = max(trained, local.PROGRAM + max(4 * HALF * count, HALF * parameters(preset.judge)))
    else:
        cost = local.cost(preset, step)
        gpus = cost.gpus
        memory = cost.memory + local.PROGRAM * preset.needs_gpus  # a model is read here before it goes to the GPU
    return {"gpu": gpus, "mem_mb": ceil(memory / MB), "runtime": LEAST + ceil(SLACK * 60 * cost.hours)}


def computer_memory() -> float:
    """Bytes."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def require_computer(preset: HubPreset, planned: list[tuple[Step, Cost]], gpus: int) -> None:
    """UserError that names the step that takes most of the computer's memory, if it has less. gpus: how many the jobs share, of which as
    many run side by side as have GPUs; 0: one at a time.
    """

    def needed(step: Step, cost: Cost) -> float:
        together = max(1, gpus // cost.gpus) if cost.gpus else 1
        return resources(preset, step)["mem_mb"] * MB * together

    step, cost = max(planned, key=lambda pair: needed(*pair))
    if (here := computer_memory()) < (least := needed(step, cost)):
        raise UserError(
            f"the computer's memory = {here / GB:.0f} GB is not allowed with preset = {preset.name} and gpus = {max(gpus, cost.gpus, 1)}, on which "
            f"step `{step.name}` and those beside it take {least / GB:.0f}; allowed are at least as many, or fewer GPUs"
        )


def device_for(
    preset: Preset,
    gpus: int | None = None,
    memory_gb: float | None = None,
    tflops: float | None = None,
    bandwidth: float | None = None,
) -> Device:
    """The GPUs that torch sees, or the computer's memory for presets that need none; what is given goes before what is there."""
    peak = hub.PEAK if tflops is None else tflops * 1e12
    moved = hub.BANDWIDTH if bandwidth is None else bandwidth * 1e12
    given = None if memory_gb is None else memory_gb * GB
    if not preset.needs_gpus:
        return Device(0, computer_memory() if given is None else given, peak, moved)
    if gpus is not None and given is not None:
        return Device(gpus, given, peak, moved)
    import torch

    count = torch.cuda.device_count()
    smallest = min((torch.cuda.get_device_properties(i).total_memory for i in range(count)), default=0.0)
    return Device(count if gpus is None else gpus, smallest if given is None else given, peak, moved)
