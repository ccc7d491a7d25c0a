"""AMA as in the published code: equal ratios in the forward pass, other ones in the result."""

import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from ama_models import batch, pair
from llm.averaging.ama.gradient import ratio_gradient
from llm.averaging.ama.published import frozen, optimise_published
from llm.errors import UserError
from llm.grouping import Grouping, assign, is_linear, only_linear


@pytest.mark.parametrize("which", [[0, 1, 2, None], [None, 2, 0, 1]])
@pytest.mark.parametrize("eps", [1e-6, 0.2])
def test_the_forward_pass_keeps_the_first_numerators(eps, which):
    """theta_0's shares v K (sigmoid(s_0) + eps) / sum (sigmoid(s) + eps), by hand; of the head too, whose slope is the denominator's."""
    v, start = 0.2, float(np.log(0.2 / 0.8))
    s = torch.tensor([start - 1, start + 2, start], dtype=torch.float64, requires_grad=True)
    found = frozen([start] * 3, eps, 1 - v, which)(s)
    old = torch.tensor(start, dtype=torch.bfloat16).item()
    sigmoid = lambda x: 1 / (1 + np.exp(-x))
    below = sum(sigmoid(x) + eps for x in s.tolist())
    share = v * 3 * (sigmoid(old) + eps) / below
    assert found.tolist() == pytest.approx([1 - share] * 4, abs=1e-12)
    slopes = torch.tensor([0.3, -0.2, 0.5, 0.7], dtype=torch.float64)
    (found @ slopes).backward()
    # by s_k: the numerator's slope is the copy's, the denominator's that of the trained number
    for k, x in enumerate(s.tolist()):
        copied, trained = (sigmoid(y) * (1 - sigmoid(y)) for y in (old, x))
        expected = -slopes[which.index(k)] * v * 3 * copied / below + slopes.sum() * share * trained / below
        assert s.grad[k].item() == pytest.approx(float(expected), rel=1e-9)


MEAN = 0.7  # theta's


@pytest.fixture(scope="module")
def models():
    """(model, theta_0, theta, assignment) of a tiny pair, three layers in three parts, the head untied."""
    model, theta = pair()
    theta_0 = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    return model, theta_0, theta, only_linear(assign(theta, Grouping(embeddings="theta_0", norm="theta_0")))


@pytest.fixture(scope="module")
def search(models):
    """What the first gradient is at equal ratios, and the result of a search."""
    at_first = ratio_gradient(*models, dict.fromkeys(("part1", "part2", "part3"), MEAN), batch())
    return at_first[1], optimise_published(*models, MEAN, [batch()] * 12, steps=12, lr=0.05)


def by_autograd(models, batches, lr: float, eps: float, coefficient: float):
    """theta's shares, by a model that is written down as the authors' code has it: a number a part, read as its first bf16 copy in the
    forward pass and as it is now in sums and in the regulariser, and one more for the head, which is not trained.
    """
    model, theta_0, theta, _ = models
    v, first = 1 - MEAN, float(np.log((1 - MEAN) / MEAN))
    s = [torch.tensor(first, dtype=torch.float64, requires_grad=True) for _ in range(3)]
    copies = [
        torch.tensor(first, dtype=torch.bfloat16).double().requires_grad_() for _ in range(4)
    ]  # the last is the head's
    adam = torch.optim.Adam(s, lr)
    of = {name: int(found[1]) if (found := re.search(r"layers\.(\d)\.", name)) else 3 for name in theta_0}

    def shares(numbers):
        below = sum(torch.sigmoid(one) + eps for one in s)
        return [v * 3 * ((torch.sigmoid(one) + eps) / below) for one in numbers]

    for given in batches:
        now, trained = shares(copies), shares(s)
        weights = {
            name: now[of[name]] * low + (1 - now[of[name]]) * theta[name] if is_linear(name) else low
            for name, low in theta_0.items()
        }
        inputs = {key: given[key] for key in ("input_ids", "attention_mask")}
        logits = torch.func.functional_call(model, weights, kwargs=inputs | {"use_cache": False}).logits[:, :-1]
        loss = F.cross_entropy(logits.flatten(0, 1), given["labels"][:, 1:].flatten(), ignore_index=-100)
        for name in filter(is_linear, theta_0):
            if (layer := of[name]) < 3:  # 25 / (|l - 13| + 1) for 26 layers, here for three
                loss = loss + coefficient * 2 / (abs(layer - 1.5) + 1) * (trained[layer] - v).abs()
        adam.zero_grad()
        for one in copies:
            one.grad = None
        loss.backward()
        for one, copy in zip(s, copies, strict=False):
            one.grad += copy.grad  # which a copy hands on
        adam.step()
    return [1 - one.item() for one in shares(s)]


@pytest.mark.parametrize(("eps", "coefficient"), [(0.2, 0.0), (0.2, 1e-4), (0.2, 3e-2), (1e-6, 0.0)])
def test_steps_of_adam_are_those_of_a_model_that_is_written_down(models, eps, coefficient):
    batches = [batch(seed=seed) for seed in range(4)]
    found = optimise_published(*models, MEAN, batches, steps=4, lr=0.05, eps=eps, regulariser=coefficient)
    assert list(found.alphas.values()) == pytest.approx(by_autograd(models, batches, 0.05, eps, coefficient), abs=1e-7)
    assert sorted(found.path[0]["alphas"]) == ["head", "part1", "part2", "part3"]


def test_without_options_rows_have_their_old_eps_and_no_regulariser(models, search):
    old = optimise_published(*models, MEAN, [batch()] * 12, steps=12, lr=0.05, eps=1e-6, regulariser=0.0)
    published = optimise_published(*models, MEAN, [batch()] * 12, steps=12, lr=0.05, eps=0.2, regulariser=1e-4)
    assert search[1].alphas == old.alphas
    spread = [np.ptp(list(one.alphas.values())) for one in (old, published)]
    assert spread[1] < spread[0]  # eps bounds it


def test_the_search_goes_along_the_first_gradient_at_equal_ratios(search):
    slopes, found = search
    for step in found.path:
        assert len(set(step["alphas"].values())) == 1
    assert found.path[0]["alphas"]["part1"] == pytest.approx(MEAN, abs=1e-3)  # the bf16 copy of logit(.3)
    assert np.mean(list(found.alphas.values())) == pytest.approx(MEAN, abs=1e-12)
    assert len(set(found.alphas.values())) > 1
    # Adam's steps have one size: parts go up or down as the first gradient says, against its mean
    above = np.array(list(found.alphas.values())) > MEAN
    assert above[int(slopes.argmin())] and not above[int(slopes.argmax())]


def test_embeddings_and_norms_stay_theta_0s(models):
    model, theta_0, theta, assignment = models
    found = optimise_published(*models, MEAN, [batch()] * 3, steps=3, lr=0.05, eps=0.2)
    for name, tensor in model.state_dict().items():
        if is_linear(name):
            ratio = found.alphas.get(assignment[name], MEAN)  # the head at the mean
            expected = (1 - ratio) * theta_0[name] + ratio * theta[name]
            torch.testing.assert_close(tensor, expected, rtol=1e-12, atol=1e-12)
        else:
            assert torch.equal(tensor, theta_0[name])


def test_a_mean_at_an_end_is_refused():
    with pytest.raises(
        UserError, match="alpha = 1.0 is not allowed with method ama-published; allowed are numbers between 0 and 1"
    ):
        optimise_published(None, {}, {}, {}, 1.0, [], steps=1, lr=0.1)
