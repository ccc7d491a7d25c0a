"""Log-likelihoods against those of each sequence alone, and choices scored after reading their question once against reading
it anew with each of them.
"""

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from llm.models import likelihood as module
from llm.models.likelihood import choice_log_likelihoods, log_likelihoods
from microcosm_runs import tiny_model

RNG = np.random.default_rng(0)


def ids(length: int) -> list[int]:
    return RNG.integers(1, 50, length).tolist()


ASKED = [
    (ids(context), [ids(length) for length in lengths])
    for context, lengths in [(40, (1, 5)), (7, (3, 3, 2)), (33, (4,)), (1, (2, 6, 1, 1)), (52, (9, 1))]
]


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    sizes = {"vocab_size": 50, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2}
    config = LlamaConfig(**sizes, num_attention_heads=4, num_key_value_heads=2, initializer_range=0.5)
    return LlamaForCausalLM(config).eval()


@pytest.fixture
def read(model, monkeypatch):
    """How many tokens each call of the model reads."""
    counts, forward = [], model.model.forward

    def counting(**given):
        counts.append(given["input_ids"].numel())
        return forward(**given)

    monkeypatch.setattr(model.model, "forward", counting)
    return counts


@pytest.mark.parametrize("batch_size", [1, 8, 100])
@pytest.mark.parametrize("long", [0, 1000])
def test_scores_are_those_of_the_whole_text(model, batch_size, long, monkeypatch):
    monkeypatch.setattr(module, "LONG", long)
    found = choice_log_likelihoods(model, ASKED, pad_id=0, batch_size=batch_size)
    for (context, choices), scores in zip(ASKED, found, strict=True):
        wanted = log_likelihoods(model, [(context, choice) for choice in choices], 0, batch_size=1)
        np.testing.assert_allclose(scores, wanted, rtol=1e-4, atol=1e-4)


def test_a_long_question_is_read_once(model, read):
    question, answers = ids(100), [ids(2) for _ in range(4)]
    choice_log_likelihoods(model, [(question, answers)], pad_id=0, batch_size=4)
    assert read == [100, 4 * 2]
    read.clear()
    choice_log_likelihoods(model, [(question[: module.LONG - 1], answers)], pad_id=0, batch_size=4)
    assert read == [4 * (module.LONG - 1 + 2)]


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
