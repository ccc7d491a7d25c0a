"""Models of one seed compared item by item: the luck that they share takes no part in their difference."""

import numpy as np
import pytest

from llm.evidence import paths
from llm.evidence.frames import after, read_preset
from llm.evidence.rows import write_rows
from rsf_rows import core

ITEMS = 50
NOT_ITEMS = ("bleu",)


def frame(tmp_path, seeds=(0,), kept=True, noise=0.0):
    """The rows of `core`, whose items are the value, what makes the item hard or easy for every model, and noise."""
    rows, rng = [row for seed in seeds for row in core(seed)], np.random.default_rng(0)
    shared = {metric: rng.normal(size=ITEMS) for metric in sorted({row["metric"] for row in rows})}
    for row in rows if kept else ():
        if row["metric"] in NOT_ITEMS or row["method"] == "chance":
            continue
        items = row["value"] + shared[row["metric"]] + noise * rng.normal(size=ITEMS)
        items = (items - items.mean() + row["value"]).round(5)
        row |= {
            "items": items.tolist(),
            "n": ITEMS,
            "value": items.mean(),
            "stderr": items.std(ddof=1) / np.sqrt(ITEMS),
        }
    write_rows(tmp_path / "core.jsonl", rows)
    return after(read_preset(tmp_path), "rsf")


def pair(rows):
    return paths.path(rows, "ma"), paths.path(rows, "early-stopping")


def item_gap(rows, ability):
    return paths.gap(*pair(rows), ability, over_items=True)


def test_what_items_have_in_common_is_in_no_error_of_a_difference(tmp_path):
    rows = frame(tmp_path)
    theta, start = paths.of_method(rows, "theta"), paths.theta_0(rows)
    assert start.set_index("metric")["stderr"]["qa"] > 0.1
    assert paths.items_error(theta, start, "qa") < 1e-5
    change = paths.difference(theta, start, "qa")
    assert change.mean == pytest.approx(-0.45)
    assert change.high - change.low < 1e-4


def test_an_error_over_items_is_that_of_their_differences(tmp_path):
    rows = frame(tmp_path, noise=0.3)
    theta, start = paths.of_method(rows, "theta"), paths.theta_0(rows)
    given = [rows.loc[rows["metric"] == "qa", "items"].iloc[0] for rows in (theta, start)]
    expected = np.subtract(*given).std(ddof=1) / np.sqrt(ITEMS)
    assert paths.items_error(theta, start, "qa") == pytest.approx(expected)
    assert 0.3 / np.sqrt(ITEMS) < expected < 0.6 / np.sqrt(ITEMS)


@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_a_gap_of_one_seed_has_an_interval_over_items(tmp_path, noise):
    rows = frame(tmp_path, noise=noise)
    found, over_seeds = item_gap(rows, "qa"), paths.gap(*pair(rows), "qa")
    assert found.mean == pytest.approx(over_seeds.mean)
    assert np.isnan(over_seeds.low)
    assert found.low < found.mean < found.high
    assert found.high - found.low < (0.005 if noise == 0 else 0.15)
    assert found.verdict == "above"


def test_more_noise_makes_a_wider_interval(tmp_path):
    widths = []
    for noise in (0.05, 0.2):
        (tmp_path / f"{noise}").mkdir()
        found = item_gap(frame(tmp_path / f"{noise}", noise=noise), "qa")
        widths.append(found.high - found.low)
    assert widths[1] > 2 * widths[0]


def test_rows_without_items_and_metrics_without_any_have_no_interval(tmp_path):
    assert np.isnan(item_gap(frame(tmp_path), "bleu").low)
    assert np.isnan(item_gap(frame(tmp_path, kept=False), "qa").low)


def test_over_several_seeds_the_interval_is_that_over_seeds(tmp_path):
    rows = frame(tmp_path, seeds=(0, 1, 2), noise=0.1)
    found, expected = item_gap(rows, "qa"), paths.gap(*pair(rows), "qa")
    assert (found.mean, found.low, found.high) == (expected.mean, expected.low, expected.high)


def test_the_mean_of_the_abilities_keeps_no_single_abilitys_items(tmp_path):
    rows = frame(tmp_path)
    assert rows.loc[rows["metric"] == "mean_ability", "items"].isna().all()
