"""What the graph asks of a scheduler for each of its jobs, from the plan."""

from math import ceil

from ..config import HubPreset, Preset
from . import hub, local
from .shape import FULL, HALF, parameters
from .steps import Step

SLACK = 2  # the time asked for, over the time planned
LEAST = 15  # minutes: to start Python and read a model
MB = 1e6


def resources(preset: Preset, step: Step) -> dict[str, int]:
    """gpu: GPUs; mem_mb: memory of the computer, in MB; runtime: minutes, after which a scheduler may stop the job.

    A process of a training run reads the whole model in fp32 before it keeps its share; an average is mixed of theta_0 and
    theta there, in bf16, with a copy of both.
    """
    if isinstance(preset, HubPreset):
        cost, count = hub.cost(preset, step), parameters(preset.model)
        memory = max(max(1, cost.gpus) * (local.PROGRAM + FULL * count), local.PROGRAM + 4 * HALF * count)
    else:
        cost = local.cost(preset, step)
        memory = cost.memory + local.PROGRAM * preset.needs_gpus  # a model is read here before it goes to the GPU
    return {"gpu": cost.gpus, "mem_mb": ceil(memory / MB), "runtime": LEAST + ceil(SLACK * 60 * cost.hours)}
