"""Families: every entry of every sweep has a name, a look and a path under it; rows that arrive sweep by sweep."""

import numpy as np
import pytest

import claim_rows
import made_rows
from drawing import style
from llm.config import load_sweep, names
from llm.errors import UserError
from llm.evidence import paths
from llm.evidence.frames import after, read_preset
from llm.methods import METHODS, family
from rsf_rows import core, model, rows_of, write

OFFSETS = {
    "pattern-output-less": "0 0 -0.1",
    "pattern-rest-less": "0 -0.1 -0.1",
    "pattern-output-more": "0 0 0.1",
    "pattern-rest-more": "0 0.1 0.1",
}


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    folder = claim_rows.write(tmp_path_factory.mktemp("microcosm"), {0: 0.5, 1: 0.5}, ("core", "mitigations", "ratios"))
    return after(read_preset(folder), "rsf")


def rewards(path, seed=1):
    chosen = path[(path["seed"] == seed) & (path["metric"] == "reward")]
    return dict(zip(chosen["step"], chosen["value"] - 10 * seed, strict=True))


def test_a_path_of_strengths_goes_from_theta_0_over_the_strongest_to_none_of_it(rows):
    found = rewards(paths.path(rows, "l2"))
    assert found == pytest.approx({step: 3.2 * step / 4 for step in range(5)})


def test_of_lora_the_smallest_scale_is_the_strongest_and_targets_are_kept_apart(rows):
    for name in ("lora-mlp", "lora-mlp-attention"):
        path = paths.path(rows, name)
        inner = path[(path["seed"] == 0) & (path["metric"] == "reward") & (path["method"] == "lora")]
        found = list(zip(inner["lora_alpha"], inner["rank"], strict=True))
        assert found == [(8, 16), (32, 16), (128, 16)]
        assert rewards(path) == pytest.approx({step: 3.2 * step / 4 for step in range(5)})


def test_of_equal_scales_of_lora_the_lowest_rank_is_the_strongest(tmp_path):
    pairs = [(8.0, 16), (32.0, 1), (32.0, 4), (32.0, 64), (128.0, 16)]
    rows = core(0) + rows_of(0, "distilled", {}, model(1, 0.5))
    for scale, rank in reversed(pairs):
        rows += rows_of(0, "lora", {"rank": rank, "lora_alpha": scale, "targets": "mlp"}, model(0.5, 0.9))
    path = paths.path(after(read_preset(write(tmp_path, rows)), "rsf"), "lora-mlp")
    inner = path[(path["metric"] == "reward") & (path["method"] == "lora")]
    assert list(zip(inner["lora_alpha"], inner["rank"], strict=True)) == pairs


def test_each_learning_rate_has_a_path_of_its_own(tmp_path):
    sweeps = ("core", "mitigations", "mitigation-rates")
    found = after(read_preset(claim_rows.write(tmp_path, {1: 0.5}, sweeps)), "rsf")
    assert rewards(paths.path(found, "kd", 1e-3)) == pytest.approx({step: 3.2 * step / 3 for step in range(4)})
    assert len(rewards(paths.path(found, "kd"))) == 5


def test_replay_without_end_is_not_theta_0(rows):
    path = paths.path(rows, "er")
    assert list(rewards(path)) == [1, 2, 3, 4]
    assert path.loc[path["step"] == 1, "strength"].unique().tolist() == [4.0]
    assert set(path.loc[path["step"] == 4, "method"]) == {"distilled"}


def test_ppos_penalty_does_not_end_with_a_model_distilled_from_rsf(tmp_path):
    folder = claim_rows.write(tmp_path, {1: 0.5}, ("core", "kl-penalty"))
    path = paths.path(after(read_preset(folder), "ppo"), "kl")
    assert rewards(path) == pytest.approx({0: 0, **{step: 1.68 + 0.64 * (step - 1) for step in range(1, 5)}})


def test_patterns_are_told_apart_by_what_they_add(rows):
    for name in METHODS["pattern"].looks:
        path = paths.path(rows, name)
        alphas = sorted(set(path["step"]))
        assert alphas == pytest.approx([0.2, 0.3, 0.4] if "less" in name else [0.6, 0.7, 0.8])
        assert rewards(path) == pytest.approx({alpha: 4 * alpha for alpha in alphas})
        assert set(path["offsets"]) == {OFFSETS[name]}
    with pytest.raises(UserError, match="no rows of pattern-rest-even at the preset's own learning rate"):
        paths.path(rows, "pattern-rest-even")


def test_a_sweep_may_be_there_for_some_seeds_only_but_a_family_must_be_whole(tmp_path):
    l2 = [rows_of(1, "l2", {"strength": s}, model(0.5, 0.9)) for s in (0.1, 1.0)] + [
        rows_of(1, "distilled", {}, model(1, 0.5))
    ]
    mine = core(0) + core(1) + sum(l2, [])
    found = after(read_preset(write(tmp_path / "whole", mine)), "rsf")
    assert paths.seeds(paths.path(found, "l2")) == [1]
    assert paths.seeds(paths.path(found, "ma")) == [0, 1]
    assert len(paths.load(tmp_path / "whole")) == len(paths.load(write(tmp_path / "core", core(0) + core(1))))
    damaged = mine[:]
    damaged.remove(l2[0][-1])
    with pytest.raises(UserError, match=r'method = l2, setting = \{"strength": 0.1\}, seed = 1, metric = bleu'):
        after(read_preset(write(tmp_path / "damaged", damaged)), "rsf")


def test_a_path_without_its_ends_is_refused(tmp_path):
    rows = core(0) + core(1)
    no_theta = [row for row in rows if (row["seed"], row["method"]) != (1, "theta")]
    with pytest.raises(UserError, match="ma, seed = 1 has rows, but theta, an end of its path, has none"):
        paths.path(paths.load(write(tmp_path / "a", no_theta)), "ma")
    alone = [row for strength in (0.1, 1.0) for row in rows_of(1, "l2", {"strength": strength}, model(0.5, 0.9))]
    found = after(read_preset(write(tmp_path / "b", rows + alone)), "rsf")
    with pytest.raises(UserError, match="l2, seed = 1 has rows, but distilled, an end of its path, has none"):
        paths.path(found, "l2")


SWEEPS = ("core", "algorithms", "mitigations", "ratios", "ama-samples", "kl-penalty", "merging")


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    rows = read_preset(made_rows.write(tmp_path_factory.mktemp("results"), (0, 1), SWEEPS))
    return {rlhf: after(rows, rlhf) for rlhf in ("rsf", "dpo", "ppo")}


def test_ways_of_a_method_have_names_of_their_own():
    grouping = {"parts": 3, "level": "part", "embeddings": "first", "norm": "mean", "head": "mean"}
    assert family("ama", grouping) == "ama"
    assert family("ama", {**grouping, "embeddings": "own"}) == "ama-own-embeddings"
    assert family("ama", {**grouping, "embeddings": "own", "head": "own"}) == "ama-own-embeddings-head"
    assert family("ama", {**grouping, "parts": 6}) == "ama-6"
    assert family("part", {"part": "input", "alpha": 0.1}) == "part-input"
    assert family("part", {"part": "input", "embeddings": "first", "alpha": 0.1}) == "part-input-embeddings-first"
    assert family("lora", {"targets": "mlp+attention", "rank": 4}) == "lora-mlp-attention"
    assert family("oracle", {**grouping, "chosen_by": "gold_reward"}) == "oracle-gold_reward"
    varied = {**grouping, "samples": 50, "regulariser": 1e-3}
    assert family("ama", varied) == "ama-samples-50-regulariser-0.001"
    assert family("ama-published", grouping) == "ama-published"
    assert (
        family("ama-published", {**grouping, "eps": 0.2, "regulariser": 1e-4})
        == "ama-published-eps-0.2-regulariser-0.0001"
    )
    assert family("ma", {"alpha": 0.1}) == "ma"


@pytest.mark.parametrize("sweep", [name for name in names("sweeps") if name in SWEEPS])
def test_every_family_of_a_sweep_has_a_path_from_theta_0_or_to_theta(frames, sweep):
    made = {(row["rlhf"], family(row["method"], row["setting"])) for row in made_rows.sweep_rows(sweep, 0)}
    for rlhf, name in made - {("none", "theta_0"), ("none", "chance")}:
        path = paths.path(frames[rlhf], name)
        assert set(path["seed"]) == {0, 1}
        order = METHODS[path.loc[path["family"] == name, "method"].iloc[0]].order
        if order is None or not (order.starts or order.ends):
            assert set(path["family"]) == {name}
            continue
        ends = path[path["step"].isin([path["step"].min(), path["step"].max()])]
        assert {"theta_0", "theta", "distilled"} & set(ends["method"]), name
        rewards = path[(path["metric"] == "reward") & (path["seed"] == 0)].sort_values("step")
        assert rewards["step"].is_unique
        assert len(rewards) >= 3  # theta_0 or theta, and two settings of its own


@pytest.mark.parametrize("sweep", names("sweeps"))
def test_every_family_but_equal_ratios_has_a_look(sweep):
    listed = load_sweep(sweep)
    made = {(row["method"], family(row["method"], row["setting"])) for row in made_rows.sweep_rows(sweep, 0)}
    assert len(made) >= len(
        {entry.label for entry in (*listed.averaging, *listed.training) if "scales" not in entry.label}
    )
    for _, name in made:
        if name not in ("pattern", "chance"):
            assert style.look(name).label


def test_the_two_oracles_are_two_paths(frames):
    found = [paths.path(frames["rsf"], f"oracle-{judge}") for judge in ("reward", "gold_reward")]
    for path in found:
        assert path.loc[path["metric"] == "reward", "step"].nunique() == 6
    inner = [path[path["method"] == "oracle"] for path in found]
    assert not np.allclose(inner[0]["value"], inner[1]["value"])


def test_a_family_without_rows_is_named(frames):
    with pytest.raises(UserError, match="no rows of l1 at the preset's own learning rate"):
        paths.path(frames["dpo"], "l1")


def test_a_family_does_not_depend_on_the_order_of_a_settings_keys():
    setting = {"strength": 1.0, "samples": 16, "inputs": "merged", "ridge": 0.01}
    named = {family("regmean", dict(order)) for order in (setting.items(), reversed(setting.items()))}
    assert named == {"regmean-samples-16-inputs-merged-ridge-0.01"}
    parts = {f"part{k}": 0.8 for k in range(12, 0, -1)}
    assert family("pattern", {"alphas": parts | {"part12": 0.7}}) == "pattern-output-less"
    assert family("pattern", {"alphas": parts | {"part10": 0.7}}) == "pattern"
