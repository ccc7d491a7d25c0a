"""The arithmetic of averages by regression: by hand, its normal equations, its ends, what it leaves alone."""

from copy import deepcopy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from averaging_models import make
from llm.averaging.whole.grams import Gatherer, Gram, equal_lengths, gather
from llm.averaging.whole.regression import Pull, Setting, regress, with_the_rest
from llm.averaging.whole.walk import Side, walk_through
from llm.errors import UserError
from llm.models.batches import Tokens
from regressions import draw, merged, weights

ARCHITECTURES = (
    "llama",
    "llama-tied-biases",
    "qwen2",
    "gemma2",
    "phi",
    "phi3",
    "gpt2",
    "gptj",
    "gpt-neox",
    "opt",
    "bloom",
)


def gram(*inputs) -> Gram:
    x = torch.tensor(inputs, dtype=torch.float64)
    x = torch.cat([x, torch.ones(len(x), 1, dtype=torch.float64)], dim=1)
    return Gram(x.T @ x / len(x))


def test_a_hand_computed_layer_of_two_inputs():
    """theta_0 sees (1, 0) alone, theta (1, 0) and (0, 1) by turns: the first input's ratio is 1/2 / (lambda + 1/2), the other's is 1."""
    layer = nn.Linear(2, 1, bias=False)
    start, end = {"x.weight": torch.tensor([[1.0, 2.0]])}, {"x.weight": torch.tensor([[5.0, 10.0]])}
    grams = {"x": gram([1, 0])}, {"x": gram([1, 0], [0, 1])}
    found = dict(regress({"x": layer}, start, end, grams, Setting(1.5, ridge=1e-12)))["x.weight"]
    torch.testing.assert_close(found, torch.tensor([[1 + 4 / 4, 10.0]], dtype=torch.float64))
    # (3/2 * diag(1, 0) + diag(1/2, 1/2)) has the mean diagonal 5/4: with a ridge of .4 both get .5, pulled to 1 / (1 + 1.5)
    found = dict(regress({"x": layer}, start, end, grams, Setting(1.5, ridge=0.4)))["x.weight"]
    ratios = torch.tensor([(0.5 + 0.5 * 0.4) / (2 + 0.5), (0.5 + 0.5 * 0.4) / (0.5 + 0.5)], dtype=torch.float64)
    torch.testing.assert_close(found, torch.tensor([[1, 2]]) + ratios * torch.tensor([[4, 8]]))


def test_a_bias_is_the_weight_of_a_feature_that_is_always_one():
    """Both models see the input 1 only, so weight and bias move together: their sum has the ratio 1 / (1 + lambda)."""
    start, end = ({"x.weight": torch.tensor([[w]]), "x.bias": torch.tensor([b])} for w, b in ((0.0, 0.0), (2.0, 1.0)))
    grams = {"x": gram([1.0])}, {"x": gram([1.0])}
    found = dict(regress({"x": nn.Linear(1, 1)}, start, end, grams, Setting(3.0, ridge=1e-9)))
    assert (found["x.weight"] + found["x.bias"]).item() == pytest.approx(3 / 4)


def test_embeddings_have_a_ratio_a_row():
    start, end = {"e.weight": torch.zeros(4, 1)}, {"e.weight": torch.ones(4, 1)}
    shares = [Gram(torch.tensor(one, dtype=torch.float64)) for one in ([0.5, 0.5, 0, 0], [0.5, 0, 0.5, 0])]
    setting = Setting(3.0, ridge=1e-9)
    found = dict(regress({"e": nn.Embedding(4, 1)}, start, end, ({"e": shares[0]}, {"e": shares[1]}), setting))
    torch.testing.assert_close(found["e.weight"][:, 0], torch.tensor([1 / 4, 0, 1, 1 / 4]).double(), atol=1e-6, rtol=0)
    assert not dict(
        regress({"e": nn.Embedding(4, 1)}, start, end, ({"e": shares[0]}, {"e": shares[1]}), Setting(3.0, rows="ratio"))
    )


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.01, 100), st.floats(1e-6, 1.0), st.floats(0, 1))
def test_the_normal_equations_hold(seed, strength, ridge, shrinkage):
    """The gradient of the objective is zero, each Gram having a ridge of its own and its off-diagonals shrunk."""
    rng = torch.Generator().manual_seed(seed)
    size, out = 6, 3
    x = [torch.randn(9, size, generator=rng, dtype=torch.float64) for _ in range(2)]
    grams = [Gram(one.T @ one / 9) for one in x]
    ends = [torch.randn(out, size, generator=rng, dtype=torch.float64) for _ in range(2)]
    setting = Setting(strength, ridge, shrinkage)
    found = ends[0] + Pull(*grams, setting, size)(ends[1] - ends[0])
    low, high = (one.matrix * (1 - shrinkage) + shrinkage * torch.diag(one.matrix.diagonal()) for one in grams)
    own = ridge * (strength * low + high).diagonal().mean() / (1 + strength) * torch.eye(size, dtype=torch.float64)
    residual = strength * (found - ends[0]) @ (low + own) + (found - ends[1]) @ (high + own)
    assert residual.abs().max() < 1e-9 * (1 + strength)


def test_in_the_joint_eigenbasis_each_direction_has_its_own_ratio():
    from scipy.linalg import eigh

    rng = np.random.default_rng(0)
    x = [rng.normal(size=(20, 5)) @ rng.normal(size=(5, 5)) for _ in range(2)]
    grams = [one.T @ one / 20 for one in x]
    ratios, directions = eigh(grams[1], 0.7 * grams[0] + grams[1])  # g_1 / (g_1 + lambda g_0)
    difference = rng.normal(size=(4, 5))
    pull = Pull(*(Gram(torch.from_numpy(one)) for one in grams), Setting(0.7, ridge=1e-12), 5)
    moved = pull(torch.from_numpy(difference)).numpy()
    dual = (0.7 * grams[0] + grams[1]) @ directions  # the u_i, in which inputs are written
    np.testing.assert_allclose(dual.T @ directions, np.eye(5), atol=1e-8)
    np.testing.assert_allclose(moved @ dual, difference @ dual * ratios, atol=1e-6)
    assert 0 < ratios.min() < ratios.max() < 1


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_live_and_layer_by_layer_agree_and_the_ends_are_the_two_models(architecture):
    pair, samples = [make(architecture, seed) for seed in (0, 1)], (draw(2), draw(3))
    live = merged(*pair, samples, Setting(0.8))
    batches = [equal_lengths(texts, 64, 32) for texts in samples]
    sides = tuple(Side(deepcopy(one), weights(one), ids) for one, ids in zip(pair, batches, strict=True))
    walked = {name: value for _, part in walk_through(sides, Setting(0.8)) for name, value in part.items()}
    assert walked.keys() == live.keys()
    start, end = (weights(one) for one in pair)
    matrices = {name for name, tensor in end.items() if tensor.ndim > 1}
    assert matrices - live.keys() <= {"model.decoder.embed_positions.weight"}  # OPT makes positions of a mask
    for name, value in walked.items():
        torch.testing.assert_close(value, live[name], rtol=1e-5, atol=1e-6)
    grams = tuple(gather(one, ids) for one, ids in zip(pair, batches, strict=True))
    for strength, model in ((1e-9, end), (1e9, start)):
        for name, value in regress(dict(pair[1].named_modules()), start, end, grams, Setting(strength)):
            torch.testing.assert_close(value, model[name].double(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
@pytest.mark.parametrize("strength", [0.25, 4.0])
def test_a_lambda_a_layer_is_lines_where_both_are_given_the_same_and_a_regression_of_its_own_elsewhere(
    architecture, strength
):
    pair, samples = [make(architecture, seed) for seed in (0, 1)], (draw(2), draw(3))
    start, end = (weights(one) for one in pair)
    grams = tuple(gather(one, equal_lengths(texts, 64, 32)) for one, texts in zip(pair, samples, strict=True))
    modules, setting = dict(pair[1].named_modules()), Setting(strength, layers="increasing")
    depth, alpha = pair[0].config.num_hidden_layers - 1, 1 / (1 + strength)

    def ratio(name: str) -> float:
        numbers = [int(piece) for piece in name.split(".") if piece.isdigit()]
        place = numbers[0] / depth if numbers else 0.0
        return (1 - place) * alpha + place

    same = with_the_rest(dict(regress(modules, start, end, (grams[0], grams[0]), setting)), start, end, setting)
    for name, tensor in same.items():
        torch.testing.assert_close(tensor, start[name] + ratio(name) * (end[name] - start[name]), rtol=1e-5, atol=1e-6)
    found = dict(regress(modules, start, end, grams, setting))
    assert depth >= 2 and any(0 < ratio(name) < 1 for name in found)
    for name, value in found.items():
        alone = dict(regress(modules, start, end, grams, Setting(max(1 / ratio(name) - 1, 0.0))))[name]
        torch.testing.assert_close(value, alone, rtol=1e-6, atol=1e-9)
        assert (ratio(name) < 1) or torch.equal(value, end[name].double())


def test_layers_with_one_input_share_their_gram():
    model = make("qwen2", 0)  # grouped queries, biases of q, k and v
    grams = gather(model, equal_lengths(draw(1), 64, 32))
    at = "model.layers.0"
    attention = [grams[f"{at}.self_attn.{name}_proj"] for name in "qkv"]
    assert attention[0] is attention[1] is attention[2]
    assert grams[f"{at}.mlp.gate_proj"] is grams[f"{at}.mlp.up_proj"] is not grams[f"{at}.mlp.down_proj"]
    assert grams[f"{at}.self_attn.o_proj"] is not attention[0]


def test_grams_are_means_over_real_tokens_in_any_order():
    """They are those of the texts read one by one, without padding, whatever their order."""
    model, texts = make("llama", 0), draw(4)
    sums, seen = 0.0, []
    layer = model.model.layers[2].mlp.down_proj
    handle = layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0][0]))
    for text in texts:
        model(input_ids=torch.tensor([text.context + text.reply]))
    handle.remove()
    x = torch.cat(seen).double()
    x = torch.cat([x, torch.ones(len(x), 1)], dim=1)
    for order in (texts, texts[::-1]):
        found = gather(model, equal_lengths(order, 64, 32))["model.layers.2.mlp.down_proj"].matrix
        torch.testing.assert_close(found, (sums + x.T @ x / len(x)).double(), rtol=1e-5, atol=1e-6)


def test_tokens_are_counted_for_each_row():
    texts = [Tokens([0], [5, 5]), Tokens([0], [7, 5, 5, 2])]
    grams = gather(make("gpt2", 0), equal_lengths(texts, 64, 32))
    words, places = grams["transformer.wte"].matrix, grams["transformer.wpe"].matrix
    assert (words * 8).tolist() == pytest.approx([{0: 2, 5: 4, 7: 1, 2: 1}.get(row, 0) for row in range(64)])
    assert (places * 8).tolist() == pytest.approx([2, 2, 2, 1, 1] + [0] * 27)


def test_a_tied_head_is_the_embeddings():
    pair = [make("llama-tied-biases", seed) for seed in (0, 1)]
    found = merged(*pair, (draw(2), draw(3)), Setting(1.0))
    assert "model.embed_tokens.weight" in found and "lm_head.weight" not in found


def test_what_no_text_came_to_is_averaged():
    pair = [make("qwen3-experts", seed) for seed in (0, 1)]
    found = merged(*pair, (draw(2), draw(3)), Setting(3.0))
    start, end = (weights(one) for one in pair)
    full = with_the_rest(found, start, end, Setting(3.0))
    fused = [name for name in end if "experts" in name]
    assert fused and not found.keys() & set(fused)
    for name in fused:
        torch.testing.assert_close(full[name], 0.75 * start[name] + 0.25 * end[name])
    assert full.keys() == end.keys()


def test_inputs_that_change_their_sharing_are_refused():
    first, second = nn.Linear(2, 2), nn.Linear(2, 2)
    gatherer = Gatherer({"first": first, "second": second})
    x = torch.ones(1, 2)
    with gatherer.listening(), pytest.raises(UserError, match="second shares its input"):
        first(x), second(x), second(x + 1)


@pytest.mark.parametrize(
    ("samples", "words"),
    [
        ([], "samples = none is not allowed"),
        ([Tokens([], [])], "samples = none is not allowed"),
        ([Tokens([0], [64])], "token id 64; allowed are 0 to 63"),
        ([Tokens([0], [-1])], "token id -1; allowed are 0 to 63"),
    ],
)
def test_samples_that_do_not_fit_are_refused(samples, words):
    with pytest.raises(UserError, match=words):
        equal_lengths(samples, 64, 32)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("strength", -1),
        ("strength", float("nan")),
        ("ridge", 0),
        ("shrinkage", 1.5),
        ("rows", "all"),
        ("layers", "falling"),
    ],
)
def test_settings_that_are_not_allowed_are_refused(key, value):
    with pytest.raises(UserError, match=f"{key} = {value!r} is not allowed"):
        Setting(**{"strength": 1.0} | {key: value})


def test_inputs_that_are_singular_are_refused():
    flat = Gram(torch.zeros(3, 3, dtype=torch.float64))
    with pytest.raises(UserError, match="singular"):
        Pull(flat, flat, Setting(1.0), 3)
