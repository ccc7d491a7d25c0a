"""Measuring of the paper's models, tiny, killed in the middle: it goes on with the model that is missing, to the same bytes."""

import os
import shutil
import signal

import pytest

from hub_runs import run_of
from llm.commands.training import sweep
from llm.evaluation import hub
from llm.evaluation.hub import HubEvaluator
from llm.evaluation.keeping import Kept, anew
from llm.evaluation.measurement import Measurement
from llm.run import Run
from llm.stages.align import theta_folder
from llm.stages.hub import adapt

SWEEP = """
name: few
rlhf: [dpo]
learning_rates: [null]
trajectory: false
averaging:
  - {label: few, method: ma, alphas: [0.0, 0.5, 1.0], grouping: {parts: 3, embeddings: first, norm: mean, head: mean}}
training: []
"""


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A run with theta_0, theta and a reward model, of a preset that measures little, as a file."""
    folder = tmp_path_factory.mktemp("done")
    run = run_of("zephyr-7b-beta", folder, upto="dpo")
    few = run.preset.model_copy(update={"evaluate": run.preset.evaluate.model_copy(update={"tasks": ("piqa",)})})
    (folder / "preset.yaml").write_text(few.model_dump_json())
    (folder / "few.yaml").write_text(SWEEP)
    return Run(few, 0, folder)


def killed_at(count: int, owner, name: str, patch: pytest.MonkeyPatch) -> list:
    """Make the process end by `kill -9` at the call of that number, 0 for never; a list with an element for each call."""
    real, calls = getattr(owner, name), []

    def counting(*arguments, **options):
        calls.append(arguments)
        if len(calls) == count:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments, **options)

    patch.setattr(owner, name, counting)
    return calls


def in_copy(work) -> int:
    """What a copy of this process ends with."""
    child = os.fork()
    if child == 0:
        work()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_a_killed_average_goes_on_with_the_model_that_it_was_at(done, tmp_path, monkeypatch):
    monkeypatch.setattr(hub.time, "perf_counter", lambda: 0.0)
    calls = killed_at(0, HubEvaluator, "measure", monkeypatch)

    def average(out) -> bytes:
        shutil.copytree(done.folder, out / done.folder.relative_to(done.out), dirs_exist_ok=True)
        sweep(str(done.out / "few.yaml"), "few", str(done.out / "preset.yaml"), 0, out, "dpo")
        (rows,) = (
            out / done.folder.relative_to(done.out) / "rows" / "dpo" / "own"
        ).iterdir()  # nothing is left beside it
        return rows.read_bytes()

    whole = average(tmp_path / "whole")
    assert len(calls) == 3
    with monkeypatch.context() as patch:
        killed_at(2, HubEvaluator, "measure", patch)
        assert in_copy(lambda: average(tmp_path / "killed")) == -signal.SIGKILL
    calls.clear()
    assert average(tmp_path / "killed") == whole
    assert len(calls) == 2


def test_killed_sampling_for_ama_goes_on_with_the_part_that_is_missing(done, tmp_path, monkeypatch):
    run, theta, file = Run(done.preset, 0, tmp_path), theta_folder(done, "dpo", "own"), tmp_path / "samples.jsonl"
    shutil.copytree(done.folder / "reward", run.folder / "reward")
    monkeypatch.setattr(adapt, "PART", 5)
    calls = killed_at(0, hub, "generate_replies", monkeypatch)
    whole = adapt._samples(run, theta, tmp_path / "whole.jsonl").read_bytes()
    assert len(calls) == 3  # 13 prompts
    with monkeypatch.context() as patch:
        killed_at(3, hub, "generate_replies", patch)
        assert in_copy(lambda: adapt._samples(run, theta, file)) == -signal.SIGKILL
    calls.clear()
    assert adapt._samples(run, theta, file).read_bytes() == whole
    assert len(calls) == 1
    assert adapt._samples(run, theta, file).read_bytes() == whole and len(calls) == 1  # it is there
    prompts = [line.split('"content": ')[1] for line in whole.decode().splitlines()]
    assert len(set(prompts)) > 5  # parts differ


def test_rows_are_made_again_where_a_model_or_the_preset_is_another(done, tmp_path):
    made, model = [], tmp_path / "model"
    model.mkdir()
    (model / "config.json").touch()

    def rows() -> list[dict]:
        made.append(None)
        return [{"a": 1.5}]

    def ask(preset=done.preset, which: object = {"alpha": 0.5}) -> int:
        assert Kept.beside(tmp_path / "rows.jsonl", preset, model)(which, rows) == [{"a": 1.5}]
        return len(made)

    assert (ask(), ask()) == (1, 1)
    assert ask(which={"alpha": 0.6}) == 2
    assert ask(preset=done.preset.model_copy(update={"memory_gb": 1.0})) == 3
    os.utime(model / "config.json", (1, 1))
    assert (ask(), ask()) == (4, 4)
    Kept.beside(tmp_path / "rows.jsonl", done.preset, model).forget()
    assert (ask(), anew(None, rows), len(made)) == (5, [{"a": 1.5}], 6)


def test_theta_0_answers_alpacas_instructions_once_a_run(done, tmp_path, monkeypatch):
    settings = done.preset.evaluate.model_copy(update={"alpaca_prompts": 3, "prompts": 2})
    run = Run(done.preset.model_copy(update={"evaluate": settings}), 0, tmp_path)
    for name in ("theta_0", "reward", "reward.json", "data"):
        place = run.folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(done.folder / name, place) if (done.folder / name).is_dir() else shutil.copy(
            done.folder / name, place
        )
    ranked = []
    monkeypatch.setattr(hub, "win_rate", lambda _, *texts: ranked.append(texts) or Measurement(0.5, 0.0, 3))
    calls = killed_at(0, hub, "generate_replies", monkeypatch)

    def answered() -> int:
        return sum(len(prompts) == 3 for _, _, prompts in calls)

    def evaluator() -> HubEvaluator:
        return HubEvaluator(run, run.folder / "theta_0", run.folder / "reward")

    hub.measure_baseline(evaluator())
    assert answered() == 1 and ranked[0][1] == ranked[0][2]  # theta_0's answers are its own rivals
    evaluator().measure(hub.load_model(theta_folder(done, "dpo", "own")))
    assert answered() == 2  # theta's alone
    assert ranked[1][2] == ranked[0][2] != ranked[1][1]
