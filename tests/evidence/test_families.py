"""Paths of methods that change training, and rows that arrive sweep by sweep."""

import pytest

import claim_rows
from llm.config import load_sweep, names
from llm.errors import UserError
from llm.evidence import families, paths
from llm.evidence.frames import after, read_preset
from rsf_rows import core, model, rows_of, write


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    folder = claim_rows.write(tmp_path_factory.mktemp("microcosm"), {0: 0.5, 1: 0.5}, ("core", "mitigations", "ratios"))
    return after(read_preset(folder), "rsf", families.FAMILIES)


def rewards(path, seed=1):
    chosen = path[(path["seed"] == seed) & (path["metric"] == "reward")]
    return dict(zip(chosen["step"], chosen["value"] - 10 * seed, strict=True))


def test_a_path_of_strengths_goes_from_theta_0_over_the_strongest_to_none_of_it(rows):
    found = rewards(families.strengths(rows, "l2"))
    assert found == pytest.approx({0: 0, **{k: 3.2 * k / 7 for k in range(1, 7)}, 7: 3.2})


def test_of_lora_the_smallest_scale_and_then_the_lowest_rank_is_the_strongest_and_targets_are_kept_apart(rows):
    for targets in ("mlp", "mlp+attention"):
        path = families.strengths(rows, "lora", targets=targets)
        inner = path[(path["seed"] == 0) & (path["metric"] == "reward") & (path["method"] == "lora")]
        found = list(zip(inner["lora_alpha"], inner["rank"], strict=True))
        assert found == [(0.125, 16), (0.5, 16), (2, 16), (8, 16), (32, 1), (32, 4), (32, 16), (32, 64), (128, 16)]
        assert rewards(path) == pytest.approx({step: 3.2 * step / 10 for step in range(11)})


def test_each_learning_rate_has_a_path_of_its_own(tmp_path):
    sweeps = ("core", "mitigations", "mitigation-rates")
    found = after(read_preset(claim_rows.write(tmp_path, {1: 0.5}, sweeps)), "rsf", families.FAMILIES)
    assert rewards(families.strengths(found, "kd", 1e-3)) == pytest.approx({step: 3.2 * step / 3 for step in range(4)})
    assert len(rewards(families.strengths(found, "kd"))) == 7


def test_replay_without_end_is_not_theta_0(rows):
    path = families.strengths(rows, "er")
    assert list(rewards(path)) == [1, 2, 3, 4, 5, 6]
    assert path.loc[path["step"] == 1, "strength"].unique().tolist() == [4.0]
    assert set(path.loc[path["step"] == 6, "method"]) == {"distilled"}


def test_ppos_penalty_does_not_end_with_a_model_distilled_from_rsf(tmp_path):
    folder = claim_rows.write(tmp_path, {1: 0.5}, ("core", "kl-penalty"))
    path = families.strengths(after(read_preset(folder), "ppo", families.FAMILIES), "kl")
    assert rewards(path) == pytest.approx({0: 0, **{step: 0.4 + 0.64 * (step - 1) for step in range(1, 7)}})


def test_patterns_are_told_apart_by_what_they_add(rows):
    for offsets in ("0 0 -0.1", "0 -0.1 -0.1", "0 0 0.1", "0 0.1 0.1"):
        path = families.pattern(rows, offsets)
        alphas = sorted(set(path["step"]))
        assert alphas == pytest.approx([0.2, 0.3, 0.4] if "-" in offsets else [0.6, 0.7, 0.8])
        assert rewards(path) == pytest.approx({alpha: 4 * alpha for alpha in alphas})
    with pytest.raises(UserError, match="no rows for method = pattern, offsets = 0 1 1"):
        families.pattern(rows, "0 1 1")


@pytest.mark.parametrize("sweep", names("sweeps"))
def test_the_methods_of_every_sweep_are_known(sweep):
    listed = load_sweep(sweep)
    methods = {entry.method for entry in (*listed.averaging, *listed.training)} - {"oracle"}
    assert methods <= set(families.FAMILIES)


def test_a_sweep_may_be_there_for_some_seeds_only_but_a_family_must_be_whole(tmp_path):
    l2 = [rows_of(1, "l2", {"strength": s}, model(0.5, 0.9)) for s in (0.1, 1.0)] + [
        rows_of(1, "distilled", {}, model(1, 0.5))
    ]
    mine = core(0) + core(1) + sum(l2, [])
    found = after(read_preset(write(tmp_path / "whole", mine)), "rsf", families.FAMILIES)
    assert paths.seeds(families.strengths(found, "l2")) == [1]
    assert paths.seeds(paths.path(found, "ma")) == [0, 1]
    assert len(paths.load(tmp_path / "whole")) == len(paths.load(write(tmp_path / "core", core(0) + core(1))))
    damaged = mine[:]
    damaged.remove(l2[0][-1])
    with pytest.raises(UserError, match=r'method = l2, setting = \{"strength": 0.1\}, seed = 1, metric = bleu'):
        after(read_preset(write(tmp_path / "damaged", damaged)), "rsf", families.FAMILIES)


def test_a_path_without_its_ends_is_refused(tmp_path):
    rows = core(0) + core(1)
    no_theta = [row for row in rows if (row["seed"], row["method"]) != (1, "theta")]
    with pytest.raises(UserError, match="method = ma, seed = 1 has rows, but theta has none"):
        paths.path(paths.load(write(tmp_path / "a", no_theta)), "ma")
    alone = [row for strength in (0.1, 1.0) for row in rows_of(1, "l2", {"strength": strength}, model(0.5, 0.9))]
    found = after(read_preset(write(tmp_path / "b", rows + alone)), "rsf", families.FAMILIES)
    with pytest.raises(UserError, match="method = l2, seed = 1 has rows, but an end of its path has none"):
        families.strengths(found, "l2")
