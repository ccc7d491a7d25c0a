"""Tiny runs of the presets of the paper's models: their classes, random weights, a few rows of their data sets, on the processor."""

import gc
import os
import signal
import subprocess
import traceback
from pathlib import Path

import torch

from llm.config import HubPreset, load_preset
from llm.config.tiny import tiny
from llm.run import Run
from llm.stages.hub.backend import HubBackend
from llm.training.distributed.__main__ import main

DATA = Path(__file__).parents[1] / "files"


def tiny_preset(name: str) -> HubPreset:
    return tiny(load_preset(name), str(DATA))


def run_of(name: str, out: Path, upto: str | None = None) -> Run[HubPreset]:
    """A run with the stages up to theta of an algorithm done."""
    run = Run(tiny_preset(name), 0, out)
    if upto:
        backend = HubBackend(run)
        backend.pretrain(None)
        backend.sft()
        backend.reward()
        backend.align(upto, "own")
    return run


class Forks:
    """Stands in for `subprocess`: a job runs in a copy of this process, which has loaded everything already. It writes down how
    many steps AdamW took, and where it is told to, it ends before one of them as by `kill -9`.
    """

    def __init__(self, folder: Path, kill: dict[str, int] | None = None) -> None:
        self.folder, self.kill = folder, kill or {}

    def run(self, command: list[str], env: dict[str, str], close_fds: bool) -> subprocess.CompletedProcess:

        gc.freeze()  # so that no copy looks for garbage in what it has in common with this process
        child = os.fork()
        if child == 0:
            os._exit(self._job(Path(command[-1]), env))
        return subprocess.CompletedProcess(command, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))

    def _job(self, job: Path, env: dict[str, str]) -> int:
        os.environ.update(env)
        steps, step = 0, torch.optim.AdamW.step

        def counting(*arguments, **options):
            nonlocal steps
            steps += 1
            (self.folder / job.stem).write_text(str(steps))
            if steps == self.kill.get(job.stem):
                os.kill(os.getpid(), signal.SIGKILL)
            return step(*arguments, **options)

        torch.optim.AdamW.step = counting
        try:
            return main(job)
        except BaseException:  # else the copy would go on with the tests
            traceback.print_exc()
            return 1

    def steps(self, name: str) -> int:
        return int((self.folder / name).read_text())
