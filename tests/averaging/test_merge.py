"""Methods of merging: the same values in memory and in folders, and a new one is a file and an entry."""

import importlib
import json
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from averaging_models import TYPES, command, make, save_pair, ulp
from llm import averaging
from llm.averaging.files import chunks
from llm.averaging.live import average, mix_
from llm.averaging.merge import merge_named, slerp
from llm.errors import UserError
from llm.methods import METHODS, Look, Method, register


def spherical(theta_0: torch.Tensor, theta: torch.Tensor, ratio: float) -> np.ndarray:
    """SLERP in fp64, with the angle by the arc cosine."""
    low, high = theta_0.double().numpy(), theta.double().numpy()
    angle = np.arccos((low * high).sum() / np.sqrt((low**2).sum() * (high**2).sum()))
    return (np.sin((1 - ratio) * angle) * low + np.sin(ratio * angle) * high) / np.sin(angle)


def assert_close(result: torch.Tensor, theta_0: torch.Tensor, theta: torch.Tensor, ratio: float) -> None:
    """Within one unit in the last place of the formula."""
    exact = torch.from_numpy(spherical(theta_0, theta, ratio))
    assert ((result.double() - exact.to(result.dtype).double()).abs() <= ulp(exact, result.dtype)).all()


def pair(dtype: torch.dtype, shape=(30, 70)) -> tuple[torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(0)
    return tuple((0.02 * torch.randn(shape, generator=rng)).to(dtype) for _ in range(2))


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("ratio", [0.2, 0.5, 0.9])
def test_slerp_is_the_formula_in_memory(dtype, ratio):
    left, right = pair(dtype)
    result = average({"w": left}, {"w": right}, ratio, method="slerp")["w"]
    assert_close(result, left, right, ratio)
    assert not torch.equal(result, average({"w": left}, {"w": right}, ratio)["w"])


@pytest.mark.parametrize("dtype", TYPES)
def test_slerp_of_folders_is_the_formula_whatever_the_chunks(dtype, tmp_path, monkeypatch):
    monkeypatch.setattr(chunks, "SIZE", 100)
    theta_0, theta = save_pair(tmp_path, "llama", dtype, shards="9KB")
    report = averaging.average(theta_0, theta, [0.9, 0.4, 0.2], out=tmp_path / "out", method="slerp")
    states = []
    for folder in (theta_0, theta, tmp_path / "out"):
        files = folder.glob("*.safetensors")
        states.append({name: tensor for file in files for name, tensor in load_file(file).items()})
    for name, tensor in states[2].items():
        assert_close(tensor, states[0][name], states[1][name], report.tensors[name][1])
    card = (tmp_path / "out" / "README.md").read_text()
    assert json.loads((tmp_path / "out" / "averaging.json").read_text())["method"] == report.method == "slerp"
    assert "by the method slerp: each weight is\n(sin((1 - alpha) W) theta_0" in card


def test_slerp_keeps_the_length_of_tensors_of_equal_length():
    left, right = pair(torch.float32)
    right *= left.norm() / right.norm()
    spherical_, linear = (average({"w": left}, {"w": right}, 0.5, method=name)["w"] for name in ("slerp", "ma"))
    assert spherical_.norm().item() == pytest.approx(left.norm().item(), rel=1e-6)
    assert linear.norm() < 0.8 * left.norm()


@pytest.mark.parametrize("other", [1.0, 1 + 2**-20, 3.0, 0.0, -1.0])
def test_parallel_opposite_and_zero_tensors_are_interpolated_linearly(other):
    left, _ = pair(torch.float32)
    results = [average({"w": left}, {"w": left * other}, 0.3, method=name)["w"] for name in ("slerp", "ma")]
    assert torch.equal(*results)


def test_where_it_becomes_linear_the_two_are_the_same():
    turned = [torch.tensor([np.cos(angle), np.sin(angle)]).double() for angle in (0.99e-4, 1.01e-4)]
    for theta, angle in zip(turned, (0.99e-4, 1.01e-4), strict=True):
        start = torch.tensor([1.0, 0.0]).double()
        assert slerp.prepare([(start, theta)], "w") == pytest.approx(angle, rel=1e-9)
        result = average({"w": start}, {"w": theta}, 0.3, method="slerp")["w"]
        assert (result - torch.tensor([np.cos(0.3 * angle), np.sin(0.3 * angle)])).abs().max() < 2e-9


@pytest.mark.parametrize("ratio", [0.0, 1.0])
def test_the_ends_are_exact(ratio, tmp_path):
    theta_0, theta = save_pair(tmp_path, "llama", torch.bfloat16)
    averaging.average(theta_0, theta, ratio, out=tmp_path / "out", method="slerp")
    expected = load_file((theta if ratio else theta_0) / "model.safetensors")
    found = load_file(tmp_path / "out" / "model.safetensors")
    assert all(torch.equal(tensor, expected[name]) for name, tensor in found.items())


def test_live_modules_state_dicts_and_folders_agree(tmp_path):
    theta_0, theta = save_pair(tmp_path, "llama-tied-biases")
    averaging.average(theta_0, theta, 0.6, out=tmp_path / "out", method="slerp")
    models = make("llama-tied-biases", 0), make("llama-tied-biases", 1)
    states = [{name: tensor.clone() for name, tensor in model.state_dict().items()} for model in models]
    mix_(models[1], *states, 0.6, method="slerp")
    in_memory = average(*states, 0.6, method="slerp")
    for name, tensor in load_file(tmp_path / "out" / "model.safetensors").items():
        assert torch.equal(models[1].state_dict()[name], in_memory[name])
        torch.testing.assert_close(tensor, in_memory[name], rtol=2e-7, atol=1e-9)


def test_the_command_takes_it_and_refuses_others(tmp_path, monkeypatch, capsys):
    theta_0, theta = save_pair(tmp_path, "llama")
    arguments = ["average", "--theta-0", theta_0, "--theta", theta, "--alpha", 0.5, "--out", tmp_path / "out"]
    assert command(monkeypatch, *arguments, "--method", "magic") == 2
    assert "method = 'magic' is not allowed; allowed are ma, slerp, " in capsys.readouterr().err
    assert command(monkeypatch, *arguments, "--method", "slerp") == 0
    name = "model.norm.weight"
    states = [load_file(folder / "model.safetensors")[name] for folder in (theta_0, theta, tmp_path / "out")]
    assert_close(states[2], *states[:2], 0.5)


SOURCE = """
from llm.averaging.merge import Merge


def apply(theta_0, theta, ratio, largest):
    return largest * (1 - ratio) + 0 * theta_0


MAXIMUM = Merge("the largest of theta", apply, lambda blocks, _: max(float(theta.max()) for _, theta in blocks))
"""


def test_a_new_method_is_one_file_and_one_entry(tmp_path, monkeypatch):
    (tmp_path / "maximum.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(sys.modules, "llm.averaging.merge.maximum", importlib.import_module("maximum"))
    try:
        register(Method("max", "averaging", {"max": Look("max", "#000")}, "a test", "averaging.merge.maximum:MAXIMUM"))
        theta_0, theta = save_pair(tmp_path, "gpt2")
        averaging.average(theta_0, theta, 0.25, out=tmp_path / "out", method="max")
        states = [load_file(folder / "model.safetensors") for folder in (theta_0, theta, tmp_path / "out")]
        in_memory = average(*states[:2], 0.25, method="max")
        for name, tensor in states[2].items():
            assert torch.equal(tensor, in_memory[name])
            assert tensor.flatten()[0] == states[1][name].max() * 0.75
    finally:
        METHODS.pop("max", None)


def test_unknown_methods_are_refused():
    with pytest.raises(UserError, match="method = 'max' is not allowed; allowed are ma, slerp, "):
        merge_named("max")
    with pytest.raises(UserError, match="method = 'max'"):
        average({"w": torch.ones(1)}, {"w": torch.ones(1)}, 0.5, method="max")
