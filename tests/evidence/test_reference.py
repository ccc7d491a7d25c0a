"""The reference comparison on rows whose every number is known, and the costs of every method."""

from dataclasses import replace

import numpy as np
import pytest

import made_rows
from llm.config import load_preset
from llm.errors import UserError
from llm.evidence import reference
from llm.evidence.claims.book import read_book
from llm.evidence.costs import COSTS, GROUPS, compared, cost_of
from llm.evidence.metrics import IN_TAXES
from rsf_rows import core, model, rows_of, write

GROUP_OF_REGMEAN = "regression"


def halves(seed, share=0.5, upto=1.0):
    """Regression averaging that pays a share of what early stopping pays, along five strengths, up to a share of the rise."""
    rows = []
    for strength, rise in zip((10, 3, 1, 0.3, 0.1), np.array([0.2, 0.5, 0.8, 0.95, 1.0]) * upto, strict=True):
        rows += rows_of(seed, "regmean", {"strength": strength}, model(rise, 1 - 0.5 * share * rise, 10.0 * seed))
    return rows


def book(folder, rows):
    return read_book(write(folder, rows))


@pytest.fixture(scope="module")
def known(tmp_path_factory):
    """Two seeds; tax in taxes: early stopping x at a share x of the rise, MA x**2 at its ratios, regression averaging x / 2."""
    return book(tmp_path_factory.mktemp("rows"), [row for seed in (0, 1) for row in [*core(seed), *halves(seed)]])


def test_fronts_are_the_tax_at_each_share_of_the_rise(known):
    found = reference.fronts(known, "rsf")
    x = reference.GRID
    at = {share: int(np.flatnonzero(np.isclose(x, share))[0]) for share in (0.2, 0.4, 0.6, 0.8, 0.9)}
    for mean in found["early-stopping"].tax:
        assert mean[: at[0.9]] == pytest.approx(x[: at[0.9]])
    ma = found["ma"].band[0]
    assert {share: ma[at[share]] for share in (0.2, 0.4, 0.6, 0.8)} == pytest.approx(
        {share: share**2 for share in (0.2, 0.4, 0.6, 0.8)}
    )
    assert ma[at[0.9]] == pytest.approx((0.8**2 + 1) / 2)  # straight between models
    assert np.isnan(ma[x > 1.005]).all()
    assert found["regmean"].group == GROUP_OF_REGMEAN
    assert found["regmean"].seeds == (0, 1)


def test_a_band_is_students_interval(known):
    front = reference.fronts(known, "rsf")["ma"]
    spread = replace(front, tax=front.tax + np.array([[0.1], [-0.1]]))
    mean, low, high = spread.band
    assert mean[50] == pytest.approx(front.tax[0, 50])
    assert high[50] - mean[50] == pytest.approx(12.7062 * 0.1, rel=1e-4)  # t of one degree of freedom, stderr .1
    assert mean[50] - low[50] == pytest.approx(high[50] - mean[50])


def test_a_front_is_told_in_its_own_seeds_tax(known):
    """Abilities in other units change no share, nor does a seed that pays more of everything; where theta pays nothing there is none."""
    front = reference.fronts(known, "rsf")["ma"]
    assert front.whole == pytest.approx([1, 1])
    unit = replace(front, tax=3 * front.tax, whole=3 * front.whole)
    for scaled, plain in zip(unit.band, front.band, strict=True):
        assert scaled == pytest.approx(plain, nan_ok=True)
    factor = np.array([2.0, 0.5])
    uneven = replace(front, tax=factor[:, None] * front.tax, whole=factor * front.whole)
    assert uneven.band[0] == pytest.approx(front.band[0], nan_ok=True)
    assert np.isnan(replace(front, whole=np.zeros(2)).band).all()


def test_the_table_has_the_share_of_early_stoppings_tax_that_is_saved(known):
    lines = {line.family: line for line in reference.table(known, "rsf")}
    shares = {name: [one.mean for one in lines[name].saved] for name in ("ma", "regmean")}
    tax = {0.8: 0.64, 0.9: 0.82, 0.95: 0.91}
    assert shares["ma"] == pytest.approx([(x - paid) / x for x, paid in tax.items()])
    # theta ends regression averaging's path, so above .95 of the rise it is straight to theta
    assert shares["regmean"][:2] == pytest.approx([0.5, 0.5])
    assert lines["part-input"].saved == (None, None, None)  # theta's own reward all along
    assert (lines["ma"].models, lines["ma"].seeds) == (6, 2)
    assert "early-stopping" not in lines


def test_a_method_that_ends_early_has_no_number_there(tmp_path):
    rows = [row for seed in (0, 1) for row in core(seed)]
    trained = [("distilled", {}, 0.7), *(("l1", {"strength": s}, x) for s, x in ((3.0, 0.2), (1.0, 0.5)))]
    for seed in (0, 1):
        for method, setting, rise in trained:
            rows += rows_of(seed, method, setting, model(rise, 1 - 0.1 * rise, 10.0 * seed))
    found = book(tmp_path, rows)
    (line,) = [one for one in reference.table(found, "rsf") if one.family == "l1"]
    assert line.saved == (None, None, None)
    models = reference.models_of(found, "rsf")
    at_60 = reference.share(reference.saved_at(found, "rsf", models, "l1", 0.6))
    assert at_60.mean == pytest.approx(0.8)
    assert reference.leaders(reference.fronts(found, "rsf"))["distilled"].taken == {"l1": 2}


def test_a_leader_is_chosen_for_each_seed_on_the_others(tmp_path):
    """On seed 0 the variant is the better one, on the two others the default by far; so seed 0 gets the default, which is bad there."""
    rows = []
    for seed in (0, 1, 2):
        rows += core(seed) + halves(seed, 0.6 if seed == 0 else 0.1)
        rows += [row | {"setting": {**row["setting"], "inputs": "merged"}} for row in halves(seed, 0.5)]
    fronts = reference.fronts(book(tmp_path, rows), "rsf")
    leader = reference.leaders(fronts)[GROUP_OF_REGMEAN]
    assert leader.taken == {"regmean": 3}
    assert leader.front.tax == pytest.approx(fronts["regmean"].tax, nan_ok=True)
    assert leader.front.inflation == 1 + 3 / 2
    alone = {
        name: replace(front, seeds=(0,), tax=front.tax[:1], whole=front.whole[:1]) for name, front in fronts.items()
    }
    assert reference.leaders(alone)[GROUP_OF_REGMEAN].taken == {"regmean-inputs-merged": 1}


def test_a_family_on_fewer_seeds_leads_no_group_that_has_one_on_more(known):
    regmean = reference.fronts(known, "rsf")["regmean"]
    one = replace(
        regmean,
        family="regmean-inputs-merged",
        seeds=regmean.seeds[:1],
        tax=0.5 * regmean.tax[:1],
        whole=regmean.whole[:1],
    )
    found = {"regmean": regmean, one.family: one}
    assert reference.leaders(found)[GROUP_OF_REGMEAN].taken == {"regmean": len(regmean.seeds)}
    assert reference.leaders({one.family: one})[GROUP_OF_REGMEAN].taken == {one.family: 1}


def test_a_leader_of_several_families_is_put_together_seed_by_seed(known):
    """Two families, of which each is the better one on one seed: by the other seed both seeds take the worse."""
    regmean = reference.fronts(known, "rsf")["regmean"]
    factor = np.array([[0.5], [2.0]])
    other = replace(regmean, family="regmean-inputs-merged", tax=factor * regmean.tax)
    leader = reference.leaders({"regmean": regmean, other.family: other})[GROUP_OF_REGMEAN]
    assert leader.taken == {"regmean": 1, other.family: 1}
    assert leader.front.tax == pytest.approx(np.stack([regmean.tax[0], other.tax[1]]), nan_ok=True)
    wide, narrow = (replace(leader.front, inflation=of).band for of in (leader.front.inflation, 1.0))
    assert wide[2][80] - wide[1][80] > narrow[2][80] - narrow[1][80]


def with_metric(rows, metric, number):
    """Rows of a further metric of every model of some rows, from its mean reading F1."""
    return [
        *rows,
        *(row | {"metric": metric, "value": number(row["value"])} for row in rows if row["metric"] == "reading_f1"),
    ]


def test_rank_correlations_with_the_tax_are_signed(tmp_path):
    rows = [row for seed in (0, 1) for row in [*core(seed), *halves(seed)] if row["method"] != "chance"]
    made = with_metric(rows, "forward_kl", lambda f1: (0.8 - f1) ** 3)
    made = with_metric(made, "weight_displacement", lambda f1: f1)
    made += [row for seed in (0, 1) for row in core(seed) if row["method"] == "chance"]
    found = {(one.group, one.predictor): one for one in reference.associations(book(tmp_path, made), "rsf")}
    assert found["", "forward_kl"].found.mean == pytest.approx(1)
    assert found["", "weight_displacement"].found.mean == pytest.approx(-1)
    assert found[GROUP_OF_REGMEAN, "forward_kl"].models == 5
    assert found["", "forward_kl"].models > found["ratio", "forward_kl"].models


def test_without_the_predictors_rows_there_are_no_correlations(known):
    assert reference.associations(known, "rsf") == []


def test_what_is_not_measured_is_named_by_its_sweep(known):
    lacking = reference.unmeasured(known, "rsf", load_preset("microcosm"))
    assert "ma" not in lacking.get("core", [])
    assert "ama" in lacking["core"]
    assert "dera" in lacking["merging"]
    assert {"constrained", "regmean-inputs-merged"} <= set(lacking["regmean"])
    assert "regmean" not in lacking["regmean"]
    assert "algorithms" not in lacking  # of other algorithms


def test_without_a_tax_there_is_nothing_to_compare(tmp_path):
    found = book(tmp_path, core(0, cost=0.0))
    assert IN_TAXES not in found.units
    with pytest.raises(UserError, match="microcosm has no ability that pays a tax"):
        reference.fronts(found, "rsf")


def test_a_pair_without_checkpoints_has_fronts_and_no_shares(tmp_path):
    rows = [row for row in core(0) if row["method"] != "early-stopping"]
    found = book(tmp_path, rows)
    assert set(reference.fronts(found, "rsf")) == {"ma", "part-input"}
    assert all(line.saved == (None, None, None) for line in reference.table(found, "rsf"))


def test_every_method_that_is_compared_has_a_cost_and_no_other():
    assert set(COSTS) == set(compared())
    assert {cost.group for cost in COSTS.values()} == set(GROUPS)


def test_costs_are_those_of_the_definitions():
    assert [name for name, cost in COSTS.items() if cost.memory != "1 model"] == ["dera"]
    assert cost_of("regmean").data == "samples of both models"
    assert cost_of("regmean", "regmean-inputs-differences").data == "none"
    assert cost_of("nspo", "nspo-attention-documents").data == "general text"
    trained = {name for name, cost in COSTS.items() if "run" in cost.training}
    assert trained == {*(name for name in compared() if cost_of(name).group in ("distilled", "on-policy"))} | {
        "soup",
        "model-stock",
    }


def test_families_of_every_sweep_are_compared(tmp_path):
    sweeps = ("core", "merging", "regmean", "training-time", "mitigations-on-policy")
    found = read_book(made_rows.write(tmp_path, (0,), sweeps))
    fronts = reference.fronts(found, "rsf")
    assert {front.group for front in fronts.values()} == set(GROUPS) - {"distilled"}
    assert {front.method for front in fronts.values()} >= {"dera", "warp", "regmean", "ties", "tail", "nspo"}
    unranked = reference.unmeasured(found, "rsf", made_rows.PRESET)
    assert not set(unranked) & set(sweeps)
