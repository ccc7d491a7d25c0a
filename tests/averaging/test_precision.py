"""What rounding makes of averages: the staircase of bf16, fp32 output, stochastic rounding, and what is said of them."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from averaging_models import command, make, reference, save_pair, save_tokenizer
from llm.averaging.files.average import average_files
from llm.averaging.files.output import Output, rounded_at_random
from llm.averaging.precision import Effect
from llm.averaging.ratios import uniform
from llm.bench.staircase import measured, of_pair, table
from llm.errors import UserError
from llm.grouping import Grouping

TYPES = {"BF16": torch.bfloat16, "F16": torch.float16, "F32": torch.float32}


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """Two bf16 models; theta's weights are theta_0's plus normal updates of a 512th of each."""
    folder = tmp_path_factory.mktemp("pair")
    model = make("llama", 0, torch.bfloat16)
    model.save_pretrained(folder / "theta_0")
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for tensor in model.parameters():
            tensor.mul_(1 + torch.randn(tensor.shape, generator=generator) / 512)
    model.save_pretrained(folder / "theta")
    for name in ("theta_0", "theta"):
        save_tokenizer(folder / name)
    return folder


def averaged(pair, out, alpha, **output):
    return average_files(pair / "theta_0", pair / "theta", out, uniform(alpha, Grouping()), output=Output(**output))


def states(*folders):
    return [load_file(folder / "model.safetensors") for folder in folders]


def test_updates_of_a_step_make_a_staircase_and_larger_ones_do_not():
    """The issue's numbers: with |w|/512 .2 gives theta_0 and .8 theta, with |w|/64 about .2 and .8."""
    for alpha, expected in ((0.2, 0.000), (0.8, 1.000)):
        assert measured(512, alpha, 100_000, 0)["nearest"].alpha == pytest.approx(expected, abs=0.002)
    for alpha, expected in ((0.2, 0.197), (0.8, 0.803)):
        assert measured(64, alpha, 100_000, 0)["nearest"].alpha == pytest.approx(expected, abs=0.003)
    assert measured(512, 0.2, 100_000, 0)["altered"] > 0.1  # where each product is rounded before the sum


@pytest.mark.parametrize("method", ["slerp", "extrapolate", "ma-matrices", "lines", "trim", "dare"])
def test_every_method_is_warned_of_by_what_it_would_be_unrounded(method, pair, tmp_path):
    """In fp32 none is, though what trim and dare keep of a change is not alpha of it."""
    made = {}
    for dtype in ("float32", "bfloat16"):
        report = average_files(
            *(pair / "theta_0", pair / "theta", tmp_path / dtype),
            uniform(0.2, Grouping(), 2 if method == "extrapolate" else 1),
            method=method,
            output=Output(dtype),
        )
        made[dtype] = report.effect["alpha"]
        assert report.effect["asked"] == pytest.approx(made["float32"], abs=1e-4)
        warned = [note for note in report.notes if "has an effective alpha of" in note]
        assert bool(warned) == (abs(made[dtype] - made["float32"]) > 0.02)
    assert (method == "dare") != bool(warned)  # which makes the changes that it keeps larger


def test_the_table_of_the_documentation_is_what_the_bench_prints():
    page = (Path(__file__).parents[2] / "docs" / "precision.md").read_text()
    assert table() in page


def test_the_effect_is_that_of_a_plain_computation_and_is_warned_of(pair, tmp_path):
    report = averaged(pair, tmp_path / "out", 0.2)
    low, high, made = (
        {name: t.double() for name, t in state.items()}
        for state in states(pair / "theta_0", pair / "theta", tmp_path / "out")
    )
    step = {name: high[name] - low[name] for name in low}
    along = sum((step[name] * (made[name] - low[name])).sum() for name in low)
    square = sum((step[name] ** 2).sum() for name in low)
    assert report.effect["alpha"] == pytest.approx(float(along / square))
    assert report.effect["asked"] == pytest.approx(0.2)
    count = sum(t.numel() for t in low.values())
    assert report.effect["values"] == report.effect["seen"] == count
    assert report.effect["changed"] == pytest.approx(float(sum((made[n] != low[n]).sum() for n in low)) / count)
    assert report.effect["alpha"] < 0.05
    assert any("Rounded to BF16 the average has an effective alpha of 0.0" in note for note in report.notes)
    card = (tmp_path / "out" / "README.md").read_text()
    assert "BF16, rounding nearest: effective alpha 0.0" in card and "instead of 0.200" in card
    assert json.loads((tmp_path / "out" / "averaging.json").read_text())["effect"] == report.effect


def test_long_tensors_are_sampled_each_by_its_size(tmp_path):
    rng = torch.Generator().manual_seed(0)
    for name, shift in (("theta_0", 0.0), ("theta", 1.0)):
        (tmp_path / name).mkdir()
        long, short = torch.zeros(700_000) + shift, torch.randn(50, generator=rng) * 0 + shift
        save_file({"model.layers.0.a": long, "model.layers.1.b": short}, tmp_path / name / "model.safetensors")
        (tmp_path / name / "config.json").write_text("{}")
    effect = averaged(tmp_path, tmp_path / "out", 0.25).effect
    assert effect["values"] == 700_050 and effect["seen"] < 25_000
    assert effect["square"] == pytest.approx(700_050) and effect["alpha"] == pytest.approx(0.25)


def test_in_fp32_the_average_of_bf16_models_is_exact(pair, tmp_path):
    report = averaged(pair, tmp_path / "out", 0.2, dtype="float32")
    low, high, made = states(pair / "theta_0", pair / "theta", tmp_path / "out")
    for name, tensor in made.items():
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor, reference(low[name], high[name], 0.2).float())
    assert report.effect["alpha"] == pytest.approx(0.2, abs=1e-5)
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert "float32" in (config.get("dtype"), config.get("torch_dtype"))
    from transformers import AutoModelForCausalLM

    assert AutoModelForCausalLM.from_pretrained(tmp_path / "out").dtype == torch.float32


def test_another_type_changes_the_size_in_the_index_of_shards(tmp_path):
    save_pair(tmp_path, "llama", torch.bfloat16, shards="20KB")
    averaged(tmp_path, tmp_path / "out", 0.5, dtype="float32")
    index = json.loads((tmp_path / "out" / "model.safetensors.index.json").read_text())
    stored = [tensor for file in (tmp_path / "out").glob("*.safetensors") for tensor in load_file(file).values()]
    assert index["metadata"]["total_size"] == sum(tensor.numel() * 4 for tensor in stored)


def test_values_too_large_for_a_smaller_type_are_refused(tmp_path):
    for name in ("theta_0", "theta"):
        (tmp_path / name).mkdir()
        save_file({"model.layers.0.a": torch.full((8,), 1e6)}, tmp_path / name / "model.safetensors")
        (tmp_path / name / "config.json").write_text("{}")
    from llm.errors import UserError

    for alpha in (0.5, 1.0):
        with pytest.raises(UserError, match="has values too large for the output's type, F16"):
            averaged(tmp_path, tmp_path / "out", alpha, dtype="float16")
    assert not (tmp_path / "out").exists()


def test_stochastic_rounding_is_unbiased_and_depends_on_the_name_and_the_seed_alone(pair, tmp_path):
    report = averaged(pair, tmp_path / "one", 0.2, rounding="stochastic")
    averaged(pair, tmp_path / "two", 0.2, rounding="stochastic", seed=1)
    low, high, one, two = states(pair / "theta_0", pair / "theta", tmp_path / "one", tmp_path / "two")
    assert any(not torch.equal(one[name], two[name]) for name in one)
    errors = torch.cat(
        [
            (one[n].double() - reference(low[n], high[n], 0.2)).flatten()
            / low[n].double().abs().flatten().clamp(min=1e-9)
            for n in one
        ]
    )
    assert abs(errors.mean()) < 3 * errors.std() / len(errors) ** 0.5
    assert report.effect["alpha"] == pytest.approx(0.2, abs=0.03)
    (tmp_path / "less").mkdir()
    name = "model.layers.1.mlp.up_proj.weight"
    for side, state in (("theta_0", low), ("theta", high)):
        (tmp_path / "less" / side).mkdir()
        save_file({name: state[name].contiguous()}, tmp_path / "less" / side / "model.safetensors")
        (tmp_path / "less" / side / "config.json").write_text("{}")
    averaged(tmp_path / "less", tmp_path / "alone", 0.2, rounding="stochastic")
    assert torch.equal(states(tmp_path / "alone")[0][name], one[name])


@pytest.mark.parametrize("dtype", TYPES)
def test_random_rounding_has_the_right_mean_and_gives_neighbours(dtype):
    rng = np.random.default_rng(0)
    tiny = float(torch.finfo(TYPES[dtype]).tiny)
    for value in (0.3, -1.1, 3 * tiny / 7, -tiny * 1.3, 0.0):
        drawn = rounded_at_random(np.full(20_000, value), dtype, rng)
        kinds = np.unique(drawn)
        assert len(kinds) <= 2 and kinds[0] <= value <= kinds[-1]
        assert torch.equal(torch.tensor(kinds).to(TYPES[dtype]).double(), torch.tensor(kinds))
        assert abs(drawn.mean() - value) <= 3.5 * drawn.std() / len(drawn) ** 0.5


@given(st.lists(st.floats(-(2.0**100), 2.0**100), min_size=1, max_size=20), st.integers(0, 1000))
def test_what_a_type_holds_is_not_rounded(values, seed):
    held = torch.tensor(values).bfloat16().double().numpy()
    assert np.array_equal(rounded_at_random(held, "BF16", np.random.default_rng(seed)), held)


def test_an_adapter_s_effect_is_that_of_its_b(tmp_path):
    effect = Effect()
    effect.add(np.zeros(4), np.arange(4.0), np.arange(4.0) * 0.3, 0.3)
    assert effect.alpha == pytest.approx(0.3) and effect.warning("F32") is None
    assert Effect().sentence() == "the two models are equal"


def test_the_command_prints_the_effect_and_takes_type_and_rounding(pair, tmp_path, monkeypatch, capsys):
    given = ("average", "--theta-0", pair / "theta_0", "--theta", pair / "theta", "--alpha", "0.2")
    assert command(monkeypatch, *given, "--out", tmp_path / "a", "--dtype", "float32") == 0
    assert "F32, rounding nearest: effective alpha 0.200" in capsys.readouterr().out
    assert command(monkeypatch, *given, "--out", tmp_path / "b", "--rounding", "stochastic", "--seed", "3") == 0
    capsys.readouterr()
    for option, value, allowed in (("dtype", "int8", "auto, float32"), ("rounding", "up", "nearest, stochastic")):
        assert command(monkeypatch, *given, "--out", tmp_path / "c", f"--{option}", value) == 2
        assert f"{option} = '{value}' is not allowed; allowed are {allowed}" in capsys.readouterr().err
    assert not (tmp_path / "c").exists()


def test_models_in_memory_tell_what_saving_an_average_would_do(pair, tmp_path):
    """`front` and `tax` run in fp32; what they say of bf16 is what the folder that `average` writes has."""
    from llm.averaging.displacement import saved_effect, what_moved
    from llm.averaging.live import mix_
    from llm.averaging.pair import load_pair

    loaded = load_pair(pair / "theta_0", pair / "theta", "float32", torch.device("cpu"))
    written = averaged(pair, tmp_path / "out", 0.2).effect
    moved = what_moved(loaded)
    theta_0 = {name: tensor.clone() for name, tensor in loaded.model.state_dict().items()}
    mix_(loaded.model, theta_0, loaded.theta, 0.2)
    after = saved_effect(loaded, theta_0, loaded.model.state_dict(), 0.2)
    for found in (moved["saved"]["0.2"], after.described()):
        for key in ("alpha", "asked", "changed"):
            assert found[key] == pytest.approx(written[key], abs=1e-6)
    assert moved["dtype"] == "bfloat16" and after.warning("bfloat16")
    assert moved["steps"][1] > 0.9 and moved["steps"][0] < 0.02  # less than one: down from a power of two
    low, high = states(pair / "theta_0", pair / "theta")
    different = sum((low[name] != high[name]).sum().item() for name in low)
    assert moved["changed"] == pytest.approx(different / moved["weights"])


def test_weights_whose_squares_are_too_large_for_their_type_are_counted_and_infinities_that_both_have_are_not():
    low = np.array([3e38, 1.0, -np.inf, 0.0], np.float32)
    high = np.array([-3e38, 2.0, -np.inf, 0.0], np.float32)
    for of in (lambda values: values, torch.from_numpy):
        effect = Effect()
        effect.add(of(low), of(high), of(np.array([1.5e38, 1.0, -np.inf, 0.0], np.float32)), 0.25)
        assert effect.alpha == pytest.approx(0.25) and effect.asked == pytest.approx(0.25)
        assert (effect.moved, effect.values) == (2, 4)


def test_a_staircase_of_weights_that_are_no_numbers_is_refused_by_name(tmp_path):
    folders = save_pair(tmp_path, "llama")
    state = load_file(folders[1] / "model.safetensors")
    state["model.norm.weight"][2] = float("nan")
    save_file(state, folders[1] / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"model.norm.weight of theta \(.*\) holds NaN or Inf"):
        of_pair(*folders)
