"""Activation-informed merging: by hand, against inputs that were found another way, its ends, what it leaves to averaging."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from averaging_models import make
from llm.averaging.live import average, tied
from llm.averaging.whole import Materials, aim
from llm.models.batches import Tokens
from regressions import draw

TEXTS = draw(5)


class Two(nn.Module):
    """An embedding of three tokens, a norm that only scales, and a linear layer with a bias."""

    device = torch.device("cpu")

    def __init__(self):
        super().__init__()
        self.table, self.norm, self.layer, self.idle = (
            nn.Embedding(3, 2),
            nn.LayerNorm(2),
            nn.Linear(2, 2),
            nn.Linear(2, 2),
        )
        self.norm.forward = lambda x: x * self.norm.weight
        self.load_state_dict(STATES[0])

    def forward(self, input_ids, use_cache):
        return self.layer(self.norm(self.table(input_ids)))


def state(table, norm, layer, bias):
    given = {"table.weight": table, "norm.weight": norm, "norm.bias": bias, "layer.weight": layer, "layer.bias": bias}
    given |= {"idle.weight": layer, "idle.bias": bias}
    return {name: torch.tensor(value, dtype=torch.float32) for name, value in given.items()}


STATES = (
    state([[1, -2], [3, 2], [9, 9]], [1, -0.25], [[1, 2], [3, 4]], [0, 0]),
    state([[2, -2], [5, 2], [9, 1]], [3, -0.5], [[5, 4], [3, 8]], [1, 2]),
)


def test_a_hand_computed_model():
    """Tokens 0, 1, 0: the norm is given (1, -2), (3, 2), (1, -2), magnitudes (5, 6) / 3; the layer (1, .5), (3, -.5), (1, .5): (5, 1.5) / 3."""
    shares = aim.usage(Two(), [torch.tensor([[0, 1]]), torch.tensor([[0]])])
    assert set(shares) == {"norm.weight", "layer.weight"}  # the embeddings and the layer that nothing came to have none
    assert shares["norm.weight"].tolist() == pytest.approx([5 / 6, 1])
    assert shares["layer.weight"].tolist() == pytest.approx([1, 0.3])
    end = aim.relaxed(*STATES, shares, 0.4)
    first, second = 1 - 0.6 * 5 / 6, 1 - 0.6 * 0.3
    torch.testing.assert_close(end["norm.weight"].float(), torch.tensor([1 + first * 2, -0.25 + 0.4 * -0.25]))
    torch.testing.assert_close(
        end["layer.weight"].float(), torch.tensor([[1 + 0.4 * 4, 2 + second * 2], [3, 4 + second * 4]])
    )
    rest = ("table.weight", "norm.bias", "layer.bias", "idle.weight", "idle.bias")
    assert all(torch.equal(end[name], STATES[1][name]) for name in rest)


def test_inputs_that_are_never_used_keep_their_change_and_layers_that_see_nothing_theirs():
    model = Two()
    model.table.weight.data[:, 1] = 0
    shares = aim.usage(model, [torch.tensor([[0, 1, 2]])])
    assert shares["layer.weight"].tolist() == [1, 0]
    model.table.weight.data.zero_()
    assert aim.usage(model, [torch.tensor([[0, 1, 2]])])["layer.weight"].tolist() == [0, 0]


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.floats(0, 1))
def test_each_weight_lies_between_the_two_models_and_most_used_inputs_get_omega(seed, omega):
    rng = torch.Generator().manual_seed(seed)
    start, end = ({"x.weight": torch.randn(3, 5, generator=rng, dtype=torch.float64)} for _ in range(2))
    shares = torch.rand(5, generator=rng, dtype=torch.float64)
    shares[2] = 1
    found = aim.relaxed(start, end, {"x.weight": shares}, omega)["x.weight"]
    ratios = (found - start["x.weight"]) / (end["x.weight"] - start["x.weight"])
    assert ((ratios > omega - 1e-6) & (ratios < 1 + 1e-6)).all()
    assert ratios[:, 2] == pytest.approx(omega, abs=1e-6)


def materials(kind):
    theta_0, theta = make(kind, 0), make(kind, 1)
    states = [{name: one.clone() for name, one in model.state_dict().items()} for model in (theta_0, theta)]
    samples = lambda asked, count: {"free": TEXTS}[asked][:count]
    return Materials(theta, None, *states, {}, {}, {}.__getitem__, samples, 0)


def inputs_by_outputs(model, texts: list[Tokens]) -> dict[str, torch.Tensor]:
    """Weight -> |x| of each token's input, (tokens, features), one text at a time, from what the layers before have given."""
    given, last = {}, {}
    for name, module in model.named_modules():
        module.register_forward_hook(lambda _module, _in, out, name=name: last.__setitem__(name, out))
    for text in texts:
        with torch.no_grad():
            states = model(input_ids=torch.tensor([text.context + text.reply]), output_hidden_states=True).hidden_states
        for k, layer in enumerate(model.model.layers):
            at = f"model.layers.{k}"
            half = states[k] + last[f"{at}.self_attn"][0]
            attended = last[f"{at}.self_attn.o_proj"].double() - layer.self_attn.o_proj.bias.double()
            found = {
                "input_layernorm": states[k],
                "post_attention_layernorm": half,
                "self_attn.o_proj": torch.linalg.solve(layer.self_attn.o_proj.weight.double(), attended.mT).mT,
                "mlp.down_proj": nn.functional.silu(last[f"{at}.mlp.gate_proj"]) * last[f"{at}.mlp.up_proj"],
                **{f"self_attn.{key}_proj": last[f"{at}.input_layernorm"] for key in "qkv"},
                **{f"mlp.{key}_proj": last[f"{at}.post_attention_layernorm"] for key in ("gate", "up")},
            }
            for key, x in found.items():
                given.setdefault(f"{at}.{key}.weight", []).append(x[0].double().abs())
        given.setdefault("model.norm.weight", []).append((half + last[f"{at}.mlp"])[0].double().abs())
    return {name: torch.cat(each) for name, each in given.items()}


def test_a_live_model_equals_a_hand_built_state_dict():
    kind = "llama-tied-biases"
    found = materials(kind)
    build = aim.make(found)
    magnitudes = {name: x.mean(dim=0) for name, x in inputs_by_outputs(make(kind, 0), TEXTS).items()}
    matrices = {name for name, one in found.theta.items() if one.ndim == 2}
    norms = {name for name in found.theta if "norm" in name}
    assert magnitudes.keys() == matrices - {"model.embed_tokens.weight", "lm_head.weight"} | norms
    for omega, alpha in ((0.4, 1.0), (0.0, 0.7)):
        live = build({"omega": omega, "alpha": alpha}).state_dict()
        for name, end in found.theta.items():
            ratio = alpha
            if name in magnitudes:
                ratio = alpha * (1 - (1 - omega) * magnitudes[name] / magnitudes[name].max())
            start = found.theta_0[name].double()
            wanted = start + ratio * (end.double() - start)
            torch.testing.assert_close(live[name], wanted.float(), rtol=1e-4, atol=1e-5)
        assert live["lm_head.weight"].data_ptr() == live["model.embed_tokens.weight"].data_ptr()


@pytest.mark.parametrize("kind", ["llama", "llama-tied-biases", "gpt2", "mixtral"])
def test_its_neutral_settings_are_averaging_and_theta_0_bit_by_bit(kind):
    found = materials(kind)
    build, owners = aim.make(found), tied(found.model.state_dict())
    own = lambda model: {name: one for name, one in model.items() if name not in owners}
    for setting, alpha in (
        ({"omega": 1.0, "alpha": 0.6}, 0.6),
        ({"omega": 1.0, "alpha": 1.0}, 1.0),
        ({"omega": 0.2, "alpha": 0.0}, 0.0),
    ):
        live, ma = build(setting).state_dict(), average(own(found.theta_0), own(found.theta), alpha)
        assert all(torch.equal(live[name], ma[name]) for name in ma), setting
    relaxed = own(build({"omega": 0.2, "alpha": 1.0}).state_dict())
    kept = {name for name in relaxed if torch.equal(relaxed[name], found.theta[name])}
    assert "norm" not in " ".join(kept) and not any("ln_" in name and "weight" in name for name in kept)
    assert {"llama": "model.embed_tokens.weight", "gpt2": "transformer.wpe.weight"}.get(kind, next(iter(kept))) in kept
    assert kind != "llama" or "lm_head.weight" not in kept  # a head of its own is a linear layer


def test_of_a_transposed_layer_the_rows_are_the_inputs():
    """GPT-2's layers are stored (in, out)."""
    found = materials("gpt2")
    weight = "transformer.h.0.mlp.c_fc.weight"  # 16 inputs
    given = []
    first = make("gpt2", 0)
    first.transformer.h[0].ln_2.register_forward_hook(lambda _module, _in, out: given.append(out[0].abs().double()))
    with torch.no_grad():
        for text in TEXTS:
            first(input_ids=torch.tensor([text.context + text.reply]))
    share = torch.cat(given).mean(dim=0)
    ratio = 1 - 0.6 * share / share.max()
    live = aim.make(found)({"omega": 0.4, "alpha": 1.0}).state_dict()[weight].double()
    start, end = found.theta_0[weight].double(), found.theta[weight].double()
    torch.testing.assert_close(live, start + ratio[:, None] * (end - start), rtol=1e-4, atol=1e-5)


def test_theta_0_is_what_is_measured_and_once():
    found = materials("llama")
    asked = []
    counted = replace(found, samples=lambda kind, count: asked.append((kind, count)) or TEXTS)
    build = aim.make(counted)
    first = {name: one.clone() for name, one in build({"omega": 0.2, "alpha": 1.0}).state_dict().items()}
    build({"omega": 0.6, "alpha": 0.5})
    again = build({"omega": 0.2, "alpha": 1.0}).state_dict()
    assert all(torch.equal(one, again[name]) for name, one in first.items())
    assert asked == [("free", aim.OWN_SAMPLES)]
