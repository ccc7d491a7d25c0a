"""A few damaged inputs of every kind in `make test`, all of them in `make test-long` (`make fuzz` for other seeds)."""

import sys
from pathlib import Path

import pytest

import fuzzing
from fuzzing import Case, Outcome, findings, load_all
from llm import cli

FEW, ALL = 8, 1000


@pytest.mark.parametrize("name", load_all())
def test_damaged_inputs_are_refused_in_one_sentence_or_taken_as_they_stand(name, tmp_path):
    _, found = findings(
        name, tmp_path, seed=0, count=FEW // 2 if name in ("adapt_states", "front_states", "stages") else FEW
    )
    assert found == []


@pytest.mark.long
@pytest.mark.parametrize("name", load_all())
def test_a_thousand_damaged_inputs(name, tmp_path):
    kinds, found = findings(name, tmp_path, seed=1, count=-(-ALL // len(load_all())))
    assert found == []
    assert kinds["refused"] and kinds["accepted"]  # else the damage would be too much, or none


def looping():
    while True:
        pass


def leaving():
    Path(".rows.jsonl.partial-1").touch()
    sys.exit(0)


def two_lines():
    print("error: a\nerror: b", file=sys.stderr)
    sys.exit(2)


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (looping, "hang; "),
        (leaving, "accepted it, left ['.rows.jsonl.partial-1']; "),
        (two_lines, "traceback; error: b"),
        (lambda: 1 / 0, "traceback; ZeroDivisionError: division by zero"),
        (lambda: sys.exit(0), "accepted it; "),
    ],
)
def test_what_is_wrong_is_found(command, said, tmp_path, monkeypatch):
    monkeypatch.setattr(fuzzing, "SECONDS", 1)
    monkeypatch.setattr(cli, "main", command)
    monkeypatch.setitem(fuzzing.FUZZERS, "one", lambda *_: iter([Case("case", (), accepted=lambda: "accepted it")]))
    _, found = findings("one", tmp_path, seed=0, count=1)
    assert found == [f"one 0, case: {said}"]


def test_a_refusal_that_is_not_about_the_input_accepts_it():
    case = Case("case", (), accepted=lambda: "wrong", mark="nowhere")
    assert case.judge(Outcome(2, "", "error: theta is 'nowhere'\n")) == ("accepted", "wrong")
    assert case.judge(Outcome(2, "", "error: alpha is 2\n")) == ("refused", "")
