"""Settings: everything that comes with the package loads; everything wrong is one sentence."""

import copy
import math
import re
from importlib import resources
from itertools import product
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from llm import config, methods
from llm.errors import UserError

PRESETS, SWEEPS = config.names("presets"), config.names("sweeps")


def packaged(folder: str, name: str) -> dict:
    return yaml.safe_load(resources.files("llm").joinpath(folder, f"{name}.yaml").read_text())


def written(tmp_path, settings) -> str:
    path = tmp_path / "settings.yaml"
    path.write_text(settings if isinstance(settings, str) else yaml.safe_dump(settings))
    return str(path)


def changed(settings: dict, keys: str, value) -> dict:
    """A copy with the entry at "a.b.0.c" set to `value`, or removed where it is None."""
    result = copy.deepcopy(settings)
    *path, last = [int(key) if key.isdigit() else key for key in keys.split(".")]
    inner = result
    for key in path:
        inner = inner[key]
    if value is None:
        del inner[last]
    else:
        inner[last] = value
    return result


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_loads_and_holds_exactly_what_its_file_says(name):
    preset = config.load_preset(name)
    assert preset.name == name
    assert type(preset).model_validate(preset.model_dump()) == preset
    if "base" not in packaged("presets", name) and not isinstance(preset, config.HubPreset):
        assert set(packaged("presets", name)) == set(type(preset).model_fields)
    assert {"microcosm", "microcosm-1-untied", "smoke"} <= set(PRESETS)


def test_a_preset_may_say_what_differs_from_another(tmp_path):
    """Groups of settings are merged key by key; a mixture is replaced as a whole."""
    given = {"base": "smoke", "name": "mine", "ppo": {"eta": 0.3, "collapse": {"window": 7}}, "prompts": {"talk": 1.0}}
    base, found = config.load_preset("smoke"), config.load_preset(written(tmp_path, given))
    assert (found.name, found.ppo.eta, found.ppo.collapse.window, found.prompts) == ("mine", 0.3, 7, {"talk": 1.0})
    collapse = base.ppo.collapse.model_copy(update={"window": 7})
    ppo = base.ppo.model_copy(update={"eta": 0.3, "collapse": collapse})
    assert found == base.model_copy(update={"name": "mine", "ppo": ppo, "prompts": {"talk": 1.0}})


def test_a_base_may_have_a_base_and_its_path_counts_from_the_file_that_names_it(tmp_path, monkeypatch):
    (tmp_path / "my").mkdir()
    (tmp_path / "my" / "one.yaml").write_text("{base: microcosm-1-untied, name: one, ppo: {eta: 0.3}}")
    (tmp_path / "my" / "two.yaml").write_text("{base: one.yaml, name: two, ppo: {collapse: {window: 7}}}")
    untied = config.load_preset("microcosm-1-untied")
    monkeypatch.chdir(tmp_path)
    two = config.load_preset("my/two.yaml")
    ppo = untied.ppo.model_copy(update={"eta": 0.3, "collapse": untied.ppo.collapse.model_copy(update={"window": 7})})
    assert two == untied.model_copy(update={"name": "two", "ppo": ppo})
    (tmp_path / "my" / "one.yaml").write_text("{base: two.yaml, name: one}")
    with pytest.raises(UserError, match=r"one.yaml: base = 'two.yaml' is not allowed; it is based on this file itself"):
        config.load_preset("my/two.yaml")
    (tmp_path / "my" / "one.yaml").write_text("[1]")
    with pytest.raises(UserError, match=r"two.yaml: base = 'one.yaml' is not allowed; it holds no settings"):
        config.load_preset("my/two.yaml")


def test_the_preset_that_the_page_shows_loads(tmp_path):
    page = (Path(__file__).parents[2] / "docs" / "contribute-results.md").read_text()
    shown = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    assert len(shown) == 1
    assert config.load_preset(written(tmp_path, shown[0])).models.theta_0 == "my/sft"


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"base": "smoke"}, "the key name is missing; every key must be given"),
        ({"base": "huge", "name": "x"}, "preset = 'huge' is unknown; allowed are microcosm"),
        (
            {"base": "settings.yaml", "name": "x"},
            "base = 'settings.yaml' is not allowed; it is based on this file itself",
        ),
        ({"base": "other.yaml", "name": "x"}, "preset = 'other.yaml' is unknown; .* or the path of a YAML file from /"),
        (
            {"base": "smoke", "name": "x", "ppo": {"etas": 1}},
            "ppo: etas = 1 is an unknown key; allowed are iterations, ",
        ),
        ({"base": "smoke", "name": "x", "ppo": 3}, "ppo.* = 3 is not allowed; "),
        ({"base": "smoke", "name": "x", "bases": "smoke"}, "bases = 'smoke' is an unknown key"),
        (
            {"base": "smoke", "name": "x", "ppo": {"eta": -1.0}},
            "ppo.eta = -1.0 is not allowed; allowed are numbers from 0",
        ),
    ],
)
def test_a_wrong_change_to_another_preset_is_one_sentence(tmp_path, given, sentence):
    with pytest.raises(UserError, match=sentence) as caught:
        config.load_preset(written(tmp_path, given))
    assert "\n" not in str(caught.value)


def test_a_sweep_may_say_what_differs_from_another(tmp_path):
    others, gold = config.load_sweep("merging-others"), config.load_sweep("merging-gold")
    assert gold == others.model_copy(update={"name": "merging-gold", "rlhf": ("rsf-gold",)})
    assert config.load_sweep(written(tmp_path, {"base": "merging-gold", "name": "x"})).rlhf == ("rsf-gold",)
    with pytest.raises(UserError, match="sweep = 'huge' is unknown; allowed are algorithms, "):
        config.load_sweep(written(tmp_path, {"base": "huge", "name": "x"}))


@pytest.mark.parametrize("name", SWEEPS)
def test_every_sweep_loads_and_each_entry_is_found_by_its_label(name):
    sweep = config.load_sweep(name)
    assert sweep.name == name
    assert {"core", "learning-rates", "mitigations", "ratios"} <= set(SWEEPS)
    for entry in sweep.averaging:
        assert sweep.entry(entry.label) is entry
    for entry in sweep.training:
        assert sweep.training_entry(entry.label) is entry
    with pytest.raises(UserError, match=f"entry = 'magic' is not in the sweep {name}; allowed are "):
        sweep.entry("magic")


def test_every_file_of_rows_belongs_to_one_sweep():
    """Else a number would have two rows, or the graph would not know which sweep's entry makes a file."""
    files = [
        (rlhf, lr, label)
        for sweep in map(config.load_sweep, SWEEPS)
        for rlhf, lr in product(sweep.rlhf, sweep.learning_rates)
        for label in [entry.label for entry in (*sweep.averaging, *sweep.training)] + ["trajectory"] * sweep.trajectory
    ]
    assert len(set(files)) == len(files)


def test_the_mitigations_at_other_rates_are_those_of_mitigations_at_some_of_their_strengths():
    own, other, rsf = (config.load_sweep(name) for name in ("mitigations", "mitigation-rates", "learning-rates"))
    assert set(other.learning_rates) < set(rsf.learning_rates)
    assert [(entry.label, entry.method) for entry in other.training] == [
        (entry.label, entry.method) for entry in own.training
    ]
    for entry in other.training:
        settings = own.training_entry(entry.label).settings()
        assert entry.settings() == (settings if entry.method == "distilled" else [settings[0], settings[2]])


def test_settings_cannot_be_changed_after_loading():
    preset = config.load_preset("smoke")
    with pytest.raises(ValidationError, match="frozen"):
        preset.rsf.samples = 100


def test_a_file_of_ones_own_is_read_by_its_path(tmp_path):
    settings = changed(packaged("presets", "smoke"), "rsf.samples", 7)
    assert config.load_preset(written(tmp_path, settings)).rsf.samples == 7


@pytest.mark.parametrize(
    ("keys", "value", "sentence"),
    [
        ("rsf.sampels", 3, "rsf: sampels = 3 is an unknown key; allowed are iterations, prompts, samples"),
        ("extra", 1, "extra = 1 is an unknown key; allowed are name, data, model"),
        ("rsf.samples", None, "the key rsf.samples is missing; every key must be given"),
        ("name", None, "the key name is missing; every key must be given"),
        ("rsf.samples", 0, "rsf.samples = 0 is not allowed; allowed are whole numbers from 1"),
        ("rsf.samples", 2.5, "rsf.samples = 2.5 is not allowed; allowed are whole numbers from 1"),
        ("sft.optimiser.lr", 2.0, "sft.optimiser.lr = 2.0 is not allowed; allowed are numbers above 0 to 1"),
        ("sft.optimiser.lr", float("nan"), "sft.optimiser.lr = nan is not allowed; allowed are numbers above 0 to 1"),
        ("reward.optimiser.clip", float("inf"), "reward.optimiser.clip = inf is not allowed; allowed are numbers"),
        ("sft.mixture.qa", float("nan"), "sft.mixture.qa = nan is not allowed; allowed are numbers from 0"),
        ("data", "wikipedia", "data = 'wikipedia' is not allowed; allowed is 'microcosm'"),
        (
            "pretrain.phases.0.mixture.poems",
            1,
            "phases.all.mixture = 'poems' is an unknown name; allowed are copy, recall",
        ),
        (
            "pretrain.phases.0.targets.rhyme",
            1,
            "phases.all.targets = 'rhyme' is an unknown name; allowed are reading_one",
        ),
        ("pretrain.phases", [], "pretrain.phases = .. is not allowed; "),
        ("sft.mixture.essay", 1, "sft.mixture = 'essay' is an unknown name; allowed are qa, reading_item"),
        ("prompts.qa", 1, "prompts = 'qa' is an unknown name; allowed are talk, fact, reading, translation"),
        ("prompts", {"talk": 0}, "prompts: all weights are 0; allowed are weights of which at least one is above 0"),
        ("prompts", {}, "prompts = {} is not allowed; "),
        (
            "preferences.temperatures",
            {1.0: 0.9, 1.5: 0.2},
            "preferences.temperatures: the shares sum to 1.1; allowed is at most 1",
        ),
        (
            "preferences.temperatures",
            {0.0: 0.5},
            "preferences.temperatures.0.0.* = 0.0 is not allowed; .* numbers above 0",
        ),
        (
            "model.hidden_size",
            18,
            "model: hidden_size = 18 is not allowed with heads = 2; allowed are multiples of 2 heads",
        ),
        ("dpo.iterations", 4, "dpo.iterations = 4 is not allowed; allowed are 1 to 3, the number of steps"),
        ("ppo.baseline", "mean", "ppo.baseline.* = 'mean' is not allowed; "),
        ("ppo.collapse.critic_loss", 1.0, "ppo.collapse.critic_loss = 1.0 is not allowed; .* numbers above 1"),
        ("oracle.screen", 5, "oracle: screen = 5 is not allowed with prompts = 4; allowed is at most as many"),
        ("distil.epochs", None, "the key distil.epochs is missing; every key must be given"),
        ("world.animals", 1000, "world.animals = 1000 is not allowed; allowed are whole numbers from"),
        ("world.skew", 0.5, "world.skew = 0.5 is not allowed; allowed are numbers from 1"),
        ("world.choices", 13, "world.choices = 13 is not allowed; allowed are whole numbers from 2 to 12"),
        (
            "world.held_out_animals.test",
            86,
            "world: held_out_animals = 101 is not allowed with animals = 101; allowed are fewer than there are",
        ),
        ("world.items.passages", {8: 1}, "world.items.passages.8.* is not allowed; .* numbers to 7"),
        ("world.items.passages", {3: 7}, "world.items.passages.3 = 7 is not allowed; .* numbers from 1 to 6"),
        ("world.prompts.extras", 1.5, "world.prompts.extras = 1.5 is not allowed; .* numbers from 0 to 1"),
        (
            "renewal",
            {"rounds": 0, "pairs": 4, "iterations": 1},
            "renewal.rounds = 0 is not allowed; .* whole numbers from 1",
        ),
        (
            "model.initialise.silent",
            2,
            "model: initialise.silent = 2 is not allowed with layers = 3; allowed are 0 to 1: the first and the last",
        ),
        ("evaluate.qa", 1, "evaluate.qa = 1 is not allowed; allowed are whole numbers from 2"),
    ],
)
def test_a_wrong_preset_is_one_sentence_that_names_key_value_and_what_is_allowed(tmp_path, keys, value, sentence):
    with pytest.raises(UserError, match=sentence) as caught:
        config.load_preset(written(tmp_path, changed(packaged("presets", "smoke"), keys, value)))
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(str(tmp_path / "settings.yaml"))


@pytest.mark.parametrize(
    ("keys", "value", "sentence"),
    [
        (
            "averaging.0.alphas",
            [0.5, 1.5],
            "alphas = 1.5 is not allowed with method ma; allowed are numbers in \\[0, 1\\]",
        ),
        (
            "averaging.0.method",
            "magic",
            "averaging.0.method = 'magic' is not allowed; .*'ma', .*'part', .*'ama', .*'pattern', ",
        ),
        ("averaging.0.grouping.head", "left", "averaging.0.grouping.head = 'left' is not allowed; .*'first', 'last'"),
        (
            "averaging.1.options.part",
            ["inputs"],
            "averaging.1: options.part = 'inputs' is an unknown name; allowed are input, middle, output, embeddings$",
        ),
        (
            "averaging.1.options.embeddings",
            ["first"],
            "averaging.1: grouping.embeddings = own is not allowed with options.embeddings = first; allowed is first$",
        ),
        ("rlhf", ["rsf", "grpo"], "rlhf.1 = 'grpo' is not allowed; .*'rsf', 'dpo', 'ppo', .* or 'rsf-run3'"),
        ("rlhf", [], "rlhf = .. is not allowed; "),
        ("rlhf", None, "the key rlhf is missing; every key must be given"),
        (
            "averaging.1.label",
            "ma",
            "averaging and training have the label 'ma' more than once; allowed are different labels",
        ),
        (
            "averaging.0.method",
            "adamerging",
            "averaging.0: grouping.parts = 3 is not allowed with method adamerging; allowed is layers",
        ),
        ("averaging.0.grouping.parts", "layer", "averaging.0.grouping.parts.* = 'layer' is not allowed; "),
        ("averaging.0.grouping.parts", 2**31, "averaging.0.grouping.parts.* = 2147483648 is not allowed; "),
        ("trajectory", None, "the key trajectory is missing; every key must be given"),
        ("learning_rates", [-1.0], "learning_rates.0 = -1.0 is not allowed; "),
    ],
)
def test_a_wrong_sweep_is_one_sentence_that_names_key_value_and_what_is_allowed(tmp_path, keys, value, sentence):
    with pytest.raises(UserError, match=sentence) as caught:
        config.load_sweep(written(tmp_path, changed(packaged("sweeps", "core"), keys, value)))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("keys", "value", "sentence"),
    [
        ("training", None, "the key training is missing; every key must be given"),
        ("training.1.label", "distilled", "averaging and training have the label 'distilled' more than once"),
        ("training.1.method", "l0", "training.1.method = 'l0' is not allowed; .*'distilled', 'l1', .* or 'nspo'"),
        ("training.4.options.targets", "mlp", "training.4.options.targets = 'mlp' is not allowed; "),
        ("training.1.options", ["much"], "training.1.options = .'much'. is not allowed; "),
        (
            "training.7.method",
            "kl",
            "rlhf = .'rsf'. is not allowed with training entries of method kl; allowed is .'ppo'.$",
        ),
        (
            "rlhf",
            ["ppo"],
            "rlhf = .'ppo'. is not allowed with training entries of method distilled; allowed is .'rsf'.$",
        ),
    ],
)
def test_a_wrong_training_entry_is_one_sentence_that_names_key_value_and_what_is_allowed(
    tmp_path, keys, value, sentence
):
    with pytest.raises(UserError, match=sentence) as caught:
        config.load_sweep(written(tmp_path, changed(packaged("sweeps", "mitigations"), keys, value)))
    assert "\n" not in str(caught.value)


LORA = {"rank": [4], "targets": ["mlp"], "lora_alpha": [32.0]}


@pytest.mark.parametrize(
    ("entry", "options", "sentence"),
    [
        ("averaging.0", {"part": ["input"]}, "part = ['input'] is not allowed with method ma; allowed is no option"),
        ("averaging.1", {"part": [1]}, "part = 1 is not allowed with method part; allowed are names of groups"),
        ("averaging.1", {"part": []}, "part is missing; method part needs a list of names of groups"),
        ("averaging.1", None, "part is missing; method part needs a list of names of groups"),
        (
            "averaging.5",
            {"part": ["a"]},
            "part = ['a'] is not allowed with method ama; allowed is samples, regulariser",
        ),
        (
            "averaging.5",
            {"samples": [0]},
            "samples = 0 is not allowed {}; allowed are whole numbers in [1, inf) or all",
        ),
        (
            "averaging.5",
            {"samples": [2.5]},
            "samples = 2.5 is not allowed {}; allowed are whole numbers in [1, inf) or all",
        ),
        (
            "averaging.5",
            {"samples": ["x"]},
            "samples = 'x' is not allowed {}; allowed are whole numbers in [1, inf) or all",
        ),
        (
            "averaging.5",
            {"regulariser": [-1.0]},
            "regulariser = -1.0 is not allowed {}; allowed are numbers in [0, inf)",
        ),
        (
            "averaging.5",
            {"regulariser": [math.inf]},
            "regulariser = inf is not allowed {}; allowed are numbers in [0, inf)",
        ),
        (
            "averaging.5",
            {"regulariser": [math.nan]},
            "regulariser = nan is not allowed {}; allowed are numbers in [0, inf)",
        ),
        (
            "training.0",
            {"strength": [0.1]},
            "strength = [0.1] is not allowed with method distilled; allowed is no option",
        ),
        ("training.1", {"strength": [-0.1]}, "strength = -0.1 is not allowed {}; allowed are numbers in [0, inf)"),
        ("training.1", {"strength": [True]}, "strength = True is not allowed {}; allowed are numbers in [0, inf)"),
        ("training.1", {"strength": ["much"]}, "strength = 'much' is not allowed {}; allowed are numbers in [0, inf)"),
        ("training.1", {"strength": []}, "strength is missing; method l1 needs a list of numbers in [0, inf)"),
        ("training.1", {"strength": [1], "rank": [4]}, "rank = [4] is not allowed with method l1; allowed is strength"),
        ("training.4", LORA | {"targets": ["x"]}, "targets = 'x' is not allowed {}; allowed are mlp or mlp+attention"),
        ("training.4", LORA | {"rank": [0]}, "rank = 0 is not allowed {}; allowed are whole numbers in [1, inf)"),
        (
            "training.4",
            LORA | {"rank": ["1e300"]},
            "rank = '1e300' is not allowed {}; allowed are whole numbers in [1, inf)",
        ),
        ("training.4", LORA | {"lora_alpha": [0]}, "lora_alpha = 0 is not allowed {}; allowed are numbers in (0, inf)"),
        (
            "training.4",
            LORA | {"lora_alpha": []},
            "lora_alpha is missing; method lora needs a list of numbers in (0, inf)",
        ),
        (
            "training.6",
            {"strength": [1.5], "interval": [1]},
            "strength = 1.5 is not allowed {}; allowed are numbers in [0, 1]",
        ),
        (
            "training.6",
            {"strength": [0.5]},
            "interval is missing; method sma needs a list of whole numbers in [1, inf)",
        ),
    ],
)
def test_wrong_options_are_one_sentence_that_names_key_value_and_what_is_allowed(tmp_path, entry, options, sentence):
    sweep = packaged("sweeps", "core" if entry.startswith("averaging") else "mitigations")
    kind, place = entry.split(".")
    sentence = sentence.format(f"with method {sweep[kind][int(place)]['method']}")
    with pytest.raises(UserError, match=f": {entry}.options: {re.escape(sentence)}$"):
        config.load_sweep(written(tmp_path, changed(sweep, f"{entry}.options", options)))


@pytest.mark.parametrize(
    ("method", "key", "allowed"),
    [("pattern", "offsets", "lists of numbers in [-1, 1]"), ("oracle", "chosen_by", "reward or gold_reward")],
)
def test_a_method_that_needs_an_option_refuses_to_go_without(tmp_path, method, key, allowed):
    with pytest.raises(UserError, match=re.escape(f"{key} is missing; method {method} needs a list of {allowed}")):
        config.load_sweep(written(tmp_path, changed(packaged("sweeps", "core"), "averaging.0.method", method)))


def test_a_pattern_may_not_leave_0_to_1(tmp_path):
    wrong = changed(packaged("sweeps", "ratios"), "averaging.0.alphas", [0.05])
    with pytest.raises(
        UserError, match="averaging.0: offsets = -0.1 is not allowed with alpha = 0.05; allowed are sums in .0, 1."
    ):
        config.load_sweep(written(tmp_path, wrong))


def test_the_settings_of_a_training_entry_say_all_that_its_models_are_made_with():
    sweep = config.load_sweep("mitigations")
    assert sweep.training_entry("distilled").settings() == [{}]
    assert sweep.training_entry("er").settings() == [{"strength": strength} for strength in (0.25, 1.0, 4.0)]
    sma = sweep.training_entry("sma")
    assert sma.settings() == [{"strength": strength, "interval": 12} for strength in (0.8, 0.9, 0.97)]
    lora = sweep.training_entry("lora-mlp")
    assert lora.settings()[-1] == {"rank": 16, "targets": "mlp", "lora_alpha": 8.0}
    assert [type(value) for value in lora.settings()[-1].values()] == [int, float, str]  # as folders and rows name them
    with pytest.raises(
        UserError, match="entry = 'magic' is not in the sweep mitigations; allowed are distilled, l1, .*, sma, er$"
    ):
        sweep.training_entry("magic")


def test_options_are_combined_in_the_tables_order_whatever_the_files():
    given = {"targets": ["mlp"], "lora_alpha": [32, 8], "rank": ["1e1", 2]}
    entry = config.TrainingEntry(method="lora", label="x", options=given)
    assert list(entry.options) == ["rank", "lora_alpha", "targets"]
    assert [tuple(setting.values()) for setting in entry.settings()] == [
        (10, 32.0, "mlp"),
        (10, 8.0, "mlp"),
        (2, 32.0, "mlp"),
        (2, 8.0, "mlp"),
    ]
    assert config.TrainingEntry.model_validate(entry.model_dump(mode="json")) == entry
    assert len({entry, entry.model_copy(), entry.model_copy(update={"options": {}})}) == 2


def test_a_method_that_is_registered_later_is_known_and_its_options_are_checked(monkeypatch):
    toy = methods.Method("toy", "training", {}, "nowhere", options={"size": methods.Option(least=1, whole=True)})
    with pytest.raises(ValidationError, match="Input should be 'distilled', 'l1'"):
        config.TrainingEntry(method="toy", label="x", options={"size": [3]})
    monkeypatch.setitem(methods.METHODS, "toy", toy)
    assert config.TrainingEntry(method="toy", label="x", options={"size": [3]}).settings() == [{"size": 3}]
    assert "toy" in config.load_preset("microcosm").training_methods
    assert not any("toy" in config.load_preset(name).training_methods for name in ("smollm2-135m", "openllama-3b"))
    with pytest.raises(ValidationError, match="size = 0 is not allowed with method toy; allowed are whole numbers in"):
        config.TrainingEntry(method="toy", label="x", options={"size": [0]})


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "the file = None is not allowed"),
        ("- 1", "the file = .1. is not allowed"),
        ("7", "the file = 7 is not allowed"),
        ("a: [", "is not valid YAML"),
    ],
)
def test_a_file_that_holds_no_settings_is_refused(tmp_path, text, sentence):
    with pytest.raises(UserError, match=sentence):
        config.load_preset(written(tmp_path, text))


UNSAFE = ["$(touch X)", "../x", "/x", "a b", "a;b", "'", "", ".", "..", "a\nb", "a\n", "\u0430", "{x}", "<b>"]


@pytest.mark.parametrize("name", UNSAFE)
def test_a_name_that_is_a_path_or_means_something_to_a_shell_is_refused(tmp_path, name):
    said = " is not allowed; allowed is letters, digits and any of _ . - "
    with pytest.raises(UserError, match=rf"name = .*{said}"):
        config.load_preset(written(tmp_path, {"base": "smoke", "name": name}))
    sweep = packaged("sweeps", "core")
    with pytest.raises(UserError, match=rf"name = .*{said}"):
        config.load_sweep(written(tmp_path, sweep | {"name": name}))
    with pytest.raises(UserError, match=rf"averaging\.0\.label = .*{said}"):
        config.load_sweep(written(tmp_path, changed(sweep, "averaging.0.label", name)))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"# caf\xe9\nname: x", "x.yaml is no text in UTF-8 .'utf-8' codec can't decode byte 0xe9"),
        (b"base: smoke\nname: x\nname: y", "x.yaml is not valid YAML: the key name stands twice"),
        (b"base: smoke\nname: x\nthreads: 010", "x.yaml is not valid YAML: 010 is no whole number in decimal digits"),
        (b"base: smoke\nname: x\nthreads: 1:30", "x.yaml is not valid YAML: 1:30 is no whole number in decimal digits"),
        (
            b"base: smoke\nname: x\npreferences: {temperatures: {1: 0.5, 1.0: 0.3}}",
            "not valid YAML: the key 1.0 stands twice",
        ),
        (
            b"base: smoke\nname: x\npreferences: {temperatures: {'1.0': 0.5, 1: 0.3}}",
            "temperatures = .* is not allowed; two of its keys are the same number",
        ),
        (b"base: smoke\nname: x\n!!seq foo: 1", "not valid YAML|unknown key"),
        (b"threads: 1" + b"0" * 5000, "not valid YAML: Exceeds the limit|more than 18 digits"),
        (b"threads: 0x1" + b"0" * 400, "not valid YAML: a whole number has more than 18 digits"),
        (b"a: " + b"[" * 20_000, "not valid YAML: maximum recursion depth exceeded"),
        (b"a: &a [*a]", "not valid YAML: an alias stands within what it stands for"),
        (b"a: &a {b: {c: *a}}", "not valid YAML: an alias stands within what it stands for"),
        (b"a: " + b"x" * 200_000, "not valid YAML: it has more than 100000 characters"),
        (b"a: 2020-13-45", "not valid YAML: month must be in 1..12"),
        (b"a: !!python/object/apply:os.system [ls]", "could not determine a constructor for the tag"),
        (b"a: \0", "not valid YAML: unacceptable character"),
    ],
)
def test_yaml_that_settings_never_need_is_refused_at_once(tmp_path, text, said):
    (tmp_path / "x.yaml").write_bytes(text)
    with pytest.raises(UserError, match=said):
        config.load_preset(str(tmp_path / "x.yaml"))


@pytest.mark.parametrize(
    ("keys", "value", "said"),
    [
        ("threads", True, "threads = True is not allowed; allowed is a number"),
        ("prompts.talk", True, "prompts = .*True.* is not allowed; allowed is a number"),
        ("rsf.optimiser.betas", [True, 0.9], "betas = .True, 0.9. is not allowed; allowed is a number"),
        ("model.tied_embeddings", "0", "tied_embeddings = '0' is not allowed; allowed is true or false"),
        ("evaluate.keep_items", 1, "keep_items = 1 is not allowed; allowed is true or false"),
    ],
)
def test_a_truth_value_is_no_number_and_a_number_no_truth_value(tmp_path, keys, value, said):
    with pytest.raises(UserError, match=said):
        config.load_preset(written(tmp_path, changed(packaged("presets", "smoke"), keys, value)))


def test_aliases_may_stand_for_little_and_not_for_ever_more(tmp_path):
    tens = "".join(f"k{i}: &k{i} [{', '.join([f'*k{i - 1}'] * 9)}]\n" for i in range(1, 9))
    with pytest.raises(UserError, match="not valid YAML: its aliases stand for more than 100000 values"):
        config.load_preset(written(tmp_path, f"k0: &k0 [1]\n{tens}"))
    smoke = resources.files("llm").joinpath("presets", "smoke.yaml").read_text()
    smoke = smoke.replace("threads: 1", "threads: &one 1").replace("thin_parts: 1", "thin_parts: *one")
    assert config.load_preset(written(tmp_path, "\ufeff" + smoke)) == config.load_preset("smoke")


def test_a_preset_runs_only_the_entries_that_it_names(tmp_path):
    chosen = "{base: smoke, name: few, entries: {core: [ama, ma], kl-penalty: []}}"
    few, smoke = config.load_preset(written(tmp_path, chosen)), config.load_preset("smoke")
    core, merging = config.load_sweep("core"), config.load_sweep("merging")
    assert [entry.label for entry in config.runnable(core, few).averaging] == ["ma", "ama"]
    assert config.runnable(core, few).trajectory
    assert config.runnable(merging, few) == config.runnable(merging, smoke)
    small = config.load_preset("smollm2-135m")
    assert [entry.label for entry in config.runnable(merging, small).averaging] == ["lines"]
    assert len(config.runnable(merging, config.load_preset("smollm2-135m-gpu")).averaging) > 10


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ("{cores: [ma]}", "entries = 'cores' is an unknown name; allowed are algorithms, .*, training-time-dpo$"),
        (
            "{core: [ma, mb]}",
            "entries.core = .'ma', 'mb'. is an unknown name; allowed are ma, part-input, .*embeddings$",
        ),
        ("{mitigations: [l1]}", "entries.mitigations = .'l1'. is an unknown name; allowed are none$"),
    ],
)
def test_entries_that_no_sweep_has_are_refused(tmp_path, entries, said):
    with pytest.raises(UserError, match=said):
        config.load_preset(written(tmp_path, f"{{base: smoke, name: few, entries: {entries}}}"))


@pytest.mark.parametrize("name", ["nope", "nope.yaml", "core"])
def test_an_unknown_preset_is_refused_with_the_known_ones(name):
    with pytest.raises(UserError, match=f"preset = '{name}' is unknown; allowed are {', '.join(PRESETS)}, or the path"):
        config.load_preset(name)


def test_parts_other_than_three_are_called_by_their_number():
    settings = {"parts": 6, "embeddings": "own", "norm": "theta", "head": "mean"}
    assert config.GroupingSettings(**settings).names == (*(f"part{k}" for k in range(1, 7)), "embeddings")
