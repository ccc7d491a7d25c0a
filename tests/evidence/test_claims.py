"""The ledger of claims: its rule, its verdicts in made-up worlds whose answer is known, and what is committed."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import claim_rows
import rsf_rows
from committed import judged
from llm.config import load_sweep
from llm.evidence.claims import render, savings
from llm.evidence.claims.book import A_RATIO_A_LAYER, Route, make_book, read_book
from llm.evidence.claims.comparisons import MA, NEIGHBOURS, REGMEAN, SEVEN_BILLION, STOPPING, TRAINED
from llm.evidence.claims.front import Ahead, AheadOfBest
from llm.evidence.claims.ledger import ledger, make_ledger
from llm.evidence.claims.line import Line, Missing, by_gold, conclude, failing, weakest
from llm.evidence.claims.table import CLAIMS
from llm.evidence.frames import read_preset
from llm.evidence.rows import write_rows
from llm.files import marks
from llm.methods import family
from microcosm_runs import command

REPOSITORY = Path(__file__).parents[2]
THEORY = REPOSITORY / "results" / "theory"
JUDGED = ["microcosm", "microcosm-1"]  # the presets whose claims stand in docs/claims.md and README, in this order
COSTS = {0: 0.48, 1: 0.5, 2: 0.52}
L2 = TRAINED["L2 penalty"]


def verdicts(found):
    return {entry.claim.id: entry.verdict for entry in found.entries}


def judged_alone(folder, *ids):
    """id -> entry, of some claims: judging all takes seconds."""
    found = make_ledger(read_book(folder, NEIGHBOURS, THEORY), [claim for claim in CLAIMS if claim.id in ids])
    return {entry.claim.id: entry for entry in found.entries}


@pytest.fixture(scope="module")
def of_one_seed(tmp_path_factory):
    return ledger(claim_rows.write(tmp_path_factory.mktemp("one") / "microcosm", {4: 0.5}), THEORY)


@pytest.mark.parametrize(
    ("low", "high", "side", "bound", "verdict"),
    [
        (0.1, 0.2, "above", 0, "holds"),
        (-0.2, -0.1, "above", 0, "fails"),
        (-0.1, 0.1, "above", 0, "undecided"),
        (0.1, 0.2, "below", 0, "fails"),
        (-0.2, -0.1, "below", 0, "holds"),
        (-0.1, 0.1, "below", 0, "undecided"),
        (0.0, 0.1, "above", 0, "undecided"),
        (-0.1, 0.1, "above", -0.2, "holds"),
        (-0.3, -0.25, "above", -0.2, "fails"),
        (None, None, "above", 0, "undecided"),
    ],
)
def test_a_line_holds_where_its_whole_interval_lies_on_the_claims_side(low, high, side, bound, verdict):
    assert Line("part", low=low, high=high, inner=(low, high), side=side, bound=bound).verdict == verdict


def test_a_line_is_small_within_its_margin_and_a_ceiling_or_another_candidate_keeps_it_from_failing():
    small = Line("part", low=-0.08, high=-0.02, inner=(-0.07, -0.03), margin=0.1)
    assert small.verdict == "fails, small"
    assert replace(small, side="below").verdict == "holds, small"
    assert replace(small, some=True).verdict == "undecided"
    assert replace(small, some=True, margin=None).verdict == "undecided"
    assert replace(small, untestable="theta_0 is at the ceiling").verdict == "not testable here"
    assert replace(small, side="below", untestable="theta_0 is at the ceiling").verdict == "holds, small"
    assert replace(small, low=-0.11, high=0.01).verdict == "equivalent"
    wide = replace(small, low=-0.3, high=0.5, inner=(-0.2, 0.4), per_seed=(-0.1, 0.1, 0.4, 0.0), margin=None)
    assert (wide.verdict, wide.seeds_needed) == ("undecided", 39)
    assert replace(wide, inflation=2.0).seeds_needed > 70  # of whatever factor: it says that something was chosen
    assert small.seeds_needed is None


HOLDS, FAILS = (
    Line(part, low=low, high=low + 1, inner=(low, low + 1), estimate=low + 0.5, p=0.01)
    for part, low in (("h", 1), ("f", -2))
)
OPEN = Line("o", low=-1, high=2, inner=(-1, 2), estimate=0.5, p=0.6, per_seed=(-1.0, 2.0))
ABSENT, CEILING = Line("a", missing="sweep core"), Line("c", untestable="at the ceiling")
SMALL = Line("s", low=0.01, high=0.03, inner=(0.01, 0.03), estimate=0.02, margin=0.1, p=0.01)
EVEN = Line("e", low=-0.01, high=0.03, inner=(-0.01, 0.03), estimate=0.01, margin=0.1, p=0.4)


@pytest.mark.parametrize(
    ("lines", "verdict", "part"),
    [
        ([HOLDS, replace(HOLDS, part="nearer", low=0.5)], "holds", "nearer"),
        ([HOLDS, SMALL], "holds", "s"),
        ([SMALL, SMALL], "holds, small", "s"),
        ([EVEN, EVEN], "equivalent", "e"),
        ([HOLDS, EVEN], "mixed", "e"),
        ([HOLDS, OPEN, ABSENT, FAILS], "fails", "f"),
        ([HOLDS, OPEN, ABSENT], "mixed", "o"),
        ([HOLDS, ABSENT], "mixed", "h"),
        ([HOLDS, CEILING], "mixed", "h"),
        ([OPEN, ABSENT, CEILING], "undecided", "o"),
        ([ABSENT, CEILING], "not testable here", "a"),
        ([ABSENT, ABSENT], "not measured", "a"),
        ([HOLDS, replace(FAILS, deciding=False)], "holds", "h"),
        ([replace(SMALL, part="small", side="below"), OPEN], "fails, small", "small"),
        ([replace(SMALL, side="below"), FAILS], "fails", "f"),
        (
            [replace(OPEN, part="wide", low=-9), replace(OPEN, part="other unit", low=-2, unit=0.1)],
            "undecided",
            "other unit",
        ),
    ],
)
def test_a_claim_fails_with_one_part_and_holds_with_all_and_hangs_on_its_weakest(lines, verdict, part):
    assert conclude(lines) == verdict
    assert weakest(lines).part == part


def test_a_part_fails_only_after_holms_correction_over_those_that_were_tested():
    nearly = replace(FAILS, p=0.02)
    others = [replace(OPEN, part=str(k), p=0.3) for k in range(2)]
    assert conclude([nearly]) == "fails"
    assert conclude([nearly, *others]) == "mixed"
    assert failing([nearly, *others]) == []
    beside = [replace(line, deciding=False) for line in others]
    assert (
        conclude([nearly, *beside, ABSENT, replace(CEILING, p=0.5)]) == "fails"
    )  # these were not tested, or do not decide


def test_gold_reward_takes_the_place_of_learned_reward_where_it_was_measured():
    learned, gold = replace(HOLDS, by="reward"), replace(FAILS, part="h", by="gold_reward", deciding=False)
    lines = [learned, gold, EVEN]
    assert [line.verdict for line in by_gold(lines)] == ["fails", "equivalent"]
    assert (conclude(lines), conclude(by_gold(lines))) == ("mixed", "fails")
    assert by_gold([HOLDS, EVEN]) is None


@pytest.fixture(scope="module")
def as_the_paper_says(tmp_path_factory):
    return ledger(claim_rows.write(tmp_path_factory.mktemp("all") / "microcosm", COSTS), THEORY)


def test_every_claim_is_measured_once_all_sweeps_are_there_and_holds_in_a_world_as_the_paper_says(as_the_paper_says):
    found = verdicts(as_the_paper_says)
    other = dict.fromkeys(
        ("C5b", "C6c", "C6d", "C7b", "C11", "C12c", "L1", "L2", "P2"), "not measured"
    )  # other presets, new rows
    other |= {"C6a": "not testable here", "C9": "mixed"}  # at a third of the rise; DPO reaches half of it
    other |= {
        "C8a": "fails",
        "C8b": "fails",
        "C12b": "fails",
        "L3": "mixed",  # at the ceiling question answering cannot fail
        "P1": "mixed",
        "P5": "fails",  # gold reward rises with learned reward
        "P12": "fails",  # likewise
        "P14": "holds, small",
    }  # see the next tests
    assert found == {claim.id: other.get(claim.id, "holds") for claim in CLAIMS}
    missing = {line.missing for entry in as_the_paper_says.entries for line in entry.lines} - {""}
    presets = {f"preset {name}" for name in NEIGHBOURS}
    assert missing == presets | {"rows of forward_kl", "rows of qa_ece", "rows of qa_brier", "snakemake overlap"}


def test_the_recommended_ratio_costs_reward_where_reward_rises_in_proportion_to_it(as_the_paper_says):
    lines = {line.part: line for e in as_the_paper_says.entries if e.claim.id == "C8b" for line in e.deciding}
    kept = lines["MA: at least 95% of the reward's rise kept"]
    assert (kept.estimate, kept.low, kept.high) == pytest.approx((-0.8, -0.8, -0.8))  # a fifth of a rise of 4
    assert kept.bound == pytest.approx(-0.2)
    assert (kept.verdict, lines["MA: abilities above theta's"].verdict) == ("fails", "holds")


@pytest.mark.parametrize(("power", "verdict"), [(2.0, "holds"), (1.0, "equivalent"), (0.5, "fails")])
def test_averaging_that_is_better_equal_or_worse_than_its_rivals_is_called_so(tmp_path, power, verdict):
    book, parts = read_book(claim_rows.write(tmp_path, COSTS, power=power, bump=0)), {"C3": 4, "C4": 1}
    asked = [claim for claim in CLAIMS if claim.id in ("C2b", *parts)]
    entries = {entry.claim.id: entry for entry in make_ledger(book, asked).entries}
    assert {key: entries[key].count(verdict) for key in parts} == parts
    assert {key: entries[key].verdict for key in parts} == dict.fromkeys(parts, verdict)
    fronts = [line for line in entries["C2b"].deciding if line.part.startswith("MA above")]
    assert [line.verdict for line in fronts] == [verdict] * 7


def test_a_rival_of_several_settings_takes_the_best_at_each_reward_among_those_of_the_most_seeds(tmp_path):
    folder = claim_rows.write(tmp_path, COSTS, ("core", "regmean", "merging"))
    rows = read_preset(folder)
    trimmed = rows["method"] == "trim"
    kept = rows["setting"].map(lambda setting: setting.get("keep"))
    abilities, loosest = trimmed & (rows["metric"] == "bleu"), kept == 0.6
    rows.loc[abilities & (kept != 0.2), "value"] -= 3
    apart = rows[(rows["seed"] == min(COSTS)) | (rows["method"] != "regmean")]
    with pytest.raises(Missing, match="^sweep merging$"):
        AheadOfBest("x", REGMEAN, "trim", "merging").lines(
            make_book(apart[(apart["method"] != "trim") | (apart["seed"] != min(COSTS))])
        )
    line, gold = AheadOfBest("x", REGMEAN, "trim", "merging").lines(make_book(rows))
    assert (line.deciding, gold.deciding) == (True, False)
    assert line.note == "the rival's settings trim-0.2 100%, chosen on the other seeds"
    alone = Ahead("x", REGMEAN, Route("rsf", "trim-0.2", "merging")).lines(make_book(rows))[0]
    assert (line.estimate, line.per_seed) == (alone.estimate, alone.per_seed)
    assert line.inflation > alone.inflation == 1
    rows.loc[abilities & loosest, "value"] += 6  # better than all others
    fewer = rows[~(trimmed & loosest & (rows["seed"] == min(COSTS)))]
    fewer = AheadOfBest("x", REGMEAN, "trim", "merging").lines(make_book(fewer))[0]
    assert (fewer.seeds, fewer.estimate) == (line.seeds, line.estimate)
    better = AheadOfBest("x", REGMEAN, "trim", "merging").lines(make_book(rows))[0]
    assert better.note.startswith("the rival's settings trim-0.6 100%") and better.estimate < line.estimate


def test_noise_around_equality_is_undecided(tmp_path):
    folder = claim_rows.write(tmp_path, COSTS, ("core",), power=1.0, bump=0)
    rng, rows = np.random.default_rng(0), read_preset(folder)
    rows["value"] += 0.01 * rng.standard_normal(len(rows))
    line = Ahead("MA", MA, STOPPING).lines(make_book(rows))[0]
    assert line.verdict in {"undecided", "equivalent"}
    assert line.low < 0 < line.high


def test_what_lacks_its_rows_is_not_measured_and_names_the_sweep(tmp_path):
    found = ledger(claim_rows.write(tmp_path / "microcosm", COSTS, ("core",)), tmp_path)
    needs = {entry.claim.id: {line.missing for line in entry.deciding} - {""} for entry in found.entries}
    assert needs == {
        "C1": set(),
        "C2a": {"sweep mitigations"},
        "C2b": {"sweep learning-rates", "sweep mitigations"},
        "C3": {"sweep mitigations"},
        "C4": {"sweep algorithms"},
        "C5a": {"sweep algorithms"},
        "C5b": {"preset smollm2-135m-gpu"},
        "C6a": {"sweep ratios"},
        "C6b": {"sweep ratios"},
        "C6c": {"preset smollm2-135m-gpu"},
        "C6d": {"preset smollm2-135m-gpu"},
        "C7a": {"sweep algorithms", "sweep ratios"},
        "C7b": {"preset smollm2-135m-gpu"},
        "C8a": set(),
        "C8b": set(),
        "C9": {"sweep algorithms"},
        "C10": {"sweep ratios"},
        "C11": {f"preset {name}" for name in SEVEN_BILLION},
        "C12a": {"make theory"},
        "C12b": {"make theory"},
        "C12c": {"snakemake overlap"},
        "L1": {"rows of forward_kl"},
        "L2": {"rows of qa_ece", "rows of qa_brier"},
        "L3": set(),
        "L4": {"sweep merging"},
        "P1": {"preset smollm2-135m"},  # others are exploratory
        "P2": {"preset smollm2-135m"},
        "P3": {"sweep regmean"},
        "P4": {"sweep gold-reward"},
        "P5": set(),
        "P6": {"sweep regmean"},
        "P7": {"sweep merging-others"},
        "P8": {"sweep mitigations-on-policy"},
        "P9": {"sweep regmean"},
        "P10": {"sweep merging-gold"},
        "P11": {"sweep regmean"},
        "P12": {"sweep training-time"},
        "P13": {"sweep regmean"},
        "P14": {"sweep merging"},
    }
    assert verdicts(found)["C4"] == "not measured"
    assert verdicts(found)["C7a"] == "mixed"


def test_methods_are_paired_over_the_seeds_that_both_have(tmp_path):
    claim_rows.write(tmp_path, COSTS, ("core",))
    claim_rows.write(tmp_path, {1: 0.5, 2: 0.52, 9: 0.7}, ("mitigations",))
    assert Ahead("MA", MA, L2).lines(read_book(tmp_path))[0].seeds == (1, 2)


def test_one_seed_gives_an_estimate_but_no_interval_and_no_verdict(of_one_seed):
    found = of_one_seed
    lines = [line for entry in found.entries for line in entry.lines if not entry.claim.id.startswith("C12")]
    assert {line.verdict for line in lines} == {"undecided", "not measured", "not testable here"}
    assert not any(line.seeds_needed for line in lines)
    assert all("one seed, so no interval" in line.note for line in lines if line.estimate is not None)
    assert "1 seed" in render.text(found).splitlines()[0]
    json.loads(render.as_json(found))


def test_models_of_seven_billion_parameters_are_told_once_their_rows_are_beside_the_others(tmp_path):
    claim_rows.write(tmp_path / "microcosm", COSTS, ("core",))
    rows = claim_rows.world(0)
    dpo = [row for name in ("core", "algorithms") for row in rows[name] if row["rlhf"] in ("none", "dpo")]
    zephyr = [row | {"preset": SEVEN_BILLION[0]} for row in dpo]
    (tmp_path / SEVEN_BILLION[0]).mkdir()
    rsf_rows.write(tmp_path / SEVEN_BILLION[0], [row for row in zephyr if row["metric"] != "gold_reward"])
    entry = judged_alone(tmp_path / "microcosm", "C11")["C11"]
    assert [line.missing for line in entry.deciding] == ["", f"preset {SEVEN_BILLION[1]}"]
    assert entry.deciding[0].estimate > 0
    assert entry.deciding[0].verdict == "undecided"  # one model: no interval over seeds


def test_what_a_preset_has_no_rows_of_is_not_measured_and_a_log_likelihood_is_told_without_deciding(tmp_path):
    made = [row for seed, cost in COSTS.items() for sweep in claim_rows.world(seed, cost).values() for row in sweep]
    rows = [
        row | ({"metric": "log_likelihood", "value": row["value"] / 10 - 13} if row["metric"] == "bleu" else {})
        for row in made
        if row["metric"] != "gold_reward"
    ]
    found = ledger(rsf_rows.write(tmp_path, rows), THEORY)
    lines = [line for entry in found.entries for line in entry.lines if entry.claim.id[0] == "C"]
    missing = {line.part for line in lines if line.missing == "rows of bleu"}
    alone = {line.part for line in lines if line.part.startswith("translation") and not line.untestable}
    assert missing == alone | {"some unequal ratios above equal ones"}  # of which translation is a part
    assert not {"bleu", "gold_reward"} & {line.metric for line in lines}
    told = [line for line in lines if line.metric == "log_likelihood" or line.part.endswith("log-likelihood of text")]
    assert told and not any(line.deciding for line in told)
    assert "needs rows of bleu" in render.text(found, details=True)
    by_gold = [line.missing for entry in found.entries for line in entry.deciding if line.by == "gold_reward"]
    perfect = [line.missing for entry in found.entries if entry.claim.id == "P10" for line in entry.deciding]
    assert not by_gold and perfect == ["rows of gold_reward"] * 3
    tax = next(line for line in told if line.part == "abilities: DPO's theta above RSF's: log-likelihood of text")
    assert tax.estimate == pytest.approx(0.3 * 10 * np.mean(list(COSTS.values())))  # DPO takes 0.7 of what RSF takes
    assert "] nats a token, 3 seeds" in render.number(tax)


def test_a_claim_about_another_preset_is_judged_on_its_rows_beside_the_others(tmp_path):
    claim_rows.write(tmp_path / "microcosm", COSTS, ("core",))
    for preset, seeds in (("smollm2-135m-gpu", COSTS), ("smollm2-135m", {0: 0.5})):
        for seed, cost in seeds.items():
            rows = [row | {"preset": preset} for row in claim_rows.world(seed, cost)["core"]]
            text = [
                row | {"metric": "log_likelihood", "value": row["value"] / 10}
                for row in rows
                if row["metric"] == "bleu"
            ]
            (tmp_path / preset).mkdir(exist_ok=True)
            write_rows(tmp_path / preset / f"core-seed{seed}.jsonl", [*rows, *text])
    entries = judged_alone(tmp_path / "microcosm", "C5a", "C5b", "C7b", "P1", "P2")
    assert {key: (entries[key].preset, entries[key].verdict) for key in ("C5a", "C5b", "C7b", "P2")} == {
        "C5a": ("microcosm", "mixed"),  # DPO and PPO are not measured
        "C5b": ("smollm2-135m-gpu", "holds"),
        "C7b": ("smollm2-135m-gpu", "holds"),
        "P2": ("smollm2-135m", "undecided"),  # one seed
    }
    saved = next(line for line in entries["P2"].lines if line.part.startswith("smollm2-135m-gpu, exploratory: "))
    assert (saved.deciding, saved.verdict) == (
        False,
        "holds",
    )  # at .8 of the rise the middle part put back has paid .5, MA .64
    assert saved.estimate == pytest.approx(1 - 0.5 / 0.8**2)
    told = {
        line.part: (line.deciding, line.verdict)
        for line in entries["P1"].lines
        if "smollm2" in line.part and line.by == "reward"
    }
    part = "MA above early stopping, log-likelihood of text"
    assert told == {
        f"smollm2-135m: {part}": (True, "undecided"),
        f"smollm2-135m-gpu, exploratory: {part}": (False, "holds"),
    }
    assert "(smollm2-135m-gpu)" in render.named(entries["C5b"])
    there = judged_alone(tmp_path / "smollm2-135m-gpu", "C5b")["C5b"]
    assert there.lines == entries["C5b"].lines  # the same where that preset is the ledger's own


def test_what_nothing_measures_yet_is_judged_once_its_rows_are_there(tmp_path, monkeypatch):
    from llm.evidence import metrics

    for name in ("forward_kl", "weight_displacement", "qa_ece", "qa_brier"):
        monkeypatch.setitem(metrics.METRICS, name, metrics.Metric(name, "other", name, "", 3))
    rows = read_preset(claim_rows.write(tmp_path, COSTS, ("core",)))
    qa = rows[(rows["metric"] == "qa") & ~rows["method"].isin(["chance"])]
    lost, rng = 0.9 - qa["value"].to_numpy(), np.random.default_rng(0)
    made = {"forward_kl": lost**3, "weight_displacement": rng.random(len(qa)), "qa_ece": lost, "qa_brier": 2 * lost}
    new = [qa.assign(metric=name, value=values) for name, values in made.items()]
    asked = [claim for claim in CLAIMS if claim.id in ("L1", "L2")]
    found = make_ledger(make_book(pd.concat([rows, *new])), asked)
    assert verdicts(found) == {"L1": "holds", "L2": "holds"}


def routes(value):
    """Every Route within a comparison."""
    if isinstance(value, Route):
        yield value
    elif isinstance(value, tuple | dict):
        for one in value.values() if isinstance(value, dict) else value:
            yield from routes(one)
    elif hasattr(value, "__dataclass_fields__"):
        yield from routes(tuple(getattr(value, name) for name in value.__dataclass_fields__))


def test_each_path_is_looked_for_in_a_sweep_that_has_it():
    made = claim_rows.world(0)
    for claim in CLAIMS:
        for route in routes(claim.parts) if claim.id != "C11" else ():  # another world
            sweep = load_sweep(route.sweep)
            measured = {family(row["method"], row["setting"]) for row in made[route.sweep] if row["rlhf"] == route.rlhf}
            assert (
                {route.family, "ama-6"} & measured if route.family == A_RATIO_A_LAYER else route.family in measured
            ), route
            assert route.rlhf in sweep.rlhf, (claim.id, route)
        for part in claim.parts:
            if isinstance(part, AheadOfBest):
                assert part.method in {entry.method for entry in load_sweep(part.sweep).averaging}, part


@pytest.mark.parametrize("layers", [6, 8])
def test_a_ratio_a_layer_is_found_whatever_the_number_of_layers(tmp_path, layers):
    for seed in (0, 1):
        made = claim_rows.world(seed)
        ratios = [
            row | {"setting": row["setting"] | ({"parts": layers} if row["setting"].get("parts") == 6 else {})}
            for row in made["ratios"]
        ]
        write_rows(tmp_path / "microcosm" / f"core-seed{seed}.jsonl", made["core"] + ratios)
    book = read_book(tmp_path / "microcosm")
    assert set(book.rows["rsf"]["family"]) >= {f"ama-{layers}"}
    lines = Ahead("a ratio a layer above MA", Route("rsf", A_RATIO_A_LAYER, "ratios"), MA).lines(book)
    assert [len(line.per_seed) for line in lines if line.deciding] == [2]


def test_what_is_missing_is_the_sweep_of_the_path_without_rows(tmp_path):
    book = read_book(claim_rows.write(tmp_path / "microcosm", COSTS, ("core", "algorithms")))
    (c4,) = (claim for claim in CLAIMS if claim.id == "C4")
    with pytest.raises(Missing, match="^sweep kl-penalty$"):
        c4.parts[0].lines(book)


def test_claims_are_numbered_and_lead_to_notebooks_that_draw_their_figures():
    ids = [re.fullmatch(r"([CLP]\d+)[a-d]?", claim.id)[1] for claim in CLAIMS]
    numbered = [f"C{k}" for k in range(1, 13)] + [f"L{k}" for k in range(1, 5)] + [f"P{k}" for k in range(1, 15)]
    assert list(dict.fromkeys(ids)) == numbered
    assert len({claim.id for claim in CLAIMS}) == len(CLAIMS)
    local = {id for id, claim in zip(ids, CLAIMS, strict=True) if claim.local}
    assert local == {"C5", "C6", "C7", "L4", "P2", "P14"}  # docs/protocol.md
    for claim in CLAIMS:
        for notebook, figures in claim.where.items():
            assert (REPOSITORY / "notebooks" / f"{notebook}.ipynb").is_file(), claim.id
            source = (REPOSITORY / "notebooks" / f"{notebook}.py").read_text()
            assert all(f'style.save(fig, "{figure}")' in source for figure in figures), claim.id


def test_a_page_leads_to_those_figures_only_that_are_drawn(tmp_path, as_the_paper_says):
    (tmp_path / "fig12.png").touch()
    row = render.markdown(as_the_paper_says, tmp_path, "../").splitlines()[2]
    assert row.endswith("| [training](../notebooks/training.ipynb), [fig12](../figures/fig12.png) |")


def test_the_committed_ledgers_are_those_of_the_committed_rows(tmp_path_factory):
    found = [judged(preset, tmp_path_factory.getbasetemp()) for preset in JUDGED]
    for preset, one in zip(JUDGED, found, strict=True):
        name = f"claims{'' if preset == JUDGED[0] else f'-{preset}'}.json"
        remake = f"python -m llm claims results/{preset} --to results/{name} --into docs/claims.md --details"
        assert (REPOSITORY / "results" / name).read_text() == render.as_json(one), remake
        table = "\n".join([marks(f"claims of {preset}")[0], render.markdown(one, REPOSITORY / "figures", "../")])
        assert table in (REPOSITORY / "docs" / "claims.md").read_text(), remake
    remake = f"python -m llm claims {' '.join(f'results/{preset}' for preset in JUDGED)} --into README.md"
    for name, table in (("claims", render.brief(found)), ("savings", savings.table(found[0]))):
        begin, end = marks(name)
        assert f"{begin}\n{table}\n{end}" in (REPOSITORY / "README.md").read_text(), remake
    assert "|  |  |" not in savings.table(found[0])  # each part is found under its name


def test_what_averages_save_is_told_in_per_cent_with_what_is_undecided_or_of_two_runs(as_the_paper_says):
    def row(line):
        """The cells of MA's row where the ledger says this of it by learned reward, and nothing by gold reward."""
        entries = [replace(entry, lines=(line,) * (entry.claim.id == "P1")) for entry in as_the_paper_says.entries]
        return savings.table(replace(as_the_paper_says, entries=tuple(entries))).splitlines()[2]

    start = "| one ratio (MA) | early stopping |"
    line = next(
        line
        for entry in as_the_paper_says.entries
        for line in entry.lines
        if (entry.claim.id, line.part, line.by) == ("P1", "MA above early stopping", "reward")
    )
    line = replace(line, estimate=0.294, low=0.196, high=0.406, inner=(0.21, 0.39), per_seed=(0.1, 0.3, 0.5))
    assert row(line) == f"{start} 29 % [20,{savings.NO_BREAK}41] |  |  |"
    assert (
        row(replace(line, low=-0.1, inner=(-0.02, 0.39)))
        == f"{start} 29 % [-10,{savings.NO_BREAK}41], undecided |  |  |"
    )
    assert row(replace(line, per_seed=(0.1, 0.3))) == f"{start} 29 % (2 runs, undecided) |  |  |"
    assert row(replace(line, metric="in_taxes")) == f"{start} no share: the tax is not clear of 0 |  |  |"
    assert row(replace(line, estimate=None, low=None, high=None)) == f"{start}  |  |  |"


def test_a_brief_table_has_a_column_a_ledger_and_tells_a_claim_about_another_preset_once(
    as_the_paper_says, of_one_seed
):
    head, _, *rows = render.brief([as_the_paper_says, of_one_seed]).splitlines()
    assert head == "| | claim | microcosm, 3 seeds | microcosm, 1 seed |"
    assert "| C3 | Averaging against replay | **holds** (4 hold) | **undecided** (4 undecided) |" in rows
    assert "| P2 | The middle part, in a real model (smollm2-135m) | **not measured** |  |" in rows
    assert len(rows) == len(CLAIMS)


def test_where_a_part_has_fewer_seeds_the_head_says_up_to(as_the_paper_says):
    first, *rest = as_the_paper_says.entries
    fewer = replace(first, lines=tuple(replace(line, per_seed=line.per_seed[1:]) for line in first.lines))
    told = render.source(replace(as_the_paper_says, entries=(fewer, *rest)))
    assert (told, render.source(as_the_paper_says)) == ("up to 3 seeds", "3 seeds")


def test_the_command_writes_the_ledger_and_a_page_and_prints_it(tmp_path, monkeypatch, capsys):
    folder, page = claim_rows.write(tmp_path / "microcosm", COSTS, ("core",)), tmp_path / "page.md"
    page.write_text("\n".join(marks("claims")) + "\n")
    given = ["claims", folder, "--theory", THEORY]
    outputs = ["--to", tmp_path / "claims.json", "--into", page]
    assert command(monkeypatch, *given, *outputs) == 0
    printed = capsys.readouterr().out
    found = ledger(folder, THEORY)
    assert printed == render.text(found) + "\n"
    assert len(printed.splitlines()) == len(CLAIMS) + 4  # a line a claim
    told = printed.splitlines()[2:-2]
    assert all(line.startswith(f"{claim.id:<5}{claim.name} ") for claim, line in zip(CLAIMS, told, strict=True))
    assert max(map(len, (printed + render.text(found, details=True)).splitlines())) <= render.WIDTH
    written = json.loads((tmp_path / "claims.json").read_text())
    assert {claim["id"]: claim["verdict"] for claim in written["claims"]} == verdicts(found)
    assert written["claims"][0]["lines"][0]["estimate"] == 4.0
    assert "| C1 | " in page.read_text()
    assert command(monkeypatch, *given, "--into", tmp_path / "claims.json") == 2
    assert "has no place for the claims" in capsys.readouterr().err
    assert command(monkeypatch, "claims", folder, folder, "--to", tmp_path / "claims.json") == 2
    assert "--to with 2 folders is not allowed; allowed is one folder" in capsys.readouterr().err


def test_rows_of_theta_0_alone_are_refused(tmp_path):
    alone = rsf_rows.rows_of(0, "theta_0", {}, rsf_rows.model(0, 1), "none")
    with pytest.raises(Exception, match="no rows of any algorithm; run the sweep `core` first"):
        ledger(rsf_rows.write(tmp_path, alone), THEORY)


def test_rewards_that_never_rise_and_abilities_that_never_fall_are_told_not_refused(tmp_path):
    rows = [row for seed in (0, 1, 2) for sweep in claim_rows.world(seed).values() for row in sweep]
    turned = [row | {"value": -row["value"]} for row in rows]  # everything gets worse in reward and better in ability
    found = ledger(rsf_rows.write(tmp_path, turned), THEORY)
    assert verdicts(found)["C1"] == "fails"
    assert {verdicts(found)[key] for key in ("C4", "C10", "P1")} <= {"not testable here", "mixed"}
    json.loads(render.as_json(found))
    assert "the reward does not rise" in render.text(found, details=True)
