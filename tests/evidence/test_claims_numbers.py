"""The numbers of the ledger of claims, each by a second route, in made-up worlds whose answer is known."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import claim_rows
from llm.evidence.claims import theory
from llm.evidence.claims.book import make_book, read_book
from llm.evidence.claims.change import Change, Model, highest
from llm.evidence.claims.front import Ahead, AheadAtBestRates, AheadOf
from llm.evidence.claims.line import Missing
from llm.evidence.claims.table import MA, STOPPING, THETA, THETA_0, TRAINED
from llm.evidence.frames import read_preset
from llm.evidence.metrics import IN_TAXES
from llm.evidence.paths import best_rate

THEORY = Path(__file__).parents[2] / "results" / "theory"
COSTS = {0: 0.48, 1: 0.5, 2: 0.52}
L2 = TRAINED["L2 penalty"]


def student(values):
    """Mean and 95 % interval, by scipy."""
    values = np.asarray(values)
    return values.mean(), *stats.t.interval(0.95, len(values) - 1, values.mean(), stats.sem(values))


def numbers(line):
    return line.estimate, line.low, line.high


def book_of(folder, power=2.0, seeds=COSTS, sweeps=("core", "mitigations"), **options):
    return read_book(claim_rows.write(folder, seeds, sweeps, power=power, **options))


def chord(power, steps, cost):
    """A function of the rise: the loss along straight lines between averages at `steps`."""
    return lambda rise: np.interp(rise, steps, cost * np.asarray(steps) ** power)


def test_fronts_are_compared_at_equal_reward_in_taxes_paired_over_seeds(tmp_path):
    book = book_of(tmp_path)
    line = Ahead("MA above L2", MA, L2).lines(book)[0]
    rises, tenths = np.linspace(0, 0.8, 101), np.linspace(0, 1, 11)  # the front's own grid of rewards
    gaps = [np.mean(cost * rises - chord(2, tenths, cost)(rises)) for cost in COSTS.values()]
    expected = np.array(student(gaps)) / np.mean(list(COSTS.values()))
    assert numbers(line) == pytest.approx(tuple(expected), abs=1e-5)
    assert (line.metric, line.unit, line.seeds, line.verdict) == (IN_TAXES, 1.0, (0, 1, 2), "holds")


def test_each_ability_the_gold_reward_and_both_areas_are_told_beside_the_line_that_decides(tmp_path):
    lines = Ahead("MA above L2", MA, L2).lines(book_of(tmp_path))
    told = ["qa", "reading_f1", "bleu", "mean_ability", IN_TAXES, "area", "area"]
    assert [(line.metric, line.deciding) for line in lines] == [(IN_TAXES, True), *((metric, False) for metric in told)]
    in_taxes = lines[0].estimate
    for line, top in zip(lines[1:4], (0.9, 0.8, 100), strict=True):
        assert line.unit == pytest.approx(0.5 * top)
        assert line.estimate == pytest.approx(in_taxes * line.unit, rel=1e-4)
    assert lines[4].estimate == pytest.approx(
        np.mean([line.estimate for line in lines[1:4]] / np.array([1, 1, 100])), abs=1e-5
    )
    # area: the rise of 4 (3 of gold), under straight lines, and beyond 0.8 of it only MA has any
    mean, chance, tenths = (0.9 + 0.8 + 1) / 3, (0.25 + 0.4) / 3, np.linspace(0, 1, 11)
    rises = np.linspace(0, 1, 100001)
    averaged = [np.mean(mean * (1 - chord(2, tenths, cost)(rises)) - chance) for cost in COSTS.values()]
    rival = [np.mean((rises < 0.8) * (mean * (1 - cost * rises) - chance)) for cost in COSTS.values()]
    areas = np.subtract(averaged, rival)
    assert numbers(lines[6]) == pytest.approx(tuple(4 * np.array(student(areas))), rel=1e-3)
    assert numbers(lines[7]) == pytest.approx(tuple(3 * np.array(student(areas))), rel=1e-3)


def test_a_change_is_paired_and_has_the_interval_of_students_t(tmp_path):
    book = book_of(tmp_path, sweeps=("core",))
    lines = Change("tax", THETA, THETA_0, "bleu", "below").lines(book)
    assert numbers(lines[0]) == pytest.approx(student([-100 * cost for cost in COSTS.values()]), abs=1e-5)
    assert lines[0].verdict == "holds"
    rise, gold = Change("reward", THETA, THETA_0, "reward").lines(book)  # seeds' zeros, 10 apart, do not count
    assert numbers(rise) == pytest.approx((4, 4, 4))
    assert (gold.metric, gold.estimate, gold.deciding) == ("gold_reward", pytest.approx(3), False)


def test_a_model_is_compared_with_a_path_at_its_own_reward(tmp_path):
    book = book_of(tmp_path)
    (line,) = AheadOf("MA", MA, Model(L2, 3.0), "bleu").lines(book)
    rise, tenths = 0.8 * 3 / 7, np.linspace(0, 1, 11)  # the third of six strengths
    expected = [100 * (cost * rise - chord(2, tenths, cost)(rise)) for cost in COSTS.values()]
    assert numbers(line) == pytest.approx(student(expected), abs=1e-5)


def test_what_is_chosen_is_chosen_on_the_first_seed_and_reported_on_the_others(tmp_path):
    rows = read_preset(claim_rows.write(tmp_path, {3: 0.5, 5: 0.5, 7: 0.5}, ("core",)))
    at = (rows["method"] == "early-stopping") & (rows["metric"] == "qa")
    best = {3: 2, 5: 1, 7: 1}
    for seed, iteration in best.items():
        chosen = rows["setting_key"] == f'{{"iteration": {iteration}}}'
        rows.loc[at & (rows["seed"] == seed) & chosen, "value"] = 0.95
    peak = Model(STOPPING, choose=highest("qa"))
    lines = Change("peak", peak, Model(STOPPING, 0.0), "qa").lines(make_book(rows))
    assert (lines[0].seeds, lines[0].note) == ((5, 7), "step 2 chosen on seed 3")
    assert numbers(lines[0]) == pytest.approx((-0.225, -0.225, -0.225))  # iteration 2 has lost a quarter of 0.9
    assert (lines[1].seeds, lines[1].deciding) == ((3, 5, 7), False)
    assert lines[1].per_seed == pytest.approx((0.05, -0.225, -0.225))


def test_early_stopping_is_compared_at_its_best_learning_rate(tmp_path):
    folder = claim_rows.write(tmp_path, COSTS, ("core", "learning-rates"), bump=0)
    rows = read_preset(folder)
    slow = (rows["method"] == "early-stopping") & rows["setting_key"].str.contains('"lr": 0.0001')
    start = rows[rows["method"] == "theta_0"].set_index(["seed", "metric"])["value"]
    for metric in ("qa", "reading_f1", "bleu"):  # at 1e-4 early stopping costs nothing
        which = slow & (rows["metric"] == metric)
        rows.loc[which, "value"] = [start[seed, metric] for seed in rows.loc[which, "seed"]]
    book = make_book(rows)
    lines = AheadAtBestRates("MA", MA, STOPPING).lines(book)
    best, same = lines[0], lines[-1]
    assert (best.verdict, best.seeds, best.deciding) == ("fails", (1, 2), True)
    assert best.note == "learning rates own and 0.0001, chosen on seed 0"
    assert (same.verdict, same.seeds, same.deciding) == ("holds", (0, 1, 2), False)
    assert same.note == "both at the preset's own learning rate"


def test_the_best_rate_is_that_of_the_largest_lead_and_that_of_the_largest_area_is_told_beside_it(tmp_path):
    rows = read_preset(claim_rows.write(tmp_path, COSTS, ("core", "learning-rates"), bump=0))
    high = rows["setting_key"].str.contains('"lr": 0.001')  # reaches twice the reward, and has lost .4 at once
    start = rows[rows["method"] == "theta_0"].set_index(["seed", "metric"])["value"]
    for place in rows.index[high]:
        seed, metric = rows.loc[place, "seed"], rows.loc[place, "metric"]
        ability = metric in ("qa", "reading_f1", "bleu")
        rows.loc[place, "value"] = 0.6 * start[seed, metric] if ability else rows.loc[place, "value"] + 4
    book = make_book(rows)
    lines = AheadAtBestRates("MA", MA, STOPPING).lines(book)
    notes = {line.note.removeprefix("learning rates ") for line in lines}
    assert {"own and 0.001, chosen on seed 0", "0.001 and 0.001, of the largest areas on seed 0"} <= notes
    chosen = [best_rate(book.rows["rsf"], method, (None, 1e-4, 1e-3)) for method in ("ma", "early-stopping")]
    assert chosen == [(1e-3, [1, 2])] * 2


def test_methods_choose_among_the_rates_that_both_were_measured_at(tmp_path):
    folder = claim_rows.write(tmp_path, COSTS, ("core", "learning-rates", "mitigations"))
    alone = AheadAtBestRates("MA", MA, L2, needs="sweep x").lines(read_book(folder))
    assert [(line.missing, line.deciding) for line in alone[:2]] == [("sweep x", True), ("", False)]
    assert alone[1].note == "at the preset's own learning rate, the only one measured"
    claim_rows.write(tmp_path, {1: 0.5, 2: 0.52}, ("mitigation-rates",))
    lines = AheadAtBestRates("MA", MA, L2).lines(read_book(folder))
    assert lines[0].note == "learning rates own and own, chosen on seed 1; one seed, so no interval"
    assert lines[0].seeds == (2,)
    assert lines[-1].seeds == (0, 1, 2)


def test_a_rate_is_chosen_at_the_strengths_that_all_rates_have_and_told_with_all_of_its_own(tmp_path):
    """At its own rate L2 loses less, but for the strengths that no other rate has: there it has lost everything."""
    folder = claim_rows.write(tmp_path, COSTS, ("core", "learning-rates", "mitigations", "mitigation-rates"))
    rows = read_preset(folder)
    before = AheadAtBestRates("MA", MA, L2).lines(make_book(rows))
    only_own = np.array(
        [
            method == "l2" and "lr" not in setting and setting["strength"] not in (1e-2, 1.0)
            for method, setting in zip(rows["method"], rows["setting"], strict=True)
        ]
    )
    rows.loc[only_own & rows["metric"].isin(["qa", "reading_f1", "bleu"]), "value"] = 0.0
    after = AheadAtBestRates("MA", MA, L2).lines(make_book(rows))
    assert [lines[0].note for lines in (before, after)] == ["learning rates own and own, chosen on seed 0"] * 2
    areas = [next(line.note for line in lines if "largest areas" in line.note) for lines in (before, after)]
    assert areas == ["learning rates own and own, of the largest areas on seed 0"] * 2
    assert after[0].estimate > before[0].estimate + 0.5


def test_an_ability_without_tax_has_no_unit_and_no_say_in_taxes(tmp_path):
    rows = read_preset(claim_rows.write(tmp_path, COSTS, ("core",), bump=0))
    rows.loc[rows["metric"] == "qa", "value"] = 0.9
    book = make_book(rows)
    assert "qa" not in book.units
    assert Ahead("MA", MA, STOPPING).lines(book)[0].verdict == "holds"
    rows.loc[rows["metric"].isin(["reading_f1", "bleu"]), "value"] = 0.8
    line = Ahead("MA", MA, STOPPING).lines(make_book(rows))[0]
    assert (line.verdict, line.estimate) == ("undecided", None)
    assert "no tax to measure in" in line.note


def test_the_theorys_numbers_are_those_of_the_package():
    from theory import proposition_5_1

    table = pd.read_csv(THEORY / "proposition.csv")
    n, p, k = (table[key].iloc[0] for key in ("n", "p", "n_classes"))
    terms = [proposition_5_1(int(n), n_o, p, int(k)) for n_o in range(n + 1)]
    assert theory.printed_error(table) == pytest.approx(
        max(max(abs(t.printed.xi_1 - t.weights.xi_1), abs(t.printed.xi_2 - t.weights.xi_2)) for t in terms), abs=1e-7
    )
    exact = table.assign(method=table["method"].map({"closed-form": "exact", "exact": "-"}))  # the limit in its place
    assert theory.smallest_gain(exact) == pytest.approx(min(t.weights.xi_1 for t in terms[:-1]), abs=1e-7)
    assert theory.largest_unrelated_gain(exact) == pytest.approx(max(t.weights.xi_2 for t in terms), abs=1e-7)


def test_the_conclusion_is_judged_on_a_grid_and_fails_at_few_features():
    grid = pd.read_csv(THEORY / "finite.csv")
    assert theory.smallest_limit(grid) == 0.0
    assert theory.smallest_difference(grid) == pytest.approx(-0.0599786, abs=1e-6)


def layer(predicted, qa, reward, start_qa=0.9):
    return {"predicted": predicted, "effect": {"half": {"qa": qa, "reward": reward}, "start": {"qa": start_qa}}}


def overlap_file(seed, *layers):
    ends = {"theta_0": {"qa": 0.9, "reward": 1.0}, "theta": {"qa": 0.7, "reward": 3.0}}
    return {"seed": seed, "rlhf": {"rsf": ends | {"layers": dict(enumerate(layers))}}}


def test_overlap_is_held_against_what_averaging_a_layer_adds():
    """xi of a layer by hand: (.92 - .9) / .2 and (2.8 - 3) / 2, halved: 0; and ranks that agree, oppose or tell nothing."""
    ends = overlap_file(0)["rlhf"]["rsf"]
    assert theory.measured_gain(layer(0.1, 0.92, 2.8)["effect"], ends["theta_0"], ends["theta"]) == pytest.approx(0.0)
    agree = overlap_file(0, layer(0.0, 0.8, 2.0), layer(0.1, 0.85, 2.5), layer(0.2, 0.9, 3.0))
    oppose = overlap_file(1, layer(0.2, 0.8, 2.0), layer(0.1, 0.85, 2.5), layer(0.0, 0.9, 3.0))
    assert theory.correlation(agree["rlhf"]["rsf"]) == pytest.approx(1.0)
    (line,) = theory.OverlapExplains("overlap explains").lines([agree, oppose])
    assert line.per_seed == (1.0, -1.0) and line.verdict == "undecided"
    with pytest.raises(Missing):
        theory.OverlapExplains("overlap explains").lines([])
