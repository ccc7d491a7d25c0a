"""Training on two processes of this machine: the recipes, the command, and that two do what one does."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest
import torch

import launched_adapters
import launched_trainers
from launched_copies import copied
from llm.config.trainers import Launcher
from llm.errors import UserError
from llm.training.distributed.jobs import Job
from llm.training.distributed.launch import RECIPES, command, environment, launch
from llm.training.distributed.models import load_trained, write_model
from trainer_models import PROMPTS, hardware, same, weights
from trainer_runs import dpo_run, gradients, ppo_run, reward_run, rsf_run, rsf_settings, sft_run, start

ROOT = Path(__file__).parents[2]
ALONE = hardware()
TWO = hardware(launcher="fsdp", processes=2)


@pytest.fixture(scope="module", params=["copied", pytest.param("launched", marks=pytest.mark.long)])
def launched(request):
    """What runs two processes: `subprocess.run`, or what stands in for it."""
    return subprocess.run if request.param == "launched" else copied


@pytest.fixture(scope="module")
def sharded(folder, launched):
    """The outputs of `launched_trainers`, run by two processes under FSDP."""
    shutil.rmtree(folder / "fsdp", ignore_errors=True)
    on_two(launched, launched_trainers.__file__, folder)
    return folder / "fsdp"


def on_two(launched, script: str, folder: Path) -> None:
    """Run a script of tests/helpers in two processes."""
    job = command(TWO, folder / "job.json")
    path = {
        "PYTHONPATH": str(ROOT)
    }  # a script's own folder is where Python looks first, so it is told of this checkout
    told = [*job[: job.index("-m", 3)], script, str(folder)]
    done = launched(told, env=environment(TWO) | path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]


def largest_difference(first: dict, second: dict) -> float:
    assert first.keys() == second.keys()
    return max(float((first[key] - second[key]).abs().max()) for key in first)


def test_sharded_over_two_processes_a_global_batch_has_the_gradient_that_one_finds(folder, sharded):
    """Of three rows with replies of different lengths, so that one of the four passes is empty."""
    gradients(folder, folder / "gradients.pt", ALONE)
    one, two = torch.load(folder / "gradients.pt"), torch.load(sharded / "gradients.pt")
    assert two.pop("loss") == pytest.approx(one.pop("loss"), rel=1e-6)
    assert max(float(change.abs().max()) for change in one.values()) > 0.1
    assert largest_difference(one, two) < 1e-6


def test_sharded_in_bf16_the_loss_is_not_rounded_to_it(folder, sharded):
    gradients(folder, folder / "gradients.pt", ALONE)
    exact, found = torch.load(folder / "gradients.pt"), torch.load(sharded / "gradients-bf16.pt")
    loss = found.pop("loss")
    assert loss == pytest.approx(exact.pop("loss"), rel=0.01) and loss != torch.tensor(loss).bfloat16().item()
    assert largest_difference(exact, found) < 0.03 * max(float(change.abs().max()) for change in exact.values())


def test_a_sharded_run_that_was_stopped_ends_with_the_same_bytes_and_with_what_one_process_makes(folder, sharded):
    assert same(sharded / "whole", sharded / "resumed")
    assert not list(sharded.glob(".*"))
    sft_run(folder, folder / "whole", ALONE)
    assert largest_difference(weights(folder / "whole"), weights(sharded / "whole")) < 1e-5
    assert largest_difference(weights(folder / "whole"), weights(folder / "model")) > 1e-3


@pytest.mark.parametrize(("name", "run", "model"), [("scored", reward_run, ""), ("dpo", dpo_run, "iteration02")])
def test_pairs_are_learned_sharded_over_two_processes_as_by_one(folder, sharded, name, run, model):
    losses = run(folder, folder / f"{name}-alone", ALONE)
    assert json.loads((sharded / f"{name}.losses.json").read_text()) == pytest.approx(losses, rel=1e-4)
    assert losses[-1] < losses[0] and len(losses) == 6
    one, two = (weights(out / model) for out in (folder / f"{name}-alone", sharded / name))
    assert largest_difference(one, two) < 1e-4


def test_ppo_sharded_over_two_processes_is_that_of_one(folder, sharded):
    ppo_run(folder, folder / "ppo", ALONE, iterations=2)
    one, two = (json.loads((out / "iteration02.json").read_text()) for out in (folder / "ppo", sharded / "ppo"))
    assert {
        key: pytest.approx(value, rel=1e-3) if isinstance(value, float) else value for key, value in one.items()
    } == two
    assert largest_difference(weights(folder / "ppo/iteration02"), weights(sharded / "ppo/iteration02")) < 1e-4


def test_writing_a_model_leaves_the_adapters_that_go_on_learning_as_they_are(folder, tmp_path):
    """In one process its weights are the learner's own, to which merging would add what the adapters add already."""
    model, origin = load_trained(start(folder), "causal", launched_adapters.LORA)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    write_model(model.state_dict(), origin, "fp32", tmp_path / "one")
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    write_model(model.state_dict(), origin, "fp32", tmp_path / "two")
    assert largest_difference(weights(tmp_path / "one"), weights(tmp_path / "two")) == 0
    assert largest_difference(weights(tmp_path / "one"), weights(folder / "model")) > 1e-3


@pytest.mark.long
def test_adapters_learn_sharded_over_two_processes_what_they_learn_in_one(folder):
    on_two(subprocess.run, launched_adapters.__file__, folder)
    launched_adapters.main(folder, folder / "adapted-alone", ALONE)
    for model in launched_adapters.MADE:
        one, two = (weights(folder / out / model) for out in ("adapted-alone", "adapted"))
        assert largest_difference(one, two) < 1e-4, model
        assert largest_difference(one, weights(folder / "model")) > 1e-3, model


def test_rsf_launched_on_two_processes_writes_the_samples_and_the_model_of_one(folder, launched, monkeypatch):
    monkeypatch.setattr(subprocess, "run", launched)
    shutil.rmtree(folder / "launched", ignore_errors=True)
    launch(_job(folder, TWO), folder / "job.json")
    rsf_run(folder, folder / "rsf", ALONE)
    one, two = (json.loads((out / "chosen01.json").read_text()) for out in (folder / "rsf", folder / "launched"))
    assert one == two and len(one) == 3
    assert largest_difference(weights(folder / "rsf/iteration01"), weights(folder / "launched/iteration01")) < 1e-5


def test_what_a_launched_process_refuses_is_refused_by_the_launch(folder, launched, monkeypatch):
    monkeypatch.setattr(subprocess, "run", launched)
    job = _job(folder, TWO).model_copy(update={"settings": rsf_settings().model_dump() | {"prompts": 99}})
    with pytest.raises(UserError, match="prompts = 99 is not allowed: there are 4; allowed are 1 to 4"):
        launch(job, folder / "job.json")


def _job(folder: Path, split) -> Job:
    (folder / "prompts.jsonl").write_text("".join(json.dumps({"prompt": prompt}) + "\n" for prompt in PROMPTS))
    return Job(
        trainer="rsf",
        settings=rsf_settings().model_dump(),
        hardware=split,
        model=str(folder / "model"),
        seed=0,
        data=folder / "prompts.jsonl",
        reward=folder / "reward",
        out=folder / "launched",
    )


def test_accelerate_knows_every_key_of_the_recipe_and_there_is_one_for_each_launcher():
    from accelerate.commands.config.config_args import load_config_from_file

    assert {file.stem for file in RECIPES.iterdir()} == {*get_args(Launcher)} - {"none"}
    for file in RECIPES.iterdir():
        settings = load_config_from_file(str(file))
        assert settings.num_processes == -1 and settings.num_machines == 1 and not settings.use_cpu


def test_accelerate_understands_the_command(tmp_path, monkeypatch):
    from accelerate.commands.launch import _validate_launch_command, launch_command_parser

    split = hardware(device="gpu", launcher="fsdp", processes=4, dtype="bf16")
    arguments = command(split, tmp_path / "job.json")
    monkeypatch.setattr(sys, "argv", arguments[2:])  # accelerate looks there for what was said itself
    made, _, _ = _validate_launch_command(launch_command_parser().parse_args(arguments[3:]))
    assert [name for name in ("multi_gpu", "use_fsdp", "use_deepspeed") if getattr(made, name)] == ["use_fsdp"]
    assert (made.num_processes, made.mixed_precision, made.module, made.training_script) == (
        4,
        "bf16",
        True,
        "llm.training.distributed",
    )
    assert made.training_script_args == [str(tmp_path / "job.json")]
    sharding = (made.fsdp_version, made.fsdp_reshard_after_forward, made.fsdp_state_dict_type)
    assert sharding == (2, True, "SHARDED_STATE_DICT")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [({"launcher": "fsdp", "processes": 4096, "device": "gpu"}, "processes = 4096 is not allowed: torch can use")],
)
def test_hardware_that_does_not_fit_is_refused_before_anything_runs(folder, tmp_path, changes, sentence):
    with pytest.raises(UserError, match=sentence):
        launch(_job(folder, hardware(**changes)), tmp_path / "job.json")
    assert not list(tmp_path.iterdir())


def test_the_environment_keeps_what_is_there(monkeypatch):
    monkeypatch.setenv("HF_HOME", "elsewhere")
    assert environment(ALONE)["HF_HOME"] == "elsewhere" and environment(ALONE)["ACCELERATE_USE_CPU"] == "true"
    monkeypatch.delenv("ACCELERATE_USE_CPU", raising=False)
    assert "ACCELERATE_USE_CPU" not in environment(hardware(device="gpu"))
