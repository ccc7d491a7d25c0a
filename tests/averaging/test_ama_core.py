"""AMA's gradient and constraint, from first principles: finite differences in fp64, and Omega for any numbers."""

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from ama_models import wholly_in
from llm.averaging.ama.gradient import ratio_gradient, reply_loss
from llm.averaging.ama.optimise import optimise_ratios
from llm.averaging.ama.parameterise import on_omega
from llm.averaging.live import average, tied
from llm.errors import UserError
from llm.grouping import Grouping, assign, labels
from llm.models.batches import IGNORED
from microcosm_runs import tiny_model

STEP = 1e-5
S = st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=9)
ALPHA = st.floats(0, 1)
GROUPINGS = {
    "paper": Grouping(),
    "own-embeddings": Grouping(embeddings="own"),
    "norm-and-head-of-their-own": Grouping(embeddings="last", norm="own", head="own"),
    "kept": Grouping(embeddings="theta", norm="theta_0", head="theta"),
    "by-layer-and-module": Grouping(parts=2, level="module", embeddings="own"),
}


def pair(is_tied: bool):
    """A live model wholly in fp64, for finite differences, and state dicts of two models like it."""
    made = (tiny_model(seed, scale=5.0, tied_embeddings=is_tied).double() for seed in range(3))
    live, *others = (wholly_in(torch.float64, model) for model in made)
    for seed, model in enumerate(others):
        for name, parameter in model.named_parameters():
            if "norm" in name:  # norms begin equal in all models
                torch.nn.init.normal_(parameter, 1.0, 0.2, generator=torch.Generator().manual_seed(seed))
    return live, *({name: tensor.clone() for name, tensor in model.state_dict().items()} for model in others)


def batch(seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(6, 590, (3, 9), generator=generator)
    mask, labels = torch.ones_like(ids), ids.clone()
    mask[0, 7:], labels[0, 7:] = 0, IGNORED  # padding
    labels[:, :3] = IGNORED  # prompts
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


def loss_at(model, theta_0, theta, assignment, alphas, tokens) -> float:
    """The loss of the averaged model, each tensor averaged by the groups' definition alone."""
    mean = sum(alphas.values()) / len(alphas)
    by_group = alphas | {"mean": mean, "theta": 1.0, "theta_0": 0.0}

    def ratio(label):
        inner = [value for group, value in alphas.items() if group.startswith(f"{label}.")]
        return by_group[label] if label in by_group else sum(inner) / len(inner)

    mixed = {name: (1 - ratio(g)) * theta_0[name] + ratio(g) * theta[name] for name, g in assignment.items()}
    model.load_state_dict(mixed)
    with torch.no_grad():
        return reply_loss(model, tokens).item()


@pytest.mark.parametrize("is_tied", [True, False], ids=["tied", "untied"])
@pytest.mark.parametrize("grouping", GROUPINGS.values(), ids=GROUPINGS.keys())
def test_the_gradient_is_that_of_finite_differences(is_tied, grouping):
    model, theta_0, theta = pair(is_tied)
    assignment = assign(theta, grouping, tied(model.state_dict()))
    groups, tokens = labels(assignment), batch()
    alphas = dict(zip(groups, torch.linspace(0.15, 0.8, len(groups)).tolist(), strict=True))
    loss, gradient = ratio_gradient(model, theta_0, theta, assignment, alphas, tokens)
    assert loss == pytest.approx(loss_at(model, theta_0, theta, assignment, alphas, tokens), rel=1e-12)
    for k, group in enumerate(groups):
        high, low = (
            loss_at(model, theta_0, theta, assignment, alphas | {group: alphas[group] + step}, tokens)
            for step in (STEP, -STEP)
        )
        assert gradient[k].item() == pytest.approx((high - low) / (2 * STEP), rel=1e-6, abs=1e-9)
    assert gradient.abs().min() > 1e-5


def test_the_models_gradients_are_dropped_and_its_parameters_stay_trainable():
    model, theta_0, theta = pair(True)
    assignment = assign(theta, GROUPINGS["kept"], tied(model.state_dict()))
    ratio_gradient(model, theta_0, theta, assignment, dict.fromkeys(labels(assignment), 0.3), batch())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())
    assert not any(parameter._post_accumulate_grad_hooks for parameter in model.parameters())


def test_the_loss_is_the_mean_over_the_tokens_of_the_replies():
    model, *_ = pair(False)
    tokens, terms = batch(), []
    with torch.no_grad():
        for row in range(3):
            length = int(tokens["attention_mask"][row].sum())
            ids = tokens["input_ids"][row, :length]
            logs = torch.log_softmax(model(ids[None]).logits[0], dim=-1)
            terms += [-logs[step - 1, ids[step]].item() for step in range(3, length)]
        assert reply_loss(model, tokens).item() == pytest.approx(sum(terms) / len(terms), rel=1e-10)
    assert len(terms) == 4 + 6 + 6


@pytest.mark.parametrize("is_tied", [True, False], ids=["tied", "untied"])
def test_optimising_lowers_the_loss_within_omega_and_leaves_the_averaged_model(is_tied):
    model, theta_0, theta = pair(is_tied)
    assignment = assign(theta, Grouping(embeddings="own"), tied(model.state_dict()))
    result = optimise_ratios(model, theta_0, theta, assignment, 0.4, [batch()] * 12, steps=12, lr=0.3)
    assert [step["step"] for step in result.path] == list(range(12))
    assert result.path[-1]["loss"] < result.path[0]["loss"]
    for alphas in (*(step["alphas"] for step in result.path), result.alphas):
        assert abs(sum(alphas.values()) / len(alphas) - 0.4) < 1e-12
        assert 0 <= min(alphas.values()) <= max(alphas.values()) <= 1
    expected = loss_at(model, theta_0, theta, assignment, result.alphas, batch())
    optimise_ratios(model, theta_0, theta, assignment, 0.4, [batch()] * 12, steps=12, lr=0.3)
    with torch.no_grad():
        assert reply_loss(model, batch()).item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_a_mean_of_0_or_1_gives_back_theta_0_or_theta_exactly(alpha):
    model, theta_0, theta = pair(False)
    assignment = assign(theta, Grouping(), {})
    result = optimise_ratios(model, theta_0, theta, assignment, alpha, [batch()] * 2, steps=2, lr=0.5)
    assert set(result.alphas.values()) == {alpha}
    end = average(theta_0, theta, alpha)
    assert all(torch.equal(tensor, end[name]) for name, tensor in model.state_dict().items())
    assert all(torch.equal(end[name], (theta if alpha else theta_0)[name]) for name in end)


def test_too_few_batches_and_a_mean_outside_0_and_1_are_refused():
    model, theta_0, theta = pair(True)
    assignment = assign(theta, Grouping(), tied(model.state_dict()))
    with pytest.raises(UserError, match="batches ended after 1 of 3 steps"):
        optimise_ratios(model, theta_0, theta, assignment, 0.4, [batch()], steps=3, lr=0.1)
    with pytest.raises(UserError, match="alpha = 1.2 is not allowed; allowed are numbers from 0 to 1"):
        optimise_ratios(model, theta_0, theta, assignment, 1.2, [batch()], steps=1, lr=0.1)


@given(S, ALPHA)
@example([0.0, 0.0, 0.0], 0.0)
@example([0.0, 5.0, -5.0], 1.0)
@example([1e3, -1e3], 0.5)
@example([1e3, -1e3, 0.0], 1 / 3)
@example([1e3, 1e3, -1e3], 5e-324)
@example([40.0, -40.0], 1 - 2**-53)
@example([-1e3] * 9, 1e-300)
def test_ratios_lie_in_omega_whatever_the_numbers_and_the_mean(numbers, alpha):
    ratios = on_omega(torch.tensor(numbers, dtype=torch.float64), alpha)
    assert abs(ratios.mean().item() - alpha) < 1e-12
    assert 0 <= ratios.min() <= ratios.max() <= 1
    if alpha in (0, 1):
        assert (ratios == alpha).all()


@given(st.lists(st.floats(-4, 4), min_size=1, max_size=6), st.floats(0.02, 0.98))
def test_the_ratios_gradient_is_that_of_finite_differences(numbers, alpha):
    s = torch.tensor(numbers, dtype=torch.float64, requires_grad=True)
    weights = torch.linspace(-1, 2, len(numbers), dtype=torch.float64)
    (gradient,) = torch.autograd.grad(weights @ on_omega(s, alpha), s)
    for k in range(len(numbers)):
        step = torch.zeros(len(numbers), dtype=torch.float64)
        step[k] = STEP
        high, low = (weights @ on_omega(s.detach() + sign * step, alpha) for sign in (1, -1))
        assert gradient[k].item() == pytest.approx(((high - low) / (2 * STEP)).item(), rel=1e-6, abs=1e-9)


@given(st.lists(st.floats(-5, 5), min_size=2, max_size=6), st.floats(0.05, 0.95), st.floats(-3, 3))
def test_only_differences_of_the_numbers_matter_and_their_order_is_kept(numbers, alpha, shift):
    s = torch.tensor(numbers, dtype=torch.float64)
    ratios = on_omega(s, alpha)
    torch.testing.assert_close(on_omega(s + shift, alpha), ratios, rtol=0, atol=1e-12)
    order = torch.argsort(s, stable=True)
    assert (ratios[order].diff() >= 0).all()
    torch.testing.assert_close(on_omega(torch.zeros_like(s), alpha), torch.full_like(s, alpha), rtol=0, atol=1e-12)
