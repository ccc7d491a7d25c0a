"""Probabilities of choices, Brier score and expected calibration error by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.evaluation.calibration import BINS, calibration_error_items, choice_items


def test_four_choices_by_hand():
    found = choice_items([np.log([0.1, 0.2, 0.3, 0.4]) - 7, np.log([0.5, 0.25, 0.2, 0.05])], [2, 0])
    assert found["accuracy"].tolist() == [0.0, 1.0]
    assert found["probability"] == pytest.approx([0.3, 0.5])
    right, wrong = 0.1**2 + 0.2**2 + 0.7**2 + 0.4**2, 0.5**2 + 0.25**2 + 0.2**2 + 0.05**2
    assert found["brier"] == pytest.approx([right, wrong])
    assert found["ece"].mean() == pytest.approx((abs(0.4 - 0) + abs(0.5 - 1)) / 2)  # a bin each


def test_items_may_have_different_numbers_of_choices():
    found = choice_items([np.zeros(2), np.zeros(8)], [1, 3])
    assert found["probability"] == pytest.approx([1 / 2, 1 / 8])
    assert found["brier"] == pytest.approx([1 / 2, (7 / 8) ** 2 + 7 / 64])


def test_a_bins_error_is_the_gap_between_its_confidence_and_its_accuracy():
    confidence, right = np.array([0.91, 0.95, 0.99, 1.0, 0.55, 0.6]), np.array([1.0, 1.0, 0.0, 1.0, 0.0, 1.0])
    high = abs(np.mean([0.91, 0.95, 0.99, 1.0]) - 0.75) * 4
    middle = abs(np.mean([0.55, 0.6]) - 0.5) * 2
    assert calibration_error_items(confidence, right).mean() == pytest.approx((high + middle) / 6)


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=60))
def test_the_items_mean_is_the_error_summed_over_bins(pairs):
    confidence, right = np.array(pairs, dtype=float).T
    expected = 0.0
    for k in range(BINS):
        low = k / BINS
        inside = (confidence * BINS > k) & (confidence * BINS <= k + 1) | ((k == 0) & (confidence == low))
        expected += abs(confidence[inside].sum() - right[inside].sum()) / len(pairs)
    assert calibration_error_items(confidence, right).mean() == pytest.approx(expected, abs=1e-12)


def test_the_standard_error_is_that_of_repeated_samples():
    """Of a model that is too sure by .15 in every bin, where no gap is near zero."""
    rng, errors, stated = np.random.default_rng(0), [], []
    for _ in range(400):
        confidence = rng.uniform(0.5, 1.0, 300)
        items = calibration_error_items(confidence, (rng.random(300) < confidence - 0.15).astype(float))
        errors.append(items.mean())
        stated.append(items.std(ddof=1) / np.sqrt(300))
    assert np.mean(stated) == pytest.approx(np.std(errors), rel=0.15)
