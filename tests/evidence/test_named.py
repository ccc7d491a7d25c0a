"""Names of families: every entry of every sweep has one, and a path under it."""

import numpy as np
import pytest

import made_rows
import style
from llm.config import load_sweep, names
from llm.errors import UserError
from llm.evidence.frames import read_preset
from llm.evidence.named import NO_PATH, family, of_family, with_families

SWEEPS = ("core", "algorithms", "mitigations", "ratios", "ama-samples", "kl-penalty")


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    rows = read_preset(made_rows.write(tmp_path_factory.mktemp("results"), (0, 1), SWEEPS))
    return {rlhf: with_families(rows, rlhf) for rlhf in ("rsf", "dpo", "ppo")}


def test_ways_of_a_method_have_names_of_their_own():
    grouping = {"parts": 3, "level": "part", "embeddings": "first", "norm": "mean", "head": "mean"}
    assert family("ama", grouping) == "ama"
    assert family("ama", {**grouping, "embeddings": "own"}) == "ama-own-embeddings"
    assert family("ama", {**grouping, "embeddings": "own", "head": "own"}) == "ama-own-embeddings-head"
    assert family("ama", {**grouping, "parts": 6}) == "ama-6"
    assert family("part", {"part": "input", "alpha": 0.1}) == "part-input"
    assert family("lora", {"targets": "mlp+attention", "rank": 4}) == "lora-mlp-attention"
    assert family("oracle", {**grouping, "chosen_by": "gold_reward"}) == "oracle-gold_reward"
    varied = {**grouping, "samples": 50, "regulariser": 1e-3}
    assert family("ama", varied) == "ama-samples-50-regulariser-0.001"
    assert family("ma", {"alpha": 0.1}) == "ma"


@pytest.mark.parametrize("sweep", [name for name in names("sweeps") if name in SWEEPS])
def test_every_family_of_a_sweep_has_a_path_from_theta_0_or_to_theta(frames, sweep):
    made = {(row["rlhf"], family(row["method"], row["setting"])) for row in made_rows.sweep_rows(sweep, 0)}
    for rlhf, name in made - {("none", "theta_0"), ("none", "chance")}:
        path = of_family(frames[rlhf], name)
        assert set(path["seed"]) == {0, 1}
        if name in NO_PATH:
            assert set(path["family"]) == {name}
            continue
        ends = path[path["step"].isin([path["step"].min(), path["step"].max()])]
        assert {"theta_0", "theta", "distilled"} & set(ends["method"]), name
        rewards = path[(path["metric"] == "reward") & (path["seed"] == 0)].sort_values("step")
        assert rewards["step"].is_unique
        assert len(rewards) >= 5


@pytest.mark.parametrize("sweep", names("sweeps"))
def test_every_family_but_the_patterns_has_a_look(sweep):
    listed = load_sweep(sweep)
    made = {(row["method"], family(row["method"], row["setting"])) for row in made_rows.sweep_rows(sweep, 0)}
    assert len(made) >= len(
        {entry.label for entry in (*listed.averaging, *listed.training) if "scales" not in entry.label}
    )
    for method, name in made:
        if method not in ("pattern", "chance"):
            assert style.look(name).label


def test_the_two_oracles_are_two_paths(frames):
    found = [of_family(frames["rsf"], f"oracle-{judge}") for judge in ("reward", "gold_reward")]
    for path in found:
        assert path.loc[path["metric"] == "reward", "step"].nunique() == 6
    inner = [path[path["method"] == "oracle"] for path in found]
    assert not np.allclose(inner[0]["value"], inner[1]["value"])


def test_a_family_without_rows_is_named(frames):
    with pytest.raises(UserError, match="no rows of l1 at the preset's own learning rate"):
        of_family(frames["dpo"], "l1")
