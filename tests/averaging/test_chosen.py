"""Merges that choose values one by one: by hand on small tensors, the same bits everywhere, exact shares, seeds by name."""

import json
import re
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from averaging_models import TYPES, command, make, save_pair
from llm import averaging
from llm.averaging import live, ratios
from llm.averaging.files import arithmetic, chunks
from llm.averaging.files.average import average_files
from llm.averaging.live import average
from llm.averaging.merge import Blocks, merge_named, merged_methods
from llm.averaging.merge.choose import highest, noise, uniform
from llm.averaging.merge.sums import total
from llm.errors import UserError
from llm.grouping import Grouping
from llm.methods import METHODS, code_of

CHOOSING = ("trim", "dare", "fapm", "breadcrumbs", "ties", "dots")
THIRD = ("ties", "dots")


def merged(method, theta_0, theta, ratio, theta_pre=None, **options):
    """The merged values of one tensor "w", as a list."""
    models = [{"w": torch.tensor(values, dtype=torch.float64)} for values in (theta_0, theta, theta_pre or theta_0)]
    return average(*models[:2], ratio, merge_named(method, options), models[2])["w"].tolist()


def test_trimming_by_hand():
    theta_0, theta = [1.0, 2.0, 3.0, 4.0, 5.0], [1.5, 1.0, 3.25, 4.0, 8.0]
    assert merged("trim", theta_0, theta, 1.0, keep=0.4) == [1.0, 1.0, 3.0, 4.0, 8.0]
    assert merged("trim", theta_0, theta, 0.5, keep=0.6) == [1.25, 1.5, 3.0, 4.0, 6.5]
    assert merged("trim", theta_0, theta, 1.0, keep=1.0) == theta
    assert merged("trim", theta_0, theta, 0.0, keep=0.4) == theta_0


def test_fapm_by_hand():
    # mean |W_0| = 2; scores |d| (1 - 2 / |W_0|): 1 - 2, .5 (1 - .5), 1 (1 - .5), 0, and -inf where W_0 = 0
    theta_0, theta = [1.0, -4.0, 4.0, 1.0, 0.0], [2.0, -4.5, 5.0, 1.0, 3.0]
    assert merged("fapm", theta_0, theta, 1.0, keep=0.2) == [1.0, -4.0, 5.0, 1.0, 0.0]
    assert merged("fapm", theta_0, theta, 1.0, keep=0.4) == [1.0, -4.5, 5.0, 1.0, 0.0]
    assert merged("fapm", theta_0, theta, 0.5, keep=0.8) == [1.5, -4.25, 4.5, 1.0, 0.0]
    assert merged("fapm", theta_0, theta, 1.0, keep=1.0) == theta
    fresh = merged("fapm", [0.0] * 10, [1.0] * 10, 1.0, keep=0.2)
    assert sum(fresh) == 2.0, "of weights that were all 0, as of a new bias, that share is kept, too"


def test_breadcrumbs_by_hand():
    theta_0, theta = [0.0] * 5, [5.0, -4.0, 3.0, 2.0, -1.0]
    assert merged("breadcrumbs", theta_0, theta, 1.0, density=0.4, gamma=0.2) == [0.0, -4.0, 3.0, 0.0, 0.0]
    assert merged("breadcrumbs", theta_0, theta, 0.5, density=0.8, gamma=0.0) == [2.5, -2.0, 1.5, 1.0, 0.0]
    assert merged("breadcrumbs", theta_0, theta, 1.0, density=1.0, gamma=0.2) == theta  # fewer go where less is left
    assert merged("breadcrumbs", theta_0, theta, 1.0) == theta  # round(.01 * 5) is 0, and round(.91 * 5) all


def test_dare_by_hand():
    theta_0, theta = [float(k) for k in range(40)], [float(3 * k + 1) for k in range(40)]
    kept = uniform("w", 0, 40) >= 0.5
    assert 0 < kept.sum() < 40
    for ratio in (0.25, 1.0):
        expected = [a + ratio * (b - a) / 0.5 if m else a for a, b, m in zip(theta_0, theta, kept)]
        assert merged("dare", theta_0, theta, ratio, drop=0.5) == pytest.approx(expected, rel=1e-14)
    assert merged("dare", theta_0, theta, 1.0, drop=0.0) == theta
    assert merged("dare", theta_0, theta, 0.5, drop=0.5, mask=1) != merged("dare", theta_0, theta, 0.5, drop=0.5)


def test_ties_by_hand():
    pre = [0.0] * 6
    theta_0, theta = [4.0, -3.0, 2.0, 1.0, 0.0, 2.0], [3.0, 4.0, -2.0, 0.0, 5.0, 0.5]
    # kept of each, the three largest: theta_0's 4, -3 and one of the two 2s; theta's 3, 4, 5
    found = merged("ties", theta_0, theta, 0.5, pre, keep=0.5)
    # (4 + 3) / 2; the signs differ and 4 wins; theta_0's 2 alone; nothing; 5 alone; theta_0's 2 alone
    assert found in ([3.5, 4.0, 2.0, 0.0, 5.0, 0.0], [3.5, 4.0, 0.0, 0.0, 5.0, 2.0])
    # whole: at .25 the third sums to .75 * 2 - .25 * 2 > 0, the second to -.75 * 3 + .25 * 4 < 0, the last to a weighted mean
    expected = [3.75, -3.0, 2.0, 1.0, 5.0, 0.75 * 2 + 0.25 * 0.5]
    assert merged("ties", theta_0, theta, 0.25, pre, keep=1.0) == pytest.approx(expected)
    assert merged("ties", theta_0, theta, 0.5, pre, keep=1.0)[2] == 0.0  # they cancel: theta_pre stays
    for ratio, end in ((0.0, theta_0), (1.0, theta)):
        assert merged("ties", theta_0, theta, ratio, pre, keep=1.0) == end
    longer = merged("ties", theta_0, theta, 0.25, pre, keep=1.0, scale=1.5)
    assert longer == pytest.approx([1.5 * value for value in expected])
    moved = [[value + 1 for value in model] for model in (theta_0, theta, pre)]
    for scale in (1.0, 2.0):  # of what is added to theta_pre
        shifted = merged("ties", *moved[:2], 0.25, moved[2], keep=1.0, scale=scale)
        assert shifted == pytest.approx([scale * value + 1 for value in expected])


def test_dots_by_hand():
    pre, theta_0, theta = [1.0] * 4, [4.0, 5.0, 1.0, 1.0], [4.0, 5.0, 7.0, 9.0]
    # tuning's change (3, 4, 0, 0), half kept: all of its length; RLHF's (0, 0, 6, 8) likewise
    assert merged("dots", theta_0, theta, 0.5, pre, keep=0.5, sft=2.0) == pytest.approx([7.0, 9.0, 4.0, 5.0])
    # a quarter kept: 4 and 8 alone, stretched to lengths 5 and 10
    assert merged("dots", theta_0, theta, 2.0, pre, keep=0.25, sft=1.0) == pytest.approx([1.0, 6.0, 1.0, 21.0])
    assert merged("dots", theta_0, theta, 1.0, pre, keep=1.0, sft=1.0) == pytest.approx(theta)
    assert merged("dots", theta_0, theta_0, 1.0, pre, keep=0.5, sft=1.0) == pytest.approx(theta_0)


def test_extrapolation_goes_beyond_theta_and_others_do_not():
    assert merged("extrapolate", [1.0], [3.0], 1.5) == [4.0]
    assert merged("extrapolate", [1.0], [3.0], 0.25) == merged("ma", [1.0], [3.0], 0.25) == [1.5]
    with pytest.raises(
        UserError, match=r"ratios = 2.5 is not allowed; allowed are numbers from 0 \(theta_0\) to 2 \(1 is theta\)"
    ):
        merged("extrapolate", [1.0], [3.0], 2.5)
    for method in ("ma", "slerp", "trim", "ties"):
        with pytest.raises(
            UserError, match="ratios = 1.5 is not allowed; allowed are numbers from 0 .theta_0. to 1 .theta."
        ):
            merged(method, [1.0], [3.0], 1.5)


def pair(dtype, shape=(60, 70), seed=0):
    """theta_0, theta and theta_pre: small changes, so that many are equal in 16 bits."""
    rng = torch.Generator().manual_seed(seed)
    start = 0.02 * torch.randn(shape, generator=rng)
    return [(start + step * torch.randn(shape, generator=rng)).to(dtype) for step in (0.0, 1e-4, 3e-4)]


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("method", CHOOSING)
def test_memory_arrays_and_folders_give_the_same_bits_whatever_the_blocks(method, dtype, tmp_path, monkeypatch):
    """In torch by default and in small blocks, in numpy at once, and in a stream of folders with other blocks."""
    names = ("model.embed_tokens.weight", "model.layers.0.w", "model.norm.weight")
    models = [pair(dtype, shape, seed) for seed, shape in enumerate(((60, 70), (40, 30), (70,)))]
    states = [dict(zip(names, tensors, strict=True)) for tensors in zip(*models, strict=True)]
    folders = []
    for label, state in zip(("theta_0", "theta", "theta_pre"), states, strict=True):
        folders.append(tmp_path / label)
        folders[-1].mkdir()
        save_file(state, folders[-1] / "model.safetensors")
        (folders[-1] / "config.json").write_text('{"model_type": "llama", "tie_word_embeddings": true}')
    third = folders[2] if method in THIRD else None
    monkeypatch.setattr(chunks, "SIZE", 999)
    monkeypatch.setattr(arithmetic, "_BLOCK", 101)
    averaging.average(*folders[:2], 0.7, out=tmp_path / "out", method=method, theta_pre=third)
    streamed = load_file(tmp_path / "out" / "model.safetensors")
    whole = average(*states[:2], 0.7, method, states[2])
    monkeypatch.setattr(live, "_BLOCK_CHOSEN", 333)
    blocks = average(*states[:2], 0.7, method, states[2])
    merge = merge_named(method)
    for name in names:
        flat = [state[name].double().flatten().numpy() for state in states[: 3 if method in THIRD else 2]]
        prepared = merge.prepare(Blocks(lambda flat=flat: iter([tuple(flat)])), name)
        at_once = torch.from_numpy(merge.apply(tuple(flat), 0.7, prepared, 0)).float().to(dtype)
        assert torch.equal(whole[name], at_once.view(whole[name].shape))
        assert torch.equal(whole[name], blocks[name])
        assert torch.equal(whole[name], streamed[name])
        assert not torch.equal(whole[name], states[0][name])


@pytest.mark.parametrize("method", CHOOSING)
def test_the_order_and_number_of_tensors_decide_nothing(method):
    states = [{name: tensor.clone() for name in ("a", "b")} for tensor in pair(torch.bfloat16)]
    together = average(*states[:2], 1.0, method, states[2])
    turned = [dict(reversed(state.items())) for state in states]
    alone = [{"b": state["b"]} for state in states]
    for other in (average(*turned[:2], 1.0, method, turned[2]), average(*alone[:2], 1.0, method, alone[2])):
        assert torch.equal(other["b"], together["b"])
    if method == "dare":  # its choice is by name alone
        assert not torch.equal(together["a"], together["b"])


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from([0.0, -0.0, 1.0, -1.0, 2.0, 2.5, 1e-300, -3.0, float("-inf")]), min_size=1, max_size=60),
    st.floats(0, 1),
    st.integers(1, 20),
    st.sampled_from([0, 3, 1 << 20]),
)
def test_exactly_the_share_is_kept_and_no_larger_score_is_left(scores, share, size, together):
    values = np.array(scores)

    def blocks():
        return iter(np.split(values, range(size, len(values), size)))

    with pytest.MonkeyPatch.context() as patch:  # candidates are counted, or sorted
        patch.setattr("llm.averaging.merge.choose._TOGETHER", together)
        cut = highest(blocks, share, "w")
    kept = cut.keeps(values, 0)
    assert kept.sum() == round(share * len(values))
    if 0 < kept.sum() < len(values):
        assert values[kept].min() >= values[~kept].max()
    parts = [cut.keeps(values[first : first + size], first) for first in range(0, len(values), size)]
    assert (np.concatenate(parts) == kept).all()


def test_equal_scores_are_kept_without_order():
    kept = highest(lambda: iter([np.ones(20_000)]), 0.25, "w").keeps(np.ones(20_000), 0)
    assert kept.sum() == 5000
    for half in np.split(kept, 2):  # within four standard errors of half of those kept
        assert abs(half.sum() - 2500) < 4 * np.sqrt(20_000 * 0.25 * 0.75 / 4)
    other = highest(lambda: iter([np.ones(20_000)]), 0.25, "v").keeps(np.ones(20_000), 0)
    assert not np.array_equal(kept, other)


def test_dare_is_unbiased_within_three_standard_errors():
    theta_0, theta = (tensor.double() for tensor in pair(torch.float32, (400,))[:2])
    masks = [merge_named("dare", {"drop": 0.9, "mask": mask}) for mask in range(600)]
    drawn = torch.stack([average({"w": theta_0}, {"w": theta}, 0.6, merge)["w"] for merge in masks])
    error = (drawn.mean(0) - (0.4 * theta_0 + 0.6 * theta)) / (0.6 * (theta - theta_0).abs() * np.sqrt(9 / 600))
    assert error.mean().abs() < 3 / np.sqrt(400)
    assert 0.85 < error.std() < 1.15  # and as wide as Bernoulli numbers make it


def test_noise_does_not_depend_on_where_it_is_begun():
    whole = noise("w", 0, 1000)
    assert (np.concatenate([noise("w", 0, 333), noise("w", 333, 667)]) == whole).all()
    assert len(np.unique(whole)) == 1000
    assert not (noise("w", 0, 1000, seed=1) == whole).any() and not (noise("v", 0, 1000) == whole).any()
    assert abs(uniform("w", 0, 100_000).mean() - 0.5) < 4 / np.sqrt(12 * 100_000)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(allow_nan=False, allow_infinity=False, min_value=-1e200, max_value=1e200), max_size=40),
    st.integers(1, 9),
)
def test_sums_are_exact_in_any_blocks(values, size):
    from math import fsum

    array = np.array(values, np.float64)
    assert total(np.split(array, range(size, len(values), size))) == (fsum(values), len(values))


@pytest.mark.parametrize("method", CHOOSING)
def test_what_both_agree_on_stays_and_an_unchanged_model_is_theta_0(method):
    if method in THIRD:
        return
    theta_0, theta, _ = pair(torch.float32)
    theta[::2] = theta_0[::2]
    for ratio in (0.3, 1.0):
        found = average({"w": theta_0}, {"w": theta}, ratio, method)["w"]
        assert torch.equal(found[::2], theta_0[::2])
        assert torch.equal(average({"w": theta_0}, {"w": theta_0}, ratio, method)["w"], theta_0)
    assert torch.equal(average({"w": theta_0}, {"w": theta}, 0.0, method)["w"], theta_0)


def test_slerp_is_ma_on_a_near_pair():
    theta_0, theta, _ = pair(torch.float32)
    near = [average({"w": theta_0}, {"w": theta}, 0.8, method)["w"].double() for method in ("slerp", "ma")]
    moved = theta.double() - theta_0.double()
    shares = [float(((one - theta_0) * moved).sum() / moved.square().sum()) for one in near]
    assert shares == pytest.approx([0.8, 0.8], abs=3e-3)
    assert (near[0] - near[1]).norm() < 5e-3 * moved.norm()


def test_the_table_and_the_merges_agree():
    for name, method in merged_methods().items():
        merge = code_of(method)
        assert (merge.most, merge.third) == (method.most, method.theta_pre), name
        assert set(method.defaults) == set(method.options), name
        order = method.order
        assert (order.starts == "theta_0", order.ends == "theta") == (merge.starts, merge.ends), name


def test_the_command_takes_methods_options_and_a_third_model(tmp_path, monkeypatch, capsys):
    theta_0, theta = save_pair(tmp_path, "llama-tied-biases")
    make("llama-tied-biases", 2).save_pretrained(tmp_path / "theta_pre")
    states = [load_file(tmp_path / name / "model.safetensors") for name in ("theta_0", "theta", "theta_pre")]
    common = ["average", "--theta-0", theta_0, "--theta", theta]

    def run(out, *more):
        return command(monkeypatch, *common, "--out", tmp_path / out, *more)

    assert run("trimmed", "--alpha", 0.5, "--method", "trim", "--option", "keep=0.3") == 0
    card = (tmp_path / "trimmed" / "README.md").read_text()
    assert "merged by the method trim, keep 0.3: each weight is\ntheta_0 + alpha (theta - theta_0) for each" in card
    assert run("ties", "--alpha", 0.5, "--method", "ties", "--theta-pre", tmp_path / "theta_pre") == 0
    assert "of theta_pre (theta_pre) are used" in (tmp_path / "ties" / "README.md").read_text()
    assert '"theta_pre": {' in (tmp_path / "ties" / "averaging.json").read_text()
    config = tmp_path / "theta_pre" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"rms_norm_eps": 0.5}))
    assert run("other", "--alpha", 0.5, "--method", "ties", "--theta-pre", tmp_path / "theta_pre") == 2
    assert "rms_norm_eps in config.json is" in capsys.readouterr().err
    assert run("beyond", "--alpha", 1.5, "--extrapolate") == 0
    capsys.readouterr()
    assert run("parts", "--alphas=-0,1.5,1", "--extrapolate") == 0
    assert "alpha 0 " in (said := capsys.readouterr().out) and "alpha -0" not in said
    assert run("part", "--alpha", 1.5, "--part", "output", "--extrapolate") == 0
    expected = {
        "trimmed": average(*states[:2], 0.5, merge_named("trim", {"keep": 0.3})),
        "ties": average(*states[:2], 0.5, "ties", states[2]),
        "beyond": average(*states[:2], 1.5, "extrapolate"),
    }
    for out, last in (("parts", 1.0), ("part", 1.5)):
        written = load_file(tmp_path / out / "model.safetensors")["model.layers.6.mlp.up_proj.weight"]
        assert torch.equal(written, average(*states[:2], last, "extrapolate")["model.layers.6.mlp.up_proj.weight"])
    for out, state in expected.items():
        written = load_file(tmp_path / out / "model.safetensors")
        assert all(torch.equal(tensor, state[name]) for name, tensor in written.items()), out
    capsys.readouterr()
    for more, said in REFUSED.items():
        assert run("refused", *more) == 2, more
        assert said in capsys.readouterr().err
        assert not (tmp_path / "refused").exists()


REFUSED = {
    (
        "--alpha",
        1.5,
    ): "alpha = 1.5 is not allowed; allowed are numbers from 0 (theta_0) to 1 (theta), and with --extrapolate to 2.",
    ("--alpha", 0.5, "--method", "ama"): ", regmean; its ratios, which `adapt` finds, are given by --alphas-file.",
    ("--alpha", 0.5, "--parts", 99): "parts = 99 is not allowed without --alphas or --part",
    ("--alpha", 0.5, "--level", "layer"): "level = 'layer' is not allowed without --alphas or --part",
    ("--alpha", 0.5, "--seed", 7): "seed = 7 is not allowed without --rounding stochastic or method regmean",
    (
        "--alpha",
        0.5,
        "--rounding",
        "stochastic",
        "--seed",
        -1,
    ): "seed = -1 is not allowed; allowed are whole numbers from 0.",
    (
        "--alpha",
        2.5,
        "--extrapolate",
    ): "alpha = 2.5 is not allowed; allowed are numbers from 0 (theta_0) to 2 (1 is theta)",
    (
        "--alpha",
        1.5,
        "--extrapolate",
        "--method",
        "trim",
    ): "method = 'trim' is not allowed with --extrapolate; allowed is ma",
    ("--alpha", 0.5, "--method", "soup"): "method = 'soup' is not allowed; allowed are ma, slerp, trim, dare, fapm, ",
    (
        "--alpha",
        0.5,
        "--method",
        "trim",
        "--option",
        "keep=2",
    ): "keep = '2' is not allowed with method trim; allowed are numbers in (0, 1]",
    (
        "--alpha",
        0.5,
        "--method",
        "trim",
        "--option",
        "drop=.5",
    ): "drop is '.5', which is no option of method trim; allowed are keep",
    ("--alpha", 0.5, "--method", "trim", "--option", "keep"): "option = 'keep' is not allowed; allowed are KEY=VALUE",
    ("--alpha", 0.5, "--method", "ties"): "theta-pre is None, but method 'ties' needs theta-pre",
    ("--alpha", 0.5, "--theta-pre", "x"): "theta-pre is 'x', but method 'ma' takes no theta-pre",
    ("--alphas", "0.1,0.2,0.3", "--method", "lines"): "method is 'lines', which has a rule for its ratios",
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("where", ["theta_0", "theta", "theta_pre"])
@pytest.mark.parametrize("method", CHOOSING)
def test_values_that_are_not_finite_are_refused_wherever_they_are(method, where, value, tmp_path):
    for label, tensor in zip(("theta_0", "theta", "theta_pre"), pair(torch.float32, (4, 5)), strict=True):
        (tmp_path / label).mkdir()
        if label == where:
            tensor[1, 2] = -value
        save_file({"model.layers.0.w": tensor}, tmp_path / label / "model.safetensors")
        (tmp_path / label / "config.json").write_text('{"model_type": "llama"}')
    folders = [tmp_path / label for label in ("theta_0", "theta")]
    third = tmp_path / "theta_pre" if method in THIRD else None
    if where == "theta_pre" and third is None:
        return
    named = where.replace("_", "-")
    with pytest.raises(UserError, match=f"model.layers.0.w of {named} .* holds NaN or Inf"):
        averaging.average(*folders, 0.5, out=tmp_path / "out", method=method, theta_pre=third)
    assert not (tmp_path / "out").exists()


def test_methods_without_a_third_model_in_memory_are_refused():
    with pytest.raises(UserError, match="theta_pre is missing; the method needs it"):
        average({"w": torch.ones(2)}, {"w": torch.zeros(2)}, 0.5, "ties")
    with pytest.raises(UserError, match="w has shape 3 in theta_pre and 2 in theta"):
        average({"w": torch.ones(2)}, {"w": torch.zeros(2)}, 0.5, "ties", {"w": torch.ones(3)})
    assert METHODS["ties"].theta_pre


@pytest.mark.parametrize("method", ["fapm", "dots"])  # those that read most
def test_memory_does_not_grow_with_the_tensor(method, tmp_path, monkeypatch):
    """Of a tensor of a million values, 8 MB in fp64, blocks of 0.26 MB are held, and counts of 0.5 MB each."""
    monkeypatch.setattr(chunks, "SIZE", 1 << 15)
    monkeypatch.setattr("llm.averaging.merge.choose._TOGETHER", 1 << 16)
    monkeypatch.setattr("llm.averaging.files.write._BUFFER", 1 << 18)
    for label, tensor in zip(("theta_0", "theta", "theta_pre"), pair(torch.bfloat16, (1000, 1000)), strict=True):
        (tmp_path / label).mkdir()
        save_file({"model.layers.0.w": tensor}, tmp_path / label / "model.safetensors")
        (tmp_path / label / "config.json").write_text('{"model_type": "llama"}')
    third = tmp_path / "theta_pre" if method in THIRD else None
    hashing = 4 * 3 << 20  # bytes of the buffers of those who hash the sources
    tracemalloc.start()
    averaging.average(tmp_path / "theta_0", tmp_path / "theta", 0.5, out=tmp_path / "o", method=method, theta_pre=third)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < hashing + (7 << 20)


@pytest.mark.parametrize("method", merged_methods())
def test_what_a_recipe_leaves_is_theta_s_or_theta_0_s_whatever_the_method(method, tmp_path):
    """Outside of one part, of what --only names, and of embeddings kept as in one model; though ratio 1 may be no theta."""
    theta_0, theta = save_pair(tmp_path, "llama")
    pre = save_pair(tmp_path / "more", "llama")[1] if method in THIRD else None
    low, high = (load_file(folder / "model.safetensors") for folder in (theta_0, theta))
    ends = {"theta_0": low, "theta": high}
    recipes = {
        "only": (replace(ratios.uniform(0.5, Grouping()), only="mlp"), lambda name: "" if "mlp" in name else "theta"),
        "part": (
            ratios.one_part("input", 0.5, Grouping(embeddings="own")),
            lambda name: "" if re.search(r"layers\.[01]\.", name) else "theta",
        ),
        "place": (
            ratios.uniform(0.5, Grouping(embeddings="theta_0", norm="theta")),
            lambda name: {"model.embed_tokens.weight": "theta_0", "model.norm.weight": "theta"}.get(name, ""),
        ),
    }
    for label, (recipe, end) in recipes.items():
        average_files(theta_0, theta, tmp_path / label, recipe, method=method, theta_pre=pre)
        made = load_file(tmp_path / label / "model.safetensors")
        for name, tensor in made.items():
            assert not end(name) or torch.equal(tensor, ends[end(name)][name]), (label, name)
        changed = [name for name in made if not end(name) and not torch.equal(made[name], high[name])]
        assert changed and (label == "place") == ("lm_head.weight" in changed)
    third = load_file(pre / "model.safetensors") if pre else None
    grouping = Grouping(embeddings="theta_0", norm="theta")
    in_memory = averaging.average(low, high, 0.5, grouping=grouping, method=method, theta_pre=third)
    for name, key in (("model.embed_tokens.weight", "theta_0"), ("model.norm.weight", "theta")):
        assert torch.equal(in_memory[name], ends[key][name])
