"""Ratios that follow from a rule: LiNeS by hand, the published merge of matrices alone, the same in memory and in folders."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from averaging_models import LAYERS, make, reference, save_pair
from llm import averaging
from llm.averaging.files.report import Report
from llm.averaging.schedule import lines, matrices
from llm.errors import UserError
from llm.grouping import Grouping, assign, only_linear

NAMES = [
    "model.embed_tokens.weight",
    *(f"model.layers.{k}.mlp.w" for k in range(4)),
    "model.norm.weight",
    "lm_head.weight",
]


def test_lines_ratios_by_hand():
    """a + (1 - a) (l - 1) / (L - 1): .2, .2 + .8 / 3, .2 + 1.6 / 3, 1."""
    found = lines.ratios(NAMES, {}, 0.2)
    layers = [ratio for _, ratio in found.values()][1:5]
    assert layers == pytest.approx([0.2, 0.2 + 0.8 / 3, 0.2 + 1.6 / 3, 1.0])
    assert (layers[0], layers[-1]) == (0.2, 1.0)  # exactly
    assert {found[name] for name in (NAMES[0], *NAMES[5:])} == {("outer", 0.2)}
    assert {lines.ratios(NAMES, {}, 0.2, "theta")[name] for name in (NAMES[0], *NAMES[5:])} == {("outer", 1.0)}
    assert [label for label, _ in found.values()][1:5] == ["layer1", "layer2", "layer3", "layer4"]
    turned = lines.reverse(NAMES, {}, 0.2)
    assert [ratio for _, ratio in turned.values()][1:5] == layers[::-1]
    assert turned[NAMES[0]] == ("outer", 0.2)


@given(st.floats(0, 1), st.integers(1, 40))
def test_lines_ratios_rise_evenly_from_alpha_to_1(alpha, layers):
    names = ["embed_tokens.weight", *(f"layers.{k}.w" for k in range(layers))]
    ratios = [ratio for _, ratio in lines.ratios(names, {}, alpha).values()][1:]
    assert ratios[0] == alpha and (layers == 1 or ratios[-1] == 1.0)
    assert all(0 <= low <= high <= 1 for low, high in zip(ratios, ratios[1:]))
    steps = [high - low for low, high in zip(ratios, ratios[1:])]
    assert max(steps, default=0) - min(steps, default=0) < 1e-12


@pytest.mark.parametrize("architecture", ["llama", "llama-tied-biases", "qwen3-experts", "gpt2"])
def test_matrices_are_all_but_embeddings_and_norms(architecture):
    model = make(architecture, 0)
    kinds = dict(model.named_modules())
    tied = {"lm_head.weight": "model.embed_tokens.weight"} if model.config.tie_word_embeddings else {}
    found = matrices.ratios(model.state_dict(), tied, 0.4)
    for name, (label, ratio) in found.items():
        module = kinds[name.rpartition(".")[0]]
        kept = isinstance(module, torch.nn.Embedding) or "Norm" in type(module).__name__ or name in tied
        assert (label, ratio) == (("theta_0", 0.0) if kept else ("linear", 0.4)), name


def test_groups_without_embeddings_and_norms():
    model = make("llama", 0)
    found = only_linear(assign(model.state_dict(), Grouping(embeddings="theta_0", norm="theta_0")))
    assert found["model.layers.0.input_layernorm.weight"] == "theta_0"
    assert found["model.layers.0.mlp.up_proj.weight"] == "part1"
    assert found["model.embed_tokens.weight"] == found["model.norm.weight"] == "theta_0"
    assert found["lm_head.weight"] == "mean"


@pytest.mark.parametrize("method", ["lines", "reverse-lines", "ma-matrices"])
def test_modules_state_dicts_and_folders_agree(method, tmp_path):
    theta_0, theta = save_pair(tmp_path, "llama-tied-biases")
    report = averaging.average(theta_0, theta, 0.25, out=tmp_path / "out", method=method)
    written = load_file(tmp_path / "out" / "model.safetensors")
    models = make("llama-tied-biases", 0), make("llama-tied-biases", 1)
    states = [{name: tensor.clone() for name, tensor in model.state_dict().items()} for model in models]
    averaging.average(*models, 0.25, method=method)
    for name, tensor in models[1].state_dict().items():
        if name in written:
            ratio = report.tensors[name][1]
            assert torch.equal(tensor, reference(states[0][name], states[1][name], ratio).float())
            assert torch.equal(tensor, written[name])
    ratios = {report.tensors[f"model.layers.{k}.mlp.up_proj.weight"][1] for k in range(LAYERS)}
    assert len(ratios) == (1 if method == "ma-matrices" else LAYERS)


def test_options_and_wrong_ratios(tmp_path):
    theta_0, theta = save_pair(tmp_path, "llama")
    report = averaging.average(theta_0, theta, 0.25, out=tmp_path / "out", method="lines", options={"outer": "theta"})
    assert report.groups["outer"] == 1.0 and report.options == {"outer": "theta"}
    with pytest.raises(UserError, match="outer = 'mean' is not allowed with method lines; allowed are alpha or theta"):
        averaging.average(theta_0, theta, 0.25, out=tmp_path / "x", method="lines", options={"outer": "mean"})
    with pytest.raises(UserError, match="method is 'lines', which has a rule for its ratios; allowed with it is one"):
        averaging.average(theta_0, theta, [0.1, 0.2], out=tmp_path / "x", method="lines")
    with pytest.raises(UserError, match="method = 'soup' is not allowed; allowed are ma, slerp"):
        averaging.average(theta_0, theta, 0.5, out=tmp_path / "x", method="soup")


def test_layers_are_listed_by_their_numbers():
    tensors = {
        label: (label, 0.5, (2,)) for label in ("layer10", "outer", "layer2", "layer1", "part2.mlp", "part1.mlp")
    }
    listed = [row[0] for row in Report("model", "lines", {}, {}, None, tensors, [], {}).coverage()]
    assert listed == ["layer1", "layer2", "layer10", "outer", "part1.mlp", "part2.mlp"]
