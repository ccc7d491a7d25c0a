"""docs/results.md: each sentence that tells a verdict is carried by parts of claims whose verdicts are those."""

import json
import re
from collections import Counter
from pathlib import Path

import pytest

from number_words import NUMBERS

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
IMITATING = (
    *("L1 penalty", "L2 penalty", "knowledge distillation", "LoRA in MLPs", "LoRA in MLPs and attention"),
    *("stochastic moving averaging", "experience replay"),
)
OF_GOLD = {"experience replay": "not testable here", "LoRA in MLPs": "undecided"}
BELOW_BY_LEARNED = ("KL to a moving average, rate 0.1", "moving average", "WARP, share 1")
BELOW_IN_TRAINING = (
    *("KL to theta_0 in the loss", "bias-corrected moving average", "online merging (OnDARE)"),
    *("orthogonal gradients (OGPSA), documents", *BELOW_BY_LEARNED),
)
BELOW_ONE = ("LoRA in MLPs and attention",)  # of the remedies in every iteration
BELOW_REGRESSION = ("L1 penalty", "L2 penalty", *BELOW_ONE)
BOTH_APART = (LEARNED, GOLD)
OF_AVERAGES = {"FAPM": "not testable here", "Model Stock of three runs, at its reward": "undecided"}


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
    "above one ratio after PPO by both rewards, after DPO by layer by both and with one lambda by the learned one (P7)": [
        ("P7", f"PPO: {ONE} MA", BOTH, "holds"),
        ("P7", f"PPO: {BY_LAYER} MA", BOTH, "holds"),
        ("P7", f"DPO: {BY_LAYER} MA", BOTH, "holds"),
        ("P7", f"DPO: {ONE} MA", LEARNED, "holds"),
        ("P7", f"DPO: {ONE} MA", GOLD, "undecided"),
    ],
    "By layer against one lambda is undecided by both rewards (P6)": [
        ("P6", f"{BY_LAYER} regression averaging", BOTH, "undecided")
    ],
    "above one ratio after RSF and PPO by both rewards, after DPO by the learned one (L4, P7)": [
        ("L4", "LiNeS above MA", BOTH, "holds"),
        ("P7", "PPO: LiNeS above MA", BOTH, "holds"),
        ("P7", "DPO: LiNeS above MA", LEARNED, "holds"),
        ("P7", "DPO: LiNeS above MA", GOLD, "not testable here"),
    ],
    "in a real model undecided (L4)": [("L4", f"{REAL}: LiNeS above MA, log-likelihood of text", LEARNED, "undecided")],
    "at equal *gold* reward all of them are above one ratio (L4, P3, P6), and by layer it is also above LiNeS, which with one lambda is undecided (P3, P6)": [
        ("L4", "LiNeS above MA", GOLD, "holds"),
        ("P3", f"{ONE} MA", GOLD, "holds"),
        ("P6", f"{BY_LAYER} MA", GOLD, "holds"),
        ("P6", f"{BY_LAYER} LiNeS", GOLD, "holds"),
        ("P3", f"{ONE} LiNeS", GOLD, "undecided"),
    ],
    "regression averaging is above each of them by learned reward, and needs no training: penalties, distillation, both kinds of LoRA, moving averages (P9)": [
        ("P9", f"{ONE} {name}", LEARNED, "holds") for name in IMITATING if name != "experience replay"
    ],
    "Replay covers too few rewards to be compared": [("P9", f"{ONE} experience replay", LEARNED, "not testable here")],
    "in a real model it is the one lambda that is above both by gold reward (P3)": [
        *(("P3", f"{REAL}: {ONE} {rival}, log-likelihood of text", GOLD, "holds") for rival in ("MA", "LiNeS")),
        *(
            ("P3", f"{REAL}: {BY_LAYER} {rival}, log-likelihood of text", GOLD, "undecided")
            for rival in ("MA", "LiNeS")
        ),
    ],
    "by gold reward likewise, but for LoRA in MLPs, which is undecided (P9)": [
        ("P9", f"{ONE} {name}", GOLD, OF_GOLD.get(name, "holds")) for name in IMITATING
    ],
    "is above distillation by both rewards, and undecided against the others (C2b)": [
        ("C2b", f"MA above {name}", reward, "holds" if name == "knowledge distillation" else "undecided")
        for name in IMITATING[:-1]
        for reward in BOTH_APART
    ],
    "regression averaging is above both penalties and LoRA in MLPs and attention (P9), one ratio above that LoRA (P8), and the rest is undecided": [
        (claim, f"{average} {name}, {ALSO}", LEARNED, "holds" if name in below else "undecided")
        for claim, average, below in (("P8", "MA above", BELOW_ONE), ("P9", ONE, BELOW_REGRESSION))
        for name in IMITATING
    ],
    "is above a KL penalty to theta_0, a corrected moving average, online merging by OnDARE and orthogonal gradients, by learned reward alone above a KL penalty to a moving average, a moving average as it is and WARP with share 1 (P11)": [
        ("P11", f"{ONE} {name}", reward, "undecided" if reward == GOLD and name in BELOW_BY_LEARNED else "holds")
        for name in BELOW_IN_TRAINING
        for reward in BOTH_APART
    ],
    "by learned reward the others are undecided, and projections in MLPs alone keep so much reward that they cannot be compared (P11)": [
        ("P11", line["part"], LEARNED, "not testable here" if line["part"].endswith("(NSPO), MLP") else "undecided")
        for line in CLAIMS["P11"]
        if line["deciding"] and line["part"] not in {f"{ONE} {name}" for name in BELOW_IN_TRAINING}
    ],
    "WARP with share .6 reaches more gold reward, at its best iteration, than RSF at its own; that any other method which holds RSF back in training does, or that one of them reaches more than one ratio at its best, is undecided (P12)": [
        ("P12", line["part"], GOLD, "holds" if "WARP" in line["part"] and "RSF's" in line["part"] else "undecided")
        for line in CLAIMS["P12"]
        if line["deciding"]
    ],
    "above every other way after training that could be compared, each at the best of its settings, by learned reward, but for Model Stock, which is undecided (P13)": [
        ("P13", line["part"], LEARNED, OF_AVERAGES.get(line["part"].removeprefix(ONE).strip(), "holds"))
        for line in CLAIMS["P13"]
        if line["deciding"]
    ],
    "LiNeS is above AMA by both rewards (P14)": [("P14", "LiNeS above AMA with K = 3", BOTH, "holds")],
    "(SLERP) is equivalent to one ratio by both rewards, and policies interpolated in place of weights (DeRa) are undecided against it (P13)": [
        ("P13", f"{name} above MA", reward, verdict)
        for name, verdict in (("SLERP", "equivalent"), ("DeRa", "undecided"))
        for reward in BOTH_APART
    ],
    "one ratio at its best has as much of it as theta has, within the margin (P5)": [
        ("P5", "gold reward: MA at its best ratio above theta", GOLD, "equivalent")
    ],
    "below one ratio for all after RSF in both worlds, and after DPO and PPO in this one (C7a)": [
        ("C7a", f"{name}: AMA with K = 3 above MA", LEARNED, "fails") for name in ("RSF", "DPO", "PPO")
    ],
    "in SmolLM2-135M (C7b) that is undecided": [("C7b", "RSF: AMA with K = 3 above MA", LEARNED, "undecided")],
    "Reading's is clear of 0, but its size is uncertain (C1)": [
        ("C1", "reading comprehension: theta below theta_0", LEARNED, "holds")
    ],
    "question answering here is below theta_0 even at its best iteration (C1)": [
        ("C1", "question answering: RSF's best iteration above theta_0", LEARNED, "fails")
    ],
    "The conclusion of the paper's theory holds where features are many and a fixed part of them is shared (C12a), the formula that it prints is not that of averaged weights (C12b), "
    "and over the layers of the microcosm's network the gain that overlaps predict orders the measured ones, as depth alone does, too, while it predicts gains and layers lose (C12c)": [
        (
            "C12a",
            "20 features or more, at most three quarters of them shared: the smallest difference of the two gains",
            LEARNED,
            "holds",
        ),
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
    "predicts what is seen, a loss in every layer, but its size does not order the layers (undecided)": [
        ("C12c", "layers whose measured gain has the predicted sign, less the others", LEARNED, "fails"),
        (
            "C12c",
            "rank correlation over layers: predicted loss, as if the tasks had no class in common, and measured gain",
            LEARNED,
            "undecided",
        ),
    ],
    "and is above LiNeS, too (P3)": [("P3", f"{REAL}: {ONE} LiNeS, log-likelihood of text", BOTH, "holds")],
    "regression averaging, with one lambda and by layer, is above one ratio and above LiNeS there (P3)": [
        ("P3", f"{REAL}: {name} {rival}, log-likelihood of text", LEARNED, "holds")
        for name in (ONE, BY_LAYER)
        for rival in ("MA", "LiNeS")
    ],
    "By gold reward that holds with one lambda, and is undecided by layer (P3)": [
        ("P3", f"{REAL}: {name} {rival}, log-likelihood of text", GOLD, verdict)
        for name, verdict in ((ONE, "holds"), (BY_LAYER, "undecided"))
        for rival in ("MA", "LiNeS")
    ],
    "LiNeS against one ratio is undecided (L4)": [
        ("L4", f"{REAL}: LiNeS above MA, log-likelihood of text", BOTH, "undecided")
    ],
    "averaging saves about half of the tax on log-likelihood that early stopping pays (P1)": [
        ("P1", f"{REAL}: MA above early stopping, log-likelihood of text", LEARNED, "holds")
    ],
}
COUNTED = (
    "that any other method which holds RSF back in training does, or that one of them reaches more",  # of a pair above
    "those that only imitate end below theta's reward",
    "it saved more than half of one ratio's tax in each of three runs",
    "lambda it pays three tenths of what one ratio pays",
    "it ranks them with +.75",
)
NO_VERDICT = (
    "In the replies to alignment prompts",
    "better averages after them",
    "no rule here says",
    "pays less and keeps less",
    "what averaging saves",
)


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


def test_what_only_imitates_ends_below_thetas_reward():
    imitating = [line for line in CLAIMS["C2b"] if line["part"].startswith("MA above") and ":" not in line["part"]]
    ends = [line["levels"][1] for line in imitating if "early stopping" not in line["part"]]
    assert len(ends) == 12 and max(ends) < 0.8


def test_reading_falls_on_most_seeds_and_by_four_of_them_for_the_most_part():
    line = found("C1", "reading comprehension: theta below theta_0", "")
    lost = sorted(-one for one in line["per_seed"])
    assert f"it falls on {NUMBERS[sum(one > 0 for one in lost)]} of {NUMBERS[len(lost)]} seeds" in PAGE
    assert line["p"] < 0.05
    assert "four of them make three quarters of the fall" in PAGE
    assert sum(lost[-4:]) / sum(lost) == pytest.approx(0.75, abs=0.05)


def test_methods_that_change_training_stand_on_as_many_seeds_as_told():
    (seeds,) = {len(line["per_seed"]) for claim in ("P11", "P12") for line in CLAIMS[claim] if line["per_seed"]}
    assert f"stand on {NUMBERS[seeds]} seeds" in PAGE
    assert f"methods that change training in other ways on {NUMBERS[seeds]}" in PAGE


def test_the_page_says_how_many_seeds_each_sweep_has():
    measured = Counter(path.name.partition("-seed")[0] for path in (ROOT / "results" / "microcosm").glob("*.jsonl"))
    count = {name: NUMBERS[seeds] for name, seeds in measured.items()}
    assert measured["core"] == measured["regmean"]
    assert (
        f"one ratio, AMA and regression averaging were measured on {count['core']} seeds, LiNeS and the other averages on "
        f"{count['merging']}, DPO and PPO on {count['algorithms']}, better averages after them on {count['merging-others']}, methods that "
        f"imitate RSF's samples on {count['mitigations']}, those in every iteration on {count['mitigations-on-policy']} and methods that "
        f"change training in other ways on {count['training-time']}"
    ) in PAGE


def test_the_first_world_has_adaptive_ratios_below_one_ratio_after_rsf():
    assert found("C7a", "RSF: AMA with K = 3 above MA", "reward", FIRST)["verdict"] == "fails"


def test_what_three_runs_of_a_real_model_say_is_what_they_measured():
    line = found("P3", f"{REAL}: {ONE} MA, log-likelihood of text", "reward")
    assert len(line["per_seed"]) == 3 and line["metric"] == "saved"
    assert 1 - line["estimate"] == pytest.approx(0.3, abs=0.03) and min(line["per_seed"]) > 0.5
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
