"""`front` once more in a folder that holds a run: going on after a stop, what is taken up, and what is a run of its own."""

import json
import re
import shutil
import sys

import numpy as np
import pytest

from ama_models import write_lines
from averaging_models import command
from front_runs import Links, arguments, lines, run
from llm.averaging.ama.settings import Sources
from llm.errors import UserError
from llm.evaluation.front import measure as module
from llm.evaluation.front.claim import Claim
from llm.evaluation.front.run import front_files
from llm.evaluation.front.settings import FrontSettings
from llm.evidence.rows import read_rows

pytestmark = pytest.mark.usefixtures("without_files_of_pictures")


def test_a_stopped_run_goes_on_and_measures_nothing_twice(found, folder, tmp_path, monkeypatch):
    plain, calls = module.measure_tasks, []

    def measured(*given):
        if len(calls) == 2:
            raise KeyboardInterrupt
        calls.append(1)
        return plain(*given)

    monkeypatch.setattr(module, "measure_tasks", measured)
    out = tmp_path / "front"
    assert command(monkeypatch, "front", *arguments(folder, out)) == 130
    assert sorted(path.name for path in (out / "points").iterdir()) == ["ma-0.json", "theta.json", "theta_0.json"]
    calls[:] = [1]  # one more is allowed
    run(folder, out)
    frames = [read_rows(path / "rows.jsonl").drop(columns="seconds") for path in (out, found)]
    assert frames[0].equals(frames[1])
    assert (out / "recommendation.json").read_bytes() == (found / "recommendation.json").read_bytes()


@pytest.fixture
def copied(found, tmp_path, monkeypatch):
    """The run's folder once more; nothing may be measured."""
    shutil.copytree(found, tmp_path / "front")
    monkeypatch.setattr(module, "measure_tasks", lambda *_: pytest.fail("measures again"))
    return tmp_path / "front"


def test_another_name_is_drawn_as_it_stands_from_the_same_points(folder, copied):
    name = r"$\frac{a <b>&'\"^_ $$ %s {{ x }}"
    run(folder, copied, name=name, rlhf="ppo", confidence=0.9)
    frame = read_rows(copied / "rows.jsonl")
    assert set(frame.preset) == {name} and set(frame.rlhf) == {"none", "ppo"}
    page = Links()
    page.feed((copied / "report.html").read_text())
    assert f"Front of {name}" in page.text


@pytest.mark.parametrize(
    ("file", "change"),
    [
        ("settings.json", lambda text: text[:50]),
        ("points/ma-0.5.json", lambda text: ""),
        ("points/theta.json", lambda text: text.replace('"items": [', '"items": [0.5, ', 1)),
        ("points/theta.json", lambda text: text.replace('"items": [', '"items": [NaN, ', 1)),
        ("points/theta.json", lambda text: text.replace('"qa/brier"', '"qa/other"')),
    ],
)
def test_a_damaged_file_of_a_stopped_run_is_named(folder, copied, monkeypatch, capsys, file, change):
    (copied / file).write_text(change((copied / file).read_text()))
    assert command(monkeypatch, "front", *arguments(folder, copied)) == 2
    said = f"{copied / file} is damaged .*; remove it and give the same command again."
    if file == "settings.json":  # without it the folder would be no run's
        said = f"out is '{copied}', whose settings.json is damaged; give a new folder."
    assert re.fullmatch(f"error: {said}\n", capsys.readouterr().err)


def test_a_folder_that_a_kill_left_empty_is_taken(folder, tmp_path, found):
    (tmp_path / "front" / ".settings.json.partial-999999999").mkdir(parents=True)
    run(folder, tmp_path / "front", tasks=folder / "qa.jsonl", alphas="0.5")
    assert not list((tmp_path / "front").glob(".*"))


@pytest.mark.parametrize("change", [{"tokens": 6}, {"task_tokens": 5}, {"temperature": 2.0}, {"seed": 1}])
def test_a_run_with_other_settings_is_not_taken_up(change, found, folder, monkeypatch, capsys):
    assert command(monkeypatch, "front", *arguments(folder, found, **change)) == 2
    assert "which holds a run with other arguments" in capsys.readouterr().err


def test_another_run_s_folder_is_left_alone(found, folder, monkeypatch, capsys):
    before = (found / "rows.jsonl").read_bytes()
    assert command(monkeypatch, "front", *arguments(folder, found, prompts=folder / "samples.jsonl")) == 2
    assert "which holds a run with other arguments (prompts); give a new folder" in capsys.readouterr().err
    assert (found / "rows.jsonl").read_bytes() == before


@pytest.mark.parametrize(
    ("place", "said"),
    [
        (("sources", "theta", "model.safetensors"), "(theta)"),
        (("tasks", "reward", "prompts", "sha256"), "(prompts)"),
        (("tasks", "v.2"), "(v.2)"),
        (("settings", "tokens"), '(tokens: "a", now "b")'),
    ],
)
def test_the_option_that_differs_is_named(place, said, tmp_path):
    def claim(value):
        for key in reversed(place):
            value = {key: value}
        return Claim(tmp_path / "front", {"sources": {}, "settings": {}, "methods": {}, "tasks": {}} | value)

    long = 1 if place[0] == "settings" else 64
    claim("a" * long).make()
    with pytest.raises(UserError, match=re.escape(f"with other arguments {said}; give a new folder")):
        claim("b" * long).check()


def test_a_task_and_a_method_are_added_later_and_only_they_are_measured(folder, tmp_path, monkeypatch):
    out, asked = tmp_path / "front", []
    run(folder, out, tasks=folder / "qa.jsonl", alphas="0.5", resamples=20)
    plain = module.measure_tasks
    monkeypatch.setattr(
        module,
        "measure_tasks",
        lambda pair, tasks, label, show: (
            asked.append((label, [t.name for t in tasks])),
            plain(pair, tasks, label, show),
        )[1],
    )
    both = f"{folder / 'qa.jsonl'},{folder / 'french.jsonl'}"
    run(folder, out, tasks=both, alphas="0.5")
    assert asked == [(label, ["french"]) for label in ("theta_0", "theta", "ma-0.5")]
    asked.clear()
    run(folder, out, tasks=both, alphas="0.5", method="ma,slerp")
    assert asked == [("slerp-0.5", ["reward", "qa", "french"])]
    frame = read_rows(out / "rows.jsonl")
    assert set(frame.method) == {"theta_0", "theta", "ma", "slerp"}
    once = tmp_path / "once"
    run(folder, once, tasks=both, alphas="0.5", method="ma,slerp")
    same = read_rows(once / "rows.jsonl").drop(columns="seconds")
    assert frame.drop(columns="seconds").equals(same)
    assert (
        "<h2>Methods</h2>" in (out / "report.html").read_text()
        or json.loads((out / "recommendation.json").read_text())["alpha"] is None
    )
    asked.clear()
    run(folder, out, tasks=folder / "french.jsonl", alphas="0.5")
    assert (
        not asked
        and set(read_rows(out / "rows.jsonl").metric) >= {"french"}
        and "qa" not in set(read_rows(out / "rows.jsonl").metric)
    )
    third = write_lines(tmp_path / "third.jsonl", lines(folder, "french"))
    run(folder, out, tasks=third, alphas="0.5")  # what is measured anew beside it takes nothing away
    asked.clear()
    run(folder, out, tasks=both, alphas="0.5", method="ma,slerp")
    assert not asked and read_rows(out / "rows.jsonl").drop(columns="seconds").equals(same)


def test_a_task_that_has_changed_is_not_taken_up(found, folder, tmp_path, monkeypatch, capsys):
    shutil.copytree(found, tmp_path / "front")
    other = write_lines(tmp_path / "qa.jsonl", lines(folder, "qa")[:7])
    asked = arguments(folder, tmp_path / "front", tasks=f"{other},{folder / 'french.jsonl'}")
    assert command(monkeypatch, "front", *asked) == 2
    assert "holds a run with other arguments (qa" in capsys.readouterr().err


def test_rewards_of_a_program_that_has_changed_are_not_taken_up(folder, tmp_path, monkeypatch, capsys, caplog):
    program = tmp_path / "score.py"
    given = {"reward-model": None, "reward-command": f"{sys.executable} {program}", "tasks": folder / "qa.jsonl"}
    asked = arguments(folder, tmp_path / "front", **given, alphas="0.5")
    for text in ("len(line)", "-len(line)"):
        program.write_text(f"import sys\nfor line in sys.stdin: print({text})\n")
        code = command(monkeypatch, "front", *asked)
    assert code == 2 and "holds a run with other arguments (reward_command_files" in capsys.readouterr().err
    program.write_text(program.read_text().replace("-", ""))
    assert "keep the rewards" not in caplog.text
    assert command(monkeypatch, "front", *asked) == 0  # what it was
    assert "3 models keep the rewards that an earlier run in" in caplog.text


def test_rewards_of_another_function_are_not_taken_up(folder, tmp_path):
    sources = Sources(folder / "theta_0", folder / "theta", prompts=folder / "prompts.jsonl")
    settings = FrontSettings(tasks=(str(folder / "qa.jsonl"),), alphas="0.5", tokens=4, resamples=20)
    one = lambda triples: np.array([len(reply) for _, reply, _ in triples], float)
    other = lambda triples: np.array([-len(reply) for _, reply, _ in triples], float)
    front_files(sources, tmp_path / "front", settings, scorer=one)
    with pytest.raises(UserError, match="holds a run with other arguments .*; give a new folder"):
        front_files(sources, tmp_path / "front", settings, scorer=other)
    front_files(sources, tmp_path / "front", settings, scorer=one)
