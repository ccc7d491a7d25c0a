"""The committed rows belong together: what is compared was measured on the same models."""

from pathlib import Path

import pytest

from llm.evidence.rows import read_rows

FOLDERS = sorted(path.parent for path in (Path(__file__).parents[2] / "results").glob("*/core-seed0.jsonl"))
ENDS = {0.0: "theta_0", 1.0: "theta"}


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_all_rows_of_a_seed_come_from_one_run(folder):
    """An average that is theta_0 or theta has just its numbers. Another machine trains another model from the same seed, so rows
    of two machines may not be put together (docs/log.md).
    """
    rows = read_rows(folder)
    rows = rows[rows["split"] == "test"]
    rows = rows.assign(
        lr=[setting.get("lr", 0.0) for setting in rows["setting"]],  # 0: the preset's own
        end=[ENDS.get(setting.get("alpha")) for setting in rows["setting"]],
    )
    averages = rows[(rows["method"] == "ma") & rows["end"].notna()]
    assert len(averages)
    for end, keys in {"theta_0": ["seed", "metric"], "theta": ["seed", "metric", "rlhf", "lr"]}.items():
        model = rows[rows["method"] == end].set_index(keys)["value"]
        same = averages[averages["end"] == end].set_index(keys)["value"]
        assert same.to_dict() == model.reindex(same.index).to_dict()


def test_there_are_reference_rows():
    assert "microcosm" in [folder.name for folder in FOLDERS]
