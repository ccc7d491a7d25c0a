"""The graph of every preset by a dry run, its jobs with what the plan asks for; and the profiles of schedulers."""

import re
from pathlib import Path

import pytest
import yaml

from llm.config import load_preset, load_sweep, names
from llm.plan.costs import Step
from llm.plan.report import resources
from workflow import REPOSITORY, graph, output

JOBS = re.compile(r"^rule (\w+):\n(?:    .*\n)*?    resources: (.*)$", re.MULTILINE)
TRAINED, PUBLIC = ["openllama-3b", "openllama-3b-lora"], ["zephyr-7b-beta", "zephyr-7b-gemma"]


def asked(said: str) -> dict[str, dict[str, int]]:
    """Rule -> what its last job asks for."""
    return {
        rule: {key: int(value) for key, value in re.findall(r"(gpu|mem_mb|runtime)=(\d+)", given)}
        for rule, given in JOBS.findall(said)
    }


def counted(said: str) -> dict[str, int]:
    return {rule: int(count) for rule, count in re.findall(r"^([\w-]+) +(\d+)$", said, flags=re.MULTILINE)}


@pytest.mark.parametrize("name", [*TRAINED, *PUBLIC, "smollm2-135m"])
def test_the_same_graph_runs_every_preset_and_asks_for_what_the_plan_says(tmp_path: Path, name):
    preset, sweep = load_preset(name), "algorithms" if name in PUBLIC else "core"
    said = output(graph(tmp_path, "--dry-run", target=sweep, preset=name))
    assert "Exception" not in said  # a rule that could not say what it needs, though another was taken instead
    jobs = counted(said)
    assert jobs.pop("total") == sum(jobs.values())
    assert jobs == {
        "pretrain": 1,
        "sft": 1,
        "reward": 1,
        "align": 1,
        "baseline": 1,
        "trajectory": 1,
        "average": len(load_sweep(sweep).averaging),
        "collect": 1,
        sweep: 1,
    }
    for rule in ("sft", "reward", "baseline"):
        assert asked(said)[rule] == resources(preset, Step(rule))
    assert asked(said)["align"]["gpu"] == (4 if name in TRAINED else 0)
    assert asked(said)["average"]["gpu"] == (0 if name == "smollm2-135m" else 1)


@pytest.mark.parametrize(
    ("name", "threads"), [("smollm2-135m", {"pretrain", "sft", "reward", "align"}), ("microcosm", set())]
)
def test_what_all_wait_for_takes_the_presets_threads_and_what_runs_side_by_side_one(tmp_path: Path, name, threads):
    said = output(graph(tmp_path, "--dry-run", target="core", preset=name))
    several = re.findall(r"^rule (\w+):\n(?:    .*\n)*?    threads: 2$", said, flags=re.MULTILINE)
    assert set(several) == threads


def test_time_asked_for_leaves_room_and_memory_holds_a_model_for_each_process():
    preset = load_preset("openllama-3b")
    found = resources(preset, Step("sft"))
    assert found["gpu"] == 4
    assert found["mem_mb"] > 4 * 4 * 3426  # four times four bytes a parameter, in MB
    assert all(resources(load_preset(name), Step("reward"))["runtime"] >= 15 for name in names("presets"))


def test_the_profile_of_slurm_starts_every_job_and_says_where_nothing_else_does():
    """The executor is a package of its own; without it a dry run takes the profile's other options."""
    profile = yaml.safe_load((REPOSITORY / "profiles/slurm/config.yaml").read_text())
    assert profile.pop("executor") == "slurm"
    assert {entry.split("=")[0] for entry in profile["default-resources"]} == {"cpus_per_task", "mem_mb", "runtime"}


@pytest.mark.parametrize("profile", ["slurm", "kubernetes"])
def test_a_profiles_options_are_snakemakes(tmp_path: Path, profile):
    given = yaml.safe_load((REPOSITORY / "profiles" / profile / "config.yaml").read_text())
    given.pop("executor", None)
    (tmp_path / "profile").mkdir()
    (tmp_path / "profile" / "config.yaml").write_text(yaml.safe_dump(given))
    said = output(
        graph(tmp_path, "--dry-run", "--profile", str(tmp_path / "profile"), target="core", preset="openllama-3b")
    )
    assert counted(said)["align"] == 1
    assert asked(said)["align"]["gpu"] == 4


def test_the_pod_has_as_many_gpus_as_the_plan_of_the_preset_that_it_runs():
    pod = yaml.safe_load((REPOSITORY / "profiles/kubernetes/job.yaml").read_text())["spec"]["template"]["spec"][
        "containers"
    ][0]
    name = next(word.split("=")[1] for word in pod["args"] if word.startswith("preset="))
    asks = resources(load_preset(name), Step("align", "rsf"))
    assert int(pod["resources"]["limits"]["nvidia.com/gpu"]) == asks["gpu"]
    assert int(pod["resources"]["requests"]["memory"].removesuffix("G")) * 1000 >= asks["mem_mb"]
