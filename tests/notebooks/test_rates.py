"""Methods compared at several learning rates, on made-up rows."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import made_rows
from drawing import rates, sentences, style
from llm.evidence import compare, paths
from llm.evidence.claims.book import with_taxes
from llm.evidence.frames import after, read_preset
from llm.evidence.intervals import Interval
from llm.evidence.metrics import IN_TAXES

RATES = [1e-4, None, 1e-3]


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    sweeps = ("core", "learning-rates", "mitigations", "mitigation-rates")
    folder = made_rows.write(tmp_path_factory.mktemp("results"), (0, 1, 2), sweeps)
    return after(read_preset(folder), "rsf")


def changed(path, metric, by):
    """A path whose metric is higher by a number."""
    return path.assign(value=path["value"] + by * (path["metric"] == metric))


def test_rates_and_seeds_that_every_method_has_are_found_in_rising_order(rows):
    some = rows[(rows["seed"] != 1) | (rows["family"] != "er")]
    found = rates.find(some, ("ma", "l1", "er"), made_rows.PRESET, {"rsf": rows})
    assert [list(models) for models in found.values()] == [RATES] * 3
    assert {seed for models in found.values() for path in models.values() for seed in path["seed"]} == {0, 2}


def test_where_rates_or_seeds_are_missing_a_sentence_says_so(rows, capsys, monkeypatch):
    monkeypatch.setattr(sentences, "show", print)
    own = rows[rows["lr"].isna() | (rows["family"] != "er")]
    assert rates.find(own, ("ma", "er"), made_rows.PRESET, {"rsf": rows}) is None
    assert 'TARGET="learning-rates mitigations mitigation-rates"' in capsys.readouterr().out
    apart = rows[(rows["seed"] == 0) == (rows["family"] == "er")]
    apart = pd.concat([apart, rows[rows["method"].isin(["theta_0", "theta", "distilled"])]]).drop_duplicates(
        ["seed", "family", "setting_key", "metric"]
    )
    assert rates.find(apart, ("ma", "er"), made_rows.PRESET, {"rsf": rows}) is None
    assert "No seed has the rows" in capsys.readouterr().out
    distil = made_rows.PRESET.distil
    faster = distil.model_copy(update={"optimiser": distil.optimiser.model_copy(update={"lr": 1e-3})})
    assert rates.find(rows, ("ma", "er"), made_rows.PRESET.model_copy(update={"distil": faster}), {"rsf": rows}) is None
    assert "RSF's own learning rate is 2.5e-4, that of what imitates its samples 1e-3" in capsys.readouterr().out


def halved(rows, path, metric, share):
    """A path that pays a share of the tax of another one."""
    start = paths.theta_0(rows).query("metric == @metric").set_index("seed")["value"]
    before = path["seed"].map(start)
    paid = before - share * (before - path["value"])
    return path.assign(value=path["value"].where(path["metric"] != metric, paid))


def test_shares_are_those_that_were_built_in_and_each_gets_its_best_rate(rows):
    """L1 pays what MA pays at 1e-4, twice as much at its own rate and four times as much at 1e-3."""
    l1 = paths.path(rows, "ma")
    found = {"ma": dict.fromkeys(RATES, l1)}
    found["l1"] = {lr: halved(rows, l1, "bleu", times) for lr, times in {1e-4: 1, None: 2, 1e-3: 4}.items()}
    one = compare.leads(found, rows, "bleu", "ma")["l1"]
    assert {lr: share.mean for lr, share in one.at.items()} == pytest.approx({1e-4: 0, None: 0.5, 1e-3: 0.75})
    assert one.best.mean == pytest.approx(0)
    (line,) = rates.table({"l1": one}, "ma", {lr: f"rate {lr}" for lr in RATES}).to_dict("records")
    assert (line["saved by"], line["of the tax of"]) == ("MA", "L1")
    assert line["both at rate 0.001"] == "**+0.75 [+0.75, +0.75]**"


def test_a_method_that_pays_no_tax_is_said_to_pay_none(rows):
    ma = paths.path(rows, "ma")
    found = {"ma": {None: ma}, "l1": {None: halved(rows, ma, "bleu", 0)}}
    one = compare.leads(found, rows, "bleu", "ma")["l1"]
    assert (one.at, one.best) == ({None: None}, None)
    (line,) = rates.table({"l1": one}, "ma", {None: "own"}).to_dict("records")
    assert line["both at own"] == line["each at its best"] == "-"
    assert "MA saves tax against no method (0 of 1 pay a tax" in rates.verdict({"ma": {"l1": one}})


def test_early_stopping_is_a_rival_of_every_method_but_ma(rows):
    found = rates.find(rows, ("ma", "early-stopping", "l1"), made_rows.PRESET, {"rsf": rows})
    assert {rival: set(compare.leads(found, rows, "mean_ability", rival)) for rival in rates.RIVALS} == {
        "ma": {"early-stopping", "l1"},
        "early-stopping": {"l1"},
    }


def test_how_far_each_method_gets_is_said(rows):
    ma = paths.path(rows, "ma")
    found = {"ma": {None: ma, 1e-3: changed(ma, "reward", 1.0)}}
    top = ma[ma["metric"] == "reward"].groupby("step")["value"].mean().max() + 1
    assert rates.highest(found, {None: "own", 1e-3: "fast"}).endswith(f"MA {top:.2f} (at fast).")


def test_all_abilities_together_are_compared_beside_the_single_ones_where_that_is_asked(rows):
    units = {"qa": 0.1, "bleu": 50.0}
    taxed = with_taxes(rows, units)
    found = {name: paths.path(taxed, name) for name in ("ma", "early-stopping")}
    (one,) = compare.contests(found, taxed, overall=IN_TAXES)
    alone = {ability: one.found["reward", ability].t.mean for ability in units}
    assert one.found["reward", IN_TAXES].t.mean == pytest.approx(sum(alone[a] / units[a] for a in units) / 2)
    (without,) = compare.contests(found, taxed)
    assert set(one.found) - set(without.found) == {("reward", IN_TAXES), ("gold_reward", IN_TAXES)}


def test_shares_are_drawn_in_their_panel_hollow_by_gold_reward_and_a_missing_tax_is_said():
    learned = Interval(0.3, 0.1, np.inf, np.array([0.2, 0.4]))
    gold = replace(learned, mean=-0.2)
    found = {
        "each at its best": {("reward", "bleu"): None, ("gold_reward", "bleu"): None},
        "both at 1e-4": {("reward", "bleu"): learned, ("gold_reward", "bleu"): gold},
        "both at 1e-3": {("reward", "bleu"): replace(learned, per_seed=np.zeros(5)), ("gold_reward", "bleu"): None},
    }
    style.use()
    fig = rates.saved(found, "microcosm")
    (ax,) = fig.axes
    marks = {line.get_xdata()[0]: line.get_markerfacecolor() for line in ax.lines if line.get_marker() == "o"}
    assert set(marks) == {0.3, -0.2}
    assert marks[-0.2] == style.PAPER != marks[0.3]
    assert [text.get_text() for text in ax.texts] == ["no clear tax", "gold: no clear tax"]
    assert "microcosm, 2 to 5 seeds, as named" in " ".join(text.get_text() for text in fig.texts)
    assert [label.get_text() for label in ax.get_yticklabels()] == list(found)
    assert sum(line.get_marker() == ">" for line in ax.lines) == 3  # the ends that lie beyond the panel
