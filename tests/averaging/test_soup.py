"""Several runs from one theta_0: their weighted mean in theta's place, for models and adapters, against plain fp64."""

import json
import tracemalloc

import peft
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from averaging_models import command, make, merged_by_peft, save_tokenizer, ulp
from llm import averaging
from llm.averaging.files import chunks
from llm.averaging.live import average
from llm.averaging.precision import Effect
from llm.averaging.soup import Soup, mean, repeated
from llm.errors import UserError

LLAMA = ["q_proj", "down_proj"]
NAMES = {"model.embed_tokens.weight": (60, 30), "model.layers.0.w": (40, 30), "model.norm.weight": (30,)}
TYPES = (torch.bfloat16, torch.float32)


def tensors(dtype, seed, start=None, names=NAMES):
    """A model's tensors; near `start`, if it is given."""
    rng = torch.Generator().manual_seed(seed)
    noise = {name: torch.randn(shape, generator=rng) for name, shape in names.items()}
    return {
        name: (0.02 * one if start is None else start[name].float() + 1e-3 * one).to(dtype)
        for name, one in noise.items()
    }


def save(folder, state, **config):
    folder.mkdir()
    save_file(state, folder / "model.safetensors")
    settings = {"model_type": "llama", "tie_word_embeddings": True} | config
    (folder / "config.json").write_text(json.dumps(settings))
    return folder


def runs(path, dtype, count=3):
    """theta_0 and `count` runs from it: (folders, states)."""
    start = tensors(dtype, 0)
    states = [start, *(tensors(dtype, 1 + seed, start) for seed in range(count))]
    return [save(path / f"m{place}", state) for place, state in enumerate(states)], states


def exact(states, weights):
    """The weighted mean of state dicts in fp64, by a sum of its own."""
    whole = sum(weights)
    return {n: sum(w / whole * s[n].double() for w, s in zip(weights, states, strict=True)) for n in states[0]}


def assert_nearest(made, wanted, dtype):
    """Rounded once, to nearest: within half a unit in the last place of fp64's value."""
    assert made.dtype == dtype
    assert ((made.double() - wanted).abs() <= 0.500001 * ulp(wanted, dtype)).all()


@pytest.mark.parametrize("dtype", TYPES)
def test_values_are_those_of_fp64_and_so_are_the_effective_ratio_and_the_card(dtype, tmp_path, monkeypatch):
    folders, states = runs(tmp_path, dtype)
    monkeypatch.setattr(chunks, "SIZE", 777)
    others, weights = folders[2:], (2, 1, 0.5)
    report = averaging.average(*folders[:2], 0.3, out=tmp_path / "out", others=others, weights=weights)
    theta, made = exact(states[1:], weights), load_file(tmp_path / "out" / "model.safetensors")
    effect = Effect()
    for name, start in states[0].items():
        wanted = 0.7 * start.double() + 0.3 * theta[name]
        assert_nearest(made[name], wanted, dtype)
        effect.add(*(one.double().flatten() for one in (start, theta[name], made[name])), 0.3)
    found = json.loads((tmp_path / "out" / "averaging.json").read_text())
    assert found["effect"]["alpha"] == pytest.approx(effect.alpha, abs=1e-6)
    assert found["effect"]["changed"] == pytest.approx(effect.changed) and effect.changed > 0.5
    assert report.details["soup"] == pytest.approx({"theta": 4 / 7, "with_1": 2 / 7, "with_2": 1 / 7})
    assert found["sources"] == {"theta_0": "m0", "theta": "m1", "with_1": "m2", "with_2": "m3"}
    assert found["hashes"].keys() == found["sources"].keys()
    card = (tmp_path / "out" / "README.md").read_text()
    assert "the mean of m1 (share 0.5714) and m2 (share 0.2857) and m3 (share 0.1429)\n(theta, after RLHF)" in card
    assert 'base_model: ["m0", "m1", "m2", "m3"]' in card


@pytest.mark.parametrize("dtype", TYPES)
def test_the_ends_and_what_all_agree_on_are_exact(dtype, tmp_path):
    folders, states = runs(tmp_path, dtype)
    averaging.average(*folders[:2], 0.0, out=tmp_path / "start", others=folders[2:])
    assert (tmp_path / "start" / "model.safetensors").read_bytes() == (folders[0] / "model.safetensors").read_bytes()
    averaging.average(*folders[:2], 1.0, out=tmp_path / "end", others=folders[2:])
    for name, tensor in load_file(tmp_path / "end" / "model.safetensors").items():
        assert_nearest(tensor, exact(states[1:], (1, 1, 1))[name], dtype)
    averaging.average(*folders[:2], 1.0, out=tmp_path / "same", others=[folders[1]] * 2)
    assert (tmp_path / "same" / "model.safetensors").read_bytes() == (folders[1] / "model.safetensors").read_bytes()


@pytest.mark.parametrize("method", ["slerp", "trim", "ties"])
def test_other_methods_take_the_mean_for_theta(method, tmp_path, monkeypatch):
    folders, states = runs(tmp_path, torch.float32, 4)
    monkeypatch.setattr(chunks, "SIZE", 555)
    third = {"theta_pre": folders[4]} if method == "ties" else {}
    averaging.average(*folders[:2], 0.6, out=tmp_path / "out", method=method, others=folders[2:4], **third)
    theta = mean([{name: one.double() for name, one in state.items()} for state in states[1:4]])
    wanted = average(states[0], theta, 0.6, method, states[4])
    for name, tensor in load_file(tmp_path / "out" / "model.safetensors").items():
        torch.testing.assert_close(tensor, wanted[name].float(), rtol=1e-7, atol=0)


def test_rows_that_theta_adds_are_the_mean_s(tmp_path):
    start, longer = tensors(torch.float32, 0), NAMES | {"model.embed_tokens.weight": (64, 30)}
    several = [tensors(torch.float32, seed, names=longer) for seed in (1, 2)]
    folders = [save(tmp_path / "m0", start, vocab_size=60)]
    folders += [save(tmp_path / f"m{place + 1}", state, vocab_size=64) for place, state in enumerate(several)]
    averaging.average(*folders[:2], 0.5, out=tmp_path / "out", others=folders[2:], union=True)
    made = load_file(tmp_path / "out" / "model.safetensors")["model.embed_tokens.weight"]
    rows = exact(several, (1, 1))["model.embed_tokens.weight"]
    assert torch.equal(made[60:], rows[60:].float())
    assert torch.equal(made[:60], (0.5 * start["model.embed_tokens.weight"].double() + 0.5 * rows[:60]).float())


def test_memory_does_not_grow_with_the_tensor(tmp_path, monkeypatch):
    """Of tensors of a million values, 2 MB each in bf16 and 8 in fp64, blocks of 0.26 MB are held."""
    monkeypatch.setattr(chunks, "SIZE", 1 << 15)
    monkeypatch.setattr("llm.averaging.files.write._BUFFER", 1 << 18)
    large = {"model.layers.0.w": (1000, 1000)}
    folders = [save(tmp_path / f"m{seed}", tensors(torch.bfloat16, seed, names=large)) for seed in range(4)]
    hashing = 4 * 4 << 20  # bytes of the buffers of those who hash the sources
    tracemalloc.start()
    averaging.average(*folders[:2], 0.5, out=tmp_path / "out", others=folders[2:])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < hashing + (5 << 20)


def test_a_folder_that_is_given_twice_is_noted(tmp_path):
    soup = Soup((tmp_path / "b", tmp_path / "x" / ".." / "a", tmp_path / "b"))
    assert repeated(tmp_path / "a", soup) == [
        "with 2 is the folder that theta is, which so counts twice.",
        "with 3 is the folder that with 1 is, which so counts twice.",
    ]


def adapters(path, *settings):
    """theta_0 and randomly drawn adapters on it."""
    make("llama", 0).save_pretrained(path / "theta_0")
    save_tokenizer(path / "theta_0")
    found = [path / "theta_0"]
    for seed, changes in enumerate(settings, start=1):
        config = peft.LoraConfig(**{"r": 4, "lora_alpha": 12, "task_type": "CAUSAL_LM"} | changes)
        model, rng = peft.get_peft_model(make("llama", 0), config), torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.requires_grad:
                    parameter.normal_(0, 0.2, generator=rng)
        model.save_pretrained(path / f"run{seed}")
        found.append(path / f"run{seed}")
    return found


def test_adapters_of_different_ranks_and_places_are_merged_as_peft_merges_them(tmp_path, monkeypatch):
    settings = [
        {"target_modules": LLAMA},
        {"target_modules": ["o_proj", "down_proj"], "r": 3, "modules_to_save": ["norm"]},
    ]
    folders = adapters(tmp_path, *settings)
    monkeypatch.setattr(chunks, "SIZE", 100)  # ends within a row
    averaging.average(*folders[:2], 0.4, out=tmp_path / "out", others=folders[2:], weights=(1, 3), full=True)
    theta, start = (
        exact([merged_by_peft(folders[0], one) for one in folders[1:]], (1, 3)),
        load_file(folders[0] / "model.safetensors"),
    )
    made = load_file(tmp_path / "out" / "model.safetensors")
    assert made.keys() == start.keys()
    moved = 0
    for name, tensor in made.items():
        wanted = 0.6 * start[name].double() + 0.4 * theta[name]
        torch.testing.assert_close(tensor.double(), wanted, rtol=2e-7, atol=1e-8)
        moved += not torch.equal(tensor, start[name])
    assert moved >= 22
    averaging.average(*folders[:2], 0.0, out=tmp_path / "start", others=folders[2:], full=True)
    assert (tmp_path / "start" / "model.safetensors").read_bytes() == (folders[0] / "model.safetensors").read_bytes()


def test_adapters_and_models_that_do_not_go_together_are_refused(tmp_path):
    folders = adapters(tmp_path, {"target_modules": LLAMA}, {"target_modules": [*LLAMA, "embed_tokens"]})
    make("llama", 5).save_pretrained(tmp_path / "model")
    model = tmp_path / "model"
    for theta, other, full, said in (
        (folders[1], folders[2], False, "allowed with --with is --full"),
        (folders[1], model, True, "no adapter, but theta is one; allowed with --with are models only"),
        (model, folders[1], False, "an adapter; allowed with --with are models only"),
    ):
        with pytest.raises(UserError, match=said):
            averaging.average(folders[0], theta, 0.5, out=tmp_path / "out", others=[other], full=full)
    tied = make("llama", 6, tie_word_embeddings=True)
    tied.save_pretrained(tmp_path / "tied")
    with pytest.raises(UserError, match="lm_head.weight is a matrix of its own in some|heads of one kind"):
        averaging.average(folders[0], model, 0.5, out=tmp_path / "out", others=[tmp_path / "tied"])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("others", "weights", "said"),
    [
        (0, (1,), "weight = 1 is not allowed without --with"),
        (2, (1, 2), "weight is given 2 times; allowed is 3"),
        (1, (1, 0), "weight = 0 is not allowed; allowed are numbers above 0"),
        (1, (float("nan"), 1), "weight = nan"),
    ],
)
def test_weights_are_checked(others, weights, said, tmp_path):
    with pytest.raises(UserError, match=said):
        Soup((tmp_path,) * others, weights)


def test_what_differs_is_named(tmp_path):
    folders, states = runs(tmp_path, torch.float32, 2)
    wrong = save(tmp_path / "wide", states[1] | {"model.norm.weight": torch.ones(31)})
    with pytest.raises(UserError, match="model.norm.weight has shape 31 in with 1 and 30 in theta"):
        averaging.average(*folders[:2], 0.5, out=tmp_path / "out", others=[wrong])
    bad = save(tmp_path / "bad", states[1] | {"model.norm.weight": torch.full((30,), torch.inf)})
    with pytest.raises(UserError, match="model.norm.weight of with 2 .* holds NaN or Inf"):
        averaging.average(*folders[:2], 0.5, out=tmp_path / "out", others=[folders[2], bad])
    with pytest.raises(UserError, match="with 1 is .*nowhere'"):
        averaging.average(*folders[:2], 0.5, out=tmp_path / "out", others=[tmp_path / "nowhere"])
    with pytest.raises(UserError, match="others and weights, if theta_0 and theta are both folders"):
        averaging.average(states[0], states[1], 0.5, others=[folders[2]])
    assert not (tmp_path / "out").exists()


def test_the_command_and_a_recipe_do_the_same(tmp_path, monkeypatch, capsys):
    folders, _ = runs(tmp_path, torch.bfloat16, 2)
    given = ("--theta-0", folders[0], "--theta", folders[1], "--with", folders[2], "--weight", 1, "--weight", 3)
    assert command(monkeypatch, "average", *given, "--alpha", 0.5, "--out", tmp_path / "out") == 0
    assert "effective alpha" in capsys.readouterr().out
    names = dict(zip(("theta_0", "theta"), map(str, folders[:2])))
    recipe = names | {"with": [str(folders[2])], "weight": [1, 3], "alpha": 0.5}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    assert command(monkeypatch, "average", "--config", tmp_path / "recipe.yaml", "--out", tmp_path / "again") == 0
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == (
        tmp_path / "again" / "model.safetensors"
    ).read_bytes()
    assert "--with m2 --weight 1 --weight 3 --alpha 0.5" in (tmp_path / "out" / "README.md").read_text()
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe | {"weight": [1, "three"]}))
    assert command(monkeypatch, "average", "--config", tmp_path / "recipe.yaml", "--out", tmp_path / "x") == 2
    assert "weight = 'three' is not allowed; allowed are numbers above 0" in capsys.readouterr().err
