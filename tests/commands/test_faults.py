"""Disks that are full, folders where a file should be, closed streams, stops: one sentence, and nothing half-written."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ama_models import save_models, save_samples, words, write_lines
from fuzzing import preload, run
from llm.averaging.files import average as averaging
from llm.commands import training
from llm.evidence.rows import write_rows
from microcosm_runs import ROW, command, smoke_run

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Tiny models, samples, tasks, settings, rows, and a run up to its reward model."""
    preload()
    path = tmp_path_factory.mktemp("given")
    save_models(path)
    save_samples(path / "samples.jsonl")
    for number, name in enumerate(("reward", "qa")):
        pairs = zip(words(6, 2, number), words(6, 3, number + 2), strict=True)
        write_lines(path / f"{name}.jsonl", [{"prompt": p, "reference": r} for p, r in pairs])
    write_lines(path / "prompts.jsonl", [{"prompt": p} for p in words(4, 2, 5)])
    write_lines(path / "adapt.yaml", [{"batch": 5, "check": 8}])  # JSON is YAML
    write_lines(path / "draw.yaml", [{"batch": 2, "samples": 20, "tokens": 3, "check": 4, "keep": 8, "draw": 4}])
    write_lines(path / "front.yaml", [{"task_tokens": 2, "resamples": 5}])
    write_rows(path / "rows.jsonl", [ROW | {"seed": seed} for seed in range(20)])
    smoke_run(path, upto="reward")
    return path


def arguments(folder, name):
    pair = ("--theta-0", folder / "theta_0", "--theta", folder / "theta")
    found = ("--alpha", "0.5", "--out", "ratios.json")
    drawn = (
        "--prompts",
        folder / "prompts.jsonl",
        "--reward-model",
        folder / "reward",
        "--config",
        folder / "draw.yaml",
    )
    tasks = f"{folder / 'reward.jsonl'},{folder / 'qa.jsonl'}"
    stage = ("--preset", "smoke", "--out", folder)
    return {
        "collect": ("collect", folder / "rows.jsonl", "--to", "to/all.jsonl"),
        "tiny": ("tiny", "zephyr-7b-beta", "--data-dir", folder, "--to", "tiny.yaml"),
        "average": ("average", *pair, "--alpha", "0.5", "--out", "averaged"),
        "adapt": ("adapt", *pair, *found, "--data", folder / "samples.jsonl", "--config", folder / "adapt.yaml"),
        "draw": ("adapt", *pair, *found, *drawn),
        "front": (
            "front",
            *pair,
            "--tasks",
            tasks,
            "--alphas",
            "0.5",
            "--config",
            folder / "front.yaml",
            "--out",
            "front",
        ),
        "pretrain": ("pretrain", "--preset", "smoke", "--out", "."),
        "dpo": ("align", "--rlhf", "dpo", *stage),
        "baseline": ("baseline", *stage),
    }[name]


# command -> (bytes that a file may have, the file that cannot be written, files that are kept to go on from)
FULL = {
    "collect": (1000, "to/all.jsonl", []),
    "tiny": (1000, "tiny.yaml", []),
    "average": (5000, "averaged", []),
    "adapt": (20_000, "ratios.path.png", [".ratios.json.state"]),
    "draw": (3500, ".ratios.samples.jsonl.partial", [".ratios.json.state", ".ratios.samples.jsonl.partial"]),
    "front": (20_000, "front/front.png", ["front"]),
    "pretrain": (5000, "smoke/seed0/pretraining.safetensors", ["smoke"]),
    "dpo": (5000, "dpo/own/training01.safetensors", []),
    "baseline": (500, "rows/baseline.jsonl", []),
}


@pytest.mark.parametrize("name", FULL)
def test_a_full_disk_is_one_sentence_and_leaves_no_partial_file(name, folder, tmp_path):
    size, file, kept = FULL[name]

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    outcome = run(*arguments(folder, name), folder=tmp_path, limit=limit)
    assert (outcome.kind, outcome.code) == ("refused", 2)
    assert file in outcome.err and "File too large" in outcome.err
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "to") == kept
    assert not [path for place in (tmp_path, folder) for path in place.rglob(".*partial-*")]


def test_with_room_again_a_run_goes_on_to_what_it_would_have_been(folder, tmp_path):
    def full():
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    for place, limits in (("once", []), ("twice", [full])):
        (tmp_path / place).mkdir()
        for limit in [*limits, lambda: None]:
            outcome = run(*arguments(folder, "adapt"), folder=tmp_path / place, limit=limit)
        assert outcome.kind == "accepted"
    once, twice = (
        {path.name: path.read_bytes() for path in (tmp_path / place).iterdir()} for place in ("once", "twice")
    )
    assert once == twice


WRONG = {
    "a folder to write": (("collect", "rows", "--to", "there"), "there: Is a directory"),
    "a file for a folder": (("collect", "rows", "--to", "file/rows.jsonl"), "file: File exists"),
    "a folder to read": (("table", "results"), "results/x.jsonl: Is a directory"),
    "no page": (("table", "{microcosm}", "--into", "missing.md"), "missing.md: No such file or directory"),
    "no UTF-8": (("collect", "rows", "--to", "all\udcff.jsonl"), "'all\\udcff.jsonl' is no UTF-8; give names that are"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_name_that_cannot_be_used_is_one_sentence(case, folder, tmp_path):
    given, said = WRONG[case]
    (tmp_path / "there").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "results" / "x.jsonl").mkdir(parents=True)
    named = {"rows": folder / "rows.jsonl", "{microcosm}": ROOT / "results" / "microcosm-1-untied"}
    before = sorted(tmp_path.rglob("*"))
    outcome = run(*(named.get(one, one) for one in given), folder=tmp_path)
    assert outcome.kind == "refused"
    assert outcome.err == f"error: {said}\n" if case != "no UTF-8" else said in outcome.err
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("redirected", "code", "said"),
    [
        ("plan --preset smoke >&-", 0, ""),
        ("plan --preset smoke | true", 1, ""),
        ("plan --preset smoke > /dev/full", 2, "error: No space left on device\n"),
        ("plan --preset nope 2>&-", 2, ""),
        ("plan --preset smoke >&- 2>&- <&-", 0, ""),
    ],
)
def test_streams_that_are_closed_or_full_end_quietly(redirected, code, said):
    program = f"set -o pipefail; {sys.executable} -m llm {redirected}"
    done = subprocess.run(
        ["bash", "-c", program], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    assert (done.returncode, done.stderr) == (code, said)


def test_a_closed_stream_does_not_share_its_number_with_a_file(folder, tmp_path):
    program = "import os, sys; from llm import cli; cli._open_streams(); print(open(os.devnull).fileno() > 2)"
    done = subprocess.run(
        ["bash", "-c", f"{sys.executable} -c '{program}' 2>&- <&-"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.stdout == "True\n"


def test_a_sentence_is_one_line_whatever_stands_in_names(tmp_path):
    keys = {"instruction": "a", "output": "b", "generator": "m", "dataset": "d", "datasplit": "eval"}
    (tmp_path / "a.json").write_text(json.dumps([keys, keys | {"generator": "x\n\u2028\x1b[2J"}]))
    outcome = run("win-rate", "a.json", "a.json", "--to", "rows.jsonl", folder=tmp_path)
    assert outcome.err == "error: a.json has the generators m, x   [2J; allowed is one.\n"


def test_training_that_diverges_is_one_sentence(tmp_path, monkeypatch, capsys):
    def diverging(*_):
        raise FloatingPointError("loss = nan at step 3; allowed are finite numbers")

    monkeypatch.setattr(training, "backend", diverging)
    assert command(monkeypatch, "sft", "--preset", "smoke", "--out", tmp_path) == 2
    assert capsys.readouterr().err == "error: loss = nan at step 3; allowed are finite numbers\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_stop_is_one_line_and_leaves_nothing(number, folder, tmp_path, monkeypatch, capsys):
    def stopped(*_, **__):
        (tmp_path / "made").touch()
        os.kill(os.getpid(), number)
        time.sleep(1)

    monkeypatch.setattr(averaging, "write_weights", stopped)
    before = {one: signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup has it ignored, and then it stays so
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs begin with it ignored
    monkeypatch.chdir(tmp_path)
    assert command(monkeypatch, *arguments(folder, "average")) == 128 + number
    for one, handler in before.items():
        signal.signal(one, handler)
    assert capsys.readouterr().err == "stopped; nothing was written\n"
    assert [path.name for path in tmp_path.iterdir()] == ["made"]


def test_a_stop_of_a_run_that_has_left_something_says_that_it_can_go_on(folder, tmp_path, monkeypatch, capsys):
    from llm.averaging.ama import run as module

    def stopped(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "descend", stopped)
    monkeypatch.chdir(tmp_path)
    assert command(monkeypatch, *arguments(folder, "adapt")) == 130
    assert capsys.readouterr().err == "stopped; the same command goes on\n"
    assert json.loads((tmp_path / ".ratios.json.state").read_text())["reached"] is None
