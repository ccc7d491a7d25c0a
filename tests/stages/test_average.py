"""Averages measured: the ends are theta_0 and theta, AMA stays in Omega, every setting has its rows."""

import json
from dataclasses import asdict

import numpy as np
import pytest

from llm.config import AveragingEntry, GroupingSettings, load_sweep
from llm.errors import UserError
from llm.evidence.rows import write_rows
from llm.grouping import Grouping
from llm.models.batches import IGNORED
from llm.models.chat import reply_ids
from llm.models.loading import load_model, load_reward_model, load_tokenizer
from llm.models.rewards import reward_scores
from llm.stages.adapt import find_ratios
from llm.stages.average import group_named, measure_averages, settings_of
from llm.stages.rsf import sample
from microcosm_runs import METRICS, averages, core_rows, evaluator, far_stepping, smoke, smoke_run, theta, values

TENTHS = [k / 10 for k in range(11)]
GROUPING = Grouping(3, "part", "own", "theta", "theta")


@pytest.fixture(scope="module")
def rows(run):
    return core_rows(run)


def test_every_model_of_the_core_sweep_has_a_row_of_every_metric(rows, run, tmp_path):
    for method in ("theta_0", "theta"):
        assert set(values(rows, method)) == set(METRICS)
    assert set(values(rows, "chance")) == {"qa", "reading_f1", "bleu"}
    assert set(values(rows, "reward_model")) == {"pair_accuracy", "gold_correlation"}
    for iteration in (1, 2):
        assert set(values(rows, "early-stopping", iteration=iteration)) == set(METRICS)
    for alpha in TENTHS:
        assert set(values(rows, "ma", alpha=alpha)) == set(METRICS)
        for part in ("input", "middle", "output", "embeddings"):
            assert set(values(rows, "part", part=part, alpha=alpha)) == set(METRICS)
    for alpha in (0.2, 0.4, 0.6, 0.8):
        for embeddings in ("first", "own"):
            assert set(values(rows, "ama", alpha=alpha, embeddings=embeddings)) == set(METRICS)
    assert len(rows) == len(METRICS) * (2 + 2 + 13 + 4 * 11 + 2 * 4) + 3 + 2
    write_rows(tmp_path / "rows.jsonl", rows)  # which refuses what the schema does not allow
    assert {(row["preset"], row["seed"]) for row in rows} == {("smoke", 0)}


def test_the_ends_of_averaging_are_theta_0_and_theta(rows):
    first, last = values(rows, "theta_0"), values(rows, "theta")
    assert values(rows, "ma", alpha=0.0) == first
    assert values(rows, "ma", alpha=1.0) == last == values(rows, "early-stopping", iteration=2)
    for part in ("input", "middle", "output", "embeddings"):
        assert values(rows, "part", part=part, alpha=1.0) == last
    assert first["reward"] != last["reward"]
    between = [values(rows, "ma", alpha=alpha)["reward"][0] for alpha in TENTHS]
    assert len(set(between)) == len(TENTHS)


def test_a_part_alone_moves_only_itself(rows):
    rewards = {
        part: values(rows, "part", part=part, alpha=0.0)["reward"]
        for part in ("input", "middle", "output", "embeddings")
    }
    assert len({*rewards.values(), values(rows, "theta")["reward"], values(rows, "theta_0")["reward"]}) == 6


def test_amas_ratios_have_their_mean_and_stay_within_0_and_1(rows):
    found = [row for row in rows if row["method"] == "ama" and row["metric"] == "reward"]
    assert len(found) == 8
    for row in found:
        alphas, setting = row["setting"]["alphas"], row["setting"]
        groups = ["part1", "part2", "part3"] + ["embeddings"] * (setting["embeddings"] == "own")
        assert list(alphas) == groups
        assert abs(np.mean(list(alphas.values())) - setting["alpha"]) < 1e-12
        assert 0 <= min(alphas.values()) < max(alphas.values()) <= 1
        assert {key: setting[key] for key in ("parts", "norm", "head")} == {"parts": 3, "norm": "mean", "head": "mean"}


def test_amas_samples_are_thetas_best_by_the_learned_reward(run, rows):
    settings = run.preset.ama
    found = json.loads((run.folder / "ama" / "rsf" / "own" / "kept.json").read_text())["found"]
    model, tokenizer = load_model(theta(run)), load_tokenizer(theta(run))
    prompts = run.source.prompts("train", run.preset.prompts, settings.prompts, run.rng("adapt"))
    samples = sample(run, model, tokenizer, prompts, settings.samples, 1.0, ("adapt",))
    scores = reward_scores(load_reward_model(run.folder / "reward"), tokenizer, samples, 100).tolist()
    least = sorted(scores, reverse=True)[settings.keep - 1]
    assert settings.draw < settings.keep == len(found) < len(samples)
    known = dict(zip(samples, scores, strict=True))
    for row in found:
        score = known[row["prompt"], row["reply"], row["finished"]]
        assert row["reward"] == pytest.approx(score, abs=1e-5)
        assert score >= least - 1e-5
    assert [row["reward"] for row in found] != sorted((row["reward"] for row in found), reverse=True)


def test_ama_begins_at_equal_ratios_and_repeats_itself(run, rows, tmp_path):
    entry = load_sweep("core").entry("ama")
    first = json.loads((run.folder / "ama" / "rsf" / "own" / "ama.json").read_text())["found"]
    kept = json.loads((run.folder / "ama" / "rsf" / "own" / "kept.json").read_text())["found"]
    for samples in (kept, kept[: run.preset.ama.draw]):  # D_theta is the first `draw` of those kept
        assert find_ratios(run, run.folder / "theta_0", theta(run), samples, entry) == first
    for alpha, result in first.items():
        assert len(result["path"]) == run.preset.ama.steps
        assert list(result["path"][0]["alphas"].values()) == pytest.approx([float(alpha)] * 3, abs=1e-12)
        assert all(np.isfinite(step["loss"]) for step in result["path"])


def test_ama_learns_from_the_replies_alone_and_sees_every_sample(run, rows):
    from llm.stages.adapt import _batches

    tokenizer = load_tokenizer(theta(run))
    samples = json.loads((run.folder / "ama" / "rsf" / "own" / "kept.json").read_text())["found"]
    learned = []
    for batch in _batches(samples, tokenizer, 3, len(samples) // 3, np.random.default_rng(0)):
        for ids, mask, labels in zip(*batch.labelled().values(), strict=True):
            said = labels[labels != IGNORED].tolist()
            length = int(mask.sum())
            assert ids[length - len(said) : length].tolist() == said  # the end of what is not padding
            prompt = (
                tokenizer.decode(ids[: length - len(said)]).removeprefix("<bos> <user> ").removesuffix(" <assistant>")
            )
            learned.append((prompt, said))
    expected = [(row["prompt"], reply_ids(tokenizer, row["reply"], row["finished"])) for row in samples]
    assert sorted(learned) == sorted(expected)


def entry(**changes) -> AveragingEntry:
    grouping = GroupingSettings(parts=3, embeddings="own", norm="theta", head="theta")
    return AveragingEntry(
        **(
            {"method": "part", "label": "x", "alphas": [0.25], "grouping": grouping, "options": {"part": ["middle"]}}
            | changes
        )
    )


def test_settings_say_which_ratio_each_group_gets():
    groups = ["part1", "part2", "part3", "embeddings"]
    assert list(settings_of(entry(), GROUPING, groups, [])) == [
        ({"part": "middle", "alpha": 0.25}, {"part1": 1.0, "part2": 0.25, "part3": 1.0, "embeddings": 1.0})
    ]
    ((setting, alphas),) = settings_of(entry(method="ma", options={}), GROUPING, groups, [])
    assert (setting, alphas) == ({"alpha": 0.25}, dict.fromkeys(groups, 0.25))
    found = dict(zip(groups, (0.1, 0.2, 0.3, 0.4), strict=True))
    ((setting, alphas),) = settings_of(entry(method="ama", options={}), GROUPING, groups, [({"alpha": 0.25}, found)])
    assert alphas == found
    assert setting == {"alpha": 0.25, "alphas": found, **asdict(GROUPING)}


def test_a_part_that_the_model_does_not_have_is_refused():
    assert group_named("output", ["part1", "part2", "part3"]) == "part3"
    with pytest.raises(UserError, match="part = 'head' is no group of this model; allowed are part1, part2, part3"):
        group_named("head", ["part1", "part2", "part3"])


def test_a_head_tied_to_the_embeddings_is_no_group_of_its_own(run):
    assert smoke().model.tied_embeddings
    grouping = GroupingSettings(parts=3, embeddings="own", norm="mean", head="own")
    with pytest.raises(UserError, match="grouping.head = 'own' is not allowed with tied embeddings"):
        measure_averages(
            evaluator(run), theta(run), "rsf", entry(grouping=grouping, options={"part": ["head"]}), None, []
        )


def test_the_learning_rate_becomes_part_of_the_setting_unless_it_is_the_presets(run):
    one = entry(options={"part": ["input"]}, alphas=[1.0])
    assert {
        json.dumps(row["setting"]) for row in measure_averages(evaluator(run), theta(run), "dpo", one, None, [])
    } == {'{"part": "input", "alpha": 1.0}'}
    rows = measure_averages(evaluator(run), theta(run), "dpo", one, 2e-3, [])
    assert {row["setting"]["lr"] for row in rows} == {0.002}
    assert {row["rlhf"] for row in rows} == {"dpo"}


def test_embeddings_and_head_of_an_untied_model_are_averaged_each_with_its_own_ratio(tmp_path):
    untied = far_stepping().model_copy(update={"model": smoke().model.model_copy(update={"tied_embeddings": False})})
    run = smoke_run(tmp_path, preset=untied)
    ma = averages(run, "ma")
    theta_0, _ = evaluator(run).measure(load_model(run.folder / "theta_0"))
    assert values(ma, "ma", alpha=0.0) == {metric: (m.value, m.stderr) for metric, m in theta_0.items()}
    grouping = GroupingSettings(parts=3, embeddings="theta", norm="theta", head="own")
    rows = measure_averages(
        evaluator(run),
        theta(run),
        "rsf",
        entry(grouping=grouping, options={"part": ["head"]}, alphas=[0.0, 1.0]),
        None,
        [],
    )
    assert values(rows, "part", alpha=1.0) == values(ma, "ma", alpha=1.0)
    assert values(rows, "part", alpha=0.0)["reward"] != values(rows, "part", alpha=1.0)["reward"]
