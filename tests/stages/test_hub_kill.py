"""A run of the paper's kind of preset that is killed in the middle of a stage: done again, it ends with the same models."""

import shutil

import pytest

from hub_runs import Forks, run_of
from llm.errors import UserError
from llm.stages.hub.backend import HubBackend
from llm.training.distributed import launch
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
