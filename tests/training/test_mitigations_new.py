"""Methods of the literature by value: anchors, averages, projections, merged steps; neutral settings are exact."""

from itertools import accumulate, pairwise
from math import acos, prod, sin, sqrt

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from llm.config import Optimiser, load_preset, load_sweep
from llm.methods import METHODS, code_of, family
from llm.models.batches import pad_right
from llm.training.loop import fit, rate_at, token_loss
from llm.training.mitigated import fit_mitigated
from llm.training.mitigations.bema import Bema
from llm.training.mitigations.kl_anchor import kl_per_token
from llm.training.mitigations.lora import TARGETS
from llm.training.mitigations.mitigation import Materials
from llm.training.mitigations.nspo import gram_matrices, held_directions, joined
from llm.training.mitigations.ogpsa import Orthogonal, orthonormal
from llm.training.mitigations.online_merging import dropped, largest
from llm.training.mitigations.warp import Warp, merged, slerp
from microcosm_runs import tiny_model

EXAMPLES = [([7, 8, 9, 10, 11], [0.0, 0.0, 1.0, 1.0, 1.0]), ([11, 12, 13], [0.0, 0.0, 1.0])]
GENERAL = [([2 + i, 5 + i, 9 + i, 4 + i], [0.0, 1.0, 1.0, 1.0]) for i in range(8)]
BATCH = pad_right(EXAMPLES, pad_id=0)
FAST = Optimiser(lr=0.01, betas=(0.9, 0.98), weight_decay=0.0, clip=1.0, warmup_steps=0, final_share=1.0)
NEUTRAL = {
    "kl-anchor": {"strength": 0.0},
    "ema-anchor": {"strength": 0.0, "rate": 0.1},
    "bema": {"strength": 0.0, "bias_power": "none", "lag": 10.0, "interval": 1, "multiplier": 1.0},
    "warp": {"share": 1.0, "runs": 1, "anchor": 0.0, "rate": 0.01, "eta": 1.0},
    "ondare": {"keep": 1.0, "pull": 0.0},
    "onties": {"keep": 1.0, "pull": 0.0},
    "ogpsa": {"rank": 0, "interval": 1, "samples": 4, "reference": "free"},
    "nspo": {"threshold": 2.0, "targets": "mlp", "samples": 4, "reference": "documents"},
}
SOME = {
    "kl-anchor": {"strength": 3.0},
    "ema-anchor": {"strength": 3.0, "rate": 0.1},
    "bema": {"strength": 0.5, "bias_power": 0.2, "lag": 10.0, "interval": 1, "multiplier": 1.0},
    "warp": {"share": 0.5, "runs": 1, "anchor": 0.0, "rate": 0.01, "eta": 0.5},
    "ondare": {"keep": 0.3, "pull": 0.001},
    "onties": {"keep": 0.3, "pull": 0.001},
    "ogpsa": {"rank": 2, "interval": 2, "samples": 8, "reference": "free"},
    "nspo": {"threshold": 1e-3, "targets": "mlp+attention", "samples": 8, "reference": "free"},
}


def materials():
    drawn = iter(GENERAL * 9)
    general = {"free": GENERAL, "documents": EXAMPLES}
    return Materials(lambda: next(drawn), 5, lambda kind, count: general[kind][:count], lambda: tiny_model(seed=3))


def trained(name, setting, steps=3):
    """A model after some steps by a method, and theta_0."""
    mitigation, theta_0 = code_of(METHODS[name])(setting, materials()), tiny_model().requires_grad_(False)
    model = mitigation.wrap(tiny_model())
    list(fit_mitigated(mitigation, model, theta_0, [BATCH] * steps, token_loss, FAST, steps=steps))
    model = mitigation.combine(theta_0, [mitigation.merge(model)])
    mitigation.finish(model, theta_0)
    return model, theta_0


@pytest.fixture(scope="module")
def plain():
    model = tiny_model()
    list(fit(model, [BATCH] * 3, token_loss, FAST, steps=3))
    return model


def equal(left, right):
    return all(torch.equal(p, q) for p, q in zip(left.parameters(), right.parameters(), strict=True))


@pytest.mark.parametrize("name", NEUTRAL)
def test_neutral_settings_are_plain_training_bit_for_bit_and_others_are_not_but_repeat_themselves(plain, name):
    assert equal(trained(name, NEUTRAL[name])[0], plain)
    changed, _ = trained(name, SOME[name])
    assert not equal(changed, plain)
    assert equal(changed, trained(name, SOME[name])[0])


ENTRIES = {  # of both sweeps; theirs of the other sweeps' methods are tried in tests/stages
    f"{sweep}, {entry.label}": entry
    for sweep in ("training-time", "training-time-dpo")
    for entry in load_sweep(sweep).training
    if entry.method in NEUTRAL
}


@pytest.mark.parametrize("name", ENTRIES)
def test_a_path_of_the_sweeps_ends_in_theta_where_its_order_says_so(plain, name):
    entry = ENTRIES[name]
    (key, *_), neutral = entry.spec.order.by, NEUTRAL[entry.method]
    ends_there = key in neutral and equal(
        trained(entry.method, entry.settings()[0] | {key: neutral[key]})[0], plain
    )  # iterations are no strength
    assert ends_there == (entry.spec.order.ends == "theta")


def test_every_family_of_the_sweeps_has_three_points_or_more():
    for sweep in ("training-time", "training-time-dpo"):
        families = {}
        for entry in load_sweep(sweep).training:
            for setting in entry.settings():
                point = tuple(setting[key] for key in entry.spec.order.by)
                families.setdefault(family(entry.method, setting), set()).add(point)
        assert min(map(len, families.values())) >= 3, families


def test_the_divergence_is_that_of_the_whole_vocabulary_at_each_token_of_the_replies():
    ours, anchor = tiny_model(seed=1), tiny_model(seed=2)
    found = []
    with torch.no_grad():
        for ids, weights in EXAMPLES:
            p, q = (model(torch.tensor([ids])).logits[0].double().softmax(dim=-1) for model in (ours, anchor))
            found += [(p * (p / q).log()).sum(dim=-1)[k - 1].item() for k, weight in enumerate(weights) if weight]
    assert kl_per_token(ours, anchor, BATCH).item() == pytest.approx(sum(found) / 4, rel=1e-4)


def test_a_moving_anchor_follows_the_policy_from_theta_0_and_is_remembered():
    mitigation, theta_0 = code_of(METHODS["ema-anchor"])({"strength": 1.0, "rate": 0.25}, None), tiny_model()
    model, expected = tiny_model(), [p.detach().clone() for p in tiny_model().parameters()]
    for _ in fit_mitigated(mitigation, model, theta_0, [BATCH] * 3, token_loss, FAST, steps=3):
        expected = [0.75 * mean + 0.25 * p.detach() for mean, p in zip(expected, model.parameters(), strict=True)]
    for i, mean in enumerate(expected):
        assert torch.allclose(mitigation.memory[f"anchor.{i}"], mean, atol=1e-7)
    again = code_of(METHODS["ema-anchor"])({"strength": 1.0, "rate": 0.25}, None)
    again.memory.update({key: tensor.clone() for key, tensor in mitigation.memory.items()})
    assert again.penalty(model, theta_0, BATCH).item() == mitigation.penalty(model, theta_0, BATCH).item()


class Point(torch.nn.Module):
    """A model of one number."""

    def __init__(self, value):
        super().__init__()
        self.value = torch.nn.Parameter(torch.tensor([value], dtype=torch.float64))


def test_bema_is_the_average_and_its_correction_worked_out_by_hand():
    model, theta_0, average = Point(1.0), Point(1.0), 1.0
    bema = Bema(0.5, 0.2, 10, 2, 3.0, {})
    for step in range(1, 5):
        with torch.no_grad():
            model.value += 1
        bema.after_step(model, theta_0)
        if step % 2 == 0:
            beta = (10 + 3 * step) ** -0.5
            average = (1 - beta) * average + beta * (1 + step)
    bema.finish(model, theta_0)
    assert model.value.item() == pytest.approx(22**-0.2 * 4 + average, rel=1e-12)


def way(section, steps):
    """How much of a straight path lies behind each step, 0 to 1, at the rates of a section of the microcosm's preset."""
    settings = getattr(load_preset("microcosm"), section).optimiser
    rates = [rate_at(step, steps, settings) for step in range(steps)]
    return [0.0, *(total / sum(rates) for total in accumulate(rates))]


def displacement(kappa, eta, rho, phi, gamma, way):
    """Of BEMA from a straight path, in units of the path's own: each point counts as often as later renewals leave of it."""
    clocks = [(t, rho + gamma * t) for t in range(phi, len(way), phi)]
    weights = [c**-kappa * prod(1 - d**-kappa for _, d in clocks[k + 1 :]) for k, (_, c) in enumerate(clocks)]
    averaged = sum(weight * way[t] for weight, (t, _) in zip(weights, clocks, strict=True))
    last, clock = clocks[-1]
    return averaged + (0 if eta == "none" else clock**-eta * way[last])


def moved(setting, way):
    """The same by the code."""
    mitigation, model, theta_0 = code_of(METHODS["bema"])(setting, None), Point(0.0), Point(0.0)
    for place in way[1:]:
        with torch.no_grad():
            model.value.fill_(place)
        mitigation.after_step(model, theta_0)
    mitigation.finish(model, theta_0)
    return model.value.item()


def test_bemas_settings_spread_over_the_way_and_none_goes_beyond_theta():
    assert displacement(0.5, 0.2, 10, 400, 1, np.linspace(0, 1, 7001)) == pytest.approx(0.29, abs=0.005)  # its source's
    assert displacement(0.5, 0.2, 10, 1, 1, way("rsf", 72)) == pytest.approx(
        1.31, abs=0.005
    )  # the same numbers on our clock
    assert displacement(0.5, 0.2, 10, 4, 100, way("rsf", 72)) == pytest.approx(0.30, abs=0.005)
    for sweep, path in (("training-time", way("rsf", 72)), ("training-time-dpo", way("dpo", 438))):
        for entry in (entry for entry in load_sweep(sweep).training if entry.method == "bema"):
            found = [moved(setting, path) for setting in entry.settings()]
            keys = ("strength", "bias_power", "lag", "interval", "multiplier")
            ours = [displacement(*(setting[key] for key in keys), path) for setting in entry.settings()]
            assert found == pytest.approx(ours, rel=1e-9)
            assert found == sorted(found, reverse=True)  # the larger the multiplier, the nearer to theta_0
            assert found[0] < 1 and sum(0.45 < one < 0.95 for one in found) >= 3, (sweep, entry.label, found)


@given(st.floats(0.1, 3.0), st.floats(0, 1))
def test_slerp_keeps_lengths_and_turns_evenly(angle, share):
    first, second = torch.tensor([2.0, 0.0]), 2 * torch.tensor([torch.tensor(angle).cos(), torch.tensor(angle).sin()])
    merged = torch.stack(slerp([first[:1], first[1:]], [second[:1], second[1:]], share)).flatten()
    assert merged.norm().item() == pytest.approx(2, rel=1e-4)
    assert acos(min(1, merged[0].item() / 2)) == pytest.approx(share * angle, abs=2e-3)


def vectors(model, start, layer):
    """What a model has learned in a layer, as one vector."""
    before = dict(start.named_parameters())
    chosen = [(p - before[name]).flatten() for name, p in model.named_parameters() if f".layers.{layer}." in name]
    return torch.cat(chosen).detach().double()


def test_warp_merges_task_vectors_layer_by_layer_and_goes_a_share_of_the_way():
    start = tiny_model()
    one, two = (vectors(tiny_model(seed=seed), start, 1) for seed in (1, 2))
    after = Warp(0.3, 1.0, {}).combine(start, [tiny_model(seed=1), tiny_model(seed=2)])
    angle = acos(float(one @ two / (one.norm() * two.norm())))
    weight = sin(angle / 2) / sin(angle)
    assert torch.allclose(vectors(after, start, 1), 0.3 * weight * (one + two), atol=1e-6)
    assert equal(Warp(1.0, 1.0, {}).combine(start, [tiny_model(seed=1)]), tiny_model(seed=1))
    assert equal(Warp(0.0, 1.0, {}).combine(start, [tiny_model(seed=1)]), start)


def test_of_three_runs_the_third_is_merged_with_a_third():
    start = tiny_model()
    one, two, three = (vectors(tiny_model(seed=seed), start, 0) for seed in (1, 2, 3))

    def turned(first, second, share):
        angle = torch.acos(first @ second / (first.norm() * second.norm()))
        return (torch.sin((1 - share) * angle) * first + torch.sin(share * angle) * second) / torch.sin(angle)

    found = vectors(merged(start, [tiny_model(seed=seed) for seed in (1, 2, 3)]), start, 0)
    assert torch.allclose(found, turned(turned(one, two, 1 / 2), three, 1 / 3), atol=1e-6)


@pytest.mark.parametrize("eta", [0.0, 0.4, 1.0])
def test_warps_output_is_a_point_between_theta_0_and_what_the_last_iteration_merged(eta):
    theta_0, start, memory = tiny_model(), tiny_model(seed=4), {}
    warp = Warp(0.3, eta, memory)
    model = warp.combine(start, [tiny_model(seed=1), tiny_model(seed=2)])
    warp.finish(model, theta_0)
    slerped = merged(start, [tiny_model(seed=1), tiny_model(seed=2)])
    for found, zero, end in zip(*(m.parameters() for m in (model, theta_0, slerped)), strict=True):
        assert torch.allclose(found, (1 - eta) * zero + eta * end, atol=1e-7)
    if eta in (0, 1):
        assert equal(model, theta_0 if eta == 0 else slerped)
    next_start = Warp(0.3, None, {}).combine(start, [tiny_model(seed=1), tiny_model(seed=2)])
    before = [p.detach().clone() for p in next_start.parameters()]
    Warp(0.3, None, memory).finish(next_start, theta_0)  # without eta it is what is measured
    assert all(torch.equal(p, q) for p, q in zip(before, next_start.parameters(), strict=True))


def test_warps_anchor_begins_at_the_iterations_own_start_not_at_theta_0():
    setting = {"share": 0.5, "runs": 2, "anchor": 1.0, "rate": 0.5, "eta": 1.0}
    mitigation, theta_0, start = code_of(METHODS["warp"])(setting, None), tiny_model(), tiny_model(seed=4)
    assert mitigation.penalty(start, theta_0, BATCH).item() == 0
    moved = tiny_model(seed=1)
    anchored, further = (kl_per_token(moved, anchor, BATCH).item() for anchor in (start, theta_0))
    assert mitigation.penalty(moved, theta_0, BATCH).item() == pytest.approx(anchored, rel=1e-5) != further


def test_dropped_steps_keep_their_mean_and_the_largest_are_kept_as_they_are():
    step = torch.linspace(-1, 1, 20_000)
    kept = dropped([step], torch.Generator().manual_seed(0), 0.25)[0]
    share = (kept != 0).double().mean().item()
    assert share == pytest.approx(0.25, abs=4 * sqrt(0.25 * 0.75 / 20_000))
    assert torch.allclose(kept[kept != 0], 4 * step[kept != 0])
    (found,) = largest([torch.tensor([[3.0, -5.0], [1.0, -2.0]])], torch.Generator(), 0.5)
    assert found.tolist() == [[3.0, -5.0], [0.0, 0.0]]
    (whole,) = largest([torch.tensor([1.0, 2.0])], torch.Generator(), 0.1)  # no number would be left
    assert whole.tolist() == [1.0, 2.0]


def test_onties_keeps_of_a_step_what_has_the_elected_sign_and_pulls_towards_tuning():
    made, theta_0, start = tiny_model(seed=1), tiny_model(), tiny_model(seed=3)
    mitigation = code_of(METHODS["onties"])({"keep": 1.0, "pull": 0.5}, materials())
    model = tiny_model()
    mitigation.gradients(model, theta_0)
    model.load_state_dict(made.state_dict())
    mitigation.after_step(model, theta_0)
    for after, zero, tuned, step in zip(*(m.parameters() for m in (model, theta_0, start, made)), strict=True):
        tau, step = zero - tuned, step - zero
        sign = torch.where(tau + step >= 0, 1.0, -1.0)
        expected = zero + 0.5 * tau * (tau.sign() == sign) + 0.5 * step * (step.sign() == sign)
        assert torch.allclose(after, expected, atol=1e-6)


def stepped(name, setting):
    """(theta_0, a step, tau, what the step is merged to), number by number, each a flat tensor."""
    made, theta_0, start, model = tiny_model(seed=1), tiny_model(), tiny_model(seed=3), tiny_model()
    mitigation = code_of(METHODS[name])(setting, materials())
    mitigation.gradients(model, theta_0)
    model.load_state_dict(made.state_dict())
    mitigation.after_step(model, theta_0)
    after, zero, tuned, new = ([p.detach() for p in m.parameters()] for m in (model, theta_0, start, made))
    return [(b - a, c - a, a - d) for a, b, c, d in zip(zero, after, new, tuned, strict=True)]


def test_ondare_adds_what_is_kept_of_tau_and_of_the_step_each_divided_by_the_share_and_tau_clipped():
    keep, pull, kinds = 0.3, 0.25, torch.zeros(4)
    for moved, step, tau in stepped("ondare", {"keep": keep, "pull": pull}):
        of_tau, of_step = pull * (tau / keep).clamp(-1, 1), (1 - pull) * step / keep
        possible = torch.stack([0 * tau, of_tau, of_step, of_tau + of_step])  # neither, either, both are kept
        nearest, kind = (possible - moved).abs().min(dim=0)
        assert nearest.max().item() < 1e-5
        told = (step.abs() > 1e-3) & (tau.abs() > 1e-3)
        kinds += torch.bincount(kind[told], minlength=4)
    shares = kinds / kinds.sum()
    wanted = torch.tensor([0.7 * 0.7, 0.3 * 0.7, 0.7 * 0.3, 0.3 * 0.3])  # the two are dropped independently
    assert torch.allclose(shares, wanted, atol=5 * sqrt(0.25 / kinds.sum().item()))


def test_onties_keeps_the_largest_of_tau_and_of_the_step_before_they_elect_a_sign():
    keep, pull = 0.25, 0.25
    for moved, step, tau in stepped("onties", {"keep": keep, "pull": pull}):
        step, tau = (
            torch.where(t.abs() >= t.abs().flatten().sort(descending=True).values[int(keep * t.numel()) - 1], t, 0 * t)
            for t in (step, tau)
        )
        agree = step.sign() * tau.sign() >= 0  # else the larger one alone counts
        expected = pull * tau * (agree | (tau.abs() >= step.abs())) + (1 - pull) * step * (
            agree | (step.abs() > tau.abs())
        )
        assert torch.allclose(moved, expected, atol=1e-6)


def test_projected_gradients_are_orthogonal_to_every_reference_gradient():
    projection, model = Orthogonal(GENERAL, rank=3, interval=5, pad_id=0), tiny_model()
    references = [
        torch.autograd.grad(token_loss(model, pad_right(GENERAL[k::3], 0)), list(model.parameters())) for k in range(3)
    ]
    token_loss(model, BATCH).backward()
    before = [p.grad.clone() for p in model.parameters()]
    projection.gradients(model, model)
    for parameter, old, *of_one in zip(model.parameters(), before, *references, strict=True):
        for reference in of_one:
            residual = (parameter.grad * reference).sum() / (old.norm() * reference.norm()).clamp(min=1e-12)
            assert abs(residual.item()) < 1e-6
        change = old - parameter.grad  # it lies in the span
        span = orthonormal(torch.stack([r.flatten() for r in of_one], dim=1))
        assert torch.allclose(
            span @ (span.T @ change.flatten()), change.flatten(), atol=1e-5 * max(1, old.norm().item())
        )


def test_reference_gradients_are_those_of_the_weights_at_their_renewal():
    projection, model, theta_0 = Orthogonal(GENERAL, rank=1, interval=2, pad_id=0), tiny_model(), tiny_model()
    held = None
    for step, seed in enumerate((1, 2, 3)):
        model.load_state_dict(tiny_model(seed=seed).state_dict())
        reference = torch.autograd.grad(token_loss(model, pad_right(GENERAL, 0)), list(model.parameters()))
        held = held if step == 1 else reference
        model.zero_grad()
        token_loss(model, BATCH).backward()
        projection.gradients(model, theta_0)
        cosines = [
            max(
                abs((p.grad * r).sum() / (p.grad.norm() * r.norm()).clamp(min=1e-12)).item()
                for p, r in zip(model.parameters(), of, strict=True)
            )
            for of in (held, reference)
        ]
        assert cosines[0] < 1e-4
        assert (cosines[1] > 1e-2) == (step == 1)  # between renewals the gradients at the new weights are left


def test_a_basis_leaves_out_what_other_columns_span():
    basis = orthonormal(torch.tensor([[1.0, 2.0, 0.0], [0.0, 0.0, 0.0], [1.0, 2.0, 1.0]]))
    assert basis.shape == (3, 2)
    assert torch.allclose(basis.T @ basis, torch.eye(2), atol=1e-6)
    assert orthonormal(torch.zeros(4, 2)).shape == (4, 0)


def test_matrices_in_the_null_space_give_general_text_what_theta_0_gives_it():
    model, theta_0 = trained("nspo", SOME["nspo"], steps=4)
    layers = ("gate_proj", "up_proj", "down_proj", "q_proj", "k_proj", "v_proj", "o_proj")
    grams = gram_matrices(theta_0, GENERAL, layers, 0)
    assert len(grams) == 7 * theta_0.config.num_hidden_layers
    moved = 0.0
    for name, gram in grams.items():
        held = held_directions(gram, 1e-3)
        change = joined(model.get_submodule(name)) - joined(theta_0.get_submodule(name))
        assert (change @ held).abs().max().item() < 1e-6
        moved = max(moved, change.abs().max().item())
    assert moved > 1e-3
    assert held_directions(gram, 0.0).shape[1] == len(gram)
    assert held_directions(gram, 1.1).shape[1] == 0


@pytest.mark.parametrize("label", ["nspo", "nspo-attention"])
def test_a_higher_threshold_leaves_more_directions_free_and_those_of_the_sweep_some(label):
    rng = torch.Generator().manual_seed(0)
    halving = 0.5 ** torch.arange(12.0)  # some words are rare, as in text
    text = [([1, *(2 + torch.multinomial(halving, 20, True, generator=rng)).tolist()], [1.0] * 21) for _ in range(32)]
    (entry,) = (entry for entry in load_sweep("training-time").training if entry.label == label)
    grams = gram_matrices(tiny_model(), text, TARGETS[entry.options["targets"][0]], 0)
    free = [[len(g) - held_directions(g, one).shape[1] for g in grams.values()] for one in entry.options["threshold"]]
    assert all(a <= b for less, more in pairwise(free) for a, b in zip(less, more, strict=True))
    assert 0 < sum(free[0]) < sum(free[1]) < sum(free[2]) < sum(map(len, grams.values()))


@pytest.mark.parametrize("name", ["mlp.up_proj", "self_attn.q_proj"])
def test_gram_matrices_are_those_of_the_inputs_one_by_one_with_a_column_of_ones_where_there_is_a_bias(name):
    model, seen = tiny_model(), []
    layer = model.get_submodule(f"model.layers.1.{name}")
    hook = layer.register_forward_pre_hook(lambda module, args: seen.append(args[0][0].double()))
    with torch.no_grad():
        for ids, _ in [*GENERAL, *EXAMPLES]:
            model(torch.tensor([ids]))
    hook.remove()
    rows = torch.cat(seen)
    rows = rows if layer.bias is None else torch.cat([rows, torch.ones(len(rows), 1)], dim=1)
    (found,) = (
        gram
        for place, gram in gram_matrices(model, [*GENERAL, *EXAMPLES], (name.split(".")[1],), 0).items()
        if ".1." in place
    )
    assert torch.allclose(found, rows.T @ rows, rtol=1e-4, atol=1e-6)
    assert len(found) == model.config.hidden_size + (layer.bias is not None)
