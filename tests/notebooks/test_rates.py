"""Methods compared at several learning rates, on made-up rows."""

import pandas as pd
import pytest

import made_rows
from drawing import rates
from llm.evidence import compare
from llm.evidence.frames import after, read_preset
from llm.evidence.rates import at_rates

RATES = [1e-4, None, 1e-3]


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    sweeps = ("core", "learning-rates", "mitigations", "mitigation-rates")
    folder = made_rows.write(tmp_path_factory.mktemp("results"), (0, 1, 2), sweeps)
    return after(read_preset(folder), "rsf")


def changed(path, metric, by):
    """A path whose metric is higher by a number."""
    return path.assign(value=path["value"] + by * (path["metric"] == metric))


def test_only_strengths_that_every_rate_has_are_compared(rows):
    for path in at_rates(rows, "l1", RATES).values():
        assert set(path.loc[path["family"] == "l1", "strength"]) == {2e-4, 6e-3}
        assert {"theta_0", "distilled"} < set(path["family"])
    lora = at_rates(rows, "lora-mlp", RATES)[None]
    assert set(lora.loc[lora["method"] == "lora", "rank"]) == {4, 64}


def test_rates_and_seeds_that_every_method_has_are_found_in_rising_order(rows):
    some = rows[(rows["seed"] != 1) | (rows["family"] != "er")]
    found = rates.find(some, ("ma", "l1", "er"), made_rows.PRESET)
    assert [list(models) for models in found.values()] == [RATES] * 3
    assert {seed for models in found.values() for path in models.values() for seed in path["seed"]} == {0, 2}


def test_where_rates_or_seeds_are_missing_a_sentence_says_so(rows, capsys):
    own = rows[rows["lr"].isna() | (rows["family"] != "er")]
    assert rates.find(own, ("ma", "er"), made_rows.PRESET) is None
    assert 'TARGET="learning-rates mitigations mitigation-rates"' in capsys.readouterr().out
    apart = rows[(rows["seed"] == 0) == (rows["family"] == "er")]
    apart = pd.concat([apart, rows[rows["method"].isin(["theta_0", "theta", "distilled"])]]).drop_duplicates(
        ["seed", "family", "setting_key", "metric"]
    )
    assert rates.find(apart, ("ma", "er"), made_rows.PRESET) is None
    assert "No seed has the rows" in capsys.readouterr().out


def test_leads_are_those_that_were_built_in_and_each_gets_its_best_rate(rows):
    ma = at_rates(rows, "ma", [None])[None]
    by_rate = {1e-4: 0.05, None: 0.02, 1e-3: -0.03}
    found = {"ma": dict.fromkeys(RATES, ma), "l1": {lr: changed(ma, "mean_ability", -by) for lr, by in by_rate.items()}}
    duel = compare.leads(found, "mean_ability", "ma")["l1"]
    assert {lr: one.mean for lr, one in duel.at.items()} == pytest.approx(by_rate)
    assert (duel.best.mean, duel.best.verdict, len(duel.best.per_seed)) == (pytest.approx(-0.03), "below", 2)
    assert (duel.rates[1], duel.chosen_on) == (1e-3, 0)
    names = {lr: f"rate {lr}" for lr in RATES}
    said = rates.sentence("l1", "ma", duel, "mean_ability", names)
    assert said.endswith("L1 at rate 0.001 (chosen on seed 0, told on 2 seeds): -0.030 [-0.030, -0.030], BELOW it")
    line = rates.table({"l1": duel}, "ma", "mean_ability", names).loc["MA minus L1"]
    assert line["rate 0.0001"] == "+0.050 [+0.050, +0.050], above it"


def test_by_area_each_takes_the_rate_of_its_largest_area_on_the_first_seed(rows):
    """MA is best at its own rate, L1 at 1e-3 on the first seed and at 1e-4 on the others; areas fall with the ability."""
    ma = at_rates(rows, "ma", [None])[None]
    lower = {1e-4: (0.2, 0.0), None: (0.3, 0.3), 1e-3: (0.1, 0.4)}  # on the first seed, on the others
    first = ma["seed"] == 0
    l1 = {
        lr: pd.concat([changed(ma[first], "mean_ability", -on), changed(ma[~first], "mean_ability", -off)])
        for lr, (on, off) in lower.items()
    }
    found = {
        "ma": {1e-4: changed(ma, "mean_ability", -0.5), None: ma, 1e-3: changed(ma, "mean_ability", -0.6)},
        "l1": l1,
    }
    duel = compare.area_leads(found, rows, "ma")["l1"]
    assert duel.rates == (None, 1e-3)
    start, chance = (
        rows[(rows["method"] == method) & (rows["metric"] == "mean_ability")].set_index("seed")["value"]
        for method in ("theta_0", "chance")
    )
    assert duel.best.per_seed == pytest.approx([0.4 / (start[seed] - chance[seed]) for seed in (1, 2)], rel=0.2)
    assert duel.best.per_seed == pytest.approx(
        duel.at[1e-3].per_seed[1:] + [0.6 / (start[s] - chance[s]) for s in (1, 2)], rel=0.5
    )


def test_early_stopping_is_a_rival_of_every_method_but_ma(rows):
    found = rates.find(rows, ("ma", "early-stopping", "l1"), made_rows.PRESET)
    assert {rival: set(compare.leads(found, "mean_ability", rival)) for rival in rates.RIVALS} == {
        "ma": {"early-stopping", "l1"},
        "early-stopping": {"l1"},
    }
    assert set(compare.area_leads(found, rows, "early-stopping")) == {"l1"}


def test_how_far_each_method_gets_is_said(rows):
    ma = at_rates(rows, "ma", [None])[None]
    found = {"ma": {None: ma, 1e-3: changed(ma, "reward", 1.0)}}
    top = ma[ma["metric"] == "reward"].groupby("step")["value"].mean().max() + 1
    assert rates.highest(found, {None: "own", 1e-3: "fast"}).endswith(f"MA {top:.2f} (at fast).")
