"""Log-likelihoods against those of each sequence alone, and of rows that are read apart against those of the whole batch."""

import numpy as np
import pytest
import torch
from transformers.models.llama.modeling_llama import LlamaModel

from llm.errors import UserError
from llm.models import batches
from llm.models.batches import Batch, fitting, pad_replies, similar_rows
from llm.models.likelihood import log_likelihoods, token_log_probs
from llm.training.loop import token_loss
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


def ragged(lengths: list[int]) -> Batch:
    rng = np.random.default_rng(1)
    return pad_replies(
        [(rng.integers(6, 500, n // 2).tolist(), rng.integers(6, 500, n - n // 2).tolist()) for n in lengths], 0
    )


@pytest.mark.parametrize("lengths", [[40, 6, 4, 9, 38, 5], [20, 21, 22], [7]])
def test_rows_that_are_read_apart_have_the_loss_and_the_gradient_of_the_whole_batch(lengths, monkeypatch):
    model, batch, read, forward = tiny_model(), ragged(lengths), [], LlamaModel.forward

    def counting(self, **given):
        read.append(given["input_ids"].numel())
        return forward(self, **given)

    monkeypatch.setattr(LlamaModel, "forward", counting)
    found = []
    for worth in (1.0 - 1e-9, 0.0):
        monkeypatch.setattr(batches, "WORTH", worth)
        model.zero_grad()
        scores = token_log_probs(model, batch)
        token_loss(model, batch).backward()
        found.append((scores, model.model.embed_tokens.weight.grad.clone()))
    for apart, whole in zip(*found, strict=True):
        torch.testing.assert_close(apart, whole, rtol=1e-3, atol=1e-5)
    ends = [scores.nonzero()[-1].item() for scores in found[0][0].detach()]
    assert ends == [length - 2 for length in lengths]
    if lengths[0] == 40:
        assert sum(read[:2]) == 2 * 40 + 4 * 9 < read[-1] == 6 * 40


def test_where_memory_is_full_half_as_many_rows_are_taken_down_to_one(caplog):
    tried = []

    def work(rows):
        tried.append(rows)
        if rows > room:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        return rows

    room = 3
    assert fitting(12, work) == 3 and tried == [12, 6, 3]
    assert "goes on with 3 rows at a time" in caplog.text
    room = 0
    with pytest.raises(UserError, match="batch = 1 does not fit into the device's memory .CUDA out of memory"):
        fitting(8, work)


def test_batches_of_similar_rows_stay_whole():
    assert similar_rows(torch.ones(4, 9)) == [(slice(None), 9)]
    assert len(similar_rows(ragged([20, 21, 22]).mask)) == 1
    (short, first), (long, second) = similar_rows(ragged([40, 6, 4, 9, 38, 5]).mask)
    assert (sorted(short.tolist()), first, sorted(long.tolist()), second) == ([1, 2, 3, 5], 9, [0, 4], 40)
