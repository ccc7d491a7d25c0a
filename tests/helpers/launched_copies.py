"""Stands in for `subprocess.run` of a command that launches several processes: copies of this one, which has loaded everything already, in
the environment that `accelerate launch` would give them.
"""

import subprocess
from importlib import import_module
from pathlib import Path

from llm.training.distributed.__main__ import main as run_job


def copied(command: list[str], env: dict[str, str], **_) -> subprocess.CompletedProcess:
    """A job's launch on two processes, or that of the `main` of a file of this folder."""
    from accelerate.commands.launch import _validate_launch_command, launch_command_parser
    from accelerate.utils import patch_environment
    from accelerate.utils.launch import prepare_multi_gpu_env
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    made, _, _ = _validate_launch_command(launch_command_parser().parse_args(command[3:]))
    two = LaunchConfig(
        1, 1, 2, start_method="fork", rdzv_backend="c10d", rdzv_endpoint="localhost:0", monitor_interval=0.1
    )
    main = run_job if made.module else import_module(Path(made.training_script).stem).main
    with patch_environment(**env | prepare_multi_gpu_env(made)):
        elastic_launch(two, main)(Path(command[-1]))
    return subprocess.CompletedProcess(command, 0, stderr="")
