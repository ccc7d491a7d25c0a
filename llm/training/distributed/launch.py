"""From hardware settings to the command of a training run, and running it.

With `launcher: none` the run is one process. Otherwise `accelerate launch` starts as many as there are GPUs (or are
asked for on the CPU), by the recipe beside this file.
"""

import os
import subprocess
import sys
from pathlib import Path

from ...config.trainers import Hardware
from ...errors import UserError
from ...files import write_text
from .jobs import Job, refusal_file

RECIPES = Path(__file__).parent / "recipes"


def launch(job: Job, to: Path) -> None:
    """Write the job to the file `to`, run it, and wait; UserError with its own sentence if it refuses, or where it failed."""
    require_gpus(job.hardware)
    if note := slowness(job.hardware):
        print(note)
    write_text(to, job.model_dump_json(indent=1) + "\n")
    refusal_file(to).unlink(missing_ok=True)
    # A launch that outlives this process keeps its locks, by which it has its GPUs (`llm.plan.cards`).
    done = subprocess.run(command(job.hardware, to), env=environment(job.hardware), close_fds=False)
    if refusal_file(to).is_file():
        raise UserError(refusal_file(to).read_text())
    if done.returncode:
        raise UserError(
            f"training ended with exit code {done.returncode}, and its own messages stand above; "
            "the same command goes on from where it was"
        )


def command(hardware: Hardware, job: Path) -> list[str]:
    """The command line. A launch takes whatever port is free."""
    module = ["-m", __package__, str(job)]
    if hardware.launcher == "none":
        return [sys.executable, *module]
    options = ["--config_file", str(RECIPES / f"{hardware.launcher}.yaml"), "--num_processes", str(hardware.processes)]
    options += ["--main_process_port", "0", "--mixed_precision", "bf16" if hardware.dtype == "bf16" else "no"]
    return [sys.executable, "-m", "accelerate.commands.launch", *options, *module]


def environment(hardware: Hardware) -> dict[str, str]:
    """This process's environment; on the CPU it forbids GPUs."""
    quiet = {"HF_HUB_DISABLE_TELEMETRY": "1", "TOKENIZERS_PARALLELISM": "false"}
    return os.environ | quiet | ({"ACCELERATE_USE_CPU": "true"} if hardware.device == "cpu" else {})


def slowness(hardware: Hardware) -> str | None:
    """A warning about settings that are allowed but slow."""
    slow = hardware.device == "cpu" and hardware.dtype == "bf16"
    return "bf16 on a CPU is far slower than fp32" if slow else None


def require_gpus(hardware: Hardware) -> None:
    """UserError where there are fewer GPUs than processes."""
    if hardware.device == "cpu":
        return
    import torch

    if (here := torch.cuda.device_count()) < hardware.processes:
        allowed = f"1 to {here}" if here else "settings with device = cpu"
        raise UserError(
            f"processes = {hardware.processes} is not allowed: torch can use {here} GPUs here, and each process takes one; allowed are {allowed}"
        )
