"""`llm.averaging`'s own names: the same averages for state dicts, modules and folders, imported when used."""

import copy
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from averaging_models import make, reference, save_pair
from llm import averaging
from llm.errors import UserError

RATIOS = [0.9, 0.4, 0.2]


def shares(model) -> dict[str, float]:
    """Each tensor's ratio for RATIOS, written out anew: layers 0-1, 2-3, 4-6 of seven."""

    def share(name):
        numbers = [int(part) for part in name.split(".") if part.isdecimal()]
        if numbers:
            return RATIOS[0 if numbers[0] < 2 else 1 if numbers[0] < 4 else 2]
        return RATIOS[0] if "embed" in name or (model.config.tie_word_embeddings and "lm_head" in name) else 0.5

    return {name: share(name) for name in model.state_dict()}


@pytest.fixture(params=["llama", "llama-tied-biases"])
def models(request):
    return make(request.param, 0), make(request.param, 1)


def test_state_dicts_modules_and_folders_give_the_same_average(models, tmp_path):
    theta_0, theta = models
    expected = {
        name: reference(theta_0.state_dict()[name], theta.state_dict()[name], ratio).float()
        for name, ratio in shares(theta).items()
    }
    for name, model in (("theta_0", theta_0), ("theta", theta)):
        model.save_pretrained(tmp_path / name)
    report = averaging.average(tmp_path / "theta_0", str(tmp_path / "theta"), RATIOS, out=tmp_path / "out")
    before = copy.deepcopy(theta.state_dict())
    state = averaging.average(theta_0.state_dict(), theta.state_dict(), RATIOS)
    assert all(torch.equal(tensor, before[name]) for name, tensor in theta.state_dict().items())
    assert averaging.average(theta_0, theta, RATIOS) is theta
    stored = load_file(tmp_path / "out" / "model.safetensors")
    assert stored.keys() == report.tensors.keys()
    for name, tensor in expected.items():
        assert torch.equal(state[name], tensor) and torch.equal(theta.state_dict()[name], tensor)
        assert name not in stored or torch.equal(stored[name], tensor)


def test_ratios_by_group_by_tensor_and_in_order_are_the_same(models):
    states = [model.state_dict() for model in models]
    grouping = averaging.Grouping(parts=2, embeddings="own")
    by_label = {"part1": 0.3, "part2": 0.6, "embeddings": 1.0}
    assignment = averaging.assign(states[1], grouping)
    by_tensor = {name: (by_label | {"mean": 1.9 / 3})[label] for name, label in assignment.items()}
    if models[1].config.tie_word_embeddings:
        by_tensor["lm_head.weight"] = 1.0
    found = [averaging.average(*states, by_tensor)]
    found += [averaging.average(*states, given, grouping=grouping) for given in (by_label, [0.3, 0.6, 1.0])]
    for name, tensor in found[0].items():
        assert torch.equal(tensor, reference(states[0][name], states[1][name], by_tensor[name]).float())
        assert all(torch.equal(tensor, other[name]) for other in found[1:])


def test_a_grouping_can_keep_tensors_when_one_ratio_serves_all(models):
    theta_0, theta = models
    before = copy.deepcopy(theta.state_dict())
    averaging.average(theta_0.state_dict(), theta, 0.25, grouping=averaging.Grouping(embeddings="theta"))
    after = theta.state_dict()
    assert torch.equal(after["model.embed_tokens.weight"], before["model.embed_tokens.weight"])
    norm = "model.norm.weight"
    assert torch.equal(after[norm], reference(theta_0.state_dict()[norm], before[norm], 0.25).float())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"theta": 3}, "int cannot be averaged; allowed are state dicts"),
        ({"theta": {}, "theta_0": torch.nn.Linear(1, 1)}, "a module as theta_0 with a state dict as theta"),
        ({"out": "x"}, "out, union and full are allowed"),
        ({"theta": "folder"}, "folders only then"),
        ({"seed": 3}, "folders only then"),
        ({"theta_pre": {}}, "theta_pre is not allowed with method ma; allowed is it with ties, dots"),
        ({"theta": "b", "theta_0": "a"}, "out = None"),
        ({"theta": "b", "theta_0": "a", "out": "c"}, "theta-0 is 'a', which is no folder"),
        ({"ratios": 1.5}, "alpha = 1.5"),
        ({"ratios": [0.1, -1]}, "ratio 2 of alphas = -1"),
        ({"ratios": [0.1, None]}, "alphas = "),
        ({"ratios": {"part1": 0.5}}, "the groups are part1, part2, part3"),
        ({"ratios": {"model.layers.0.w": 0.5}}, "lm_head.w is in one of them only"),
    ],
)
def test_what_does_not_fit_is_named(change, words):
    state = {f"model.layers.{index}.w": torch.ones(2) for index in range(3)} | {"lm_head.w": torch.ones(2)}
    arguments = {"theta_0": state, "theta": state, "ratios": 0.5} | change
    with pytest.raises(UserError, match=words):
        averaging.average(**arguments)


def test_a_module_that_holds_nan_is_refused_and_stays_as_it_is(models):
    theta_0, theta = models
    theta = copy.deepcopy(theta)
    theta.get_input_embeddings().weight.data[0, 0] = torch.nan
    before = copy.deepcopy(theta.state_dict())
    with pytest.raises(UserError, match="embed_tokens.weight of theta holds NaN or Inf"):
        averaging.average(theta_0, theta, 0.5)
    torch.testing.assert_close(theta.state_dict(), before, rtol=0, atol=0, equal_nan=True)


def test_the_package_names_what_it_has_and_nothing_else():
    assert set(dir(averaging)) >= {"average", "optimise_ratios", "Grouping", "assign"}
    assert all(callable(getattr(averaging, name)) for name in averaging.__all__)
    from llm.averaging.ama.optimise import optimise_ratios

    assert averaging.optimise_ratios is optimise_ratios
    with pytest.raises(AttributeError, match="has no attribute 'averages'"):
        averaging.averages  # noqa: B018


def test_names_import_what_they_need_and_folders_need_no_torch(tmp_path):
    save_pair(tmp_path, "gpt2")
    code = (
        "import sys; import llm.averaging; assert 'numpy' not in sys.modules;"
        f"llm.averaging.average({str(tmp_path / 'theta_0')!r}, {str(tmp_path / 'theta')!r}, 0.5, out={str(tmp_path / 'o')!r});"
        "assert 'torch' not in sys.modules; llm.averaging.optimise_ratios; assert 'torch' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=True)
