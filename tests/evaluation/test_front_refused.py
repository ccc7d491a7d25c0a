"""`front` on what it cannot measure: refused in one sentence, before anything is measured."""

import re
import shutil
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import yaml

from ama_models import write_lines
from averaging_models import command, save_tokenizer
from front_runs import SETTINGS, arguments, lines, run
from llm.evaluation.front import measure as module
from llm.evaluation.front.settings import FrontSearch, FrontSettings
from llm.grouping import Grouping

REFUSED = {
    "no reward": (
        {"reward-model": None, "prompts": None},
        "The alignment metric is missing: give --prompts with --reward-model or --reward-command for a reward, or name one of the "
        "tasks qa as `alignment` in the file of --config.",
    ),
    "no such alignment": (
        {"alignment": "quality"},
        "alignment = 'quality' is not allowed; allowed are the tasks reward, qa (reward, with --prompts and",
    ),
    "keep is NaN": ({"keep": "nan"}, "keep = nan is not allowed; allowed are numbers above 0 to 1."),
    "no method": ({"method": ""}, "method = '' is not allowed; allowed is a list of at least 1."),
    "no number": ({"keep": "much"}, "keep = 'much' is not allowed; allowed are numbers"),
    "no whole number": ({"samples": "1.5"}, "samples = '1.5' is not allowed; allowed are whole numbers"),
    "reward model without prompts": (
        {"prompts": None},
        "reward-model (or reward-command) and prompts are allowed together only",
    ),
    "one task only": ({"tasks": ""}, "tasks has no ability beside the alignment metric"),
    "unknown method": ({"method": "sma"}, "method = 'sma' is not allowed; allowed are ma, slerp, trim"),
    "unknown option": (
        {"method": "trim", "options": {"trim": {"drop": 0.5}}},
        "drop is 0.5, which is no option of method trim",
    ),
    "option out of range": (
        {"method": "trim", "options": {"trim": {"keep": 2}}},
        "keep = 2.0 is not allowed with method trim; allowed are",
    ),
    "method of three models": (
        {"method": "ties"},
        "theta-pre is missing, needed with method ties: the model that theta-0 was tuned from",
    ),
    "a third model alone": ({"theta-pre": "x"}, "theta-pre is 'x', which none of the chosen methods takes"),
    "a weight alone": ({"weight": 1}, "weight = 1 is not allowed without --with"),
    "no other run": ({"with": "nowhere"}, "with 1 is 'nowhere', which is no folder"),
    "part without its name": ({"method": "part"}, "part is None, needed with method 'part'"),
    "part with ma": ({"part": "input"}, "part is 'input', needed with method 'part'"),
    "unknown part": (
        {"method": "part", "part": "first"},
        "part = 'first' is not allowed; allowed are input, middle, output or 1 to 3",
    ),
    "ama without samples": ({"method": "ama"}, "data (samples of theta) is needed with method 'ama'"),
    "ratios out of range": (
        {"alphas": "0:3:1"},
        "alphas = '0:3:1' is not allowed; allowed are FIRST:LAST:STEP or numbers and commas, from 0 to 2",
    ),
    "ratios beyond theta": (
        {"method": "ma,lines", "alphas": "0:1.5:0.5"},
        "alphas has 1.5, which none of the chosen methods takes; allowed is with method extrapolate",
    ),
    "averages as extrapolations": (
        {"method": "extrapolate", "alphas": "0,0.5,1,1.5"},
        "alphas has 0.5, which none of the chosen methods takes; allowed is with method ma",
    ),
    "nothing beyond theta": (
        {"method": "ma,extrapolate"},
        "method extrapolate is not allowed without a ratio above 1 (to 2)",
    ),
    "unknown rlhf": ({"rlhf": "grpo"}, "rlhf = 'grpo' is not allowed; allowed are none, rsf, dpo, ppo"),
    "confidence": ({"confidence": 2}, "confidence = 2 is not allowed; allowed are numbers from 0.5 to below 1."),
    "missing task file": (
        {"tasks": "nowhere.jsonl"},
        "--tasks 'nowhere.jsonl' is no file; give one that holds one JSON object a line, as {",
    ),
    "missing model": ({"theta-0": "nowhere"}, "theta-0 is 'nowhere', which is no folder"),
    "no tokens": ({"tokens": 0}, "tokens = 0 is not allowed; allowed are whole numbers from 1."),
    "an unknown key": ({"task-tokens": 4}, "task-tokens = 4 is an unknown key; allowed are tasks, samples"),
    "an unknown key of ama's": ({"adapt": {"check": 4}}, "adapt: check = 4 is an unknown key; allowed are keep, draw"),
    "an unknown place": ({"grouping": {"norm": "middle"}}, "norm = 'middle' is not allowed; allowed are first, last"),
    "an unknown file": ({"config": "nowhere.yaml"}, "config is 'nowhere.yaml', which is no file"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_input_is_refused_in_one_sentence(case, folder, tmp_path, monkeypatch, capsys):
    changes, said = REFUSED[case]
    changes = {"tasks": folder / "qa.jsonl"} | changes
    assert command(monkeypatch, "front", *arguments(folder, tmp_path / "out", **changes)) == 2
    error = capsys.readouterr().err
    assert re.match(rf"error: (\S+\.yaml: )?{re.escape(said)}", error)
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_setting_of_the_command_line_may_not_stand_in_the_file_too(folder, tmp_path, monkeypatch, capsys):
    (tmp_path / "both.yaml").write_text("seed: 3\n")
    assert command(monkeypatch, "front", *arguments(folder, tmp_path / "out", config=tmp_path / "both.yaml")) == 2
    assert (
        "both.yaml: seed is an option of the command line; allowed in the file are the other settings"
        in capsys.readouterr().err
    )


def test_the_documented_file_holds_every_setting_with_its_default():
    given = yaml.safe_load((Path(__file__).parents[2] / "docs" / "front.yaml").read_text())
    assert FrontSettings(tasks=(), **given) == FrontSettings(tasks=())
    options = {"tasks", "method", "alphas", "strength", "layers", "seed", "keep", "samples"}
    assert given.keys() == FrontSettings.model_fields.keys() - options
    assert given["adapt"].keys() == FrontSearch.model_fields.keys()
    assert given["grouping"] == asdict(Grouping())


def test_a_score_that_is_no_number_is_refused_before_it_is_kept(folder, tmp_path, monkeypatch, capsys):
    from llm.evaluation.measurement import Measurement
    from llm.evaluation.tasks import Replies

    monkeypatch.setattr(Replies, "measure", lambda *_: {"reward": Measurement.of(np.array([0.5, np.nan]))})
    assert command(monkeypatch, "front", *arguments(folder, tmp_path / "front")) == 2
    assert "gives a model a score that is not finite; look at its weights" in capsys.readouterr().err
    assert not (tmp_path / "front" / "points").exists()


@pytest.mark.parametrize("key", ["tasks", "prompts"])
def test_too_few_items_are_refused_before_anything_is_measured(key, folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(module, "measure_tasks", lambda *_: pytest.fail("measures"))
    few = write_lines(tmp_path / "few.jsonl", lines(folder, "qa" if key == "tasks" else "prompts")[:4])
    assert command(monkeypatch, "front", *arguments(folder, tmp_path / "front", **{key: few})) == 2
    said = "few" if key == "tasks" else "reward"
    assert f"{said} has 4 items; allowed are at least 5." in capsys.readouterr().err
    assert not (tmp_path / "front").exists()


def test_what_cannot_be_measured_is_refused_before_anything_is(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(module, "measure_tasks", lambda *_: pytest.fail("measures"))
    given = {"reward-model": None, "reward-command": "false"}
    assert command(monkeypatch, "front", *arguments(folder, tmp_path / "front", **given)) == 2
    assert "reward-command is 'false', which failed" in capsys.readouterr().err
    assert not (tmp_path / "front").exists()


CONTEXT = 2048  # of the models


@pytest.mark.parametrize(
    ("item", "follows"),
    [
        ({"choices": ["w9", "w10"], "answer": 0}, 1),
        ({"answers": ["w9"]}, SETTINGS["task_tokens"]),
        ({"reference": "w9"}, SETTINGS["task_tokens"]),
    ],
)
@pytest.mark.parametrize("chat", [True, False])
def test_items_that_do_not_fit_into_the_context_are_refused(chat, item, follows, folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(module, "measure_tasks", lambda *_: pytest.fail("measures"))
    marks = 2 * chat + ("choices" in item)  # w5 PROMPT w6, and the space before a choice
    fits = CONTEXT - marks - follows
    for words_of_prompt, code in ((fits, None), (fits + 1, 2)):
        items = [*[{"prompt": "w50"} | item] * 4, {"prompt": "w50 " * words_of_prompt} | item]
        file = write_lines(tmp_path / "long.jsonl", items)
        tasks = f"{folder / 'qa.jsonl'},{file}"
        given = {"tasks": tasks, "chat": chat, "reward-model": None, "prompts": None, "alignment": "qa"}
        asked = arguments(folder, tmp_path / "front", **given)
        if code is None:
            with pytest.raises(pytest.fail.Exception, match="measures"):
                command(monkeypatch, "front", *asked)
            shutil.rmtree(tmp_path / "front", ignore_errors=True)
            continue
        assert command(monkeypatch, "front", *asked) == code
        said = f"item 5 of long with its longest reply = {CONTEXT + 1} tokens is not allowed: the model's context is {CONTEXT}"
        assert said in capsys.readouterr().err and not (tmp_path / "front").exists()


def test_prompts_for_choosing_and_for_testing_that_are_the_same_are_noted(folder, tmp_path, caplog):
    samples = write_lines(
        tmp_path / "s.jsonl", [{"prompt": row["prompt"], "reply": "w50"} for row in lines(folder, "prompts")[:3]]
    )
    changes = {"method": "ama", "alphas": "0.5", "tasks": folder / "qa.jsonl", "data": samples}
    run(folder, tmp_path / "front", adapt={"batch": 20}, **changes)
    note = "3 of 8 prompts of --prompts are prompts of --data, too"
    assert note in caplog.text and note in (tmp_path / "front" / "report.html").read_text()


@pytest.mark.parametrize("item", [{"choices": ["w9", "w10"], "answer": 0}, {"answers": ["w9"]}, {"reference": "w9"}])
def test_a_prompt_without_a_token_is_refused_before_anything_is_measured(item, folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(module, "measure_tasks", lambda *_: pytest.fail("measures"))
    file = write_lines(tmp_path / "empty.jsonl", [*[{"prompt": "w50"} | item] * 4, {"prompt": ""} | item])
    given = {"reward-model": None, "prompts": None, "alignment": "qa", "tasks": f"{folder / 'qa.jsonl'},{file}"}
    asked = arguments(folder, tmp_path / "front", chat=False, **given)
    assert command(monkeypatch, "front", *asked) == 2
    assert "a prompt is ''; allowed are those that have a token." in capsys.readouterr().err
    with pytest.raises(pytest.fail.Exception, match="measures"):  # a chat format has tokens of its own
        command(monkeypatch, "front", *arguments(folder, tmp_path / "chat", chat=True, **given))


def test_after_a_chat_template_has_refused_an_item_the_corrected_run_needs_nothing_removed(
    folder, tmp_path, monkeypatch, capsys
):
    shutil.copytree(folder / "theta", tmp_path / "theta")
    raising = "{% if 'w8' in messages[0]['content'] %}{{ raise_exception('no w8') }}{% endif %}"
    save_tokenizer(
        tmp_path / "theta", template=raising + "{% for m in messages %}w5 {{ m['content'] }} w6 {% endfor %}"
    )
    rows = [{"prompt": prompt, "answers": ["w50"]} for prompt in [f"w{number}" for number in range(41, 46)] + ["w8 w9"]]
    tasks = ",".join(str(write_lines(tmp_path / f"{name}.jsonl", rows)) for name in ("one", "two"))
    given = {"theta": tmp_path / "theta", "tasks": tasks, "reward-model": None, "prompts": None, "alignment": "one"}
    asked = arguments(folder, tmp_path / "out", **given)
    assert command(monkeypatch, "front", *asked) == 2
    assert "refuses the roles user ('w8 w9'): no w8." in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    for name in ("one", "two"):
        write_lines(tmp_path / f"{name}.jsonl", rows[:5])
    assert command(monkeypatch, "front", *asked) == 0


def test_the_file_is_named_for_what_stands_in_it_alone(folder, tmp_path, monkeypatch, capsys):
    (tmp_path / "f.yaml").write_text("tokens: 4\npart: 2\n")
    given = arguments(folder, tmp_path / "out", tasks=folder / "qa.jsonl", config=tmp_path / "f.yaml")
    assert command(monkeypatch, "front", *given, "--strength", "1") == 2
    error = capsys.readouterr().err
    assert "f.yaml: part is '2', needed with method 'part'" in error
    (tmp_path / "f.yaml").write_text("tokens: 4\n")
    assert command(monkeypatch, "front", *given, "--strength", "1") == 2
    assert capsys.readouterr().err.startswith("error: strength is not allowed without method regmean")
