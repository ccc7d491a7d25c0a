"""Distinct bigrams by hand, self-BLEU against sacrebleu with all other replies as references."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sacrebleu.metrics import BLEU

from llm.evaluation.diversity import distinct_items, self_bleu_items

WORDS = ["a", "dog", "sees", "the", "cat", "."]
REPLIES = st.lists(st.lists(st.sampled_from(WORDS), max_size=12).map(" ".join), min_size=2, max_size=7)


def test_distinct_bigrams_by_hand():
    replies = ["a dog sees a dog .", "a dog .", "it", ""]
    # a-dog dog-sees sees-a a-dog dog-. | a-dog dog-.
    assert distinct_items(replies).mean() == pytest.approx(4 / 7)
    assert distinct_items(["it", ""]).tolist() == [0.0, 0.0]
    assert distinct_items(["a b", "c d"]).mean() == 1.0
    assert distinct_items(["a b a b", "b a b a"], order=3).mean() == pytest.approx(2 / 4)


@given(REPLIES)
def test_the_error_of_distinct_bigrams_is_the_jackknifes(replies):
    def distinct(some):
        grams = [pair for reply in some for pair in zip(reply.split(), reply.split()[1:])]
        return len(set(grams)) / max(1, len(grams))

    items, count = distinct_items(replies), len(replies)
    without = np.array([distinct(replies[:i] + replies[i + 1 :]) for i in range(count)])
    assert items.mean() == pytest.approx(distinct(replies), abs=1e-12)
    stderr = np.sqrt((count - 1) / count * np.square(without - without.mean()).sum())
    assert items.std(ddof=1) / np.sqrt(count) == pytest.approx(stderr, abs=1e-12)


@given(REPLIES)
def test_self_bleu_is_sacrebleus_with_all_others_as_references(replies):
    metric = BLEU(tokenize="none", effective_order=True)
    expected = [metric.sentence_score(reply, replies[:i] + replies[i + 1 :]).score for i, reply in enumerate(replies)]
    assert self_bleu_items(replies).tolist() == pytest.approx(expected)


def test_self_bleu_of_equal_replies_is_100_and_of_one_alone_0():
    assert self_bleu_items(["the dog sees the cat ."] * 3).tolist() == pytest.approx([100.0] * 3)
    assert self_bleu_items(["the dog sees the cat ."]).tolist() == [0.0]
