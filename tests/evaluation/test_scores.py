"""Scores of single items and texts against other routes to the same numbers."""

from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from llm.evaluation.scores import brier, calibration_error, kl_per_token, pass_at, self_bleu


def test_the_brier_score_of_certainty_and_of_a_guess():
    assert brier([1, 0, 0], 0) == 0
    assert brier([0, 1, 0], 0) == 2
    assert brier([0.25] * 4, 2) == pytest.approx(0.75)
    assert brier([0.7, 0.3], 0) == pytest.approx(2 * 0.3**2)


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=40))
def test_the_calibration_error_is_that_of_a_plain_loop_over_bins(items):
    confidence, right = (np.array(column, float) for column in zip(*items))
    edges, total = np.linspace(0, 1, 11), 0.0
    for low, high in zip(edges, edges[1:]):
        inside = (confidence > low) & (confidence <= high) | ((low == 0) & (confidence == 0))
        if inside.any():
            total += inside.mean() * abs(confidence[inside].mean() - right[inside].mean())
    assert calibration_error(confidence, right) == pytest.approx(total, abs=1e-12)


def test_a_divergence_a_token_is_torchs_own():
    logits, other = torch.randn(2, 3, 7, generator=torch.Generator().manual_seed(0)).double()
    expected = torch.nn.functional.kl_div(
        other.log_softmax(-1), logits.log_softmax(-1), reduction="none", log_target=True
    )
    torch.testing.assert_close(kl_per_token(logits, other), expected.sum(-1))
    assert kl_per_token(logits, logits + 5).abs().max() < 1e-12


def test_diversity_of_texts():
    assert self_bleu(["one two three four"] * 3) == pytest.approx(100)
    assert self_bleu(["one two three four", "five six seven eight"]) == 0


@pytest.mark.parametrize(("samples", "right", "k"), [(5, 2, 1), (5, 2, 3), (5, 0, 2), (5, 5, 5), (4, 1, 4)])
def test_pass_at_k_is_the_share_of_draws_that_hold_a_right_one(samples, right, k):
    draws = list(combinations([True] * right + [False] * (samples - right), k))
    assert pass_at(samples, right, k) == pytest.approx(np.mean([any(draw) for draw in draws]))
