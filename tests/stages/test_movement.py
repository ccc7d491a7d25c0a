"""How far alignment moved a model's weights: values on weights made by hand, and the command on a tiny run."""

import json
import math

import numpy as np
import pytest
import torch

from llm.stages.movement import TABLE, group_movement, rank_correlation, read_movements, row_movement
from microcosm_runs import command


def weights(table, first, second, norm, head=None):
    named = {TABLE: table, "model.layers.0.mlp.up_proj.weight": first, "model.layers.1.mlp.up_proj.weight": second}
    named |= {"model.norm.weight": norm, "lm_head.weight": head}
    return {name: torch.tensor(value) for name, value in named.items() if value is not None}


THETA_0 = weights([[3.0, 4.0], [0.0, 2.0], [0.0, 0.0]], [[1.0, 2.0]], [[2.0, 1.0]], [1.0, 1.0])
THETA = weights([[3.0, 9.0], [0.0, 2.0], [0.0, 0.0]], [[1.0, 2.0]], [[4.0, 2.0]], [1.0, 1.0])


def test_groups_have_their_relative_movement_and_their_share_of_all():
    found = group_movement(THETA_0, THETA)
    assert found.keys() == {"embeddings", "layer1", "layer2", "norm"}
    assert found["embeddings"] == {"relative": pytest.approx(5 / math.sqrt(29)), "share": pytest.approx(25 / 30)}
    assert found["layer2"] == {"relative": pytest.approx(1.0), "share": pytest.approx(5 / 30)}
    assert found["layer1"] == found["norm"] == {"relative": 0.0, "share": 0.0}


def test_a_head_of_its_own_is_a_group_of_its_own():
    heads = [weights([[1.0]], [[1.0]], [[1.0]], [1.0], [[value]]) for value in (2.0, 3.0)]
    assert group_movement(*heads)["head"] == {"relative": 0.5, "share": 1.0}


def test_nothing_moved_is_zero_everywhere():
    assert all(one == {"relative": 0.0, "share": 0.0} for one in group_movement(THETA_0, THETA_0).values())


def test_rows_have_their_movement_in_units_of_their_length():
    assert row_movement(THETA_0, THETA).tolist() == [1.0, 0.0, 0.0]


def test_ranks_are_compared():
    assert rank_correlation(np.array([1, 2, 3]), np.array([1.0, 10.0, 11.0])) == pytest.approx(1.0)
    assert rank_correlation(np.array([1, 2, 3]), np.array([3.0, 2.0, -9.0])) == pytest.approx(-1.0)
    assert math.isnan(rank_correlation(np.array([1, 2]), np.array([1.0, 1.0])))


def test_the_command_writes_what_the_notebook_reads(tmp_path, monkeypatch, capsys):
    steps = (["pretrain"], ["sft"], ["reward"], ["align"], ["sweep", "core", "--entry", "ama"])
    for step in steps:
        assert command(monkeypatch, *step, "--preset", "smoke", "--out", tmp_path) == 0
    to = tmp_path / "results" / "movement-seed0.json"
    assert command(monkeypatch, "movement", "--preset", "smoke", "--out", tmp_path, "--to", to) == 0
    (found,) = read_movements(to.parent)
    assert (found["preset"], found["seed"], list(found["rlhf"])) == ("smoke", 0, ["rsf"])
    of_rsf = found["rlhf"]["rsf"]
    assert sum(group["share"] for group in of_rsf["groups"].values()) == pytest.approx(1.0)
    assert [group for group in of_rsf["groups"] if group.startswith("layer")] == ["layer1", "layer2", "layer3"]
    moved = [moved for _, moved, _ in of_rsf["tokens"]]
    assert moved == sorted(moved, reverse=True) and moved[0] > 0
    kept = json.loads((tmp_path / "smoke" / "seed0" / "ama" / "rsf" / "own" / "kept.json").read_text())["found"]
    words = {word for row in kept for word in row["reply"].split()}
    assert all((count > 0) == (token in words) for token, _, count in of_rsf["tokens"] if not token.startswith("<"))
    assert command(monkeypatch, "movement", "--preset", "smoke", "--out", tmp_path, "--to", to, "--rlhf", "abc") == 2
    assert "rlhf = 'abc' is unknown; allowed are rsf, dpo, ppo" in capsys.readouterr().err
