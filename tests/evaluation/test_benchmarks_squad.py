"""SQuAD's scores, of v1.1 and v2: cases worked out by hand, and the functions of its own script as lm-eval carries them along."""

import json
import runpy
import string
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lm_eval.tasks.squadv2.task import SQuAD2

from benchmark_models import DATA
from llm.config import load_preset
from llm.data.benchmarks import PAPER, abilities, parse_tasks
from llm.data.microcosm.source import Microcosm
from llm.evaluation.benchmarks.squad import exact_match, first_answer, first_answer_v2, scores, scores_v2, squad_f1
from llm.evaluation.benchmarks.suite import SuiteSettings, load_suite
from llm.evaluation.measurement import f1, normalise

WORDS = [*"the a an The An. cat Cats! it's its 3,5 35 U.S. us — Zoë naïve the-cat _".split(), "'", '"', "\n", "anthem"]
TEXTS = st.lists(st.sampled_from(WORDS) | st.text(string.printable, max_size=4), max_size=7).map(" ".join)
ANSWERS = st.lists(TEXTS, min_size=1, max_size=3)
LM_EVAL = Path(find_spec("lm_eval").submodule_search_locations[0])


@pytest.fixture(scope="module")
def script():
    """normalize_answer and f1_abstractive, "taken from the official evaluation script for v1.1"."""
    return runpy.run_path(str(LM_EVAL / "tasks" / "qasper" / "metrics.py"))


@pytest.mark.parametrize(
    ("reply", "answers", "f1_score", "exact"),
    [
        ("Denver Broncos", ["Denver Broncos", "The Denver Broncos!"], 1, 1),
        ("the denver broncos.", ["Denver Broncos"], 1, 1),
        ("Broncos", ["Denver Broncos"], 2 * (1 * 0.5) / (1 + 0.5), 0),
        ("the Broncos won in Denver", ["Denver Broncos"], 2 * (2 / 4 * 1) / (2 / 4 + 1), 0),
        ("Santa Clara", ["Levi's Stadium", "in Santa Clara, California"], 2 * (1 * 2 / 4) / (1 + 2 / 4), 0),
        ("2 2 2", ["2 2"], 2 * (2 / 3 * 1) / (2 / 3 + 1), 0),
        ("", ["1804"], 0, 0),
        ("1805", ["1804"], 0, 0),
        ("A", ["the"], 0, 1),  # nothing is left of either: v1.1 counts no F1, but an exact match
        ("A", ["B", "a"], 0, 1),
    ],
)
def test_cases_worked_out_by_hand(reply, answers, f1_score, exact):
    assert squad_f1(reply, answers) == pytest.approx(f1_score, abs=1e-15)
    assert exact_match(reply, answers) == exact
    doc = {"answers": {"text": answers, "answer_start": [0] * len(answers)}}
    assert scores(doc, [reply]) == {"f1": squad_f1(reply, answers), "exact_match": exact_match(reply, answers)}
    assert first_answer(doc) == f" {answers[0]}"


@given(TEXTS, ANSWERS)
def test_scores_are_those_of_the_official_script(script, reply, answers):
    words = script["normalize_answer"]
    assert " ".join(normalise(reply)) == words(reply)
    expected = max(script["f1_abstractive"]([reply], [answer]) for answer in answers)
    assert squad_f1(reply, answers) == pytest.approx(expected, abs=1e-15)
    assert exact_match(reply, answers) == max(float(words(reply) == words(answer)) for answer in answers)


@given(TEXTS, TEXTS)
def test_the_f1_of_the_microcosm_differs_only_where_neither_text_has_a_word(reply, answer):
    if normalise(answer) or normalise(reply):
        assert f1(reply, answer) == squad_f1(reply, [answer])
    else:
        assert (f1(reply, answer), squad_f1(reply, [answer])) == (1, 0)


def test_every_answer_of_the_microcosm_has_a_word_so_its_numbers_are_the_same_by_both():
    items = Microcosm(0).items("test", {"qa": 2, "reading": 200, "translation": 2}).reading
    assert all(normalise(item.reference) for item in items)


def test_a_question_without_an_answer_is_no_squad_v1():
    with pytest.raises(ValueError, match="a question without an answer"):
        first_answer({"answers": {"text": [], "answer_start": []}})


@pytest.mark.parametrize(
    ("reply", "answers", "f1_score", "exact"),
    [
        ("", [], 1, 1),
        ("the", [], 1, 1),  # no word is left of it
        ("unanswerable", [], 0, 0),
        ("", ["1804"], 0, 0),
        ("in 1804", ["the", "1804"], 2 * (1 / 2 * 1) / (1 / 2 + 1), 0),  # an answer without words is none
    ],
)
def test_v2_takes_no_words_for_no_answer(reply, answers, f1_score, exact):
    doc = {"answers": {"text": answers, "answer_start": [0] * len(answers)}}
    assert scores_v2(doc, [reply]) == {"f1": pytest.approx(f1_score, abs=1e-15), "exact_match": exact}
    assert first_answer_v2(doc) == (f" {answers[0]}" if answers else " unanswerable")


@given(TEXTS, ANSWERS)
def test_v2_scores_questions_with_an_answer_of_words_as_v1(reply, answers):
    doc = {"answers": {"text": [f"x {answer}" for answer in answers]}}
    assert scores_v2(doc, [reply]) == scores(doc, [reply])


def test_v2_takes_the_place_of_v1_in_reading_only_where_v1_is_not_asked_for():
    assert abilities(PAPER)["reading_f1"] == ["squad_v1_f1", "drop"]
    assert abilities({"squad_v2_f1", "drop"}) == {"reading_f1": ["squad_v2_f1", "drop"]}
    assert abilities({*PAPER, "squad_v2_f1"}) == abilities(PAPER)
    assert abilities({"squad_v2_f1"}) == {}
    for name in ("zephyr-7b-beta-authors", "zephyr-7b-gemma-authors"):
        assert abilities(load_preset(name).evaluate.tasks).keys() == {"qa", "reading_f1", "bleu"}
    assert parse_tasks("all") == PAPER


def test_v2_is_asked_in_lm_evals_words_and_measured_item_by_item():
    """Of a model that says nothing, questions without an answer are right."""
    suite = load_suite(SuiteSettings(("squad_v2_f1",), data=DATA))
    (task,) = suite.tasks.values()
    theirs = SQuAD2.doc_to_text(None, doc := next(iter(task.validation_docs())))
    assert task.doc_to_text(doc) == theirs
    silent = SimpleNamespace(tokenizer=None, max_length=10**6, max_gen_toks=1, tok_encode=lambda text: [0])
    silent.rank, silent.world_size, silent.generate_until = 0, 1, lambda requests: [""] * len(requests)
    rows = [json.loads(line) for line in (DATA / "squad_v2_f1.jsonl").read_text("utf-8").splitlines()]
    expected = [float(not row["answers"]["text"]) for row in rows]
    found = suite.measure(silent, np.random.default_rng(0))
    assert found["squad_v2_f1"].items.tolist() == found["squad_v2_em"].items.tolist() == expected
    assert 0 < sum(expected) < len(expected) and set(found) == {"squad_v2_f1", "squad_v2_em"}
