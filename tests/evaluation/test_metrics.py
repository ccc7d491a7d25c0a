"""Metrics against cases made by hand, the reference implementations and plain computations."""

import numpy as np
import pytest
import sacrebleu
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from llm.evaluation.measurement import BLEU, Measurement, bleu_statistics, f1, normalise

WORDS = st.sampled_from(["the", "a", "dog", "cat", "sees", ".", "little", "friend!", "not"])
SENTENCES = st.lists(WORDS, max_size=9).map(" ".join)
REFERENCES = st.lists(WORDS, min_size=1, max_size=9).map(" ".join)


@pytest.mark.parametrize(
    ("reply", "reference", "expected"),
    [
        ("small dogs .", "small dogs .", 1.0),
        ("dogs small", "small dogs", 1.0),  # the order of words does not count
        ("old dogs .", "small dogs .", 1 / 2),
        ("there are small dogs .", "small dogs .", 2 * 2 / (4 + 2)),  # chatter costs precision
        ("dogs dogs dogs", "small dogs", 2 * 1 / (3 + 2)),  # a word counts as often as the reference has it
        ("dogs dogs", "dogs dogs cats", 2 * 2 / (2 + 3)),
        ("The Dogs!", "dogs", 1.0),
        ("a cat", "the cat", 1.0),
        ("cats", "dogs", 0.0),
        ("", "dogs", 0.0),
        ("the .", "a", 1.0),  # nothing is left of either
        ("semi-final's", "semifinals", 1.0),  # punctuation goes without leaving a gap
    ],
)
def test_f1_of_cases_made_by_hand(reply, reference, expected):
    assert f1(reply, reference) == pytest.approx(expected, abs=1e-15)


def test_words_are_normalised_as_squad_does_it():
    """Lower case, no ASCII punctuation (the underscore is one, an ellipsis sign is not), no articles as words."""
    assert normalise("An ANT, the_cat & Theo's … a-b") == ["ant", "thecat", "theos", "…", "ab"]
    assert normalise("a an the theme") == ["theme"]


@given(st.tuples(SENTENCES, SENTENCES))
def test_f1_is_symmetric_and_within_0_and_1(pair):
    assert 0 <= f1(*pair) == f1(*reversed(pair)) <= 1


def bleu(replies, references):
    return Measurement.of(bleu_statistics(replies, references), BLEU).value


@settings(max_examples=60)
@given(st.lists(st.tuples(SENTENCES, REFERENCES), min_size=1, max_size=8))
def test_bleu_is_sacrebleus_corpus_bleu(pairs):
    replies, references = map(list, zip(*pairs, strict=True))
    expected = sacrebleu.corpus_bleu(replies, [references], tokenize="none", force=True).score
    assert bleu(replies, references) == pytest.approx(expected, abs=1e-9)


def test_bleu_of_the_reference_is_100_and_of_nothing_0():
    references = ["the little dog sees a cat .", "a cat does not see the dog ."]
    assert bleu(references, references) == pytest.approx(100)
    assert bleu(["", ""], references) == 0


def test_bleus_standard_error_is_the_spread_of_sacrebleu_over_resampled_sentences():
    rng = np.random.default_rng(0)
    vocabulary = ["the", "a", "dog", "cat", "sees", "little", ".", "not"]
    references = [" ".join(rng.choice(vocabulary, 8)) for _ in range(40)]
    replies = [" ".join(w if rng.random() < 0.7 else rng.choice(vocabulary) for w in r.split()) for r in references]
    found = Measurement.of(bleu_statistics(replies, references), BLEU, np.random.default_rng(1))
    drawn = np.random.default_rng(1).integers(40, size=(200, 40))
    scores = [
        sacrebleu.corpus_bleu(
            [replies[i] for i in row], [[references[i] for i in row]], tokenize="none", force=True
        ).score
        for row in drawn
    ]
    assert found.value == pytest.approx(bleu(replies, references))
    assert found.stderr == pytest.approx(np.std(scores, ddof=1), rel=1e-9)
    assert found.stderr > 0.5


@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=30))
def test_mean_and_error_are_those_of_scipy(values):
    found = Measurement.of(np.array(values))
    assert found.value == pytest.approx(np.mean(values), abs=1e-9)
    assert found.stderr == pytest.approx(stats.sem(values), abs=1e-9)
