"""Recipes in YAML, filters by name, gradients over the layers, models of the hub's cache, and what the card says of all that."""

import json
import os
import shlex
import shutil

import pytest
import torch
import yaml
from safetensors.torch import load_file

from averaging_models import command, make, reference, save_pair, save_tokenizer
from llm.averaging.files.card import _front_matter, _licence
from llm.averaging.ratios import Recipe, in_order, resolve
from llm.averaging.recipe_file import read_recipe
from llm.errors import UserError
from llm.grouping import Grouping
from llm.models.cache import cache_folder, findable, local_model, model_name, shown_name


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
        (("--alphas", "0..2"), "ratio 2 of alphas = 2"),
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
    "three models": (
        {"merge_method": "linear", "models": [{"model": k, "parameters": {"weight": w}} for k, w in enumerate((1, 2, 5))]},
        ("--alpha", "0.875", "--with", 2, "--weight", "2", "--weight", "5"),
    ),
    "ties": (
        {"merge_method": "ties", "base_model": 2, "models": [{"model": 2}, {"model": 0}, {"model": 1}], "parameters": {"weight": 1, "density": 0.5, "int8_mask": True}},
        ("--alpha", "0.5", "--method", "ties", "--option", "keep=0.5", "--theta-pre", 2),
    ),
}  # fmt: skip


@pytest.mark.parametrize("method", MERGEKIT)
def test_recipes_of_mergekit_are_read_where_they_mean_the_same(method, pair, tmp_path, monkeypatch):
    content, options = MERGEKIT[method]
    names = [str(pair / "theta_0"), str(pair / "theta"), str(tmp_path / "third")]
    make("llama", 3).save_pretrained(names[2])
    save_tokenizer(names[2])
    options = [names[2] if one == 2 else one for one in options]
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
TIES = {"merge_method": "ties", "base_model": "z", "models": TWO}
BAD = {
    "an unknown key": ({"alpha": 0.5, "beta": 1}, "beta is an unknown key"),
    "another type": ({"alpha": "half"}, "alpha = 'half' is not allowed; allowed is a number"),
    "no list": ({"with": 3}, "with = 3 is not allowed; allowed is a list"),
    "a number in a list": ({"samples": [3]}, "an entry of samples = 3 is not allowed; allowed is a text"),
    "a truth value as a weight": (
        {"weight": [True, 2]},
        "an entry of weight = True is not allowed; allowed is a text or a number",
    ),
    "no pairs": ({"option": 3}, "option = 3 is not allowed; allowed is a list or KEY: VALUE"),
    "a name twice": ({"theta-0": "a", "theta_0": "b"}, "theta_0 and theta-0 are both given; allowed is one of them"),
    "a truth value": ({"alpha": True}, "alpha = True"),
    "nothing": ({}, "allowed are keys with values"),
    "another method": (
        {"merge_method": "dare_ties", "models": TWO},
        "merge_method = 'dare_ties' is not allowed; allowed are linear, slerp, ties",
    ),
    "a tokenizer": ({"merge_method": "linear", "models": WEIGHTED, "tokenizer_source": "union"}, "tokenizer_source of"),
    "no slices": (
        {"merge_method": "slerp", "slices": []},
        "slices = [] is not allowed; allowed is one with the key sources",
    ),
    "two slices": ({"merge_method": "slerp", "slices": [{"sources": TWO}] * 2}, "allowed is one with the key sources"),
    "a part of the layers": (
        {"merge_method": "slerp", "slices": [{"sources": [one | {"layer_range": [2, 4]} for one in TWO]}]},
        "layer_range = [2, 4] is not allowed; allowed is [0, number of layers]",
    ),
    "one model": ({"merge_method": "linear", "models": TWO[:1]}, "allowed are two or more"),
    "a model twice": ({"merge_method": "linear", "models": TWO[:1] * 2}, "models has one of them twice"),
    "a model's other key": (
        {"merge_method": "linear", "models": [{"model": "a", "lora": 1}, TWO[1]]},
        "parameter lora",
    ),
    "no weight": (
        {"merge_method": "linear", "models": TWO},
        "weight = None is not allowed; allowed are numbers from 0",
    ),
    "a negative weight": (
        {"merge_method": "linear", "models": TWO, "parameters": {"weight": [1, -1]}},
        "weight = [1, -1] is not allowed; allowed are numbers from 0",
    ),
    "weights of zero": ({"merge_method": "linear", "models": TWO, "parameters": {"weight": 0}}, "weight = 0 in both"),
    "a gradient with three models": (
        {"merge_method": "linear", "models": [*TWO, {"model": "c"}], "parameters": {"weight": [0, 1]}},
        "allowed of more than two models is one number each",
    ),
    "ties without a base": (
        {"merge_method": "ties", "models": WEIGHTED},
        "not allowed with ties; allowed are two beside the base",
    ),
    "ties of three": (
        {"merge_method": "ties", "base_model": "z", "models": [*TWO, {"model": "c"}]},
        "models = a, b, c is not allowed with ties; allowed are two",
    ),
    "two densities": (
        TIES | {"models": [{"model": "a", "parameters": {"density": 0.5}}, TWO[1]]},
        "density = [0.5, 1.0]",
    ),
    "a density of tensors": (TIES | {"parameters": {"density": [0.1, 0.5]}}, "density = "),
    "sums that are not means": (
        TIES | {"parameters": {"normalize": False}},
        "normalize = False is not allowed; allowed is true",
    ),
    "rescaled changes": (TIES | {"parameters": {"rescale": True}}, "rescale = True is not allowed; allowed is false"),
    "a scale": (TIES | {"parameters": {"lambda": 0.5}}, "lambda = 0.5 is not allowed; allowed is 1"),
    "another parameter": (TIES | {"parameters": {"epsilon": 0.5}}, "parameter epsilon is not read"),
    "a sum that is not one": (
        {"merge_method": "linear", "models": WEIGHTED, "parameters": {"normalize": False}},
        "normalize = False is not allowed; allowed is true",
    ),
    "t beyond 1": (
        {"merge_method": "slerp", "base_model": "a", "models": TWO, "parameters": {"t": 1.5}},
        "t = 1.5 is not allowed for all tensors; allowed are numbers from 0 to 1",
    ),
    "t of one model": (
        {"merge_method": "slerp", "base_model": "a", "models": WEIGHTED, "parameters": {"t": 0.5}},
        "parameter weight is not read",
    ),
    "several methods": ({"merge_method": ["linear"], "models": WEIGHTED}, "merge_method = ['linear'] is not allowed"),
    "parameters in a list": (
        {"merge_method": "linear", "models": TWO, "parameters": ["weight"]},
        "parameters = ['weight']",
    ),
    "a filter that is no text": (
        {"merge_method": "slerp", "base_model": "a", "models": TWO, "parameters": {"t": [{"filter": 3, "value": 0.5}]}},
        "filter = 3 is not allowed; allowed is a text",
    ),
    "models and slices": (
        {"merge_method": "linear", "models": WEIGHTED, "slices": [{"sources": WEIGHTED}]},
        "models and slices are both given",
    ),
    "another base": (
        {"merge_method": "slerp", "base_model": "c", "models": TWO, "parameters": {"t": 0.5}},
        "base_model = 'c'",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_other_recipes_are_refused(case, tmp_path):
    content, said = BAD[case]
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(UserError) as raised:
        read_recipe(tmp_path / "recipe.yaml")
    assert said in str(raised.value)
    with pytest.raises(UserError, match="is no file"):
        read_recipe(tmp_path / "nowhere.yaml")


BY_TENSOR = {
    "slerp by filters, in a slice": (
        {
            "merge_method": "slerp",
            "base_model": "a",
            "slices": [{"sources": [{"model": name, "layer_range": [0, 5]} for name in "ab"]}],
            "parameters": {"t": [{"filter": "attn", "value": [0, 1, 0.2]}, {"filter": "mlp", "value": [1]}, {"value": 0.5}]},
        },
        [0.5, 0.0, 1.0, 0.6, 1.0, 0.5, 0.5],
    ),
    "linear by a gradient": (
        {"merge_method": "linear", "models": TWO[:1] + [{"model": "b", "parameters": {"weight": [0, 3]}}], "parameters": {"weight": 1}},
        [0.0, 0.0, 0.0, 2.25 / 3.25, 2.25 / 3.25, 0.0, 0.0],
    ),
    "ties by a filter": (
        TIES | {"parameters": {"density": 0.3, "weight": 1}, "models": [{"model": "a", "parameters": {"weight": [{"filter": "mlp", "value": 0.25}, {"value": 1}]}}, TWO[1]]},
        [0.5, 0.5, 0.8, 0.5, 0.8, 0.5, 0.5],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BY_TENSOR)
def test_ratios_of_tensors_are_those_of_mergekit(case, tmp_path):
    """By hand: a gradient's anchors lie equally far apart over the layers, of which the fourth of five lies at 3/4; what is outside
    of them has the first anchor; the first filter that is in a tensor's name decides. Checked against mergekit 0.1.5 on models."""
    content, ratios = BY_TENSOR[case]
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(content))
    recipe = read_recipe(tmp_path / "recipe.yaml")
    layers = [f"model.layers.{k}.{part}.w" for k in range(5) for part in ("attn", "mlp")]
    names = ["model.embed_tokens.weight", *layers, "model.norm.weight", "lm_head.weight"]
    found = resolve(Recipe(Grouping(), 1.0, rule=recipe["rule"]), names, {}).ratios
    chosen = [names[0], *layers[:2], *layers[6:8], *names[-2:]]
    assert [found[name] for name in chosen] == pytest.approx(ratios)
    if "slices" in content:
        with pytest.raises(
            UserError, match=r"layer_range = \[0, 5\] is not allowed; allowed is all of the model's layers, \[0, 4\]"
        ):
            resolve(Recipe(Grouping(), 1.0, rule=recipe["rule"]), [name for name in names if ".4." not in name], {})
    if case.startswith("ties"):
        assert (recipe["theta_0"], recipe["theta"], recipe["theta_pre"], recipe["option"]) == (
            "a",
            "b",
            "z",
            {"keep": 0.3},
        )


def test_a_tensor_without_a_value_is_named(tmp_path):
    recipe = {
        "merge_method": "slerp",
        "base_model": "a",
        "models": TWO,
        "parameters": {"t": [{"filter": "mlp", "value": 1}]},
    }
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    with pytest.raises(UserError, match="t has no value for model.norm.weight; allowed is one for every tensor"):
        rule = read_recipe(tmp_path / "recipe.yaml")["rule"]
        resolve(Recipe(Grouping(), 1.0, rule=rule), ["model.layers.0.mlp.w", "model.norm.weight"], {})


def test_keys_may_have_hyphens_and_a_text_is_a_list_of_one(tmp_path):
    file = tmp_path / "recipe.yaml"
    file.write_text("theta-0: a\nignore-config: rope_theta\nsamples: [b, c]\noption: keep=0.1\n")
    read = {"theta_0": "a", "ignore_config": ["rope_theta"], "samples": ["b", "c"], "option": ["keep=0.1"]}
    assert read_recipe(file) == read


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


def test_two_revisions_of_one_model_are_told_apart(cache, monkeypatch):
    home = cache / "hub/models--org--sft"
    shutil.copytree(cache / "hub/models--org--rlhf/snapshots/10abc", home / "snapshots/22abc")
    (home / "refs/steps").mkdir()
    (home / "refs/steps/40").write_text("22abc")
    pair = ("--theta-0", "org/sft", "--theta", "org/sft@steps/40")
    assert command(monkeypatch, "average", *pair, "--alpha", "0.5", "--out", cache / "out") == 0
    assert json.loads((cache / "out/averaging.json").read_text())["sources"] == {"theta_0": pair[1], "theta": pair[3]}
    card = (cache / "out" / "README.md").read_text()
    assert shlex.join(("alignment-tax", "average", *pair, "--alpha", "0.5")) in card
    assert f"{pair[1]} (theta_0, before RLHF) and {pair[3]}\n(theta, after RLHF)" in card
    assert yaml.safe_load(card.split("---\n")[1])["base_model"] == ["org/sft"]


def test_a_model_is_named_as_it_is_found(cache, monkeypatch):
    home = cache / "hub/models--org--sft"
    for commit in ("old", "tagged"):
        (home / "snapshots" / commit).mkdir()
    (home / "refs/v1").write_text("tagged")
    called = {"00abc": "org/sft", "old": "org/sft@old", "tagged": "org/sft@v1"}
    named = {home / "snapshots" / commit: name for commit, name in called.items()} | {cache: str(cache)}
    assert {folder: findable(folder) for folder in named} == named
    assert [shown_name(folder) for folder in named] == [*called.values(), cache.name]
    monkeypatch.setenv("HF_HUB_CACHE", str(cache / "elsewhere"))
    assert findable(home / "snapshots/old") == str(home / "snapshots/old")


BOTH = {"license": "other", "license_name": "licences-of-both-sources"}


@pytest.mark.parametrize(
    ("stated", "said"),
    [
        ((None, None), {}),
        (("mit", "mit"), {"license": "mit"}),
        (("mit", None), BOTH),
        (("mit", None, "mit"), {"license": "other", "license_name": "licences-of-all-sources"}),
        (("other", "other"), BOTH),
        (("other # of two kinds\nlicense_name: a", "other\nlicense_name: b"), BOTH),
        (
            ("license_name: 'gemma 2'\nlicense: other", "other\nlicense_name: gemma 2"),
            {"license": "other", "license_name": "gemma 2"},
        ),
    ],
)
def test_the_card_states_a_licence_only_where_the_sources_do(stated, said, tmp_path):
    names, licences = ("theta_0", "theta", "with_1")[: len(stated)], {}
    for name, licence in zip(names, stated):
        head = "" if licence is None else licence if licence.startswith("license") else f"license: {licence}"
        (tmp_path / "README.md").write_text(f"---\n{head}\n---\n# x\n")
        licences[name] = _licence(tmp_path)
    head = yaml.safe_load(_front_matter({name: name for name in names}, licences, False))
    assert {key: value for key, value in head.items() if key.startswith("license")} == said


def test_the_cache_lies_where_the_hub_s_library_has_it(tmp_path):
    assert str(cache_folder({"HF_HOME": "/a"})) == os.path.join("/a", "hub")
    assert str(cache_folder({"HF_HUB_CACHE": "/b", "HF_HOME": "/a"})) == "/b"
    assert cache_folder({}).parts[-3:] == (".cache", "huggingface", "hub")
    assert model_name(tmp_path / "models--org--a--b" / "snapshots" / "0") == "org/a--b"
    assert model_name(tmp_path / "sft") == "sft"
    for path in (tmp_path, tmp_path / "nowhere", "./a/b", "plain"):
        assert str(local_model(path, "x")) == str(path).removeprefix("./")
