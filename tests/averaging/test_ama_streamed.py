"""AMA's gradient with weights mixed module by module: exact, and without a third copy of the weights."""

import gc
import weakref

import pytest
import torch

from ama_models import batch, pair
from llm.averaging.ama import gradient as module
from llm.averaging.ama.gradient import (
    Unmixable,
    engine_for,
    mixing,
    ratio_gradient,
    reply_loss,
    reply_losses,
    streamed_gradient,
)
from llm.averaging.live import average, tied
from llm.grouping import Grouping, assign, labels, ratios

GROUPINGS = {
    "the paper's": Grouping(),
    "own groups": Grouping(embeddings="own", norm="own", head="own"),
    "modules": Grouping(parts=2, level="module"),
    "fixed ends": Grouping(parts=2, embeddings="theta_0", head="theta", norm="last"),
}
ARCHITECTURES = ("llama", "llama-tied-biases", "gpt2", "gpt-neox", "opt")


def grouped(model, theta, grouping):
    assignment = assign(theta, grouping, tied(model.state_dict(keep_vars=True)))
    groups = labels(assignment)
    return assignment, {group: 0.2 + 0.6 * k / len(groups) for k, group in enumerate(groups)}


def averaged_loss(model, theta_0, theta, assignment, alphas, tokens):
    """The loss of a model that holds the averaged weights."""
    model.load_state_dict(average(theta_0, theta, ratios(assignment, alphas)))
    with torch.no_grad():
        return reply_loss(model, tokens).item()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_gradient_is_that_of_finite_differences_in_fp64(architecture):
    model, theta = pair(architecture)
    theta_0 = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    tokens = batch()
    for grouping in GROUPINGS.values() if architecture == "llama" else [Grouping(parts=2, embeddings="own")]:
        model.load_state_dict(theta_0)
        assignment, alphas = grouped(model, theta, grouping)
        loss, gradient = streamed_gradient(model, theta, assignment)(alphas, tokens)
        for group, slope in zip(alphas, gradient.tolist(), strict=True):
            step = 1e-5
            ends = [
                averaged_loss(model, theta_0, theta, assignment, alphas | {group: alphas[group] + sign}, tokens)
                for sign in (step, -step)
            ]
            assert slope == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=1e-6, abs=1e-9), group
        assert loss == pytest.approx(averaged_loss(model, theta_0, theta, assignment, alphas, tokens), rel=1e-12)


@pytest.mark.parametrize(
    ("architecture", "grouping"), [("mixtral", "own groups"), *(("llama-tied-biases", name) for name in GROUPINGS)]
)
def test_streamed_and_in_place_gradients_are_the_same(architecture, grouping):
    exact = architecture != "mixtral"  # which transformers cannot run in fp64
    model, theta = pair(architecture, torch.float64 if exact else torch.float32)
    theta_0 = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assignment, alphas = grouped(model, theta, GROUPINGS[grouping])
    loss, gradient = streamed_gradient(model, theta, assignment)(alphas, batch())
    model.requires_grad_(True)
    other_loss, other = ratio_gradient(model, theta_0, theta, assignment, alphas, batch())
    assert loss == pytest.approx(other_loss, rel=1e-12 if exact else 1e-6)
    torch.testing.assert_close(gradient, other, rtol=1e-10 if exact else 1e-3, atol=1e-13 if exact else 1e-5)


def test_the_models_own_weights_stay_as_they_are_and_get_no_gradients():
    model, theta = pair()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    parameters = dict(model.named_parameters())
    assignment, alphas = grouped(model, theta, Grouping())
    streamed_gradient(model, theta, assignment)(alphas, batch())
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert dict(model.named_parameters()) == parameters
    assert all(parameter.grad is None for parameter in parameters.values())


def test_no_mixed_weight_outlives_its_module(monkeypatch):
    model, theta = pair()
    made = []
    plain = module.averaged

    def spied(*arguments):
        mixed = plain(*arguments)
        made.append(weakref.ref(mixed.untyped_storage()))
        return mixed

    monkeypatch.setattr(module, "averaged", spied)
    assignment, alphas = grouped(model, theta, Grouping())
    place = {group: torch.tensor(value, dtype=torch.float64, requires_grad=True) for group, value in alphas.items()}
    shared = place | {"mean": sum(place.values()) / len(place)}
    with mixing(model, theta, assignment, shared):
        loss = reply_loss(model, batch())
    gc.collect()
    count = sum(1 for _ in model.named_parameters())
    assert len(made) >= count
    assert not [reference for reference in made if reference() is not None]
    loss.backward()
    assert all(value.grad is not None for value in place.values())


class Sidestep(torch.nn.Module):
    """A linear layer whose weight is read without calling the layer that holds it."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, hidden):
        return hidden @ self.inner.weight.T


def test_a_model_that_sidesteps_its_modules_is_found_out_and_gets_a_third_copy():
    model, theta = pair()
    model.lm_head = Sidestep(model.lm_head)
    theta["lm_head.inner.weight"] = theta.pop("lm_head.weight")
    assignment, alphas = grouped(model, theta, Grouping())
    with pytest.raises(Unmixable, match=r"lm_head\.inner\.weight"):
        streamed_gradient(model, theta, assignment)(alphas, batch())
    engine = engine_for(model, theta, assignment, batch(rows=1))
    assert engine.copies == 3
    theta_0 = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    loss, gradient = engine.gradient(alphas, batch())
    assert loss == pytest.approx(averaged_loss(model, theta_0, theta, assignment, alphas, batch()), rel=1e-12)
    assert gradient.abs().min() > 0


def test_losses_of_replies_are_means_over_their_own_tokens():
    model, theta = pair()
    assignment, alphas = grouped(model, theta, Grouping())
    tokens = batch()
    engine = engine_for(model, theta, assignment, tokens)
    assert engine.copies == 2
    found = engine.losses(alphas, tokens)
    model.load_state_dict(average(model.state_dict(), theta, ratios(assignment, alphas)))
    for row in range(len(found)):
        alone = {key: tensor[row : row + 1] for key, tensor in tokens.items()}
        assert found[row].item() == pytest.approx(reply_loss(model, alone).item(), rel=1e-6)
    torch.testing.assert_close(found, reply_losses(model, tokens))
