"""Ratio patterns, AMA by layer, AdaMerging and the oracle on the smoke preset."""

import json
from dataclasses import asdict

import numpy as np
import pytest
import torch

from ama_models import wholly_in
from llm.averaging.ama.gradient import ratio_gradient, reply_loss
from llm.averaging.ama.oracle import lattice
from llm.averaging.live import mix_
from llm.config import AveragingEntry, GroupingSettings, load_sweep
from llm.data.microcosm.tokenizer import build_tokenizer
from llm.data.records import GenerationItem
from llm.errors import UserError
from llm.grouping import Grouping, assign, labels, ratios
from llm.stages.adapt import _batches, labelled, ratios_of
from llm.stages.average import measure_averages, settings_of
from llm.stages.oracle import oracle_ratios, search_omega
from microcosm_runs import METRICS, evaluator, theta, tiny_model, values

SWEEP = load_sweep("ratios")
FIELDS = asdict(Grouping())


def rows_of(run, label):
    entry, folder, found = SWEEP.entry(label), run.folder / "ama" / "rsf" / "own", []
    if entry.method in ("ama", "adamerging"):
        found = ratios_of(run, theta(run), entry, folder)
    elif entry.method == "oracle":
        found = oracle_ratios(evaluator(run), theta(run), entry, folder)
    return measure_averages(evaluator(run), theta(run), "rsf", entry, None, found)


@pytest.fixture(scope="module")
def rows(run):
    return {entry.label: rows_of(run, entry.label) for entry in SWEEP.averaging}


def shares(rows):
    """The ratios of every model, in the order of its groups."""
    return [tuple(row["setting"]["alphas"].values()) for row in rows if row["metric"] == "reward"]


def test_the_patterns_are_figure_9s_in_both_readings_as_post_rlhf_shares(rows):
    printed = [
        p
        for a in (0.2, 0.3, 0.4)
        for p in ((a, a, a), (a, a, round(a - 0.1, 12)), (a, round(a - 0.1, 12), round(a - 0.1, 12)))
    ]
    assert shares(rows["patterns"]) == printed
    assert np.array(shares(rows["patterns-theta-0"])) == pytest.approx(1 - np.array(printed))
    assert {row["method"] for row in rows["patterns"]} == {"pattern"}
    assert rows["patterns"][0]["setting"] == {**FIELDS, "alphas": {"part1": 0.2, "part2": 0.2, "part3": 0.2}}


def test_every_entry_has_a_row_of_every_metric_for_every_setting(rows):
    counts = {
        "patterns": 9,
        "patterns-theta-0": 9,
        "part-input-embeddings": 3,
        "ama-layers": 4,
        "adamerging": 4,
        "oracle": 8,
    }
    assert {label: len(found) for label, found in rows.items()} == {
        label: len(METRICS) * count for label, count in counts.items()
    }
    settings = [row["setting"] for row in rows["part-input-embeddings"] if row["metric"] == "reward"]
    assert settings == [{"part": "input", "embeddings": "first", "alpha": alpha} for alpha in (0.2, 0.5, 0.8)]
    for label in ("ama-layers", "adamerging"):
        for alpha in (0.2, 0.4, 0.6, 0.8):
            assert set(values(rows[label], SWEEP.entry(label).method, alpha=alpha)) == set(METRICS)


@pytest.mark.parametrize("label", ["ama-layers", "adamerging"])
def test_a_ratio_a_layer_keeps_the_mean(run, rows, label):
    for row in rows[label]:
        alphas = row["setting"]["alphas"]
        assert row["setting"]["parts"] == len(alphas) == run.preset.model.layers
        assert np.mean(list(alphas.values())) == pytest.approx(row["setting"]["alpha"], abs=1e-12)
        assert 0 <= min(alphas.values()) < max(alphas.values()) <= 1


def test_as_many_parts_as_layers_are_the_layers():
    names = [f"model.layers.{layer}.mlp.up_proj.weight" for layer in range(6)]
    grouping = GroupingSettings(parts="layers", embeddings="first", norm="mean", head="mean").of_layers(6)
    assert [assign(names, grouping)[name] for name in names] == [f"part{layer}" for layer in range(1, 7)]


def test_adamerging_learns_from_training_items_of_reading_comprehension_with_their_answers(run, rows):
    found = json.loads((run.folder / "ama" / "rsf" / "own" / "labelled.json").read_text())["found"]
    items = run.source.items("train", {"qa": 0, "reading": run.preset.ama.draw, "translation": 0}).reading
    held_out = {item.prompt for item in run.source.items("test", {"qa": 0, "reading": 200, "translation": 0}).reading}
    assert found == labelled(items)
    assert [(row["prompt"], row["reply"]) for row in found] == [(item.prompt, item.reference) for item in items]
    assert len(found) == run.preset.ama.draw
    assert not held_out & {row["prompt"] for row in found}
    assert shares(rows["adamerging"]) != shares(rows["ama-layers"])


def test_adamergings_gradient_is_that_of_finite_differences_of_the_answers_loss():
    live, low, high = (wholly_in(torch.float64, tiny_model(seed, scale=5.0).double()) for seed in range(3))
    theta_0, theta_ = ({n: t.clone() for n, t in model.state_dict().items()} for model in (low, high))
    assignment = assign(theta_0, Grouping(parts=3), {"lm_head.weight": "model.embed_tokens.weight"})
    item = GenerationItem("who is there ?", "the red bread .")
    batch = next(_batches(labelled([item, item]), build_tokenizer(), 2, 1, np.random.default_rng(0))).labelled()
    alphas = dict(zip(labels(assignment), (0.2, 0.5, 0.8), strict=True))

    def loss(changed):
        mix_(live, theta_0, theta_, ratios(assignment, alphas | changed))
        with torch.no_grad():
            return reply_loss(live, batch).item()

    value, slopes = ratio_gradient(live, theta_0, theta_, assignment, alphas, batch)
    assert value == pytest.approx(loss({}), rel=1e-9)
    for group, slope in zip(alphas, slopes.tolist(), strict=True):
        step = 1e-5
        difference = (loss({group: alphas[group] + step}) - loss({group: alphas[group] - step})) / (2 * step)
        assert slope == pytest.approx(difference, rel=1e-5)


def test_the_oracle_takes_the_point_of_the_lattice_with_the_highest_reward(run, monkeypatch):
    """Against all points, each asked on all prompts: the screen lets every point through."""
    settings = run.preset.oracle.model_copy(update={"screen": 2, "finalists": 1000, "prompts": 3})
    every = type(run)(run.preset.model_copy(update={"oracle": settings}), run.seed, run.out)
    judge, entry = evaluator(every), SWEEP.entry("oracle")
    best = search_omega(judge, theta(run), entry, 0.4)
    prompts = run.source.prompts("train", run.preset.prompts, 3, run.rng("oracle"))
    rewards = {}
    for point in lattice(3, 0.4, settings.step):
        pattern = AveragingEntry(
            method="pattern", label="x", alphas=(0.0,), options={"offsets": [point]}, grouping=entry.grouping
        )
        monkeypatch.setattr(type(judge), "measure", lambda self, model: (self.dialogue(model, prompts), 0.0))
        measured = measure_averages(judge, theta(run), "rsf", pattern, None, [])
        rewards[point] = {row["metric"]: row["value"] for row in measured}
    assert len({row["reward"] for row in rewards.values()}) > 5
    for name in ("reward", "gold_reward"):
        highest = max(row[name] for row in rewards.values())
        assert rewards[tuple(best[name].values())][name] == highest > min(row[name] for row in rewards.values())


def test_the_oracles_rows_say_who_chose_and_its_ratios_are_of_the_lattice(run, rows):
    for alpha in (0.2, 0.4, 0.6, 0.8):
        points = [pytest.approx(point) for point in lattice(3, alpha, run.preset.oracle.step)]
        for judge in ("reward", "gold_reward"):
            found = [
                row
                for row in rows["oracle"]
                if row["setting"]["alpha"] == alpha and row["setting"]["chosen_by"] == judge
            ]
            assert {row["metric"] for row in found} == set(METRICS)
            assert all(tuple(row["setting"]["alphas"].values()) in points for row in found)


def test_the_oracles_search_is_kept(run, rows, monkeypatch):
    from llm.stages import oracle

    monkeypatch.setattr(oracle, "search_omega", pytest.fail)
    found = oracle_ratios(evaluator(run), theta(run), SWEEP.entry("oracle"), run.folder / "ama" / "rsf" / "own")
    assert [tuple(alphas.values()) for _, alphas in found] == shares(rows["oracle"])


def test_a_pattern_with_another_number_of_offsets_than_groups_is_refused():
    grouping = GroupingSettings(parts=2, embeddings="first", norm="mean", head="mean")
    entry = AveragingEntry(
        method="pattern", label="x", alphas=(0.5,), grouping=grouping, options={"offsets": [[0.0, 0.1, 0.1]]}
    )
    with pytest.raises(
        UserError, match=r"offsets = \[0.0, 0.1, 0.1\] is not allowed; allowed is one for each of part1, part2"
    ):
        list(settings_of(entry, grouping.of_layers(6), ["part1", "part2"], []))
