"""The processes of a launch: the device each one has, and accelerate's view of them."""

import os
from datetime import timedelta

from ...config.trainers import Hardware
from ...errors import UserError
from ...models.loading import require_gpu
from .batches import Split

# Sampling takes some processes longer than others, and by default those that wait give up after ten minutes.
PATIENCE = timedelta(hours=12)


def require_device(hardware: Hardware) -> None:
    """UserError where the hardware is not that of the settings, or of the launch."""
    if hardware.device == "gpu":
        require_gpu("device = 'gpu'")
    launched = int(os.environ.get("WORLD_SIZE", 1))
    if launched != hardware.processes:
        raise UserError(
            f"processes = {hardware.processes} is not allowed in a launch of {launched}; allowed is {launched}"
        )


def say(text: str) -> None:
    """Print what all processes would say, once."""
    if int(os.environ.get("RANK", 0)) == 0:
        print(text)


def note_slow(hardware: Hardware) -> str | None:
    """What is allowed but should be known."""
    if hardware.device == "cpu" and hardware.dtype == "bf16":
        return "bf16 on a CPU is far slower than fp32"
    return None


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
    """Options of accelerate's FSDP plugin beside those of the recipe; None where it has to be told nothing.

    Left alone, accelerate makes FSDP round to bf16 what a model returns, log-probabilities and losses among it, and the gradients that are
    added up. Here only the weights that compute are bf16.
    """
    import torch
    from torch.distributed.fsdp import MixedPrecisionPolicy

    if hardware.launcher != "fsdp" or hardware.dtype != "bf16":
        return None
    return {"mixed_precision_policy": MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)}


def make_accelerator(hardware: Hardware, split: Split):
    """An `accelerate.Accelerator` for our own loops; the recipe of the launch says how models are spread."""
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState
    from accelerate.utils import FullyShardedDataParallelPlugin, GradientAccumulationPlugin, InitProcessGroupKwargs

    if not prepare_state(hardware):
        AcceleratorState._reset_state(reset_partial_state=True)
    # Gradients are reduced after every pass: kept whole until the last one they would take as much memory as the model.
    plugin = GradientAccumulationPlugin(num_steps=split.accumulation, sync_each_batch=True, sync_with_dataloader=False)
    accelerator = Accelerator(
        cpu=hardware.device == "cpu",
        mixed_precision="bf16" if hardware.dtype == "bf16" else "no",
        gradient_accumulation_plugin=plugin,
        fsdp_plugin=FullyShardedDataParallelPlugin(**options) if (options := sharding(hardware)) else None,
        kwargs_handlers=[InitProcessGroupKwargs(timeout=PATIENCE)],
    )
    if accelerator.state.deepspeed_plugin is not None:  # it would else learn this from a data loader, and there is none
        accelerator.state.deepspeed_plugin.deepspeed_config["train_micro_batch_size_per_gpu"] = split.per_device
    return accelerator


def gathered(accelerator, mine: list) -> list:
    """The elements of all processes' lists, in every process."""
    from accelerate.utils import gather_object

    return gather_object(mine)
