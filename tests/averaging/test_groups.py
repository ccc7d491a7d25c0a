"""Groups are found from names alone, and agree with the structure that transformers gives the model."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from averaging_models import ARCHITECTURES, LAYERS, make
from llm.errors import UserError
from llm.grouping import Grouping, assign, label_of, labels, layer_index, layer_list, part_ends, ratios, sorted_labels


def _layers(model) -> str:
    """The name of the module list of transformer layers, from the live model."""
    lists = [n for n, m in model.named_modules() if isinstance(m, torch.nn.ModuleList) and len(m) == LAYERS]
    return min(lists, key=lambda name: name.count("."))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_layers_embeddings_norm_and_head_are_those_of_transformers(architecture):
    model = make(architecture, 0)
    state = model.state_dict()
    own = Grouping(parts=3, embeddings="own", norm="own", head="own")
    assignment = assign(state, own)
    assert list(assignment) == list(state)
    assert layer_list(state) == _layers(model)
    layers = model.get_submodule(_layers(model))
    expected = {}
    for index, layer in enumerate(layers):
        part = "part1" if index < 2 else "part2" if index < 4 else "part3"
        expected |= {f"{_layers(model)}.{index}.{name}": part for name in layer.state_dict()}
    modules = {module: name for name, module in model.named_modules()}
    ends = {"embeddings": model.get_input_embeddings(), "head": model.get_output_embeddings()}
    for label, module in ends.items():
        expected |= {f"{modules[module]}.{name}": label for name in module.state_dict()}
    found = {name: label for name, label in assignment.items() if name in expected}
    assert found == expected
    rest = {name: label for name, label in assignment.items() if name not in expected}
    final = [name for name in rest if isinstance(_owner(model, name), _norms(model)) and "embed" not in name]
    assert {name for name, label in rest.items() if label == "norm"} == set(final)
    assert set(rest.values()) <= {"norm", "embeddings", "head"}


def _owner(model, name):
    return model.get_submodule(name.rpartition(".")[0])


def _norms(model):
    """The classes of modules that normalise: transformers names all of them so."""
    return tuple({type(module) for module in model.modules() if "Norm" in type(module).__name__})


def test_positions_projections_and_norms_of_embeddings_are_embeddings():
    own = Grouping(embeddings="own", norm="own", head="own")
    opt, bloom = assign(make("opt", 0).state_dict(), own), assign(make("bloom", 0).state_dict(), own)
    assert opt["model.decoder.embed_positions.weight"] == "embeddings"
    assert opt["model.decoder.project_in.weight"] == "embeddings"
    assert opt["model.decoder.project_out.weight"] == "head"
    assert bloom["transformer.word_embeddings_layernorm.weight"] == "embeddings"


def test_parts_are_the_papers():
    assert part_ends(26, 3) == [8, 17, 26]
    assert part_ends(6, 3) == [2, 4, 6]


@given(st.integers(1, 200).flatmap(lambda layers: st.tuples(st.just(layers), st.integers(1, layers))))
def test_parts_are_contiguous_and_even(numbers):
    layers, parts = numbers
    ends = part_ends(layers, parts)
    sizes = [end - start for start, end in zip([0, *ends], ends, strict=False)]
    assert ends[-1] == layers and len(ends) == parts
    assert max(sizes) - min(sizes) <= 1 and min(sizes) >= 1


NAMES = ["model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"] + [
    f"model.layers.{index}.{module}.weight"
    for index in range(6)
    for module in ("self_attn.q_proj", "self_attn.q_norm", "mlp.up_proj", "mlp.experts.9.down_proj", "input_layernorm")
]


def test_defaults_are_the_authors():
    assignment = assign(NAMES, Grouping())
    per_name = ratios(assignment, {"part1": 0.9, "part2": 0.5, "part3": 0.1})
    assert per_name["model.embed_tokens.weight"] == per_name["model.layers.1.mlp.up_proj.weight"] == 0.9
    assert per_name["model.norm.weight"] == per_name["lm_head.weight"] == 0.5
    assert per_name["model.layers.5.mlp.experts.9.down_proj.weight"] == 0.1
    assert set(per_name) == set(NAMES)


def test_the_mean_of_equal_ratios_is_that_ratio():
    for alpha in (0.1, 0.2, 0.3, 0.7, 0.8, 0.9):
        per_name = ratios(assign(NAMES, Grouping()), dict.fromkeys(("part1", "part2", "part3"), alpha))
        assert set(per_name.values()) == {alpha}


def test_a_ratio_per_layer():
    assignment = assign(NAMES, Grouping(level="layer", embeddings="last", head="theta_0", norm="theta"))
    assert labels(assignment) == [f"layer{index}" for index in range(1, 7)]
    per_name = ratios(assignment, {f"layer{index}": index / 10 for index in range(1, 7)})
    assert per_name["model.layers.3.mlp.up_proj.weight"] == 0.4
    assert per_name["model.embed_tokens.weight"] == 0.6
    assert (per_name["lm_head.weight"], per_name["model.norm.weight"]) == (0.0, 1.0)


def test_a_ratio_per_module_and_the_mean_for_norms():
    assignment = assign(NAMES, Grouping(parts=2, level="module"))
    assert labels(assignment) == ["part1.attention", "part1.mlp", "part2.attention", "part2.mlp"]
    per_name = ratios(assignment, dict(zip(labels(assignment), (0.0, 0.5, 0.75, 1.0), strict=True)))
    layer = {name.split("4.")[1]: ratio for name, ratio in per_name.items() if ".4." in name}
    assert layer["self_attn.q_proj.weight"] == layer["self_attn.q_norm.weight"] == 0.75
    assert layer["mlp.up_proj.weight"] == layer["mlp.experts.9.down_proj.weight"] == 1.0
    assert layer["input_layernorm.weight"] == 0.875
    assert per_name["model.embed_tokens.weight"] == 0.25
    assert per_name["lm_head.weight"] == 0.5625


def test_own_groups_come_after_the_parts_and_count_in_the_mean():
    assignment = assign(NAMES, Grouping(parts=2, embeddings="own", norm="own"))
    assert labels(assignment) == ["part1", "part2", "embeddings", "norm"]
    per_name = ratios(assignment, {"part1": 0.0, "part2": 0.0, "embeddings": 1.0, "norm": 1.0})
    assert per_name["lm_head.weight"] == 0.5


def test_a_tied_head_follows_the_embeddings():
    assignment = assign(NAMES, Grouping(), tied={"lm_head.weight": "model.embed_tokens.weight"})
    assert assignment["lm_head.weight"] == assignment["model.embed_tokens.weight"] == "part1"


def test_the_list_nearest_to_the_token_embeddings_holds_the_layers():
    vision = [f"model.vision_tower.encoder.layers.{i}.{m}.weight" for i in range(40) for m in "qkvof"]
    vision += ["model.vision_tower.embeddings.patch_embedding.weight"]
    text = [name.replace("model.", "model.language_model.") for name in NAMES]
    small = [f"model.language_model.altup_projections.{index}.weight" for index in range(3)]
    assert layer_list(vision + text + small) == "model.language_model.layers"
    assert layer_list([name.removeprefix("model.") for name in NAMES]) == "layers"


def test_the_outermost_number_is_the_layers():
    assert layer_index("model.layers.3.mlp.experts.7.up_proj.weight") == 3
    assert layer_index("h.0.attn.bias") == 0
    assert layer_index("lm_head.weight") is None
    assert layer_index("score.0.weight", "model.layers") is None


def test_figure_4_names():
    assert [label_of(name) for name in ("input", "middle", "output")] == ["part1", "part2", "part3"]
    assert (label_of("part2"), label_of("2"), label_of("12", 12)) == ("part2", "part2", "part12")
    mixed = ["norm", "part10", "x", "part2", "embeddings", "part1"]
    assert sorted_labels(mixed) == ["part1", "part2", "part10", "embeddings", "norm", "x"]
    assert label_of("input", 2) == "input"  # no part of two has that name


@pytest.mark.parametrize(
    ("make_error", "words"),
    [
        (lambda: Grouping(parts=0), "parts = 0"),
        (lambda: Grouping(parts=True), "parts = True"),
        (lambda: Grouping(level="block"), "level = 'block' is not allowed; allowed are part, layer, module"),
        (lambda: Grouping(head="middle"), "head = 'middle' is not allowed; allowed are first"),
        (lambda: assign(NAMES, Grouping(parts=7)), "parts = 7 is not allowed; allowed are 1 to 6"),
        (lambda: assign(["a.weight"], Grouping()), "no numbered list"),
        (
            lambda: layer_list([f"{side}.block.{i}.w" for side in ("encoder", "decoder") for i in range(3)]),
            "two lists of layers",
        ),
        (lambda: ratios(assign(NAMES, Grouping()), {"part1": 1.0}), "the groups are part1, part2, part3"),
        (lambda: ratios(assign(NAMES, Grouping(parts=1)), {"part1": 1.5}), r"alphas\[part1\] = 1.5"),
        (lambda: ratios({"w": "part1"}, {"part1": float("nan")}), r"alphas\[part1\] = nan"),
    ],
)
def test_what_is_not_allowed_is_named(make_error, words):
    with pytest.raises(UserError, match=words):
        make_error()
