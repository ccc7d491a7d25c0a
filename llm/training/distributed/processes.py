"""The processes of a launch: the device each one has, its share of a global batch, and accelerate's view of them."""

import os
from dataclasses import dataclass
from datetime import timedelta

from ...config.trainers import Hardware, largest_divisor
from ...errors import UserError

# Sampling takes some processes longer than others, and by default those that wait give up after ten minutes.
PATIENCE = timedelta(hours=12)
READ_TOKENS, READ_LOGITS = 2**15, 2**28  # of what goes through a model together when it only reads, at most


@dataclass(frozen=True)
class Split:
    """per_device: rows that go through the model together. accumulation: such passes a step, in every process."""

    per_device: int
    accumulation: int


def split(batch: int, hardware: Hardware) -> Split:
    """per_device * accumulation * processes = batch; UserError if the processes do not divide it (`Hardware.of_batch` does).

    per_device is the largest that divides a process's share and is at most `per_device_batch`.
    """
    processes = hardware.processes
    if batch % processes:
        allowed = ", ".join(str(k) for k in range(1, batch + 1) if batch % k == 0)
        raise UserError(
            f"processes = {processes} is not allowed with batch = {batch}, the global batch; allowed are {allowed}"
        )
    share = batch // processes
    per_device = largest_divisor(share, hardware.per_device_batch)
    return Split(per_device, share // per_device)


def read_together(rows: int, tokens: int, logits: int = 0) -> int:
    """Rows that go through a model together when it only reads: at most `rows`, as few as fit beside what is trained, at least one.

    tokens, logits: of the longest row.
    """
    return max(1, min(rows, READ_TOKENS // max(1, tokens), READ_LOGITS // max(1, logits)))


def require_device(hardware: Hardware) -> None:
    """UserError where the hardware is not that of the settings, or of the launch."""
    if hardware.device == "gpu":
        from ...models.loading import require_gpu

        require_gpu("device = 'gpu'")
    launched = int(os.environ.get("WORLD_SIZE", 1))
    if launched != hardware.processes:
        raise UserError(
            f"processes = {hardware.processes} is not allowed in a launch of {launched}; allowed is {launched}"
        )


def print_once(text: str) -> None:
    """Print in one process only."""
    if int(os.environ.get("RANK", 0)) == 0:
        print(text)


def prepare_state(hardware: Hardware) -> bool:
    """Set up the group of processes on CPUs; True where accelerate must take it as it is.

    accelerate shards models on GPUs only, though torch's `fully_shard` works on CPUs all the same. So there the group is
    made here, and called one of GPUs, whereupon accelerate does what it would do on them, on the CPUs' tensors.
    """
    from accelerate.state import AcceleratorState, PartialState
    from accelerate.utils import DistributedType

    if hardware.device != "cpu" or hardware.launcher != "fsdp":
        return False
    AcceleratorState._reset_state(reset_partial_state=True)
    state = PartialState(cpu=True, timeout=PATIENCE)
    state._shared_state["distributed_type"] = DistributedType.MULTI_GPU
    return True


def sharding(hardware: Hardware) -> dict | None:
    """Options of accelerate's FSDP plugin beside those of the recipe; None where there are none.

    Left alone, accelerate makes FSDP round to bf16 what a model returns, log-probabilities and losses among it, and the
    gradients that are added up. Here only the weights that compute are bf16.
    """
    import torch
    from torch.distributed.fsdp import MixedPrecisionPolicy

    if hardware.launcher != "fsdp" or hardware.dtype != "bf16":
        return None
    return {"mixed_precision_policy": MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)}


def release(accelerator) -> None:
    """Free the memory of what was prepared, once nothing else refers to it."""
    accelerator.free_memory()
    collect()


def collect() -> None:
    """Free the memory of models that nothing refers to: they refer to themselves, so they wait for the collector."""
    import gc

    import torch

    gc.collect()
    torch.cuda.empty_cache()  # nothing where no GPU is in use


def make_accelerator(hardware: Hardware, split: Split):
    """An `accelerate.Accelerator` for our own loops; the recipe of the launch determines how models are spread."""
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState
    from accelerate.utils import FullyShardedDataParallelPlugin, GradientAccumulationPlugin, InitProcessGroupKwargs

    if not prepare_state(hardware):
        AcceleratorState._reset_state(reset_partial_state=True)
    # Gradients are reduced after every pass: kept whole until the last one they would take as much memory as the model.
    plugin = GradientAccumulationPlugin(num_steps=split.accumulation, sync_each_batch=True, sync_with_dataloader=False)
    return Accelerator(
        cpu=hardware.device == "cpu",
        mixed_precision="bf16" if hardware.dtype == "bf16" else "no",
        gradient_accumulation_plugin=plugin,
        fsdp_plugin=FullyShardedDataParallelPlugin(**options) if (options := sharding(hardware)) else None,
        kwargs_handlers=[InitProcessGroupKwargs(timeout=PATIENCE)],
    )


def gathered(accelerator, mine: list) -> list:
    """The elements of all processes' lists, in every process."""
    from accelerate.utils import gather_object

    return gather_object(mine)
