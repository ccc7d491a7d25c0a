"""Averages in memory: within one unit in the last place of fp64, exact at the ends, each weight once."""

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from averaging_models import ARCHITECTURES, TYPES, make, reference, ulp, values
from llm.averaging.live import average, mix_, tied
from llm.errors import UserError
from llm.grouping import Grouping, assign, labels, ratios


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("ratio", [0.2, 0.5, 0.8, 1e-3])
def test_values_are_within_one_unit_in_the_last_place_of_fp64(dtype, ratio):
    left, right = values(dtype, 0), values(dtype, 1)
    result = average({"w": left}, {"w": right}, ratio)["w"]
    exact = reference(left, right, ratio)
    assert result.dtype == dtype
    assert ((result.double() - exact.to(dtype).double()).abs() <= ulp(exact, dtype)).all()


def test_values_hold_where_the_two_nearly_cancel():
    left = torch.tensor([4.0, 1.0, 3.0000002])
    right = torch.tensor([-1.0, -0.25, -0.75])
    result = average({"w": left}, {"w": right}, 0.8)["w"]
    assert torch.equal(result, reference(left, right, 0.8).float())
    single = torch.tensor(1 - 0.8) * left + torch.tensor(0.8) * right
    assert not torch.equal(result, single)


@pytest.mark.parametrize("dtype", [*TYPES, torch.float64])
@pytest.mark.parametrize("ratio", [0, 1, 0.0, 1.0])
def test_the_ends_are_the_models_bit_by_bit(dtype, ratio):
    odd = torch.tensor([0.0, -0.0, float("inf"), -float("inf"), 1.1, float("nan")], dtype=dtype)
    plain = torch.full((6,), 2.5, dtype=dtype)
    models = [{"w": plain}, {"w": odd}] if ratio else [{"w": odd}, {"w": plain}]
    result = average(*models, ratio)["w"]
    assert torch.equal(result.view(torch.uint8), odd.view(torch.uint8))


@pytest.mark.parametrize("dtype", TYPES)
@given(ratio=st.floats(0, 1))
def test_what_both_models_agree_on_stays(dtype, ratio):
    both = torch.cat([values(dtype, 3, 500), torch.tensor([float("inf"), -float("inf"), -0.0], dtype=dtype)])
    result = average({"w": both}, {"w": both.clone()}, ratio)["w"]
    assert torch.equal(result, both) and torch.equal(torch.signbit(result), torch.signbit(both))


def test_the_inputs_stay_as_they_were_and_share_nothing_with_the_result():
    left, right = {"w": torch.randn(5)}, {"w": torch.randn(5, requires_grad=True)}
    before = [left["w"].clone(), right["w"].detach().clone()]
    for ratio in (0, 0.3, 1):
        result = average(left, right, ratio)
        assert not result["w"].requires_grad
        result["w"].zero_()
        assert torch.equal(left["w"], before[0]) and torch.equal(right["w"], before[1])


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_each_parameter_of_a_module_gets_its_ratio_once(architecture):
    theta_0, theta = make(architecture, 0), make(architecture, 1)
    states = [copy.deepcopy(model.state_dict()) for model in (theta_0, theta)]
    assignment = assign(states[0], Grouping(), tied(theta.state_dict()))
    per_name = ratios(assignment, dict(zip(labels(assignment), (0.9, 0.4, 0.2), strict=True)))
    mix_(theta, *states, per_name)
    expected = average(*states, per_name)
    for name, tensor in theta.state_dict().items():
        exact = reference(states[0][name], states[1][name], per_name[name])
        assert torch.equal(tensor, exact.to(tensor.dtype)), name
        assert torch.equal(tensor, expected[name])
    with torch.no_grad():  # and the module still works
        assert torch.isfinite(theta(torch.arange(4)[None]).logits).all()


def test_tied_weights_take_the_embeddings_ratio_and_stay_tied():
    left, right = make("gpt2", 0).state_dict(), make("gpt2", 1).state_dict()
    names = ("transformer.wte.weight", "lm_head.weight")
    assert tied(right) == {names[1]: names[0]}
    per_name = ratios(assign(left, Grouping()), {"part1": 0.1, "part2": 0.5, "part3": 0.9})
    result = average(left, right, per_name)
    assert result[names[1]].data_ptr() == result[names[0]].data_ptr()
    assert torch.equal(result[names[1]], reference(left[names[0]], right[names[0]], 0.1).float())


def test_mixing_into_a_module_keeps_its_type_layout_and_ties():
    theta_0, theta, module = make("gpt2", 0), make("gpt2", 1), make("gpt2", 2, torch.bfloat16)
    weight = module.transformer.h[0].attn.c_attn.weight
    weight.data = weight.data.t().contiguous().t()
    states = [
        {name: tensor for name, tensor in model.state_dict().items() if name != "lm_head.weight"}
        for model in (theta_0, theta)
    ]
    mix_(module, *states, 0.5)
    assert not weight.is_contiguous()
    for name, tensor in module.state_dict().items():
        source = "transformer.wte.weight" if name == "lm_head.weight" else name
        exact = reference(states[0][source], states[1][source], 0.5)
        assert torch.equal(tensor, exact.float().bfloat16())
    assert module.lm_head.weight is module.transformer.wte.weight


def test_whole_numbers_must_agree():
    same = {"w": torch.ones(2), "steps": torch.tensor([3, 4]), "mask": torch.tensor([True, False])}
    result = average(same, same, 0.3)
    assert torch.equal(result["steps"], same["steps"]) and result["mask"].dtype == torch.bool
    with pytest.raises(UserError, match="steps, of type torch.int64, differs"):
        average(same, same | {"steps": torch.tensor([3, 5])}, 0.3)


def test_types_may_differ_and_the_result_has_thetas():
    result = average({"w": torch.tensor([1.0])}, {"w": torch.tensor([2.0], dtype=torch.bfloat16)}, 0.25)["w"]
    assert result.dtype == torch.bfloat16 and result.item() == 1.25


W = torch.ones(2)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (({"w": W}, {"w": W}, 1.1), "ratios = 1.1 is not allowed; allowed are numbers from 0"),
        (({"w": W}, {"w": W}, float("nan")), "ratios = nan"),
        (({"w": W}, {"w": W}, {"w": -0.1}), r"ratios\[w\] = -0.1"),
        (({"w": W}, {"w": W}, {"w": 0.5, "v": 0.5}), "v is in one of them only"),
        (({"w": W}, {"w": W, "v": W}, 0.5), "v is a tensor of theta only"),
        (({"w": W, "v": W}, {"w": W}, 0.5), "v is a tensor of theta_0 only"),
        (({"w": W}, {"w": torch.ones(3)}, 0.5), "w has shape 2 in theta_0 and 3 in theta"),
        (({"wte": W, "lm_head": 2 * W}, {"wte": W, "lm_head": W}, 0.0), "lm_head is a matrix of its own in theta_0"),
    ],
)
def test_what_does_not_fit_is_named(arguments, words):
    with pytest.raises(UserError, match=words):
        average(*arguments)


def test_a_module_that_does_not_fit_is_named():
    linear = torch.nn.Linear(2, 2)
    with pytest.raises(UserError, match="lack bias"):
        mix_(linear, {"weight": torch.ones(2, 2)}, {"weight": torch.ones(2, 2)}, 0.5)
    gpt2 = make("gpt2", 0)
    whole = {name: tensor.clone() for name, tensor in gpt2.state_dict().items()}
    mix_(gpt2, whole, whole, 0.5)  # copies of the same values are tied for all that counts
    with pytest.raises(UserError, match="lm_head.weight is a matrix of its own in theta,"):
        mix_(gpt2, whole, whole | {"lm_head.weight": whole["lm_head.weight"] + 1}, 0.5)
    both = {"weight": torch.ones(2, 2), "bias": torch.ones(2), "more": torch.ones(2)}
    with pytest.raises(UserError, match="more, which is no tensor of the module"):
        mix_(linear, both, both, 0.5)
    both = {"weight": torch.ones(3, 2), "bias": torch.ones(2)}
    with pytest.raises(UserError, match="weight has shape 2x2 in the module and 3x2"):
        mix_(linear, both, both, 0.5)
