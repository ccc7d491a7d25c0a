"""Killed at any moment and run again, a command ends with the bytes of a run that nobody disturbed, and leaves nothing behind."""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from ama_models import save_models, save_samples, words, write_lines
from averaging_models import save_pair
from fuzzing import preload, run, start
from microcosm_runs import core_rows, smoke_run, timeless
from workflow import graph

KILLS = 50
SIGNALS = [signal.SIGKILL, signal.SIGKILL, signal.SIGINT, signal.SIGTERM]
LONGEST = 12  # seconds that the graph runs before it is killed


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    preload()
    path = tmp_path_factory.mktemp("given")
    save_models(path)
    save_pair(path / "large", "llama", vocab_size=30_000, shards="1MB")
    save_samples(path / "samples.jsonl")
    for number, name in enumerate(("reward", "qa")):
        pairs = zip(words(6, 2, number), words(6, 3, number + 2), strict=True)
        write_lines(path / f"{name}.jsonl", [{"prompt": p, "reference": r} for p, r in pairs])
    write_lines(path / "prompts.jsonl", [{"prompt": p} for p in words(8, 2, 5)])
    settings = {"batch": 2, "samples": 2, "tokens": 3, "check": 4, "keep": 16, "draw": 8, "save_every": 1}
    write_lines(path / "adapt.yaml", [settings])  # JSON is YAML
    write_lines(path / "front.yaml", [{"task_tokens": 3, "resamples": 5}])
    return path


def arguments(folder, name):
    pair = ("--theta-0", folder / "theta_0", "--theta", folder / "theta")
    large = ("--theta-0", folder / "large" / "theta_0", "--theta", folder / "large" / "theta")
    tasks = f"{folder / 'reward.jsonl'},{folder / 'qa.jsonl'}"
    drawn = (
        "--prompts",
        folder / "prompts.jsonl",
        "--reward-model",
        folder / "reward",
        "--config",
        folder / "adapt.yaml",
    )
    points = ("--tasks", tasks, "--config", folder / "front.yaml", "--alphas", "0.3,0.6")
    return {
        "average": ("average", *large, "--alpha", "0.5", "--out", "averaged"),
        "adapt": ("adapt", *pair, "--alpha", "0.5", *drawn, "--out", "ratios.json"),
        "front": ("front", *pair, *points, "--out", "front"),
    }[name]


def contents(folder: Path) -> dict[Path, bytes]:
    """Every file but for the seconds in it."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder): re.sub(rb'"seconds": ?[\d.e-]+', b"", path.read_bytes()) for path in files}


def kill_at_random_moments(folder, tmp_path, name, kills):
    whole, place = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir()
    begun = time.perf_counter()
    assert run(*arguments(folder, name), folder=whole).kind == "accepted"
    seconds, expected = time.perf_counter() - begun, contents(whole)
    rng, killed = random.Random(name), 0
    with open(os.devnull, "w") as nowhere:
        for number in range(kills):
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir()
            child = start(*arguments(folder, name), folder=place, outputs=(nowhere.fileno(),) * 2)
            time.sleep(rng.uniform(0, seconds))
            os.kill(child, SIGNALS[number % len(SIGNALS)])
            killed += os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 0
            if not any((place / made).exists() for made in ("averaged", "ratios.json")):  # whole, and not made twice
                again = run(*arguments(folder, name), folder=place)
                assert again.kind == "accepted", again.err
            assert contents(place) == expected
            assert {path.name for path in place.iterdir()} == {path.name for path in whole.iterdir()}
    assert 2 * killed >= kills


@pytest.mark.parametrize("name", ["adapt", "front"])
def test_a_few_kills(folder, tmp_path, name):
    kill_at_random_moments(folder, tmp_path, name, 2)


@pytest.mark.long
@pytest.mark.parametrize("name", ["average", "adapt", "front"])
def test_fifty_kills(folder, tmp_path, name):
    kill_at_random_moments(folder, tmp_path, name, KILLS)


@pytest.mark.long
def test_fifty_kills_of_the_graph(tmp_path):
    """One run again and again, until it is done; then the next."""
    expected = [row | {"version": ""} for row in core_rows(smoke_run(tmp_path / "undisturbed"))]
    rng, kills, rounds = random.Random(0), 0, 0
    while kills < KILLS:
        rounds += 1
        place, done = tmp_path / f"round{rounds}", False
        place.mkdir()
        while not done:
            process = graph(place, "--quiet", "all", "--rerun-incomplete", "--nolock")
            try:
                said, _ = process.communicate(timeout=rng.uniform(1, LONGEST) if kills < KILLS else 500)
                assert process.returncode == 0, said
                done = True
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate()
                kills += 1
        rows = place / "results/smoke/core-seed0.jsonl"
        found = [json.loads(line) | {"version": ""} for line in rows.read_text().splitlines()]
        assert timeless(found) == timeless(expected)
        assert not [path for path in place.rglob(".*partial*") if ".snakemake" not in path.parts]
