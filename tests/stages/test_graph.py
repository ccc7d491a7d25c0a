"""The whole graph by Snakemake on the smoke preset: killed in the middle, run again, the same rows."""

import json
import os
import re
import shlex
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest

from llm.config import load_preset, load_sweep
from llm.errors import UserError
from llm.evidence.rows import write_rows
from llm.plan import made_with
from microcosm_runs import METRICS, ROW, core_rows, smoke_run, timeless, values
from workflow import dry_run, graph, output

JOBS = {"pretrain": 1, "sft": 1, "reward": 1, "align": 1, "baseline": 1, "trajectory": 1, "average": 7, "collect": 1}
BARS = r"(pretrain: \w+|sft|reward|rsf, lr [\d.e-]+): +\d+%\|.*\d+/\d+ \[.*\]"
RESULT = r"reward model: accuracy [\d.]+, correlation with gold -?[\d.]+"


def kill_when(process: subprocess.Popen, path: Path) -> None:
    """kill -9 of the workflow and everything that it started, as soon as `path` is there."""
    limit = time.monotonic() + 500
    while not path.exists():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < limit
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def check_dry_run(said: str) -> None:
    """Every job is listed, and how often."""
    counted = dict(re.findall(r"^(\w+) +(\d+)$", said, flags=re.MULTILINE))
    assert counted == {
        name: str(count) for name, count in (JOBS | {"core": 1, "total": sum(JOBS.values()) + 1}).items()
    }


def test_the_other_sweeps_train_and_average_after_one_run_of_alignment_and_measure_nothing_of_cores_again(tmp_path):
    after_rsf = {"mitigations": {"mitigate": 8}, "mitigation-rates": {"mitigate": 16}, "ratios": {"average": 6}}
    penalties = [f"ppo/own/{eta}iteration03" for eta in ("", "eta0.1/", "eta0.2/", "eta0.5/")]
    for jobs, ends in (
        (after_rsf, ["rsf/own/iteration02"]),
        ({"kl-penalty": {"penalise": 3, "mitigate": 1}}, penalties),
    ):
        said = dry_run(tmp_path, target=" ".join(jobs))
        counted = dict(re.findall(r"^([\w-]+) +(\d+)$", said, flags=re.MULTILINE))
        expected = Counter(["pretrain", "sft", "reward", "align", *jobs]) + Counter(collect=len(jobs))
        for counts in jobs.values():
            expected.update(counts)
        assert counted == {name: str(count) for name, count in [*expected.items(), ("total", expected.total())]}
        inputs = re.findall(r"(?:rule mitigate|rule average):\n    input: (.*)\n", said)
        assert set(inputs) == {", ".join(str(tmp_path / "out/smoke/seed0" / end / "config.json") for end in ends)}


def test_a_ratio_of_the_head_is_measured_where_the_head_is_not_tied_and_refused_elsewhere(tmp_path):
    preset = tmp_path / "untied.yaml"
    preset.write_text("{base: smoke, name: untied, model: {tied_embeddings: false}}")
    said = dry_run(tmp_path, target="embeddings", preset=preset)
    counted = dict(re.findall(r"^(\w+) +(\d+)$", said, flags=re.MULTILINE))
    assert (counted["align"], counted["average"], counted["embeddings"]) == ("3", "3", "1")
    refusing = dry_run(tmp_path, target="embeddings", refused=True)
    assert "sweep = embeddings is not allowed with preset = smoke, whose head is tied" in refusing


def test_folders_with_spaces_and_signs_of_the_shell_are_only_names(tmp_path):
    folder = tmp_path / "it's a $(touch X) `touch X`; touch X"
    folder.mkdir()
    preset = folder / "my preset.yaml"
    preset.write_text("{base: smoke, name: mine}")
    said = dry_run(folder, "--printshellcmds", preset=preset)
    commands = [shlex.split(line) for line in re.findall(r"Shell command: (?:CARDS=\d+ )?(\S+ -m llm .*)", said)]
    assert Counter(command[3] for command in commands) == Counter(JOBS) - Counter(average=7) + Counter(sweep=7)
    for command in commands:
        if command[3] != "collect":
            assert command[command.index("--preset") + 1] == str(preset)
            assert command[command.index("--out") + 1] == str(folder / "out")
    rows = folder / "out" / "mine" / "seed0" / "rows"
    labels = [entry.label for entry in load_sweep("core").averaging]
    names = ["baseline", *(f"rsf/own/{name}" for name in ("trajectory", *labels))]
    for place, name in enumerate(names):
        write_rows(rows / f"{name}.jsonl", [ROW | {"preset": "mine", "seed": place}])
    output(graph(folder, "--allowed-rules", "collect", "core", preset=preset))
    assert len((folder / "results" / "mine" / "core-seed0.jsonl").read_text().splitlines()) == len(names)
    assert {path.name for path in folder.iterdir()} == {"my preset.yaml", "out", "results", ".snakemake"}


def test_shipped_weights_do_not_take_the_place_of_what_was_trained_here(tmp_path):
    (tmp_path / "weights" / "smoke" / "seed0").mkdir(parents=True)
    first = r"-m llm pretrain .*--shipped weights/smoke/seed0"
    assert re.search(first, dry_run(tmp_path, "--printshellcmds", target="pretrained"))
    assert not re.search(first, dry_run(tmp_path, "--printshellcmds", target="pretrained", config=("retrain=yes",)))
    trained = tmp_path / "out" / "smoke" / "seed0"
    trained.mkdir(parents=True)
    (trained / "pretrained.json").write_text("[]")
    assert not re.search(first, dry_run(tmp_path, "--printshellcmds", target="pretrained"))


def test_movement_is_measured_of_the_algorithms_that_have_ama(tmp_path):
    preset = tmp_path / "few.yaml"
    preset.write_text("{base: smoke, name: few, entries: {core: [ma], algorithms: [ma, ama]}}")
    said = dry_run(tmp_path, "--printshellcmds", target="all", preset=preset)
    assert re.search(r"-m llm movement --rlhf dpo --rlhf ppo --to ", said)
    assert re.search(r"-m llm overlap --rlhf rsf --rlhf dpo --rlhf ppo --to ", said)
    preset.write_text("{base: smoke, name: few, entries: {core: [ma], algorithms: [ma]}}")
    said = dry_run(tmp_path, "--printshellcmds", target="all", preset=preset)
    assert "-m llm movement " not in said and "-m llm overlap " in said


def test_an_edited_preset_or_sweep_does_not_go_on_among_older_numbers(tmp_path):
    file, preset, sweep = tmp_path / "smoke" / "settings.json", load_preset("smoke"), load_sweep("core")
    made_with.refuse_others(file, preset, {"core": sweep})
    made_with.keep(file, preset, {})
    made_with.keep(file, preset, {"core": sweep})
    before = file.read_bytes()
    others = [
        preset.model_copy(update={"threads": 7, "entries": {"core": ("ma",)}}),  # these change no number
        preset,
    ]
    for same in others:
        made_with.refuse_others(file, same, {"core": sweep})
        made_with.keep(file, same, {"core": sweep})
    assert file.read_bytes() == before
    edited = preset.model_copy(update={"rsf": preset.rsf.model_copy(update={"iterations": 9})})
    made_with.refuse_others(file, edited, {})  # no run of it has begun
    (tmp_path / "smoke" / "seed3" / "rsf").mkdir(parents=True)
    with pytest.raises(
        UserError, match=r"^preset smoke: rsf.iterations = 9 is not allowed, since .*smoke was made with \d+; remove"
    ):
        made_with.refuse_others(file, edited, {})
    other = preset.model_copy(update={"prompts": preset.prompts | {"talk": 0.123}})
    with pytest.raises(UserError, match=r"^preset smoke: prompts = .*talk.* is not allowed"):
        made_with.keep(file, other, {})
    first = sweep.averaging[0].model_copy(update={"alphas": (0.5,)})
    changed = sweep.model_copy(update={"averaging": (first, *sweep.averaging[1:])})
    made_with.refuse_others(file, preset, {"core": changed})  # none of its rows is there
    rows = tmp_path / "smoke" / "seed3" / "rows" / "rsf" / "own" / f".{first.label}.jsonl.kept"
    rows.parent.mkdir(parents=True)
    rows.touch()
    with pytest.raises(
        UserError, match=rf"^sweep core, entry {first.label}: alphas = \[0.5\] is not allowed, since .* was made with "
    ):
        made_with.refuse_others(file, preset, {"core": changed})
    made_with.refuse_others(file, preset, {"other": sweep})  # what was not run yet


def test_the_graph_refuses_a_preset_that_was_edited(tmp_path):
    preset = tmp_path / "mine.yaml"
    preset.write_text("{base: smoke, name: mine}")
    (tmp_path / "out" / "mine").mkdir(parents=True)
    dry_run(tmp_path, preset=preset)
    assert not list((tmp_path / "out" / "mine").iterdir())  # a dry run writes nothing
    made_with.keep(tmp_path / "out" / "mine" / "settings.json", load_preset(str(preset)), {})
    dry_run(tmp_path, preset=preset)
    preset.write_text("{base: smoke, name: mine, sft: {steps: 3}}")
    assert "preset mine: sft.steps = 3 is not allowed, since " in dry_run(tmp_path, preset=preset, refused=True)


def test_braces_in_a_folder_s_name_are_refused(tmp_path):
    (tmp_path / "{x}").mkdir()
    assert "allowed are folders without braces" in dry_run(tmp_path / "{x}", refused=True)


def check_complete(rows: list[dict]) -> None:
    """Every model of the sweep has a row of every metric."""
    for method in ("theta_0", "theta"):
        assert set(values(rows, method)) == set(METRICS)
    assert set(values(rows, "chance")) == {"qa", "reading_f1", "bleu"}
    models = {(row["method"], json.dumps(row["setting"])) for row in rows if row["metric"] == "reward"}
    counts = {method: sum(name == method for name, _ in models) for method in ("early-stopping", "ma", "part", "ama")}
    assert counts == {"early-stopping": 2, "ma": 11, "part": 44, "ama": 8}
    for method in counts:
        assert {row["metric"] for row in rows if row["method"] == method} == set(METRICS)


def check_only_bars(said: str) -> None:
    """Each stage prints its own bar, the reward model its result, and nobody anything else."""
    lines = [line.strip() for line in re.split(r"[\r\n]+", said) if line.strip()]
    assert [line for line in lines if not re.fullmatch(f"{BARS}|{RESULT}", line)] == []
    assert any(line.startswith("rsf") for line in lines)


def killed_and_run_again(folder: Path, target: str) -> None:
    """The graph on a target, killed with everything that it started while it aligns, and run again to its end."""
    kill_when(
        graph(folder, "--quiet", "all", target=target), folder / "out/smoke/seed0/rsf/own/iteration01/config.json"
    )
    assert not (folder / "results").exists() and not (folder / "out/smoke/seed0/rows/rsf").exists()
    check_only_bars(output(graph(folder, "--quiet", "all", "--rerun-incomplete", "--nolock", target=target)))
    assert "Nothing to be done" in dry_run(folder, target=target)


def rows_in(*files: Path) -> list[dict]:
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


def test_the_graph_killed_in_the_middle_and_run_again_ends_with_the_rows_of_an_undisturbed_run(tmp_path):
    """In one test, because each of its processes takes seconds to start; from the reward model on, and on the part of `core` that has no
    averages, which begin after the kill: the next test has the whole.
    """
    check_dry_run(dry_run(tmp_path))
    assert not (tmp_path / "out").exists()
    smoke_run(tmp_path / "out", upto="reward")
    folder = tmp_path / "out/smoke/seed0/rows"
    files = [folder / "baseline.jsonl", folder / "rsf/own/trajectory.jsonl"]
    killed_and_run_again(tmp_path, " ".join(map(str, files)))
    run = smoke_run(tmp_path / "undisturbed")
    assert timeless(rows_in(*files)) == timeless(core_rows(run, ()))


@pytest.mark.long
def test_all_of_core_ends_in_one_file_of_all_its_rows(tmp_path):
    killed_and_run_again(tmp_path, "core")
    rows = rows_in(tmp_path / "results/smoke/core-seed0.jsonl")
    check_complete(rows)
    assert timeless(rows) == timeless(core_rows(smoke_run(tmp_path / "undisturbed")))
