"""A run of the paper's kind of preset that is killed in the middle of a stage: done again, it ends with the same models."""

import os
import shutil
import signal
import subprocess
import traceback
from pathlib import Path

import pytest
import torch

from hub_runs import run_of
from llm.errors import UserError
from llm.stages.hub.backend import HubBackend
from llm.training.distributed import launch
from llm.training.distributed.__main__ import main
from trainer_models import same

# what is trained in which order, by the name of its job; the stage that does it; the model it ends with
JOBS = {
    "theta_0": (HubBackend.sft, "theta_0"),
    "reward-sft": (HubBackend.reward, "reward-sft"),
    "reward": (HubBackend.reward, "reward"),
    "rsf-own": (lambda backend: backend.align("rsf", "own"), "rsf/own/iteration02"),
    "dpo-own": (lambda backend: backend.align("dpo", "own"), "dpo/own/iteration02"),
    "warm-start": (lambda backend: backend.align("ppo", "own"), "warm-start"),
    "ppo-own": (lambda backend: backend.align("ppo", "own"), "ppo/own/iteration02"),
}


class Forks:
    """Stands in for `subprocess`: a job runs in a copy of this process, which has loaded everything already. It writes down how
    many steps AdamW took, and where it is told to, it ends before one of them as by `kill -9`.
    """

    def __init__(self, folder: Path, kill: dict[str, int] | None = None) -> None:
        self.folder, self.kill = folder, kill or {}

    def run(self, command: list[str], env: dict[str, str]) -> subprocess.CompletedProcess:
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


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nobody disturbs."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        forks = Forks(folder)
        patch.setattr(launch, "subprocess", forks)
        run = run_of("openllama-3b", folder, upto="rsf")
        for rlhf in ("dpo", "ppo"):
            HubBackend(run).align(rlhf, "own")
    return run, forks


@pytest.mark.parametrize("name", JOBS)
def test_a_killed_stage_goes_on_to_the_same_model(whole, tmp_path, monkeypatch, name):
    (done, forks), (stage, model) = whole, JOBS[name]
    run = run_of("openllama-3b", tmp_path)
    shutil.copytree(done.folder, run.folder, ignore=shutil.ignore_patterns(*left_out(name)))
    last = forks.steps(name)
    killed = Forks(tmp_path, {name: last})
    monkeypatch.setattr(launch, "subprocess", killed)
    with pytest.raises(UserError, match="ended with exit code -9, .* the same command goes on from where it was"):
        stage(HubBackend(run))
    assert not (run.folder / model / "config.json").exists()
    again = Forks(tmp_path)
    monkeypatch.setattr(launch, "subprocess", again)
    stage(HubBackend(run))
    assert same(run.folder / model, done.folder / model)
    assert again.steps(name) < last  # it did not begin anew


def left_out(name: str) -> list[str]:
    """What a run that has come to this job does not have yet."""
    later = list(JOBS)[list(JOBS).index(name) :]
    return [
        part for job in later for part in {"rsf-own": ["rsf"], "dpo-own": ["dpo"], "ppo-own": ["ppo"]}.get(job, [job])
    ]
