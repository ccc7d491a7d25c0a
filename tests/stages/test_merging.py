"""The sweep `merging` on tiny models: every entry has its rows, readers know them, and the ends are the models that they should be."""

from dataclasses import replace

import pytest
import torch

from llm.averaging.whole import aim
from llm.config import load_preset, load_sweep, runnable
from llm.errors import UserError
from llm.evidence import paths
from llm.evidence.frames import after, read_preset
from llm.evidence.rows import write_rows
from llm.methods import METHODS, family, looks
from llm.plan.costs import Step, models
from llm.stages import average
from llm.stages.adapt import ratios_of
from llm.stages.trajectory import measure_baseline, measure_trajectory
from microcosm_runs import METRICS, evaluator, theta, values

ENTRIES = {entry.label: entry for entry in load_sweep("merging").averaging}
OTHER_RUNS = ("soup", "model-stock")


def rows_of(run, label, **changes):
    """The rows of an entry, thinned by `changes`; iteration 1 stands for other runs of the same alignment."""
    entry = runnable(load_sweep("merging"), run.preset).entry(label).model_copy(update=changes)
    found = ratios_of(run, theta(run), entry, run.folder / "ama") if entry.spec.searches else []
    with pytest.MonkeyPatch.context() as patch:
        if label in OTHER_RUNS:
            patch.setattr(average, "_materials", with_other_runs(average._materials))
        return average.measure_averages(evaluator(run), theta(run), "rsf", entry, None, found)


def with_other_runs(materials):
    def found(*arguments):
        made = materials(*arguments)
        first = made.folders["iteration1"]
        return replace(made, folders={**made.folders, "run2": first, "run3": first})

    return found


def first(entry):
    """One value of each option, and the last alpha."""
    options = {key: given[:1] for key, given in entry.options.items()}
    return {"alphas": entry.alphas[-1:], "options": options}


@pytest.fixture(scope="module")
def rows(run):
    """One model of every entry, and what paths begin and end with."""
    found = {label: rows_of(run, label, **first(entry)) for label, entry in ENTRIES.items()}
    found["rest"] = measure_baseline(evaluator(run)) + measure_trajectory(evaluator(run), "rsf", "own")
    return found


@pytest.mark.parametrize("label", ENTRIES)
def test_every_entry_has_rows_of_a_family_with_a_look_and_a_path(label, rows, tmp_path):
    mine = rows[label]
    assert {row["metric"] for row in mine} == set(METRICS) and len(mine) == len(METRICS)
    setting = mine[0]["setting"]
    name = family(mine[0]["method"], setting)
    assert name in looks()
    write_rows(tmp_path / "merging-seed0.jsonl", mine + rows["rest"])
    frame = after(read_preset(tmp_path), "rsf")
    path = paths.path(frame, name)
    assert set(path["step"]) >= ({setting["alpha"]} if "alpha" in setting else {1})  # else the place along the path


def test_what_is_kept_whole_is_theta_and_the_ends_are_the_models(run, rows):
    last = values(rows["rest"], "theta")
    for label, options in (("trim", {"keep": (1.0,)}), ("fapm", {"keep": (1.0,)}), ("dare", {"drop": (0.0,)})):
        assert values(rows_of(run, label, alphas=(1.0,), options=options), label) == last
    for label in ("slerp", "extrapolate", "dera", "lines"):
        entry = ENTRIES[label]
        options = {key: given[:1] for key, given in entry.options.items()}
        assert values(rows_of(run, label, alphas=(1.0,), options=options), label) == last, label
    start = values(rows["rest"], "theta_0")
    for label in ("dera", "ma-matrices", "aim"):
        options = {key: given[:1] for key, given in ENTRIES[label].options.items()}
        assert values(rows_of(run, label, alphas=(0.0,), options=options), label) == start, label
    assert values(rows["dera"], "dera") not in (start, last)


def test_ma_lies_among_them(run):
    entry = load_sweep("core").entry("ma").model_copy(update={"alphas": (0.5,)})
    ma = values(average.measure_averages(evaluator(run), theta(run), "rsf", entry, None, []), "ma", alpha=0.5)
    for label, options in (("extrapolate", {}), ("tail", {"last": (1,)}), ("aim", {"omega": (1.0,)})):
        assert values(rows_of(run, label, alphas=(0.5,), options=options), label) == ma


def test_an_entry_that_learns_from_samples_has_the_models_that_its_settings_say(run, rows):
    """theta_0's own text, read anew: at omega = 0 the input that it uses most keeps theta_0's weights, and every one else moves."""
    entry = ENTRIES["aim"]
    between = average.load_between(run.folder / "theta_0", theta(run), entry.grouping.of_model(run.preset.model))
    materials = average._materials(evaluator(run), theta(run), between)
    live = aim.make(materials)({"omega": 0.0, "alpha": 1.0}).state_dict()
    weight = "model.layers.1.mlp.down_proj.weight"
    moved = (live[weight] - between.theta_0[weight]).abs().sum(dim=0)
    assert (moved == 0).sum() == 1 and moved.max() > 0
    assert torch.equal(live["model.embed_tokens.weight"], between.theta["model.embed_tokens.weight"])
    found = values(rows["aim"], "aim")
    assert found != values(rows["rest"], "theta") and found["reward"] != values(rows["rest"], "theta_0")["reward"]


def test_the_published_ratios_leave_embeddings_and_norms_alone(rows):
    setting = rows["ama-published"][0]["setting"]
    assert (setting["embeddings"], setting["norm"], setting["alpha"]) == ("theta_0", "theta_0", 0.8)
    assert (setting["eps"], setting["regulariser"]) == (0.2, 1e-4)
    assert sum(setting["alphas"].values()) / 3 == pytest.approx(0.8)
    assert len(set(setting["alphas"].values())) == 3


def test_other_runs_that_are_not_there_are_refused_in_one_sentence(run):
    entry = runnable(load_sweep("merging"), run.preset).entry("soup")
    with pytest.raises(UserError, match="^runs = 2 is not allowed: there is no run2; allowed are none.$"):
        average.measure_averages(evaluator(run), theta(run), "rsf", entry, None, [])


def test_presets_leave_out_what_they_cannot_run():
    sweep = load_sweep("merging")
    short, small = (runnable(sweep, load_preset(name)) for name in ("smoke", "smollm2-135m-gpu"))
    assert short.entry("tail").options["last"] == (2,)
    assert short.entry("extrapolate-early").options["iteration"] == (2,)
    assert {e.label for e in sweep.averaging} - {e.label for e in small.averaging} == {"ties", "ties-more", "dots"}
    assert small.entry("tail").options["last"] == (2, 3, 4)
    stock = Step("average", "rsf", entry=sweep.entry("model-stock"))
    assert models(load_preset("microcosm"), stock) == 4


# What the sources themselves use, from their papers, READMEs and scripts: one model of the sweep has all of it
SOURCES = {
    "trim": {"keep": 0.2},
    "dare": {"drop": 0.9, "alpha": 1.0},
    "fapm": {"keep": 0.1, "alpha": 1.0},
    "breadcrumbs": {"density": 0.15, "gamma": 0.006, "alpha": 1.0},
    "ties": {"keep": 0.2, "scale": 1.0, "alpha": 0.5},
    "dots": {"keep": 0.3, "sft": 1.0, "alpha": 1.0},
    "lines": {"outer": "alpha"},
    "aim": {"omega": 0.4, "alpha": 1.0},
    "ama-published": {"eps": 0.2, "regulariser": 1e-4, "alpha": 0.8},  # theirs is theta_0's share: .2
    "extrapolate": {"alpha": 1.5},
    "model-stock": {"per": "tensor"},
    "dera": {"alpha": 0.5},
}


@pytest.mark.parametrize("method", SOURCES)
def test_the_sweep_has_what_the_sources_use(method):
    entries = [entry for entry in ENTRIES.values() if entry.method == method]
    made = [{**given, "alpha": a} for one in entries for given in one.settings() for a in one.alphas or (None,)]
    assert any(SOURCES[method].items() <= setting.items() for setting in made)


def test_every_method_has_at_least_three_settings_and_its_default():
    for name in {entry.method for entry in ENTRIES.values()}:
        entries = [entry for entry in ENTRIES.values() if entry.method == name]
        assert sum(len(entry.settings()) * max(1, len(entry.alphas)) for entry in entries) >= 3, name
        for key, default in METHODS[name].defaults.items():
            assert any(default in entry.options.get(key, (default,)) for entry in entries), (name, key)
