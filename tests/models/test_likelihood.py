"""Log-likelihoods against those of each sequence alone."""

import numpy as np
import pytest
import torch

from llm.models.likelihood import log_likelihoods
from microcosm_runs import tiny_model


@pytest.mark.parametrize("batch_size", [1, 5, 64])
def test_log_likelihood_is_that_of_each_sequence_alone(batch_size):
    model, rng = tiny_model(), np.random.default_rng(2)
    pairs = [
        (rng.integers(6, 500, rng.integers(1, 20)).tolist(), rng.integers(6, 500, rng.integers(1, 6)).tolist())
        for _ in range(23)
    ]
    with torch.no_grad():
        expected = []
        for context, continuation in pairs:
            logs = torch.log_softmax(model(torch.tensor([context + continuation])).logits[0].double(), dim=-1)
            steps = range(len(context) - 1, len(context) + len(continuation) - 1)
            expected.append(sum(logs[step, token].item() for step, token in zip(steps, continuation, strict=True)))
    assert np.std(expected) > 1  # the cases differ
    np.testing.assert_allclose(log_likelihoods(model, pairs, 0, batch_size), expected, rtol=1e-4, atol=1e-3)
