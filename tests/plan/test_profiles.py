"""The graph of every preset by a dry run, its jobs with what the plan asks for; and the profiles of schedulers."""

import json
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
import yaml

from llm.config import load_preset, load_sweep, names
from llm.plan.costs import Step
from llm.plan.report import resources
from workflow import REPOSITORY, dry_run

JOBS = re.compile(r"^rule (\w+):\n(?:    .*\n)*?    resources: (.*)$", re.MULTILINE)
TRAINED, PUBLIC = ["openllama-3b", "openllama-3b-lora"], ["zephyr-7b-beta", "zephyr-7b-gemma", "olmo-2-1b"]


def asked(said: str) -> dict[str, dict[str, int]]:
    """Rule -> what its last job asks for."""
    return {
        rule: {key: int(value) for key, value in re.findall(r"(gpu|mem_mb|runtime)=(\d+)", given)}
        for rule, given in JOBS.findall(said)
    }


def counted(said: str) -> dict[str, int]:
    return {rule: int(count) for rule, count in re.findall(r"^([\w-]+) +(\d+)$", said, flags=re.MULTILINE)}


@pytest.fixture(scope="module")
def planned(tmp_path_factory):
    """A function: what Snakemake says it would do for a target and a preset; each costs seconds, so it is asked once."""

    @cache
    def run(target, preset):
        return dry_run(tmp_path_factory.mktemp("graph"), target=target, preset=preset)

    return run


OF_ANOTHER = [pytest.param(name, marks=pytest.mark.long) for name in ("openllama-3b-lora", "zephyr-7b-gemma")]


@pytest.mark.parametrize("name", ["openllama-3b", "zephyr-7b-beta", "olmo-2-1b", "smollm2-135m", *OF_ANOTHER])
def test_the_same_graph_runs_every_preset_and_asks_for_what_the_plan_says(planned, name):
    preset, sweep = load_preset(name), "algorithms" if name in PUBLIC else "core"
    said = planned(sweep, name)
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
        "average": len((preset.entries or {}).get(sweep, load_sweep(sweep).averaging)),  # smollm2-135m names a few
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
def test_what_all_wait_for_takes_the_presets_threads_and_what_runs_side_by_side_one(planned, name, threads):
    several = re.findall(r"^rule (\w+):\n(?:    .*\n)*?    threads: 2$", planned("core", name), flags=re.MULTILINE)
    assert set(several) == threads


def test_the_warm_start_of_ppo_is_made_once_for_all_penalties(tmp_path: Path):
    said = dry_run(tmp_path, target="algorithms kl-penalty", preset="openllama-3b")
    jobs = counted(said)
    assert (jobs["warm_start"], jobs["align"], jobs["penalise"]) == (1, 2, 3)
    inputs = re.findall(r"^rule (?:align|penalise):\n    input: (.*)$", said, flags=re.MULTILINE)
    assert sorted(inputs).count(next(given for given in inputs if "warm-start" in given)) == 4  # DPO has none
    assert asked(said)["warm_start"] == resources(load_preset("openllama-3b"), Step("warm_start"))


def test_time_asked_for_leaves_room_and_memory_holds_a_model_for_each_process():
    preset = load_preset("openllama-3b")
    found = resources(preset, Step("sft"))
    assert found["gpu"] == 4
    assert found["mem_mb"] > 4 * 4 * 3426  # four times four bytes a parameter, in MB
    ppo = resources(preset, Step("align", "ppo"))
    assert ppo["mem_mb"] > 2 * 4 * 4 * 3426  # policy and critic
    judged = resources(load_preset("olmo-2-1b"), Step("baseline"))
    assert judged["mem_mb"] > 2 * 8030  # its reward model has eight times as many parameters
    assert all(resources(load_preset(name), Step("reward"))["runtime"] >= 15 for name in names("presets"))


def test_the_profile_of_slurm_keeps_a_job_on_one_node_with_cpus_for_each_gpu():
    text = (REPOSITORY / "profiles/slurm/config.yaml").read_text()
    assert yaml.safe_load(text)["executor"] == "slurm"
    assert yaml.safe_load(text)["default-resources"] == {"nodes": 1, "cpus_per_gpu": 8, "mem_mb": 16000, "runtime": 60}
    given = yaml.safe_load(
        text.replace("# slurm_account", "slurm_account").replace("# slurm_partition", "slurm_partition")
    )
    assert given["default-resources"]["slurm_account"] == "ACCOUNT"


SUBMITTED = """
import json, sys
from types import SimpleNamespace
from snakemake_executor_plugin_slurm.submit_string import get_submit_command

class Resources(dict):
    __getattr__ = dict.__getitem__

for gpus in (4, 0):
    job = SimpleNamespace(threads=2, resources=Resources(json.loads(sys.argv[1]), gpu=gpus))
    told = {"run_uuid": "a", "slurm_logfile": "b", "comment_str": "c", "account": "-A me", "partition": "", "workdir": "d"}
    print(get_submit_command(job, told))
"""


def test_the_plugin_of_slurm_asks_for_one_node_and_cpus_by_gpus():
    given = yaml.safe_load((REPOSITORY / "profiles/slurm/config.yaml").read_text())["default-resources"]
    done = subprocess.run(
        [sys.executable, "-c", SUBMITTED, json.dumps(given)], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    on_gpus, on_none = done.stdout.splitlines()
    assert "--nodes=1" in on_gpus and "--cpus-per-gpu=8" in on_gpus and "--cpus-per-task" not in on_gpus
    assert "--nodes=1" in on_none and "--cpus-per-task=2" in on_none


@pytest.mark.parametrize("profile", ["slurm", "kubernetes"])
def test_a_profile_runs_dry(tmp_path: Path, profile):
    """As it is; and SLURM's with its commented lines."""
    folder = REPOSITORY / "profiles" / profile
    said = dry_run(tmp_path, "--profile", str(folder), preset="openllama-3b")
    assert counted(said)["align"] == 1
    assert asked(said)["align"] == resources(load_preset("openllama-3b"), Step("align", "rsf"))
    if profile == "slurm":
        given = yaml.safe_load((folder / "config.yaml").read_text())
        given["default-resources"] |= {"slurm_account": "project-7", "slurm_partition": "gpu"}
        (tmp_path / "profile").mkdir()
        (tmp_path / "profile" / "config.yaml").write_text(yaml.safe_dump(given))
        said = dry_run(tmp_path, "--profile", str(tmp_path / "profile"), preset="openllama-3b")
        told = dict(JOBS.findall(said))["align"]
        for entry in ("slurm_account=project-7", "slurm_partition=gpu", "nodes=1", "cpus_per_gpu=8"):
            assert entry in told


@pytest.mark.parametrize(("file", "rule"), [("job", "align"), ("measuring", "average")])
def test_a_pod_has_as_many_gpus_as_the_plan_of_the_preset_that_it_runs(file, rule):
    spec = yaml.safe_load((REPOSITORY / f"profiles/kubernetes/{file}.yaml").read_text())["spec"]["template"]["spec"]
    (pod,) = spec["containers"]
    assert ("--until" in pod["args"]) == (file == "job")
    name = next(word.split("=")[1] for word in pod["args"] if word.startswith("preset="))
    entry = load_sweep("core").entry("ama") if rule == "average" else None
    asks = resources(load_preset(name), Step(rule, "rsf", entry=entry))
    assert int(pod["resources"]["limits"]["nvidia.com/gpu"]) == asks["gpu"]
    assert int(pod["resources"]["requests"]["memory"].removesuffix("G")) * 1000 >= asks["mem_mb"]


def test_the_image_of_the_pods_copies_files_that_exist_and_all_that_the_package_is_built_from():
    lines = (REPOSITORY / "profiles/kubernetes/Dockerfile").read_text().splitlines()
    copied = {name for line in lines if line.startswith("COPY") for name in line.split()[1:-1]}
    assert all((REPOSITORY / name).exists() for name in copied)
    assert {"pyproject.toml", "setup.py", "README.md", "LICENSE", "package", "llm", "theory"} <= copied
    (install,) = (line for line in lines if "pip install" in line)
    assert "-c constraints-gpu.txt" in install and "[experiments,gpu]" in install
