"""What this machine has, unless another one is asked about."""

import os

from ..config import Preset
from .hub import PEAK
from .report import GB, Device


def device_for(preset: Preset, gpus: int | None, memory_gb: float | None, tflops: float | None) -> Device:
    """The GPUs that torch sees, or the computer's memory for presets that need none; what is given goes before what is there."""
    peak = PEAK if tflops is None else tflops * 1e12
    if not preset.needs_gpus:
        return Device(0, _given(memory_gb, _computer), peak)
    return Device(_visible() if gpus is None else gpus, _given(memory_gb, _smallest), peak)


def _given(memory_gb: float | None, found) -> float:
    return found() if memory_gb is None else memory_gb * GB


def _computer() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _visible() -> int:
    import torch

    return torch.cuda.device_count()


def _smallest() -> float:
    import torch

    sizes = [torch.cuda.get_device_properties(i).total_memory for i in range(torch.cuda.device_count())]
    return min(sizes, default=0.0)
