"""Methods of several checkpoints: means by hand, ratios of Model Stock by hand, ends, refusals in one sentence."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from averaging_models import make
from llm.averaging.live import average
from llm.averaging.soup import mean
from llm.averaging.whole import Materials, dera, early, soup, stock, tail
from llm.errors import UserError
from llm.models.mixture import LogitMixture

KIND = "llama-tied-biases"


@pytest.fixture(scope="module")
def materials():
    """theta_0 is model 0, the four iterations 1 to 4, of which the last is theta, and two other runs 5 and 6."""
    models = {Path(str(seed)): make(KIND, seed) for seed in range(7)}
    state = lambda seed: {name: tensor.clone() for name, tensor in models[Path(str(seed))].state_dict().items()}
    folders = {"theta_0": 0, "theta": 4, "run2": 5, "run3": 6} | {f"iteration{k}": k for k in range(1, 5)}
    folders = {key: Path(str(seed)) for key, seed in folders.items()}
    samples = lambda kind, count: []
    return Materials(make(KIND, 4), None, state(0), state(4), {}, folders, models.__getitem__, samples, 0)


def assert_close(model, expected):
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(tensor, expected[name].float(), rtol=1e-6, atol=1e-7)


def weights(seed):
    return {name: tensor.double() for name, tensor in make(KIND, seed).state_dict().items()}


def between(alpha, states):
    """(1 - alpha) theta_0 + alpha mean, in fp64."""
    return {
        name: (1 - alpha) * low + alpha * sum(state[name] for state in states) / len(states)
        for name, low in weights(0).items()
    }


@pytest.mark.parametrize("alpha", [0.0, 0.4, 1.0])
def test_the_tail_is_the_mean_of_the_last_models_interpolated(materials, alpha):
    build = tail.make(materials)
    for last in (1, 2, 4):
        found = build({"last": last, "alpha": alpha})
        assert_close(found, between(alpha, [weights(k) for k in range(5 - last, 5)]))
    if alpha == 1:
        assert all(torch.equal(t, materials.theta[n]) for n, t in build({"last": 1, "alpha": 1.0}).state_dict().items())
    with pytest.raises(UserError, match=r"last = 8 is not allowed: there is no iteration0; allowed are 1, 2, 3, 4"):
        build({"last": 8, "alpha": alpha})


@pytest.mark.parametrize("alpha", [0.0, 0.4, 1.0])
def test_a_soup_is_the_mean_of_runs_interpolated(materials, alpha):
    build = soup.make(materials)
    assert_close(build({"runs": 2, "alpha": alpha}), between(alpha, [weights(4), weights(5)]))
    assert_close(build({"runs": 3, "alpha": alpha}), between(alpha, [weights(4), weights(5), weights(6)]))
    with pytest.raises(UserError, match="runs = 4 is not allowed: there is no run4; allowed are 2, 3"):
        build({"runs": 4, "alpha": alpha})


@pytest.mark.parametrize("make_", [soup.make, stock.make])
def test_a_soup_of_one_run_is_refused_in_one_sentence(materials, make_):
    alone = replace(materials, folders={k: v for k, v in materials.folders.items() if not k.startswith("run")})
    with pytest.raises(UserError, match="^runs = 2 is not allowed: there is no run2; allowed are none.$"):
        make_(alone)({"runs": 2, "per": "tensor", "alpha": 0.5})


def test_early_models_are_extrapolated(materials):
    build = early.make(materials)
    for alpha in (1.0, 1.5, 3.0):
        assert_close(build({"iteration": 2, "alpha": alpha}), between(alpha, [weights(2)]))
    with pytest.raises(UserError, match="iteration = 9 is not allowed: there is no iteration9; allowed are 1, 2, 3, 4"):
        build({"iteration": 9, "alpha": 1.5})
    with pytest.raises(UserError, match="= 3.5 is not allowed; allowed are numbers from 0"):
        build({"iteration": 2, "alpha": 3.5})


def test_model_stocks_ratio_by_hand():
    assert stock.ratio(2, 0.5) == pytest.approx(2 * 0.5 / 1.5)
    assert stock.ratio(3, 0.5) == pytest.approx(3 * 0.5 / 2.0)
    assert (stock.ratio(2, 1.0), stock.ratio(3, 0.0), stock.ratio(3, -0.4)) == (1.0, 0.0, 0.0)
    start = {"a": torch.zeros(2), "b": torch.ones(1)}
    states = [
        {"a": torch.tensor([3.0, 4.0]), "b": torch.ones(1)},
        {"a": torch.tensor([4.0, 3.0]), "b": torch.ones(1)},
        {"a": torch.tensor([-4.0, 3.0]), "b": torch.zeros(1)},
    ]
    assert stock.cosines(start, states[:2], ["a"]) == pytest.approx(24 / 25)
    assert stock.cosines(start, states, ["a"]) == pytest.approx((24 / 25 + 0 - 7 / 25) / 3)
    assert stock.cosines(start, states[:2], ["b"]) == 0.0  # nothing has changed
    assert stock.cosines(start, states, ["a", "b"]) == pytest.approx(
        (24 / 25 + 0 / (5 * 26**0.5) - 7 / (5 * 26**0.5)) / 3
    )


def test_model_stock_draws_the_mean_back_as_far_as_the_runs_disagree(materials):
    build = stock.make(materials)
    low, runs = weights(0), [weights(4), weights(5), weights(6)]
    for count in (2, 3):
        expected = {}
        for name, start in low.items():
            changes = [(run[name] - start).flatten() for run in runs[:count]]
            pairs = [(i, j) for i in range(count) for j in range(i)]
            cosine = sum(float(torch.cosine_similarity(changes[i], changes[j], dim=0)) for i, j in pairs) / len(pairs)
            t = max(0.0, count * cosine / (1 + (count - 1) * cosine))
            expected[name] = (1 - t) * start + t * sum(run[name] for run in runs[:count]) / count
        assert_close(build({"runs": count, "per": "tensor"}), expected)


def test_one_ratio_for_a_tied_model_counts_each_weight_once(materials):
    """The cosine of all of the model's own parameters, in one vector each."""
    start, first, second = (
        torch.cat([one.detach().double().flatten() for one in make(KIND, seed).parameters()]) for seed in (0, 4, 5)
    )
    cosine = float(torch.cosine_similarity(first - start, second - start, dim=0))
    t = 2 * cosine / (1 + cosine)
    assert t == pytest.approx(0.67393, abs=1e-5)  # with the head beside the embeddings .67436
    found = stock.make(materials)({"runs": 2, "per": "model"})
    assert_close(found, between(t, [weights(4), weights(5)]))


def test_a_mean_of_whole_numbers_that_differ_is_refused():
    states = [{"n": torch.tensor([1])}, {"n": torch.tensor([2])}]
    with pytest.raises(UserError, match="n, of type torch.int64, differs and cannot be averaged"):
        mean(states)
    assert torch.equal(mean(states[:1] * 3)["n"], torch.tensor([1]))


def test_dera_mixes_theta_0_and_theta(materials):
    mixture = dera.make(materials)({"alpha": 1.25})
    assert isinstance(mixture, LogitMixture)
    assert (mixture.theta_0, mixture.theta, mixture.share) == (
        materials.load(materials.folders["theta_0"]),
        materials.model,
        1.25,
    )


def test_ma_of_one_run_is_its_average(materials):
    """The tail of one model is plain averaging, bit by bit."""
    expected = average(materials.theta_0, materials.theta, 0.3)
    found = tail.make(materials)({"last": 1, "alpha": 0.3}).state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in found.items())
