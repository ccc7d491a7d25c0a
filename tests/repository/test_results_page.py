"""docs/results.md: each sentence that tells a verdict is carried by parts of claims whose verdicts are those."""

import json
import re
from pathlib import Path
from statistics import mean, stdev

import pytest

from llm.evidence.claims.book import CLEAR

ROOT = Path(__file__).resolve().parents[2]
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
PAGE = re.sub(r"\n(?![\n|])", " ", FENCE.sub("", (ROOT / "docs" / "results.md").read_text()))  # a line a paragraph
SAYS = re.compile(r"\b(above|below|better|undecided|alike|saves?|pays?|loses?|decides?|holds|goes with)\b")
CLAIMS = {one["id"]: one["lines"] for one in json.loads((ROOT / "results" / "claims.json").read_text())["claims"]}
FIRST = {
    one["id"]: one["lines"] for one in json.loads((ROOT / "results" / "claims-microcosm-1.json").read_text())["claims"]
}
LEARNED, GOLD, BOTH = ("reward",), ("gold_reward",), ("reward", "gold_reward")
ONE, BY_LAYER, ALSO = "regression averaging above", "regression averaging by layer above", "in every iteration"
REAL = "smollm2-135m"


def found(claim, part, reward, ledger=CLAIMS):
    (line,) = (each for each in ledger[claim] if each["part"] == part and each["by"] in ("", reward))
    return line


CARRIED = {  # words of the page -> the parts that carry them, by which rewards, and their verdict
    "with one lambda and by layer above one ratio for all weights by both rewards, and above LiNeS by the learned one (P3, P6)": [
        ("P3", f"{ONE} MA", BOTH, "holds"),
        ("P3", f"{ONE} LiNeS", LEARNED, "holds"),
        ("P6", f"{BY_LAYER} MA", BOTH, "holds"),
        ("P6", f"{BY_LAYER} LiNeS", LEARNED, "holds"),
    ],
    "with one lambda above one ratio after PPO by both rewards, after DPO by the learned one, by layer after PPO by the learned one (P7)": [
        ("P7", f"PPO: {ONE} MA", BOTH, "holds"),
        ("P7", f"DPO: {ONE} MA", LEARNED, "holds"),
        ("P7", f"DPO: {ONE} MA", GOLD, "undecided"),
        ("P7", f"PPO: {BY_LAYER} MA", LEARNED, "holds"),
        ("P7", f"PPO: {BY_LAYER} MA", GOLD, "undecided"),
        ("P7", f"DPO: {BY_LAYER} MA", BOTH, "undecided"),
    ],
    "Whether by layer is better than one lambda is undecided (P6)": [
        ("P6", f"{BY_LAYER} regression averaging", BOTH, "undecided")
    ],
    "above one ratio after RSF and PPO by both rewards, after DPO by the learned one (L4, P7)": [
        ("L4", "LiNeS above MA", BOTH, "holds"),
        ("P7", "PPO: LiNeS above MA", BOTH, "holds"),
        ("P7", "DPO: LiNeS above MA", LEARNED, "holds"),
        ("P7", "DPO: LiNeS above MA", GOLD, "not testable here"),
    ],
    "at equal *gold* reward all of them are above one ratio (L4, P3), and by layer it is above LiNeS, what is undecided of one lambda (P3, P6)": [
        ("L4", "LiNeS above MA", GOLD, "holds"),
        ("P3", f"{ONE} MA", GOLD, "holds"),
        ("P6", f"{BY_LAYER} MA", GOLD, "holds"),
        ("P6", f"{BY_LAYER} LiNeS", GOLD, "holds"),
        ("P3", f"{ONE} LiNeS", GOLD, "undecided"),
    ],
    "by gold reward LoRA in the MLPs is above one ratio for all weights, and one ratio above distillation": [
        ("C2", "MA above LoRA in MLPs", GOLD, "fails"),
        ("C2", "MA above knowledge distillation", GOLD, "holds"),
    ],
    "by learned reward both are undecided (C2)": [
        ("C2", f"MA above {name}", LEARNED, "undecided") for name in ("LoRA in MLPs", "knowledge distillation")
    ],
    "by learned reward regression averaging is above the L1 penalty, distillation, and LoRA in MLPs and attention (P9)": [
        ("P9", f"{ONE} {name}, {ALSO}", LEARNED, "holds")
        for name in ("L1 penalty", "knowledge distillation", "LoRA in MLPs and attention")
    ],
    "by gold reward one ratio is above the last of these (P8)": [
        ("P8", f"MA above LoRA in MLPs and attention, {ALSO}", GOLD, "holds")
    ],
    "is above distillation by both rewards, and above both penalties and moving averages by gold reward (P9)": [
        ("P9", f"{ONE} knowledge distillation", BOTH, "holds"),
        ("P9", f"{ONE} L1 penalty", GOLD, "holds"),
        ("P9", f"{ONE} L2 penalty", GOLD, "holds"),
        ("P9", f"{ONE} stochastic moving averaging", GOLD, "holds"),
    ],
    "below one ratio for all after RSF in both worlds, and after DPO and PPO in this one (C7a)": [
        ("C7a", f"{name}: AMA with K = 3 above MA", LEARNED, "fails") for name in ("RSF", "DPO", "PPO")
    ],
    "in SmolLM2-135M (C7b) that is undecided": [("C7b", "RSF: AMA with K = 3 above MA", LEARNED, "undecided")],
    "its 95 % interval still holds 0 (C1)": [
        ("C1", "reading comprehension: theta below theta_0", LEARNED, "undecided")
    ],
    "question answering here is below theta_0 even at its best iteration (C1)": [
        ("C1", "question answering: RSF's best iteration above theta_0", LEARNED, "fails")
    ],
    "The conclusion of the paper's theory holds where features are many (C12a), the formula that it prints is not that of averaged weights (C12b), "
    "and over the layers of the microcosm's network the gain that overlaps predict orders the measured ones, as depth alone does, too, while it predicts gains and layers lose (C12c)": [
        ("C12a", "many features: the smallest difference of the two gains", LEARNED, "holds"),
        ("C12b", "the largest error of the printed terms", LEARNED, "fails"),
        (
            "C12c",
            "rank correlation over layers: predicted and measured gain of averaging a layer alone",
            LEARNED,
            "holds",
        ),
        ("C12c", "rank correlation over layers: depth and measured gain", LEARNED, "holds"),
        ("C12c", "layers whose measured gain has the predicted sign, less the others", LEARNED, "fails"),
    ],
    "averaging saves about half of the tax on log-likelihood that early stopping pays (P1)": [
        ("P1", f"{REAL}: MA above early stopping, log-likelihood of text", LEARNED, "holds")
    ],
}
COUNTED = (
    "Those that only imitate end below theta's reward",
    "Reading's tax is two standard errors above 0",
    "most is undecided",
    "None is shown to be above regression averaging",
    "in two runs of a real model",
    "regression averaging with one lambda pays a quarter",
    "it ranks them with +.75",
)
NO_VERDICT = ("better averages after them", "no rule here says", "pays less and keeps less", "what averaging saves")


@pytest.mark.parametrize("words", CARRIED)
def test_a_verdict_on_the_page_is_the_ledgers(words):
    assert words in PAGE
    for claim, part, rewards, verdict in CARRIED[words]:
        assert {found(claim, part, reward)["verdict"] for reward in rewards} == {verdict}, (claim, part, rewards)


def test_no_other_sentence_on_the_page_tells_a_verdict():
    told = [piece.strip() for piece in re.split(r"(?<=[.;])\s|\n|\|", PAGE) if SAYS.search(piece)]
    known = (*CARRIED, *COUNTED, *NO_VERDICT)
    assert [piece for piece in told if not any(words in piece or piece in words for words in known)] == []
    assert all(words in PAGE for words in known)


@pytest.mark.parametrize("reward", BOTH)
def test_what_the_page_says_of_all_remedies_is_so_of_each(reward):
    every = {
        line["part"]: line["verdict"]
        for line in (*CLAIMS["P8"], *CLAIMS["P9"])
        if line["by"] == reward and ": " not in line["part"]  # all abilities together
    }
    assert len(every) == 21
    assert [*every.values()].count("undecided") > len(every) / 2
    assert not any(part.startswith(ONE) and verdict.startswith("fails") for part, verdict in every.items())
    carried = {part for parts in CARRIED.values() for _, part, by, verdict in parts if reward in by and ALSO in part}
    assert {part for part, verdict in every.items() if ALSO in part and verdict == "holds"} == carried


def test_what_only_imitates_ends_below_thetas_reward():
    imitating = [line for line in CLAIMS["C2"] if line["part"].startswith("MA above") and ":" not in line["part"]]
    ends = [line["levels"][1] for line in imitating if "early stopping" not in line["part"]]
    assert len(ends) == 12 and max(ends) < 0.8


def test_readings_tax_is_two_standard_errors_above_0():
    lost = [-one for one in found("C1", "reading comprehension: theta below theta_0", "")["per_seed"]]
    assert mean(lost) > CLEAR * stdev(lost) / len(lost) ** 0.5


def test_the_first_world_has_adaptive_ratios_below_one_ratio_after_rsf():
    assert found("C7a", "RSF: AMA with K = 3 above MA", "reward", FIRST)["verdict"] == "fails"


def test_what_two_runs_of_a_real_model_say_is_what_they_measured():
    def shares(claim, pair):
        line = found(claim, f"{REAL}: {pair}, log-likelihood of text", "reward")
        assert len(line["per_seed"]) == 2 and line["metric"] == "saved"
        return line["per_seed"]

    assert 1 - mean(shares("P3", f"{ONE} MA")) == pytest.approx(1 / 4, abs=0.03)
    assert 1 - mean(shares("P3", f"{BY_LAYER} MA")) == pytest.approx(2 / 5, abs=0.03)
    assert min(share for name in (ONE, BY_LAYER) for share in shares("P3", f"{name} LiNeS")) > 0.1
    assert max(map(abs, shares("L4", "LiNeS above MA"))) < 0.1  # "no better": inside the margin
    halves = found("P1", f"{REAL}: MA above early stopping, log-likelihood of text", "reward")["per_seed"]
    assert len(halves) == 3 and all(0.4 < share < 0.6 for share in halves)


def test_the_overlap_of_a_real_models_layers_is_told_as_it_was_measured():
    orders = found(
        "C12c", f"{REAL}: rank correlation over layers: predicted and measured gain, by log-likelihood of text", ""
    )
    assert orders["per_seed"] == pytest.approx([0.75], abs=0.005)
    signs = found(
        "C12c",
        f"{REAL}: layers whose measured gain has the predicted sign, less the others, by log-likelihood of text",
        "",
    )
    assert signs["per_seed"] == pytest.approx([0.8])  # nine of ten layers
