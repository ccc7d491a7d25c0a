"""Killed at any moment, the output is whole or absent."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from averaging_models import save_pair
from llm.models.safetensors import read_header


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    return save_pair(tmp_path_factory.mktemp("pair"), "llama", vocab_size=300_000, shards="4MB")


def _start(pair, out: Path) -> subprocess.Popen:
    arguments = ["--theta-0", pair[0], "--theta", pair[1], "--alpha", "0.5", "--out", out]
    return subprocess.Popen(
        [sys.executable, "-m", "llm", "average", *map(str, arguments)],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def _is_whole(out: Path, theta: Path) -> bool:
    shards = sorted(file.name for file in theta.glob("*.safetensors"))
    assert sorted(file.name for file in out.glob("*.safetensors")) == shards
    for shard in shards:
        assert read_header(out / shard)[0] == read_header(theta / shard)[0]
        assert (out / shard).stat().st_size == (theta / shard).stat().st_size
    report = json.loads((out / "averaging.json").read_text())
    return set(report["hashes"]["theta"]) == set(shards) and (out / "config.json").exists()


@pytest.mark.parametrize("kills", [8, pytest.param(40, marks=pytest.mark.long)])
def test_kill_at_random_moments(pair, tmp_path, kills):
    """Half of the moments lie anywhere in the run, half in the time in which the folder is being written."""
    rng = np.random.default_rng(0)
    begun = time.perf_counter()
    first = _start(pair, tmp_path / "timed")
    while first.poll() is None and not list(tmp_path.glob(".timed.partial-*")):
        time.sleep(0.001)
    writing = time.perf_counter() - begun
    assert first.wait() == 0
    whole_run = time.perf_counter() - begun
    seen = {"absent": 0, "whole": 0, "partial": 0}
    for kill in range(kills):
        out = tmp_path / f"out{kill}"
        process = _start(pair, out)
        if kill % 2:
            while process.poll() is None and not list(tmp_path.glob(f".{out.name}.partial-*")):
                time.sleep(0.001)
            time.sleep(rng.uniform(0, whole_run - writing))
        else:
            time.sleep(rng.uniform(0, 1.1 * whole_run))
        process.send_signal(signal.SIGKILL)
        process.wait()
        seen["partial"] += bool(list(tmp_path.glob(f".{out.name}.partial-*")))
        assert not out.exists() or _is_whole(out, pair[1])
        seen["whole" if out.exists() else "absent"] += 1
    assert seen["absent"] + seen["whole"] == kills
    assert seen["partial"] > 0  # some of the kills did hit the writing


def test_a_polite_stop_leaves_nothing(pair, tmp_path):
    process = _start(pair, tmp_path / "out")
    while process.poll() is None and not list(tmp_path.iterdir()):
        time.sleep(0.001)
    process.terminate()
    assert process.wait() == 143
    assert list(tmp_path.iterdir()) == []
