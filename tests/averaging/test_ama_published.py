"""AMA as in the published code: equal ratios in the forward pass, other ones in the result."""

import numpy as np
import pytest
import torch

from ama_models import batch, pair
from llm.averaging.ama.gradient import ratio_gradient
from llm.averaging.ama.published import EPS, frozen, optimise_published
from llm.errors import UserError
from llm.grouping import Grouping, assign, is_linear, only_linear


def test_the_forward_pass_keeps_the_first_numerators():
    """theta_0's shares v K (sigmoid(s_0) + eps) / sum (sigmoid(s) + eps), by hand."""
    v, start = 0.2, float(np.log(0.2 / 0.8))
    s = torch.tensor([start - 1, start + 2, start], dtype=torch.float64, requires_grad=True)
    found = frozen([start] * 3)(s, 1 - v)
    old = torch.tensor(start, dtype=torch.bfloat16).item()
    sigmoid = lambda x: 1 / (1 + np.exp(-x))
    below = sum(sigmoid(x) + EPS for x in s.tolist())
    share = v * 3 * (sigmoid(old) + EPS) / below
    assert found.tolist() == pytest.approx([1 - share] * 3, abs=1e-12)
    slopes = torch.tensor([0.3, -0.2, 0.5], dtype=torch.float64)
    (found @ slopes).backward()
    # by s_k: the numerator's slope is the copy's, the denominator's that of the trained number
    for k, x in enumerate(s.tolist()):
        copied, trained = (sigmoid(y) * (1 - sigmoid(y)) for y in (old, x))
        expected = -slopes[k] * v * 3 * copied / below + slopes.sum() * share * trained / below
        assert s.grad[k].item() == pytest.approx(float(expected), rel=1e-9)


@pytest.fixture(scope="module")
def search():
    """(assignment, what the first gradient is at equal ratios, the result) of a search on a tiny model."""
    model, theta = pair()
    theta_0 = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assignment = only_linear(assign(theta, Grouping(embeddings="theta_0", norm="theta_0")))
    at_first = ratio_gradient(
        model, theta_0, theta, assignment, dict.fromkeys(("part1", "part2", "part3"), 0.7), batch()
    )
    batches = [batch()] * 12
    found = optimise_published(model, theta_0, theta, assignment, 0.7, batches, steps=12, lr=0.05)
    return model, (theta_0, theta), assignment, at_first[1], found


def test_the_search_goes_along_the_first_gradient_at_equal_ratios(search):
    *_, slopes, found = search
    for step in found.path:
        assert len(set(step["alphas"].values())) == 1
    assert found.path[0]["alphas"]["part1"] == pytest.approx(0.7, abs=1e-3)  # the bf16 copy of logit(.3)
    assert np.mean(list(found.alphas.values())) == pytest.approx(0.7, abs=1e-12)
    assert len(set(found.alphas.values())) > 1
    # Adam's steps have one size: parts go up or down as the first gradient says, against its mean
    above = np.array(list(found.alphas.values())) > 0.7
    assert above[int(slopes.argmin())] and not above[int(slopes.argmax())]


def test_embeddings_and_norms_stay_theta_0s(search):
    model, (theta_0, theta), assignment, *_, found = search
    for name, tensor in model.state_dict().items():
        if is_linear(name):
            ratio = found.alphas.get(assignment[name], 0.7)  # the head at the mean
            expected = (1 - ratio) * theta_0[name] + ratio * theta[name]
            torch.testing.assert_close(tensor, expected, rtol=1e-12, atol=1e-12)
        else:
            assert torch.equal(tensor, theta_0[name])


def test_a_mean_at_an_end_is_refused():
    with pytest.raises(UserError, match="alpha is 1.0, allowed with method ama-published are numbers between 0 and 1"):
        optimise_published(None, {}, {}, {}, 1.0, [], steps=1, lr=0.1)
