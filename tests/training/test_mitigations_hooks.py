"""LoRA's merging, SMA's average and resets, the shares of experience replay; all by value."""

from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from llm.config import Optimiser
from llm.methods import METHODS, code_of, names
from llm.models.batches import pad_right
from llm.training.loop import fit, token_loss
from llm.training.mitigations.er import Replay
from llm.training.mitigations.lora import lora
from llm.training.mitigations.mitigation import Materials, Mitigation
from llm.training.mitigations.sma import ElasticReset
from microcosm_runs import tiny_model

BATCH = pad_right([([7, 8, 9, 10, 11], [0.0, 0.0, 1.0, 1.0, 1.0]), ([11, 12, 13], [0.0, 0.0, 1.0])], pad_id=0)
FAST = Optimiser(lr=0.01, betas=(0.9, 0.98), weight_decay=0.0, clip=1.0, warmup_steps=0, final_share=1.0)
MLP = {"mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"}
ATTENTION = {f"self_attn.{name}_proj" for name in "qkvo"}


def adapted(rank, targets, lora_alpha=8.0, seed=3, steps=3):
    """(the method, the model with trained adapters)."""
    method = lora(rank=rank, targets=targets, lora_alpha=lora_alpha, seed=seed)
    model = method.wrap(tiny_model())
    list(fit(model, [BATCH] * steps, token_loss, FAST, steps=steps))
    return method, model


def state(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


@pytest.mark.parametrize(("targets", "modules"), [("mlp", MLP), ("mlp+attention", MLP | ATTENTION)])
@pytest.mark.parametrize("rank", [1, 3])
def test_merged_weights_are_a_plain_model_that_says_what_the_adapters_said(rank, targets, modules):
    method, model = adapted(rank, targets)
    start, ids = tiny_model(), torch.arange(5, 25).reshape(2, 10)
    with torch.no_grad():
        said = model(ids).logits
        plain = method.merge(model)
        assert torch.allclose(plain(ids).logits, said, atol=1e-4)
        assert (said - start(ids).logits).abs().max() > 0.1
    before, after = state(start), state(plain)
    assert list(before) == list(after)
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved == {f"model.layers.{layer}.{module}.weight" for layer in range(3) for module in modules}
    ranks = {torch.linalg.matrix_rank(after[name].double() - before[name].double(), rtol=1e-4).item() for name in moved}
    assert ranks == {rank}


def test_adapters_begin_at_theta_0_and_are_scaled_by_lora_alpha_over_rank():
    ids, (_, model) = torch.arange(5, 15)[None], adapted(4, "mlp", steps=0)
    with torch.no_grad():
        assert torch.equal(model(ids).logits, tiny_model()(ids).logits)
    method, model = adapted(4, "mlp", lora_alpha=6.0)
    module = model.model.layers[1].mlp.up_proj
    a, b = module.lora_A["default"].weight.detach(), module.lora_B["default"].weight.detach()
    expected = tiny_model().model.layers[1].mlp.up_proj.weight + 6.0 / 4 * b @ a
    assert torch.allclose(method.merge(model).model.layers[1].mlp.up_proj.weight, expected, atol=1e-6)


def test_adapters_first_weights_follow_their_seed_and_leave_the_global_generator_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first, again, other = (state(adapted(2, "mlp", seed=seed, steps=0)[1]) for seed in (3, 3, 4))
    assert torch.equal(torch.rand(3), expected)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


class Point(torch.nn.Module):
    """A model of one number."""

    def __init__(self, value):
        super().__init__()
        self.value = torch.nn.Parameter(torch.tensor([value], dtype=torch.float64))


def walk(decay, interval, steps):
    """A model that starts at 0 and makes a step of 1 each time; where it is after each step and what follows it."""
    model, theta_0, hook, seen = Point(0.0), Point(0.0), ElasticReset(decay, interval), []
    for _ in range(steps):
        with torch.no_grad():
            model.value += 1
        hook(model, theta_0)
        seen.append(model.value.item())
    return seen


def test_the_average_and_the_resets_are_those_computed_by_hand():
    # decay 3/4: the average goes 0, 1/4, 3/4 1/4 + 2/4 = 11/16, 3/4 11/16 + 3/4 = 81/64, which the third step is put to;
    # then it begins at theta_0 = 0 again: 1/4 (81/64 + 1) = 145/256, 3/4 145/256 + 1/4 (81/64 + 2) = 1271/1024, ...
    third = Fraction(81, 64)
    average = Fraction(0)
    for step in (1, 2, 3):
        average = Fraction(3, 4) * average + Fraction(1, 4) * (third + step)
    expected = [1, 2, third, third + 1, third + 2, average, average + 1]
    assert walk(0.75, 3, 7) == [float(value) for value in expected]


def test_at_decay_0_nothing_happens_and_at_decay_1_each_reset_undoes_all():
    assert walk(0.0, 2, 5) == [1, 2, 3, 4, 5]
    assert walk(1.0, 2, 5) == [1, 0, 1, 0, 1]


@given(
    strength=st.sampled_from([0.0, 0.1, 0.25, 0.3, 1 / 3, 1.0, 2.0, 4.0]),
    sizes=st.lists(st.integers(1, 40), max_size=20),
)
def test_replay_adds_lambda_documents_an_example_carrying_over_what_is_owed(strength, sizes):
    drawn = iter(range(10**6))
    mix, seen, added = Replay(strength, lambda: ([next(drawn)], [1.0])), 0, []
    for size in sizes:
        examples = [([-1], [1.0])] * size
        mixed = mix(examples)
        assert mixed[:size] == examples
        added += [ids[0] for ids, _ in mixed[size:]]
        seen += size
        assert strength * seen - 1 < len(added) <= strength * seen + 1e-6
    assert added == list(range(len(added)))  # each document that was drawn, once


def test_replay_of_whole_numbers_is_exact_in_every_batch():
    for strength, size, count in ((0.25, 32, 8), (0.1, 30, 3), (4.0, 7, 28)):
        mix = Replay(strength, lambda: ([0], [1.0]))
        assert [len(mix([([1], [1.0])] * size)) - size for _ in range(50)] == [count] * 50


def test_every_method_that_imitates_samples_is_made_from_its_setting():
    """Its options' keys are what `make` reads; what is PPO has nothing to make."""
    values = {
        "strength": 0.5,
        "interval": 2,
        "rank": 1,
        "lora_alpha": 8.0,
        "targets": "mlp",
        "rate": 0.1,
        "bias_power": 0.2,
        "multiplier": 1.0,
        "eta": 0.5,
    }
    values |= {
        "lag": 10.0,
        "share": 0.3,
        "runs": 2,
        "anchor": 0.1,
        "keep": 0.5,
        "pull": 0.1,
        "samples": 2,
        "threshold": 0.1,
    }
    values |= {"reference": "documents", "iteration": 1}
    materials = Materials(lambda: ([0], [1.0]), 1, reference=lambda kind, count: [([0, 1], [0.0, 1.0])] * count)
    for name in names("training"):
        method = METHODS[name]
        assert bool(method.code) == (method.how != "penalty")
        if method.code:
            made = code_of(method)({key: values[key] for key in method.options}, materials)
            assert isinstance(made, Mitigation)
            assert (made == Mitigation()) == (name == "distilled")
