"""The ratios of AMA: kept in Omega, found where a grid search finds them, and the same after a stop."""

import json
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ama_models import batch, pair
from llm.averaging.ama.gradient import engine_for
from llm.averaging.ama.optimise import AmaState, descend, optimise_ratios
from llm.averaging.ama.parameterise import as_printed, middle_weights, penalty, placement, projected
from llm.averaging.ama.samples import batches
from llm.averaging.ama.settings import Search
from llm.config import load_preset
from llm.errors import UserError
from llm.grouping import Grouping, assign, labels
from llm.models.batches import Tokens, pad_replies
from llm.models.generate import generate

NUMBERS = st.lists(st.floats(-50, 50), min_size=1, max_size=12)
ALPHAS = st.floats(0, 1) | st.sampled_from([0.0, 1.0, 1e-12, 1 - 1e-12, 5e-324, 0.5])


@settings(max_examples=300, deadline=None)
@given(NUMBERS, ALPHAS, st.sampled_from([0.0, 0.1, 0.2, 0.9]), st.sampled_from(["sigmoid", "paper"]))
def test_ratios_stay_in_omega_for_every_mean(numbers, alpha, eps, kind):
    place = placement(kind, eps if kind == "paper" else 0.0, alpha)
    ratios = place(torch.tensor(numbers, dtype=torch.float64))
    assert ratios.mean().item() == pytest.approx(alpha, abs=1e-12)
    assert ratios.min() >= 0 and ratios.max() <= 1


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-3, 3), min_size=2, max_size=6, unique=True), st.floats(0.05, 0.95))
def test_gradients_through_both_parameterisations_are_those_of_finite_differences(numbers, alpha):
    weights = torch.arange(1.0, len(numbers) + 1, dtype=torch.float64)
    for place in (placement("sigmoid", 0.0, alpha), placement("paper", 0.1, alpha)):
        s = torch.tensor(numbers, dtype=torch.float64, requires_grad=True)
        ratios = place(s)
        if ((ratios.detach() - 1).abs() < 1e-4).any():
            continue  # next to a bound the projection has a kink
        (weights @ ratios).backward()
        for k in range(len(numbers)):
            step = torch.zeros_like(s).index_fill_(0, torch.tensor(k), 1e-6)
            with torch.no_grad():
                slope = (weights @ (place(s + step) - place(s - step))).item() / 2e-6
            assert s.grad[k].item() == pytest.approx(slope, rel=1e-5, abs=1e-7)


def test_equation_11_is_kept_where_it_stays_below_1_and_projected_where_not():
    s = torch.tensor([1.0, -1.0, 0.0], dtype=torch.float64)
    a = torch.sigmoid(s) + 0.2
    torch.testing.assert_close(placement("paper", 0.2, 0.4)(s), 3 * 0.4 * a / a.sum())
    raw = as_printed(s, 0.7, 0.0)
    assert raw.max() > 1
    found = projected(raw, 0.7)
    assert found[0] == 1
    assert (found[1] - raw[1]).item() == pytest.approx((found[2] - raw[2]).item())  # nearest: a common shift


@given(st.floats(0.1, 0.9), st.floats(-40, 40), st.floats(-40, 40))
@settings(max_examples=50, deadline=None)
def test_eps_bounds_the_spread_of_equation_11(eps, low, high):
    ratios = as_printed(torch.tensor([low, high], dtype=torch.float64), 0.3, eps)
    assert ratios.max() / ratios.min() <= (1 + eps) / eps * (1 + 1e-12)


@pytest.mark.parametrize(
    ("kind", "eps", "said"),
    [
        ("softmax", 0.0, "parameterisation = 'softmax' is not allowed; allowed are sigmoid, paper"),
        ("paper", -0.1, r"eps = -0.1"),
        ("paper", float("nan"), "eps = nan"),
        ("sigmoid", 0.2, "eps = 0.2 is not allowed with parameterisation 'sigmoid'; allowed is 0"),
    ],
)
def test_parameterisations_that_do_not_exist_are_refused(kind, eps, said):
    with pytest.raises(UserError, match=said):
        placement(kind, eps, 0.5)


def test_regulariser_weighs_the_middle_as_the_authors_do():
    names = [f"model.layers.{layer}.mlp.up_proj.weight" for layer in range(26)]
    names += [f"model.layers.{layer}.input_layernorm.weight" for layer in range(26)] + ["lm_head.weight"]
    dimensions = {name: 1 if "norm" in name else 2 for name in names}
    weights = middle_weights(assign(names, Grouping(level="layer")), dimensions, 1e-4)
    expected = [1e-4 * 25 / (abs(layer - 13) + 1) for layer in range(26)]
    assert weights.tolist() == pytest.approx(expected)
    parts = middle_weights(assign(names, Grouping()), dimensions, 1e-4)
    assert parts.tolist() == pytest.approx([sum(expected[:8]), sum(expected[8:17]), sum(expected[17:])])
    ratios = torch.tensor([0.2, 0.5, 0.8], dtype=torch.float64)
    moved = penalty(parts, 0.5)(ratios).item()
    assert moved == pytest.approx(0.3 * (parts[0] + parts[2]).item())
    assert penalty(parts, 0.5, squared=True)(ratios).item() == pytest.approx(0.3 * moved)


def bowl(centre):
    """A loss (ratios - centre)^2 with its slopes, whatever the batch."""

    def gradient(alphas, _batch):
        away = torch.tensor([alphas[group] - at for group, at in centre.items()], dtype=torch.float64)
        return (away**2).sum().item(), 2 * away

    return gradient


def test_descent_finds_the_nearest_point_of_omega_and_its_corners():
    def found(alpha, **centre):
        place, rate = placement("sigmoid", 0.0, alpha), lambda step: 0.2 * (1 - step / 300)
        result = descend(bowl(centre), list(centre), [{}] * 300, place, steps=300, lr=rate)
        return list(result.alphas.values())

    assert found(0.5, a=0.6, b=0.8, c=0.4) == pytest.approx([0.5, 0.7, 0.3], abs=2e-3)
    assert found(0.5, a=5.0, b=0.8, c=0.4) == pytest.approx([1.0, 0.45, 0.05], abs=2e-2)
    assert found(1.0, a=0.0, b=1.0) == [1, 1]
    assert found(0.0, a=0.0, b=1.0) == [0, 0]


def test_a_strong_regulariser_keeps_the_ratios_equal():
    centre = {"a": 0.2, "b": 0.8}
    for coefficient, apart in ((0.0, 0.6), (100.0, 0.0)):
        weights = torch.full((2,), coefficient, dtype=torch.float64)
        result = descend(
            bowl(centre),
            list(centre),
            [{}] * 200,
            placement("sigmoid", 0.0, 0.5),
            steps=200,
            lr=lambda step: 0.1 * (1 - step / 200),
            regulariser=penalty(weights, 0.5),
        )
        assert abs(result.alphas["a"] - result.alphas["b"]) == pytest.approx(apart, abs=0.01)


def test_a_stopped_run_goes_on_to_the_same_numbers_through_json():
    model, theta = pair()
    theta_0 = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assignment = assign(theta, Grouping(embeddings="own"))
    tokens = [batch(seed=seed) for seed in range(7)]
    saved = []
    chosen = {"steps": 7, "lr": lambda step: 0.1 / (step + 1)}
    whole = optimise_ratios(
        model, theta_0, theta, assignment, 0.6, tokens, **chosen, progress=lambda s: saved.append(json.dumps(vars(s)))
    )
    state = AmaState(**json.loads(saved[3])) if len(json.loads(saved[3])["path"]) == 4 else None
    again = optimise_ratios(model, theta_0, theta, assignment, 0.6, tokens[4:], **chosen, state=state)
    assert again == whole
    assert [entry["step"] for entry in whole.path] == list(range(7))
    assert whole.path[0]["alphas"] == dict.fromkeys(labels(assignment), pytest.approx(0.6))


def test_descent_refuses_what_it_cannot_use():
    with pytest.raises(UserError, match="alpha = 1.2 is not allowed; allowed are numbers from 0 to 1"):
        placement("sigmoid", 0.0, 1.2)
    place = placement("sigmoid", 0.0, 0.2)
    with pytest.raises(UserError, match="batches ended after 2 of 3 steps"):
        descend(bowl({"a": 0}), ["a"], [{}, {}], place, steps=3, lr=0.1)
    with pytest.raises(UserError, match="the loss is nan at step 0"):
        descend(lambda *_: (float("nan"), torch.zeros(1)), ["a"], [{}], place, steps=1, lr=0.1)


def uneven(name):
    """How far theta is from theta_0: the middle layer has moved most."""
    return 0.35 if "layers.1." in name else 0.15 if "layers." in name else 0.0


def sampled(model, theta, count):
    """Replies of theta itself to random prompts of two tokens."""
    prompts = torch.randint(3, 64, (count, 2), generator=torch.Generator().manual_seed(1)).tolist()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.load_state_dict(theta)
    how = {"max_new_tokens": 5, "end_id": 1, "pad_id": 2, "temperature": 1.0, "batch_size": 500}
    replies = generate(model, prompts, rng=torch.Generator().manual_seed(2), **how)
    model.load_state_dict(before)
    return [Tokens(prompt, [*reply.ids, *[1] * reply.finished]) for prompt, reply in zip(prompts, replies, strict=True)]


def grid_search(loss, alpha, step, centre=None, reach=1.0):
    """The best (a, b, c) of mean alpha with a, b on a grid of `step` within `reach` of the centre's."""
    grid = np.arange(0, 1 + 1e-9, step)
    points = [(a, b, 3 * alpha - a - b) for a, b in product(grid, grid)]
    near = [p for p in points if centre is None or max(abs(p[0] - centre[0]), abs(p[1] - centre[1])) <= reach + 1e-9]
    return min((p for p in near if -1e-9 <= p[2] <= 1 + 1e-9), key=loss)


def test_2000_samples_end_in_the_ratios_of_a_grid_search():
    model, theta = pair(dtype=torch.float32, step=uneven)
    assignment = assign(theta, Grouping())
    samples = sampled(model, theta, 2000)
    everything = pad_replies(samples, 2).labelled()
    engine = engine_for(model, theta, assignment, batch(rows=1))

    def loss(ratios):
        named = dict(zip(labels(assignment), (min(1, max(0, r)) for r in ratios), strict=True))
        losses = engine.losses(named, everything)
        return (losses * (everything["labels"] != -100).sum(dim=1)).sum().item()

    steps = 150
    found = descend(
        engine.gradient,
        labels(assignment),
        batches(samples, 40, steps, np.random.default_rng(0), padding=2),
        placement("sigmoid", 0.0, 0.5),
        steps=steps,
        lr=lambda step: 0.15 * (1 - step / steps),
    )
    best = grid_search(loss, 0.5, 0.2)
    for step, reach in ((0.1, 0.1), (0.02, 0.06)):
        best = grid_search(loss, 0.5, step, best, reach)
    assert max(best) - min(best) > 0.1, "the test needs a best point apart from equal ratios"
    assert list(found.alphas.values()) == pytest.approx(best, abs=0.02)


@pytest.mark.parametrize(("name", "least", "most"), [("openllama-3b", 5.0, 100.0), ("openllama-3b-ama-paper", 0.0, 0.05),
    ("zephyr-7b-beta", 5.0, 100.0), ("zephyr-7b-beta-ama-paper", 0.0, 0.05)])  # fmt: skip
def test_the_presets_rate_can_reach_any_ratio_and_the_papers_moves_none(name, least, most):
    """Adam moves s by about its rate a step, so by the rates' sum in all; a sigmoid goes from .5 to .99 within 5 (paper.md section 9)."""
    ama = load_preset(name).ama
    search = Search(draw=ama.draw, batch=ama.batch, lr=max(ama.lr.values()), warmup=ama.warmup_share)
    steps = search.steps(ama.draw)
    assert least <= sum(search.rate(step, steps) for step in range(steps)) <= most
