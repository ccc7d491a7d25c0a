"""Penalties: values against plain sums, gradients against finite differences in fp64."""

import pytest
import torch

from ama_models import wholly_in
from llm.methods import METHODS, code_of
from llm.models.batches import pad_right
from microcosm_runs import tiny_model

EXAMPLES = [([7, 8, 9, 10, 11], [0.0, 0.0, 1.0, 1.0, 1.0]), ([11, 12, 13], [0.0, 0.0, 1.0])]
BATCH = pad_right(EXAMPLES, pad_id=0)
PENALTIES = ("l1", "l2", "kd", "kl-anchor")


def penalty_of(name, strength):
    return code_of(METHODS[name])({"strength": strength}, None).penalty


@pytest.fixture(scope="module", params=[True, False], ids=["tied", "untied"])
def pair(request):
    """(theta, theta_0) in fp64, every weight of theta moved by at least 0.01, so that |.| is smooth there."""
    torch.manual_seed(0)
    theta_0, theta = (wholly_in(torch.float64, tiny_model(tied_embeddings=request.param).double()) for _ in range(2))
    with torch.no_grad():
        for parameter in theta.parameters():
            step = torch.randn_like(parameter)
            parameter += 0.01 * step + 0.01 * step.sign()
    return theta, theta_0.requires_grad_(False)


def flat(model):
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def test_norms_are_those_of_all_parameters_with_tied_ones_once(pair):
    theta, theta_0 = pair
    difference = flat(theta) - flat(theta_0)
    assert len(difference) == sum({p.data_ptr(): p.numel() for p in theta.state_dict().values()}.values())
    assert penalty_of("l1", 0.3)(theta, theta_0, BATCH).item() == pytest.approx(
        0.3 * difference.abs().sum().item(), rel=1e-12
    )
    assert penalty_of("l2", 0.3)(theta, theta_0, BATCH).item() == pytest.approx(
        0.3 * (difference @ difference).item(), rel=1e-12
    )


def test_distillation_is_the_mean_over_the_replies_tokens_of_the_probabilities_distance(pair):
    theta, theta_0 = pair
    distances = []
    with torch.no_grad():
        for ids, weights in EXAMPLES:
            ours, wanted = (model(torch.tensor([ids])).logits[0].softmax(dim=-1) for model in (theta, theta_0))
            distances += [((ours - wanted)[k - 1] ** 2).sum().item() for k, weight in enumerate(weights) if weight]
    assert len(distances) == 4
    value = penalty_of("kd", 0.5)(theta, theta_0, BATCH).item()
    assert value == pytest.approx(0.5 * sum(distances) / 4, rel=1e-9)
    assert value > 1e-6


@pytest.mark.parametrize("name", PENALTIES)
def test_gradients_are_those_of_finite_differences(pair, name):
    theta, theta_0 = pair
    penalty = penalty_of(name, 0.7)
    theta.zero_grad()
    penalty(theta, theta_0, BATCH).backward()
    directions = torch.Generator().manual_seed(1)
    for parameter in theta.parameters():
        towards = torch.randn(parameter.shape, generator=directions, dtype=torch.float64)
        slope = (parameter.grad * towards).sum().item()
        assert slope == pytest.approx(_difference(penalty, pair, parameter, towards), rel=1e-6, abs=1e-10)
    theta.zero_grad()


def _difference(penalty, pair, parameter, towards, step=1e-5):
    with torch.no_grad():
        parameter += step * towards
        above = penalty(*pair, BATCH).item()
        parameter -= 2 * step * towards
        below = penalty(*pair, BATCH).item()
        parameter += step * towards
    return (above - below) / (2 * step)


@pytest.mark.parametrize("name", PENALTIES)
def test_at_theta_0_there_is_neither_penalty_nor_slope_and_theta_0_gets_none_ever(pair, name):
    theta, theta_0 = pair
    start = wholly_in(torch.float64, tiny_model(tied_embeddings=theta.config.tie_word_embeddings).double())
    value = penalty_of(name, 3.0)(start, theta_0, BATCH)
    value.backward()
    assert value.item() == 0.0
    assert all(p.grad.abs().max() < 1e-12 for p in start.parameters() if p.grad is not None)
    penalty_of(name, 3.0)(theta, theta_0, BATCH).backward()
    assert all(p.grad is None for p in theta_0.parameters())
    theta.zero_grad()
