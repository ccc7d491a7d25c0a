"""The training loop against plain computations."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from llm.config import Optimiser
from llm.models.batches import pad_right
from llm.training.loop import count_minibatches, fit, minibatches, rate_at, token_loss
from microcosm_runs import tiny_model

SETTINGS = Optimiser(lr=0.1, betas=(0.9, 0.98), weight_decay=0.01, clip=1.0, warmup_steps=4, final_share=0.2)
EXAMPLES = [([7, 8, 9, 10], [0.0, 0.0, 1.0, 1.0]), ([11, 12], [0.0, 0.5]), ([13, 14, 15], [0.1, 0.1, 0.1])]


def test_padding_stands_on_the_right_and_counts_nothing():
    batch = pad_right(EXAMPLES, pad_id=3)
    assert batch.ids.tolist() == [[7, 8, 9, 10], [11, 12, 3, 3], [13, 14, 15, 3]]
    assert batch.mask.tolist() == [[1, 1, 1, 1], [1, 1, 0, 0], [1, 1, 1, 0]]
    assert batch.weights[1].tolist() == [0.0, 0.5, 0.0, 0.0]


@pytest.mark.parametrize("tied", [True, False])
def test_the_loss_is_the_weighted_mean_over_the_examples_one_by_one(tied):
    model = tiny_model(tied_embeddings=tied).double()
    total = weight_sum = 0.0
    with torch.no_grad():
        for ids, weights in EXAMPLES:
            logs = torch.log_softmax(model(torch.tensor([ids])).logits[0], dim=-1)
            for step in range(1, len(ids)):
                total -= weights[step] * logs[step - 1, ids[step]].item()
                weight_sum += weights[step]
        loss = token_loss(model, pad_right(EXAMPLES, pad_id=0)).item()
    assert loss == pytest.approx(total / weight_sum, rel=1e-5)
    assert loss > 1


def test_what_is_padded_or_of_weight_0_gets_no_gradient():
    model = tiny_model(tied_embeddings=False)
    token_loss(model, pad_right([([7, 8, 9], [0.0, 0.0, 1.0]), ([10, 11], [0.0, 1.0])], pad_id=3)).backward()
    used = model.model.embed_tokens.weight.grad.abs().sum(dim=1).nonzero().flatten().tolist()
    assert used == [7, 8, 10]  # what the two counted predictions look back on


def test_the_rate_warms_up_linearly_and_falls_along_a_cosine_to_its_share():
    rates = [rate_at(step, 12, SETTINGS) for step in range(12)]
    assert rates[:5] == pytest.approx([0.025, 0.05, 0.075, 0.1, 0.1])
    assert rates[8] == pytest.approx(0.1 * (0.2 + 0.8 / 2))  # half of the way
    assert rates[6] == pytest.approx(0.1 * (0.2 + 0.8 * (1 + math.cos(math.pi / 4)) / 2))
    assert rate_at(12, 12, SETTINGS) == pytest.approx(0.1 * 0.2)
    assert all(before > after for before, after in zip(rates[4:], rates[5:], strict=False))


def test_without_an_end_the_rate_stays_after_the_warm_up():
    assert [rate_at(step, None, SETTINGS) for step in (0, 3, 4, 10**6)] == pytest.approx([0.025, 0.1, 0.1, 0.1])


def test_a_step_is_adamws_on_the_clipped_gradient():
    def loss(model, batch):
        return F.mse_loss(model(batch), torch.full((3, 1), 100.0))

    torch.manual_seed(0)
    model, plain = torch.nn.Linear(2, 1), torch.nn.Linear(2, 1)
    plain.load_state_dict(model.state_dict())
    batches = [torch.randn(3, 2) for _ in range(3)]
    losses = list(fit(model, batches, loss, SETTINGS, steps=12))
    adam = torch.optim.AdamW(plain.parameters(), lr=0.0, betas=(0.9, 0.98), weight_decay=0.01)
    for step, batch in enumerate(batches):
        adam.param_groups[0]["lr"] = 0.1 * (step + 1) / 4
        adam.zero_grad()
        value = loss(plain, batch)
        assert losses[step] == pytest.approx(value.item(), rel=1e-6)
        value.backward()
        norm = torch.sqrt(sum((p.grad**2).sum() for p in plain.parameters()))
        assert norm > 1
        for parameter in plain.parameters():
            parameter.grad /= norm
        adam.step()
    for first, second in zip(model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(first, second, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops_training_before_it_spoils_the_weights(bad):
    model = torch.nn.Linear(2, 1)
    before = model.weight.clone()
    with pytest.raises(FloatingPointError, match=f"loss = {bad} at step 5; allowed are finite numbers"):
        list(fit(model, [None], lambda m, _: m.weight.sum() * bad, SETTINGS, steps=9, first_step=5))
    assert torch.equal(model.weight, before)


def test_a_model_is_in_training_mode_while_it_is_fitted_and_not_after():
    model = torch.nn.Linear(2, 1).eval()
    modes = [model.training for _ in fit(model, [None] * 2, lambda m, _: m.weight.sum(), SETTINGS, steps=2)]
    assert modes == [True, True]
    assert not model.training


@given(count=st.integers(1, 40), size=st.integers(1, 9), epochs=st.integers(1, 3), by_length=st.booleans())
def test_every_example_comes_once_an_epoch_in_as_many_batches_as_announced(count, size, epochs, by_length):
    length = (lambda example: example % 7) if by_length else None
    batches = list(minibatches(list(range(count)), size, epochs, np.random.default_rng(0), length=length))
    assert len(batches) == count_minibatches(count, size, epochs)
    per_epoch = len(batches) // epochs
    for epoch in range(epochs):
        of_epoch = batches[epoch * per_epoch : (epoch + 1) * per_epoch]
        assert sorted(sum(of_epoch, [])) == list(range(count))
        assert max(map(len, of_epoch)) <= size


def test_batches_by_length_hold_neighbours_in_length_and_come_in_random_order():
    lengths = list(range(100))
    batches = list(minibatches(lengths, 10, 1, np.random.default_rng(0), length=lambda example: example))
    assert {tuple(sorted(batch)) for batch in batches} == {tuple(range(k, k + 10)) for k in range(0, 100, 10)}
    firsts = [min(batch) for batch in batches]
    assert firsts != sorted(firsts)


def test_the_order_of_examples_follows_the_generator():
    first, again, other = (list(minibatches(list(range(30)), 7, 2, np.random.default_rng(seed))) for seed in (0, 0, 1))
    assert first == again != other
