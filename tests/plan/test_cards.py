"""GPUs handed out to jobs that run side by side: no card twice, free again however a job ends. The cards are numbers only."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import pytest

from llm.config import load_preset
from llm.config.tiny import tiny
from llm.errors import UserError
from llm.plan import cards
from llm.plan.hub import with_gpus
from llm.plan.report import Device, require_gpus
from microcosm_runs import command
from workflow import REPOSITORY, dry_run

# Writes down which cards it sees and when it begins and ends; it ends when the file `end` is there.
JOB = """
import os, sys, time
from pathlib import Path
folder, seconds = Path(sys.argv[1]), float(sys.argv[2])
begin = time.monotonic()
(folder / f"begun{os.getpid()}").write_text(os.environ["CUDA_VISIBLE_DEVICES"])
while time.monotonic() < begin + seconds and not (folder / "end").exists():
    time.sleep(0.01)
(folder / f"ended{os.getpid()}").write_text(f"{os.environ['CUDA_VISIBLE_DEVICES']} {begin} {time.monotonic()}")
"""


def job(folder: Path, of: int, count: int | str, seconds: float = 60.0, **environment: str) -> subprocess.Popen:
    """A job that asks for a number of cards; it keeps its process's number when it becomes its command."""
    told = {"CARDS": str(count), "TMPDIR": str(folder), "PYTHONPATH": str(REPOSITORY)}
    own = {key: value for key, value in os.environ.items() if key not in ("CUDA_VISIBLE_DEVICES", "SLURM_JOB_ID")}
    program = [sys.executable, "-m", "llm.plan.cards", "--of", str(of), "--"]
    return subprocess.Popen(
        [*program, sys.executable, "-S", "-c", JOB, str(folder), str(seconds)],
        env=own | told | environment,
        cwd=folder,
        stderr=subprocess.PIPE,
        text=True,
    )


def seen_by(job: subprocess.Popen, folder: Path) -> set[str]:
    """The cards of a job that has begun; waits for it."""
    limit, file = time.monotonic() + 60, folder / f"begun{job.pid}"
    while not (file.exists() and file.read_text()):
        assert job.poll() is None and time.monotonic() < limit, job.stderr
        time.sleep(0.01)
    return set(file.read_text().split(","))


def test_no_card_is_given_to_two_jobs_at_a_time_and_all_are_used(tmp_path):
    jobs = [job(tmp_path, 3, count, seconds=0.1) for count in (1, 2, 1, 3, 1, 2)]
    assert [one.wait(timeout=60) for one in jobs] == [0] * len(jobs)
    spans = [file.read_text().split() for file in tmp_path.glob("ended*")]
    held = [(set(names.split(",")), float(begin), float(end)) for names, begin, end in spans]
    assert sorted(len(names) for names, *_ in held) == [1, 1, 1, 2, 2, 3]
    for (names, begin, end), (others, since, until) in combinations(held, 2):
        assert names.isdisjoint(others) or end <= since or until <= begin
    assert set.union(*(names for names, *_ in held)) == {"0", "1", "2"}


def test_a_card_is_free_again_after_kill_9_and_a_job_that_needs_two_waits_for_both(tmp_path):
    first, second = job(tmp_path, 2, 1), job(tmp_path, 2, 1)
    both = seen_by(first, tmp_path) | seen_by(second, tmp_path)
    assert both == {"0", "1"}
    third = job(tmp_path, 2, 2)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    time.sleep(4 * cards.PAUSE)
    assert not (tmp_path / f"begun{third.pid}").exists()  # one is free, and not enough
    os.kill(second.pid, signal.SIGKILL)
    second.wait()
    assert seen_by(third, tmp_path) == both
    (tmp_path / "end").touch()
    assert third.wait(timeout=60) == 0


def test_jobs_share_the_cards_that_the_run_itself_may_see(tmp_path):
    outer = {"CUDA_VISIBLE_DEVICES": "5, GPU-0a/1,7"}
    jobs = [job(tmp_path, 2, 1, **outer) for _ in range(2)]
    assert set.union(*(seen_by(one, tmp_path) for one in jobs)) == {"5", "GPU-0a/1"}
    elsewhere = job(tmp_path, 1, 1, SLURM_JOB_ID="7", CUDA_VISIBLE_DEVICES="5")  # another card of that number
    assert seen_by(elsewhere, tmp_path) == {"5"}
    (tmp_path / "end").touch()
    assert [one.wait(timeout=60) for one in (*jobs, elsewhere)] == [0, 0, 0]
    without = job(tmp_path, 2, 0)
    assert without.wait(timeout=60) == 0
    assert (tmp_path / f"begun{without.pid}").read_text() == ""


@pytest.mark.parametrize(
    ("count", "outer", "sentence"),
    [
        (3, None, "error: CARDS = '3' is not allowed; allowed are 0 to 2"),
        ("many", None, "error: CARDS = 'many' is not allowed; allowed are 0 to 2"),
        (1, "4", "error: gpus = 2 is not allowed with CUDA_VISIBLE_DEVICES = '4'; allowed are at most 1"),
    ],
)
def test_cards_that_are_not_there_are_refused_in_one_sentence(tmp_path, count, outer, sentence):
    refused = job(tmp_path, 2, count, **({"CUDA_VISIBLE_DEVICES": outer} if outer else {}))
    assert (refused.communicate(timeout=60)[1], refused.returncode) == (f"{sentence}\n", 2)


@pytest.mark.parametrize(("of", "count", "threads"), [(1, 1, len(os.sched_getaffinity(0))), (99, 2, 1), (1, 0, 7)])
def test_a_job_with_cards_has_its_share_of_the_processors_in_threads(tmp_path, of, count, threads):
    told = {"CARDS": str(count), "TMPDIR": str(tmp_path), "PYTHONPATH": str(REPOSITORY)}
    told |= dict.fromkeys(cards.THREADS, "7")  # another one's, as it is where there are no cards
    shown = "import os; print(*(os.environ[name] for name in ('OMP_NUM_THREADS', 'MKL_NUM_THREADS')))"
    program = [sys.executable, "-m", "llm.plan.cards", "--of", str(of), "--", sys.executable, "-S", "-c", shown]
    outer = {key: value for key, value in os.environ.items() if key != "CUDA_VISIBLE_DEVICES"}
    done = subprocess.run(program, env=outer | told, capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == [str(threads)] * 2


def shown(said: str, command: str) -> Iterator[list[str]]:
    """The words of each job's shell command."""
    return (line.split() for line in re.findall(rf"(CARDS=.*-m llm {command}.*)", said))


def test_the_graph_hands_out_cards_and_trains_on_as_many_as_it_is_given(tmp_path):
    preset = tmp_path / "mine.yaml"
    preset.write_text("{base: openllama-3b, name: mine, hardware: {processes: 2}}")
    options = ("--printshellcmds", "--resources", "gpu=8")
    said = dry_run(tmp_path, *options, preset=preset, config=("gpus=8",))
    align = next(shown(said, "align"))
    assert (
        align[0] == "CARDS=8" and align[2:6] == ["-m", "llm.plan.cards", "--of", "8"] and align[-2:] == ["--gpus", "8"]
    )
    measured = list(shown(said, "sweep"))
    assert measured and all(line[0] == "CARDS=1" and "--gpus" not in line for line in measured)
    refusing = dry_run(tmp_path, preset=preset, config=("gpus=0",), refused=True)
    assert "gpus = 0 is not allowed; allowed are 1 to 9999" in refusing


def test_training_takes_the_gpus_that_are_given_and_what_does_not_train_or_lacks_them_says_so(monkeypatch, capsys):
    large = load_preset("openllama-3b")
    assert with_gpus(large, 8).hardware == large.hardware.model_copy(update={"processes": 8})
    assert with_gpus(tiny(large), 8) == tiny(large)  # on the processor
    assert with_gpus(load_preset("olmo-2-1b"), 8) == load_preset("olmo-2-1b")
    alone = large.model_copy(update={"hardware": large.hardware.model_copy(update={"launcher": "none"})})
    assert with_gpus(alone, 2) == alone  # whose measuring jobs share them
    with pytest.raises(UserError, match="gpus = 8 is not allowed: torch can use 4 here; allowed are at most as many"):
        require_gpus(8, Device(4, 1.0))
    assert command(monkeypatch, "sft", "--preset", "smoke", "--gpus", "2") == 2
    assert "preset = 'smoke' is not allowed with --gpus; allowed are olmo-2-1b, openllama-3b" in capsys.readouterr().err
