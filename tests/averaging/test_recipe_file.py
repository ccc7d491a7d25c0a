"""Recipes in YAML, filters by name, gradients over the layers, models of the hub's cache, and what the card says of all that."""

import json
import os

import pytest
import torch
import yaml
from safetensors.torch import load_file

from averaging_models import command, make, reference, save_pair, save_tokenizer
from llm.averaging.ratios import in_order, resolve
from llm.errors import UserError
from llm.grouping import Grouping
from llm.models.cache import cache_folder, local_model, model_name


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pair")
    save_pair(folder, "llama")
    return folder


def run(monkeypatch, pair, out, *more, code=0):
    folders = ("--theta-0", pair / "theta_0", "--theta", pair / "theta")
    assert command(monkeypatch, "average", *folders, "--out", out, *more) == code
    return load_file(out / "model.safetensors") if not code else None


def states(pair):
    return [load_file(pair / name / "model.safetensors") for name in ("theta_0", "theta")]


def test_a_filter_leaves_other_tensors_as_theta_s(pair, tmp_path, monkeypatch, capsys):
    made = run(monkeypatch, pair, tmp_path / "out", "--alpha", "0.25", "--only", "mlp|attn")
    low, high = states(pair)
    for name, tensor in made.items():
        ratio = 0.25 if "mlp" in name or "attn" in name else 1.0
        assert torch.equal(tensor, reference(low[name], high[name], ratio).float())
    assert "the rest         alpha 1 " in capsys.readouterr().out
    for only, said in (("nothing_here", "which no tensor's name has"), ("(", "which is no regular expression")):
        run(monkeypatch, pair, tmp_path / "x", "--alpha", "0.25", "--only", only, code=2)
        assert said in capsys.readouterr().err


def test_a_gradient_runs_over_the_layers(pair, tmp_path, monkeypatch, capsys):
    made = run(
        monkeypatch, pair, tmp_path / "out", "--alphas", "0..1", "--embeddings", "own", "--norm", "own", "--head", "own"
    )
    low, high = states(pair)
    layers = 1 + max(int(name.split(".")[2]) for name in low if ".layers." in name)
    for name, tensor in made.items():
        ratio = int(name.split(".")[2]) / (layers - 1) if ".layers." in name else 0.0 if "embed" in name else 1.0
        assert torch.allclose(tensor.double(), reference(low[name], high[name], ratio), rtol=1e-6, atol=1e-9), name
    for given, said in (
        (("--alphas", "0..2"), "ratio 2 of alphas is 2"),
        (("--alphas", "0..a"), "with .. between them"),
    ):
        run(monkeypatch, pair, tmp_path / "x", *given, code=2)
        assert said in capsys.readouterr().err
    run(monkeypatch, pair, tmp_path / "x", "--alphas", "0..1", "--parts", "3", code=2)
    assert "a gradient over the layers" in capsys.readouterr().err


def test_anchors_lie_equally_far_apart():
    names = [f"layers.{number}.w" for number in range(5)]
    found = resolve(in_order("0.2..1..0.6", Grouping(), None), names, {})
    assert list(found.groups.values()) == pytest.approx([0.2, 0.6, 1.0, 0.8, 0.6])
    assert resolve(in_order("0.3..0.9", Grouping(), None), names[:1], {}).groups == {"layer1": 0.3}


def test_a_recipe_does_what_the_options_do_and_stands_in_the_card(pair, tmp_path, monkeypatch, capsys):
    recipe = {
        "theta_0": str(pair / "theta_0"),
        "theta": str(pair / "theta"),
        "alphas": [0.9, 0.4, 0.2],
        "only": "mlp",
        "dtype": "bfloat16",
    }
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    assert command(monkeypatch, "average", "--config", tmp_path / "recipe.yaml", "--out", tmp_path / "a") == 0
    expected = run(monkeypatch, pair, tmp_path / "b", "--alphas", "0.9,0.4,0.2", "--only", "mlp", "--dtype", "bfloat16")
    made = load_file(tmp_path / "a" / "model.safetensors")
    assert all(torch.equal(tensor, made[name]) for name, tensor in expected.items())
    card = (tmp_path / "a" / "README.md").read_text()
    assert f"```yaml\n{(tmp_path / 'recipe.yaml').read_text()}```" in card
    assert "alignment-tax average --config recipe.yaml" in card
    capsys.readouterr()
    both = ("average", "--config", tmp_path / "recipe.yaml", "--out", tmp_path / "c", "--only", "attn")
    assert command(monkeypatch, *both) == 2
    assert "only is given on the command line, too" in capsys.readouterr().err


MERGEKIT = {
    "linear": (
        {"merge_method": "linear", "models": [{"model": 0, "parameters": {"weight": 1}}, {"model": 1, "parameters": {"weight": 3}}], "dtype": "float32"},
        ("--alpha", "0.75"),
    ),
    "slerp": (
        {"merge_method": "slerp", "base_model": 1, "models": [{"model": 0}, {"model": 1}], "parameters": {"t": 0.25}},
        ("--alpha", "0.75", "--method", "slerp"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("method", MERGEKIT)
def test_recipes_of_mergekit_are_read_where_they_mean_the_same(method, pair, tmp_path, monkeypatch):
    content, options = MERGEKIT[method]
    names = [str(pair / "theta_0"), str(pair / "theta")]
    content = content | {"models": [one | {"model": names[one["model"]]} for one in content["models"]]}
    if "base_model" in content:
        content["base_model"] = names[content["base_model"]]
    (tmp_path / "mergekit.yml").write_text(yaml.safe_dump(content))
    assert command(monkeypatch, "average", "--config", tmp_path / "mergekit.yml", "--out", tmp_path / "out") == 0
    made = load_file(tmp_path / "out" / "model.safetensors")
    for name, tensor in run(monkeypatch, pair, tmp_path / "same", *options).items():
        torch.testing.assert_close(made[name], tensor, rtol=1e-6, atol=1e-8)


TWO = [{"model": "a"}, {"model": "b"}]
WEIGHTED = [{"model": "a", "parameters": {"weight": 0.5}}, {"model": "b", "parameters": {"weight": 1.0}}]
BAD = {
    "an unknown key": ({"alpha": 0.5, "beta": 1}, "beta is an unknown key"),
    "another type": ({"alpha": "half"}, "alpha is 'half', which the option --alpha does not allow"),
    "a truth value": ({"alpha": True}, "alpha is True"),
    "nothing": ({}, "allowed are keys with values"),
    "another method": ({"merge_method": "ties", "models": TWO}, "merge_method is 'ties', allowed are linear, slerp"),
    "slices": ({"merge_method": "slerp", "slices": []}, "slices of mergekit's recipes is not read"),
    "three models": ({"merge_method": "linear", "models": [*TWO, {"model": "c"}]}, "allowed are two"),
    "no weight": ({"merge_method": "linear", "models": TWO}, "weight is None, allowed is one number"),
    "a sum that is not one": (
        {"merge_method": "linear", "models": WEIGHTED, "parameters": {"normalize": False}},
        "sum 1.5, allowed is 1",
    ),
    "t of tensors": (
        {"merge_method": "slerp", "base_model": "a", "models": TWO, "parameters": {"t": [0, 1]}},
        "t is [0, 1]",
    ),
    "another base": (
        {"merge_method": "slerp", "base_model": "c", "models": TWO, "parameters": {"t": 0.5}},
        "base_model is 'c'",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_other_recipes_are_refused(case, tmp_path):
    from llm.averaging.recipe_file import read_recipe

    content, said = BAD[case]
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(UserError) as raised:
        read_recipe(tmp_path / "recipe.yaml")
    assert said in str(raised.value)
    with pytest.raises(UserError, match="is no file"):
        read_recipe(tmp_path / "nowhere.yaml")


def test_without_models_the_missing_one_is_named(tmp_path, monkeypatch, capsys):
    assert command(monkeypatch, "average", "--alpha", "0.5", "--out", tmp_path / "out") == 2
    assert "theta-0 is not given; give --theta-0 or --config" in capsys.readouterr().err


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A hub's cache with the models org/sft and org/rlhf."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    for seed, name in enumerate(("sft", "rlhf")):
        home = tmp_path / "hub" / f"models--org--{name}"
        snapshot = home / "snapshots" / f"{seed}0abc"
        make("llama", seed).save_pretrained(snapshot)
        save_tokenizer(snapshot)
        (home / "refs").mkdir()
        (home / "refs" / "main").write_text(f"{seed}0abc")
        (snapshot / "README.md").write_text(f"---\nlicense: {'mit' if seed else 'apache-2.0'}\n---\n# x\n")
    return tmp_path


def test_models_of_the_cache_are_found_by_their_names_and_called_by_them(cache, monkeypatch, capsys):
    given = ("average", "--theta-0", "org/sft", "--theta", "org/rlhf", "--alpha", "0.5", "--out", cache / "out")
    assert command(monkeypatch, *given) == 0
    card = (cache / "out" / "README.md").read_text()
    head = yaml.safe_load(card.split("---\n")[1])
    assert head["base_model"] == ["org/sft", "org/rlhf"] and head["base_model_relation"] == "merge"
    assert "merge" in head["tags"] and head["license"] == "other" and head["library_name"] == "transformers"
    assert "theta_0: apache-2.0, theta: mit" in card and "0abc" not in card
    assert "alignment-tax average --theta-0 org/sft --theta org/rlhf --alpha 0.5" in card
    stored = json.loads((cache / "out" / "averaging.json").read_text())
    assert stored["sources"] == {"theta_0": "org/sft", "theta": "org/rlhf"} and stored["version"] in card
    capsys.readouterr()
    assert command(monkeypatch, *given[:2], "org/none", *given[3:-1], cache / "x") == 2
    assert (
        "theta-0 is 'org/none', which is no folder" in (said := capsys.readouterr().err)
        and "`hf download org/none`" in said
    )
    assert (
        local_model("org/sft@00abc", "x")
        == local_model("org/sft", "x")
        == cache / "hub/models--org--sft/snapshots/00abc"
    )


def test_the_cache_lies_where_the_hub_s_library_has_it(tmp_path):
    assert str(cache_folder({"HF_HOME": "/a"})) == os.path.join("/a", "hub")
    assert str(cache_folder({"HF_HUB_CACHE": "/b", "HF_HOME": "/a"})) == "/b"
    assert cache_folder({}).parts[-3:] == (".cache", "huggingface", "hub")
    assert model_name(tmp_path / "models--org--a--b" / "snapshots" / "0") == "org/a--b"
    assert model_name(tmp_path / "sft") == "sft"
    for path in (tmp_path, tmp_path / "nowhere", "./a/b", "plain"):
        assert str(local_model(path, "x")) == str(path).removeprefix("./")
