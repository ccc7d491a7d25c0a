"""The numbers of the ledger of claims, each by a second route, in made-up worlds whose answer is known."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import claim_rows
from llm.evidence.claims import theory
from llm.evidence.claims.association import PredictsBetter
from llm.evidence.claims.book import Book, make_book, read_book
from llm.evidence.claims.change import Change, Model, best_of_its_own, extreme, keeping
from llm.evidence.claims.comparisons import MA, REPLAY, STOPPING, THETA, THETA_0, TRAINED, Afresh
from llm.evidence.claims.existence import Ratios, Some
from llm.evidence.claims.front import Ahead, AheadOf
from llm.evidence.claims.line import FEWEST, Line, Missing
from llm.evidence.claims.render import number
from llm.evidence.frames import read_preset
from llm.evidence.intervals import ratio_of_means
from llm.evidence.metrics import SAVED

THEORY = Path(__file__).parents[2] / "results" / "theory"
COSTS = {0: 0.48, 1: 0.5, 2: 0.52}
L2 = TRAINED["L2 penalty"]
WORDS = ("question answering", "reading comprehension", "translation")


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


def test_fronts_are_compared_by_the_share_saved_at_equal_reward(tmp_path):
    """L2 has five points, up to .8 of the rise; MA, of whose thirteen the nearest to these count, loses the square of the rise."""
    line = Ahead("MA above L2", MA, L2).lines(book_of(tmp_path))[0]
    levels, alphas = np.arange(50, 81) / 100, np.array([0, 2, 4, 6, 8]) / 10
    saved = 1 - chord(2, alphas, 1.0)(levels).mean() / levels.mean()  # each seed's cost drops out
    assert numbers(line) == pytest.approx((saved, saved, saved), abs=1e-5)
    assert (line.metric, line.unit, line.seeds, line.levels) == (SAVED, 1.0, (0, 1, 2), (0.5, 0.8))
    assert (line.verdict, line.margin, line.by) == ("holds", 0.1, "reward")


def test_the_gold_reward_and_each_ability_are_told_beside_the_line_that_decides(tmp_path):
    lines = Ahead("MA above L2", MA, L2).lines(book_of(tmp_path))
    told = [("MA above L2", "gold_reward"), *((f"MA above L2: {word}", "reward") for word in WORDS)]
    assert [(line.part, line.by) for line in lines[1:]] == told
    assert [line.deciding for line in lines] == [True] + [False] * 4
    assert [line.estimate for line in lines] == pytest.approx([lines[0].estimate] * 5, abs=1e-5)  # all lose alike


def test_a_tax_that_is_not_clear_of_nothing_gives_the_difference_itself_and_no_margin(tmp_path):
    rows = read_preset(claim_rows.write(tmp_path, COSTS, ("core",), bump=0))
    stopped = (rows["method"] == "early-stopping") & (rows["metric"] == "qa")
    rows.loc[stopped, "value"] = 0.9 + rows.loc[stopped, "seed"].map({0: -0.1, 1: 0.12, 2: 0.0})
    line = Ahead("MA", MA, STOPPING, "qa").lines(make_book(rows))[0]
    assert (line.metric, line.margin) == ("qa", None)
    assert "not clear of 0" in line.note
    assert line.estimate == pytest.approx(np.mean(line.per_seed), abs=1e-5)


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
    line, _ = AheadOf("MA", MA, Model(L2, 3.0), "bleu").lines(book)
    rise, tenths = 0.8 * 3 / 4, np.linspace(0, 1, 11)  # the third of three strengths
    averaged = chord(2, tenths, 1.0)(rise)  # of the cost
    assert numbers(line) == pytest.approx([1 - averaged / rise] * 3, abs=1e-5)
    assert line.levels == pytest.approx((rise, rise), abs=1e-9)
    turned, _ = AheadOf("L2", MA, Model(L2, 3.0), "bleu", model_first=True).lines(book)
    assert turned.estimate == pytest.approx(1 - rise / averaged, abs=1e-5)  # it pays more than MA
    far, _ = AheadOf("L2", L2, Model(MA), "bleu").lines(book)
    assert far.untestable.startswith("unequal reach")


def test_what_is_chosen_is_chosen_on_the_other_seeds(tmp_path):
    rows = read_preset(claim_rows.write(tmp_path, {3: 0.5, 5: 0.5, 7: 0.5}, ("core",)))
    at = (rows["method"] == "early-stopping") & (rows["metric"] == "qa")
    best = {3: 2, 5: 1, 7: 1}
    for seed, iteration in best.items():
        chosen = rows["setting_key"] == f'{{"iteration": {iteration}}}'
        rows.loc[at & (rows["seed"] == seed) & chosen, "value"] = 0.95
    peak = Model(STOPPING, choose=extreme("qa"))
    (line,) = Change("peak", peak, Model(STOPPING, 0.0), "qa").lines(make_book(rows))
    assert peak.steps(peak.route.models(make_book(rows))) == {3: 1.0, 5: 1.0, 7: 1.0}
    assert (line.note, line.inflation) == ("step 1 chosen on the other seeds", 1 + 3 / 2)
    assert line.sign_flip is None


def test_a_method_is_best_at_one_of_its_own_models_that_all_seeds_have():
    rows = [("theta_0", 0, 9.0), ("ondare", 1, 1.0), ("ondare", 2, 3.0), ("ondare", 3, 2.0), ("theta", 4, 9.0)]
    frame = [
        {"method": method, "step": step, "seed": seed, "metric": "gold_reward", "value": value}
        for method, step, value in rows
        for seed in (0, 1)
    ]
    path = pd.DataFrame(frame)
    both, best = [0, 1], best_of_its_own("gold_reward")
    assert best(path, both) == 2
    assert best(path[path["step"] != 2], both) == 3  # the last counts, unless it is theta
    for others in (both, [0], [1]):
        assert best(path[(path["step"] != 2) | (path["seed"] == 0)], others) == 3  # seed 1 lacks the second
    with pytest.raises(Missing):
        best_of_its_own("qa")(path, both)


def test_a_unit_is_the_rise_over_seeds_that_all_have_and_without_one_no_share_of_it_is_told(tmp_path):
    """The last iteration of one seed, where the others have stopped, says nothing about their rise."""
    rows = read_preset(claim_rows.write(tmp_path, COSTS, ("core",)))
    path, gold = STOPPING.models(make_book(rows)), "gold_reward"
    last = rows["setting_key"] == f'{{"iteration": {path["step"].max():.0f}}}'
    stopped = rows[~((rows["method"] == "early-stopping") & last & rows["seed"].isin([0, 1]))]
    high = (stopped["method"] == "early-stopping") & last & (stopped["metric"] == gold)
    stopped = stopped.assign(value=stopped["value"].where(~high, 99.0))
    assert high.sum() == 1
    theta = stopped[(stopped["method"] == "theta") & (stopped["metric"] == gold)]["value"].mean()
    start = stopped[(stopped["method"] == "theta_0") & (stopped["metric"] == gold)]["value"].mean()
    assert make_book(stopped).units[gold] == pytest.approx(theta - start)
    book = make_book(rows)
    flat = replace(book, units={name: unit for name, unit in book.units.items() if name != "reward"})
    kept = Change("kept", Model(MA, 0.5), Model(MA), "reward", kept=0.05)
    assert kept.lines(book)[0].bound < 0
    line = kept.lines(flat)[0]
    assert (line.estimate, line.untestable) == (None, "learned reward does not rise")


def test_the_best_of_a_path_lies_between_the_ends_of_every_seed():
    rows = [(seed, step, float(step)) for seed, last in ((0, 6), (1, 6), (2, 5)) for step in range(last + 1)]
    path = pd.DataFrame(rows, columns=["seed", "step", "value"]).assign(metric="gold_reward")
    for others in ([0, 1], [0, 2], [1, 2]):
        assert (
            extreme("gold_reward")(path, others) == 4
        )  # 5 is the end of seed 2, which must not be held against itself


def test_early_stopping_is_compared_at_its_best_learning_rate(tmp_path):
    folder = claim_rows.write(tmp_path, COSTS, ("core", "learning-rates"), bump=0)
    rows = read_preset(folder)
    slow = (rows["method"] == "early-stopping") & rows["setting_key"].str.contains('"lr": 0.0001')
    start = rows[rows["method"] == "theta_0"].set_index(["seed", "metric"])["value"]
    for metric in ("qa", "reading_f1", "bleu"):  # at 1e-4 early stopping costs a tenth of what it does at the own rate
        which = slow & (rows["metric"] == metric)
        rows.loc[which, "value"] = [
            0.9 * start[seed, metric] + 0.1 * value
            for seed, value in zip(rows.loc[which, "seed"], rows.loc[which, "value"], strict=True)
        ]
    lines = Ahead("MA", MA, STOPPING).lines(make_book(rows))
    best, same = lines[0], lines[-1]
    assert (best.verdict, best.seeds, best.deciding) == ("fails", (0, 1, 2), True)
    assert best.note == "learning rates own 100% against 0.0001 100%, chosen on the other seeds"
    assert (same.verdict, same.seeds, same.deciding) == ("holds", (0, 1, 2), False)
    assert same.note == "at the preset's own learning rate"
    alone = Ahead("MA", MA, STOPPING, own_rate=True).lines(make_book(rows))
    assert numbers(alone[0]) == numbers(same)


def test_methods_choose_among_the_rates_that_both_were_measured_at(tmp_path):
    folder = claim_rows.write(tmp_path, COSTS, ("core", "learning-rates", "mitigations"))
    alone = Ahead("MA", MA, L2, needs="sweep x").lines(read_book(folder))
    assert [(line.missing, line.deciding) for line in alone[:2]] == [("sweep x", True), ("", False)]
    assert alone[1].note == ""
    claim_rows.write(tmp_path, {1: 0.5, 2: 0.52}, ("mitigation-rates",))
    lines = Ahead("MA", MA, L2, needs="sweep x").lines(read_book(folder))
    assert lines[0].seeds == (1, 2)
    assert lines[-1].seeds == (0, 1, 2)
    (one, *_) = Ahead("MA", MA, L2).lines(read_book(folder))
    assert one.seeds == (0, 1, 2), "a rate that one seed lacks takes no seed away where no choice of rates is asked for"
    with pytest.raises(Missing, match="sweep mitigations"):
        Ahead("MA", MA, REPLAY).lines(read_book(claim_rows.write(tmp_path / "core", COSTS, ("core",))))


def test_the_best_iteration_may_be_the_last_that_every_seed_has():
    """Where gold reward only rises, RSF's best iteration is no earlier one; what rises first has its top before the end."""
    made = [(seed, step, "theta_0" if step == 0 else "early-stopping") for seed in (0, 1) for step in range(3 + seed)]
    path = pd.DataFrame(made, columns=["seed", "step", "method"]).assign(metric="gold_reward")
    path["value"] = path["step"].astype(float)
    assert [best_of_its_own("gold_reward")(path, [seed]) for seed in (0, 1)] == [2.0, 2.0]
    assert [extreme("gold_reward")(path, [seed]) for seed in (0, 1)] == [1.0, 1.0]


class Made:
    """A comparison with a line of its own."""

    part = "made"

    def __init__(self, *values, unit=1.0, side="above", inflation=1.0, metric="qa", **fields):
        self.values, self.unit, self.side, self.inflation, self.metric = values, unit, side, inflation, metric
        self.fields = fields

    def lines(self, book):
        found = student(self.values)
        return [
            Line("made", self.metric, side=self.side, estimate=found[0], low=found[1], high=found[2], inner=found[1:], p=0.01,
                 margin=0.01, per_seed=self.values, seeds=(0, 1, 2), unit=self.unit, inflation=self.inflation, **self.fields)
        ]  # fmt: skip


def test_a_candidate_at_the_ceiling_is_chosen_like_any_other_and_alone_it_is_not_testable():
    full = Made(0.1, 0.1, 0.11, untestable="at the ceiling")
    low = Made(-0.5, -0.4, -0.6)
    (line,) = Some("some", {"full": (full,), "low": (low,)}, ("one",)).lines(None)
    assert line.per_seed == (0.1, 0.1, 0.11) and line.verdict == "holds" and line.inflation == 2.5
    short = Made(-0.1, 0.1, 0.0, untestable="at the ceiling")
    (line,) = Some("some", {"short": (short,)}, ("one",)).lines(None)
    assert line.verdict == "not testable here"
    (line,) = Some("some", {"a": (short,), "low": (low,)}, ("one",)).lines(None)
    assert line.verdict == "undecided", "not every candidate that was measured fails"


def test_shares_of_several_candidates_have_fiellers_interval():
    shares, taxes = (0.1, 0.5, 0.6), (1.8, 2.0, 2.2)
    (line,) = Some("some", {"a": (Made(*shares, metric="saved", taxes=taxes),)}, ("one",)).lines(None)
    expected = ratio_of_means(np.array(shares) * 2.0, taxes)
    assert (line.estimate, line.low, line.high) == pytest.approx((expected.mean, expected.low, expected.high), abs=2e-6)


def test_of_several_candidates_each_seed_takes_the_one_that_is_best_on_the_others():
    good, bad = (Made(1.0, 1.1, 0.9), Made(0.5, 0.4, 0.6)), (Made(2.0, 2.1, 1.9), Made(-0.5, -0.4, -0.6))
    found = Some("some", {"good": good, "bad": bad}, ("first", "second")).lines(None)
    assert [line.verdict for line in found] == ["holds", "holds"]
    assert [line.per_seed for line in found] == [
        (1.0, 1.1, 0.9),
        (0.5, 0.4, 0.6),
    ]  # by the worse of each candidate's lines
    turning = {"a": (Made(9.0, 0.0, 0.0),), "b": (Made(1.0, 1.0, 1.0),)}
    (line,) = Some("some", turning, ("one",)).lines(None)
    assert line.per_seed == (1.0, 0.0, 0.0)  # seed 0 has no say in its own
    assert line.inflation == 2.5
    one = {"a": (Made(0.2, 0.3, 0.1, inflation=4.0),)}
    (line,) = Some("some", one, ("one",)).lines(None)  # no choice here, but the candidate's own is not forgotten
    assert (line.inflation, line.note) == (4.0, "a alone was measured")
    assert line.high - line.low == pytest.approx(
        2 * (student((0.2, 0.3, 0.1))[2] - student((0.2, 0.3, 0.1))[1]), abs=1e-5
    )


def test_of_candidates_in_several_metrics_only_those_in_shared_units_are_compared():
    """A log-likelihood's nats would beat any share of a tax."""
    nats, taxes = Made(9.0, 9.1, 8.9, unit=None, metric="log_likelihood"), Made(0.5, 0.4, 0.6, unit=2.0)
    (line,) = Some("some", {"nats": (nats,), "taxes": (taxes,)}, ("one",)).lines(None)
    assert (line.per_seed, line.unit, line.note) == ((0.5, 0.4, 0.6), 2.0, "taxes alone was measured")
    (line,) = Some("some", {"nats": (nats,), "others": (nats,)}, ("one",)).lines(None)
    assert line.per_seed == (9.0, 9.1, 8.9)


def test_two_seeds_give_an_interval_and_no_verdict():
    found = [replace(*Made(1.0, 1.1, 0.9).lines(None), per_seed=(1.0,) * n).verdict for n in (0, 2, 3)]
    assert found == ["holds", "undecided", "holds"]  # none: what is computed, not measured over seeds
    few = replace(*Made(1.0, 1.1, 0.9).lines(None), per_seed=(1.0, 1.01))
    assert few.seeds_needed == FEWEST == 3
    assert number(few) == "+1.000 [+0.752, +1.248] accuracy, 2 seeds"


def test_a_comparison_afresh_leaves_out_the_seeds_that_suggested_it(tmp_path):
    book = read_book(claim_rows.write(tmp_path / "core", COSTS, ("core",)))
    change = Change("reward", Model(MA), Model(MA, 0.0), "reward")
    line, other = (one.lines(book)[0] for one in (change, Afresh((0,), change)))
    assert other.seeds == line.seeds[1:] == (1, 2) and other.per_seed == line.per_seed[1:]
    assert other.unit == line.unit  # of all seeds
    with pytest.raises(Missing):
        Afresh(tuple(COSTS), change).lines(book)


def test_the_least_ratio_that_keeps_a_share_of_the_rise():
    rewards = {0.0: (1.0, 3.0), 0.5: (4.0, 4.0), 0.8: (5.7, 7.5), 1.0: (6.0, 8.0)}  # means 2, 4, 6.6, 7
    rows = [
        {"seed": k, "step": step, "metric": "reward", "value": of[k]} for step, of in rewards.items() for k in (0, 1)
    ]
    path = pd.DataFrame([*rows, {"seed": 0, "step": 0.1, "metric": "qa", "value": 99.0}])
    assert [keeping(share)(path, [0, 1]) for share in (0.0, 0.4, 0.9, 0.95)] == [0.0, 0.5, 0.8, 1.0]


def test_what_should_exist_fails_only_where_every_candidate_fails():
    down, open_ = Made(-1.0, -1.1, -0.9), Made(-9.0, 5.0, -4.0)
    (line,) = Some("some", {"a": (down,), "b": (open_,)}, ("one",)).lines(None)
    assert (line.some, line.verdict) == (True, "undecided")
    (line,) = Some("some", {"a": (down,), "b": (Made(-2.0, -2.1, -1.9),)}, ("one",)).lines(None)
    assert (line.some, line.verdict) == (False, "fails")


def test_every_ratio_below_one_is_a_candidate(tmp_path):
    asked, below = [], [*(k / 10 for k in range(9)), 0.85, 0.9, 0.95]
    made = Ratios(MA, lambda ratio: asked.append(ratio) or ())
    assert list(made(book_of(tmp_path, sweeps=("core",)))) == [f"{ratio:g}" for ratio in below]
    assert asked == pytest.approx(below)


def test_what_predicts_the_tax_better_is_told_by_ranks(tmp_path, monkeypatch):
    from llm.evidence import metrics

    for name in ("near", "far"):
        monkeypatch.setitem(metrics.METRICS, name, metrics.Metric(name, "other", name, "", 2))
    rows = read_preset(claim_rows.write(tmp_path, COSTS, ("core",), bump=0))
    lost = rows[rows["metric"] == "bleu"]
    rng = np.random.default_rng(0)
    near = lost.assign(metric="near", value=(100 - lost["value"]) ** 3)  # ranks as the tax does
    far = lost.assign(metric="far", value=rng.permutation(lost["value"].to_numpy()))
    (line,) = PredictsBetter("near better", "near", "far").lines(make_book(pd.concat([rows, near, far])))
    assert (line.verdict, line.seeds) == ("holds", (0, 1, 2))
    assert line.estimate == pytest.approx(1, abs=0.3)
    with pytest.raises(Missing, match="rows of far"):
        PredictsBetter("near better", "near", "far").lines(make_book(pd.concat([rows, near])))


@pytest.mark.parametrize(
    "paid, stderr, unit",
    [
        ([0.05, -0.04, 0.06, -0.03], 0.0, None),  # .010 +- .026 over the seeds
        ([0.05, 0.02, 0.06, 0.03], 0.0, 0.04),  # .040 +- .009
        ([0.05, 0.02, 0.06, 0.03], 0.06, None),  # two ends of .06 an item: .042 over four seeds
        ([0.05], 0.0, 0.05),  # of one seed the items alone tell
        ([0.05], 0.02, None),  # .05 +- .028
    ],
)
def test_an_ability_has_a_unit_where_its_tax_is_clear_of_0(tmp_path, paid, stderr, unit):
    rows = read_preset(claim_rows.write(tmp_path, dict.fromkeys(range(len(paid)), 0.5), ("core",), bump=0))
    qa = rows["metric"] == "qa"
    rows.loc[qa, "stderr"] = stderr
    for seed, loss in enumerate(paid):
        ends = [(qa & (rows["seed"] == seed) & (rows["method"] == end)) for end in ("theta_0", "theta")]
        rows.loc[ends[1], "value"] = float(rows.loc[ends[0], "value"].iloc[0]) - loss
    assert make_book(rows).units.get("qa") == (pytest.approx(unit) if unit else None)
    assert "bleu" in make_book(rows).units


def test_an_ability_without_tax_has_no_unit_and_no_say_in_taxes(tmp_path):
    rows = read_preset(claim_rows.write(tmp_path, COSTS, ("core",), bump=0))
    rows.loc[rows["metric"] == "qa", "value"] = 0.9
    book = make_book(rows)
    assert "qa" not in book.units
    assert Ahead("MA", MA, STOPPING).lines(book)[0].verdict == "holds"
    rows.loc[rows["metric"].isin(["reading_f1", "bleu"]), "value"] = 0.8
    line = Ahead("MA", MA, STOPPING).lines(make_book(rows))[0]
    assert (line.verdict, line.estimate, line.untestable) == ("not testable here", None, "no tax is paid")


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
    assert theory.smallest_of_many(grid) == 0.0
    assert theory.smallest_difference(grid) == pytest.approx(-0.0599786, abs=1e-6)


def layer(predicted, qa, reward, start_qa=0.9, s2=1.0):
    effect = {"half": {"qa": qa, "reward": reward}, "start": {"qa": start_qa}}
    return {"predicted": predicted, "s2": s2, "ranks": [4, 8], "effect": effect}


UNITS = {"qa": 0.2, "reward": 2.0}


def overlap_file(seed, *layers):
    ends = {"theta_0": {"qa": 0.9, "reward": 1.0}, "theta": {"qa": 0.7, "reward": 3.0}}
    return {"seed": seed, "rlhf": {"rsf": ends | {"layers": dict(enumerate(layers))}}}


def test_overlap_is_held_against_what_averaging_a_layer_adds():
    """xi of a layer by hand: (.92 - .9) / .2 and (2.8 - 3) / 2, halved: 0; and ranks that agree, oppose or tell nothing. Depth and
    shares are ranked against the same gains, and the gains have a mean of their own: (-.5 - .5, -.25 - .25, 0 + 0) / 2 here.
    """
    assert theory.measured_gain(layer(0.1, 0.92, 2.8)["effect"], {"reward": 3.0}, UNITS) == pytest.approx(0.0)
    of_text = {"half": {"log_likelihood": -3.3, "reward": 2.8}, "start": {"log_likelihood": -3.35}}
    units = {"log_likelihood": 0.5, "reward": 2.0}
    assert theory.measured_gain(of_text, {"reward": 3.0}, units) == pytest.approx((0.05 / 0.5 - 0.1) / 2)
    for lacking in ({"reward": 2.0}, {"log_likelihood": 0.5}):
        with pytest.raises(theory.NoUnit):
            theory.measured_gain(of_text, {"reward": 3.0}, lacking)
    layers = layer(0.0, 0.8, 2.0), layer(0.1, 0.85, 2.5), layer(0.2, 0.9, 3.0)
    agree = overlap_file(0, *layers)
    oppose = overlap_file(1, layer(0.2, 0.8, 2.0), layer(0.1, 0.85, 2.5), layer(0.0, 0.9, 3.0))
    assert theory.by_prediction(*theory.in_units([agree], UNITS)) == pytest.approx(1.0)
    explains = theory.OfLayers("overlap explains", theory.by_prediction)
    (line,) = explains.lines(Book("smoke", {}, UNITS, overlaps=[agree, oppose]))
    assert line.per_seed == (1.0, -1.0) and line.verdict == "undecided"
    with pytest.raises(Missing):
        explains.lines(Book("smoke", {}, {}))
    shared = [layer(0.0, 0.8, 2.0, s2=3.0), layer(0.0, 0.85, 2.5, s2=2.0), layer(0.0, 0.9, 3.0, s2=1.0)]
    (found,) = theory.in_units([overlap_file(0, *shared)], UNITS)
    assert theory.by_share(found) == pytest.approx(-1.0) and theory.by_depth(found) == pytest.approx(1.0)
    with pytest.raises(theory.NoUnit):
        theory.by_prediction(found)
    # no class in common, two of four features shared: votes of two features weigh 1 and of two 2, so that 3.6 of 4 are effective
    assert theory.apart_gain(4, 4, 2.0) == pytest.approx((2 + 2 * 2) ** 2 / (2 + 2 * 4) / 4 - 1)
    assert theory.apart_gain(4, 8, 0.0) == 0.0 and theory.apart_gain(4, 4, 4.0) == 0.0 > theory.apart_gain(4, 8, 4.0)
    of_apart = [theory.apart_gain(4, 8, s2) for s2 in (3.0, 2.0, 1.0)]
    assert theory.by_apart(found) == pytest.approx(stats.spearmanr(of_apart, [0.0, 1.0, 2.0]).statistic)
    agree, oppose = theory.in_units([agree, oppose], UNITS)
    assert theory.beyond_depth(agree) == 0.0 and theory.beyond_depth(oppose) == -2.0
    equal = theory.predicted_gain(4, 4, 3.0, 2.0)
    assert equal == pytest.approx((8 + 2 * 3) ** 2 / (8 + 12 * 3 + 2 * 2) / 4 - 1)
    (line,) = explains.lines(Book("smoke", {}, UNITS, overlaps=[overlap_file(0, *layers), overlap_file(1, *shared)]))
    assert line.verdict == "not testable here" and "no ranks" in line.untestable
    assert theory.by_sign(agree) == pytest.approx(-1 / 3)  # predicted 0, .1, .2; measured -, -, 0
    (apart,) = theory.in_units([overlap_file(0, layer(0.1, 0.92, 3.0), layer(-0.1, 0.8, 3.0))], UNITS)
    assert theory.by_sign(apart) == 1.0
    assert theory.mean_gain(found) == pytest.approx((-1.0 - 0.5 + 0.0) / 2 / 3)
