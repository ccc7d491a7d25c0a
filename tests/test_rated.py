"""Methods compared at several learning rates, on made-up rows."""

import made_rows
import pytest
import rated

from llm.measured import read_preset
from llm.named import with_families

RATES = [1e-4, None, 1e-3]


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    sweeps = ("core", "learning-rates", "mitigations", "mitigation-rates")
    folder = made_rows.write(tmp_path_factory.mktemp("results"), (0, 1, 2), sweeps)
    return with_families(read_preset(folder), "rsf")


def lowered(path, by):
    """A path whose mean ability is lower by a number."""
    return path.assign(value=path["value"] - by * (path["metric"] == "mean_ability"))


def test_only_strengths_that_every_rate_has_are_compared(rows):
    found = rated.at_rates(rows, "l1", RATES)
    for path in found.values():
        assert set(path.loc[path["family"] == "l1", "strength"]) == {2e-4, 6e-3}
        assert {"theta_0", "distilled"} < set(path["family"])
    lora = rated.at_rates(rows, "lora-mlp", RATES)[None]
    assert set(lora.loc[lora["method"] == "lora", "rank"]) == {4, 64}
    assert rated.at_rates(rows[rows["lr"] != 1e-3], "l1", RATES) is None


def test_leads_are_those_that_were_built_in_and_each_gets_its_best_rate(rows):
    ma = rated.at_rates(rows, "ma", RATES)
    found = {"ma": {lr: ma[None] for lr in RATES}, "l1": {1e-4: lowered(ma[None], 0.05), None: lowered(ma[None], 0.02), 1e-3: lowered(ma[None], -0.03)}}
    leads = rated.leads(found)["l1"]
    assert [leads[lr].mean for lr in (*RATES, "best")] == pytest.approx([0.05, 0.02, -0.03, -0.03])
    assert leads["best"].verdict == "below"
    assert rated.best(found, "l1")[1:] == (1e-3, [1, 2])
    told = rated.told("l1", leads, found, {lr: f"rate {lr}" for lr in RATES})
    assert told.startswith("L1: at rate 0.0001 +0.050 [+0.050, +0.050], MA above it; ")
    assert told.endswith("told on 2 seeds) -0.030 [-0.030, -0.030], MA BELOW it")
