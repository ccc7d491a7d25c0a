"""From hardware settings to the command of a training run, and running it.

With `launcher: none` the run is one process. Otherwise `accelerate launch` starts as many as there are GPUs (or are asked for on the CPU),
by one of the recipes beside this file.
"""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import yaml

from ...config.trainers import Hardware
from ...errors import UserError
from ...files import write_text
from .__main__ import refusal_file
from .jobs import Job
from .processes import note_slow

FOLDER = Path(__file__).parent / "recipes"


def launch(job: Job, to: Path) -> None:
    """Write the job to the file `to`, run it, and wait; UserError with its own sentence if it refuses, or where it failed."""
    require_launcher(job.hardware)
    if note := note_slow(job.hardware):
        print(note)
    write_text(to, job.model_dump_json(indent=1) + "\n")
    refusal_file(to).unlink(missing_ok=True)
    done = subprocess.run(command(job.hardware, to), env=environment(job.hardware))
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
    precision = "bf16" if hardware.dtype == "bf16" else "no"
    options = [
        "--config_file",
        str(recipe(hardware, job)),
        "--num_processes",
        str(hardware.processes),
        "--main_process_port",
        "0",
    ]
    launcher = [sys.executable, "-m", "accelerate.commands.launch"]
    return [*launcher, *options, "--mixed_precision", precision, *module]


def recipe(hardware: Hardware, job: Path) -> Path:
    """accelerate's configuration; that of ZeRO-3 is written beside the job, as it has to name a file by its full path."""
    if hardware.launcher == "ddp" and hardware.device == "cpu":
        return FOLDER / "cpu-gloo.yaml"
    given = FOLDER / f"{hardware.launcher}.yaml"
    if hardware.launcher != "zero3":
        return given
    settings = yaml.safe_load(given.read_text())
    settings["deepspeed_config"]["deepspeed_config_file"] = str(FOLDER / "zero3.json")
    write_text(job.with_name(f"{job.name}.zero3.yaml"), yaml.safe_dump(settings))
    return job.with_name(f"{job.name}.zero3.yaml")


def environment(hardware: Hardware) -> dict[str, str]:
    """This process's environment; on the CPU it says that GPUs are not to be used. TRL is asked not to report its use."""
    quiet = {"HF_HUB_DISABLE_TELEMETRY": "1", "TOKENIZERS_PARALLELISM": "false"}
    return os.environ | quiet | ({"ACCELERATE_USE_CPU": "true"} if hardware.device == "cpu" else {})


def require_launcher(hardware: Hardware) -> None:
    """UserError where the launcher and the hardware do not go together, or something is not installed."""
    if hardware.launcher == "none" and hardware.processes != 1:
        raise UserError(f"processes = {hardware.processes} is not allowed with launcher = 'none'; allowed is 1")
    if hardware.launcher == "zero3" and hardware.device == "cpu":
        raise UserError("launcher = 'zero3' is not allowed with device = 'cpu'; allowed are none, ddp, fsdp")
    if hardware.launcher == "zero3" and find_spec("deepspeed") is None:
        raise UserError("launcher = 'zero3' is not allowed: DeepSpeed is not installed; allowed are none, ddp, fsdp")
    if hardware.device == "gpu":
        require_gpus(hardware)


def require_gpus(hardware: Hardware) -> None:
    """UserError if there are fewer GPUs than processes."""
    import torch

    if (here := torch.cuda.device_count()) < hardware.processes:
        allowed = f"1 to {here}" if here else "settings with device = cpu"
        raise UserError(
            f"processes = {hardware.processes} is not allowed: torch can use {here} GPUs here, and each process takes one; allowed are {allowed}"
        )
