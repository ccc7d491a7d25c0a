"""Whether a group of its own is said to pay, on rows where the answer is built in."""

import pytest

import made_rows
from drawing import embeddings
from llm.config import load_preset, load_sweep
from llm.evidence.compare import duels
from llm.evidence.frames import after, read_preset
from llm.evidence.rows import write_rows

CALLED = {made_rows.PRESET.name: "tied"}


def frames(folder, kept):
    """Three seeds of MA, AMA, and AMA with the embeddings apart, which forgets `kept` of what the others forget."""
    rows = []
    for seed in range(3):
        chance = {"qa": 0.25, "reading_f1": 0.2, "bleu": 4.0}
        rows += made_rows.rows_of(seed, "none", "theta_0", {}, made_rows.model(0, 0, seed), noisy=False)
        rows += made_rows.rows_of(seed, "none", "chance", {}, chance, noisy=False)
        rows += made_rows.rows_of(seed, "rsf", "theta", {}, made_rows.model(1, 1, seed), noisy=False)
        for entry in load_sweep("core").averaging:
            if entry.label not in ("ma", "ama", "ama-own-embeddings"):
                continue
            share = kept if entry.label == "ama-own-embeddings" else 1.0
            groups = ["part1", "part2", "part3", *(["embeddings"] if "own" in entry.label else [])]
            grouping = entry.grouping.model_dump()
            for alpha in entry.alphas:
                values = made_rows.model(alpha, share * alpha**2, seed)
                setting = {"alpha": alpha}
                if entry.method == "ama":
                    setting |= {
                        "parts": 3,
                        **{k: grouping[k] for k in ("embeddings", "norm", "head")},
                        "alphas": dict.fromkeys(groups, alpha),
                    }
                rows += made_rows.rows_of(seed, "rsf", entry.method, setting, values, noisy=False)
    write_rows(folder / "core-seed0.jsonl", rows)
    return {"rsf": after(read_preset(folder), "rsf")}


@pytest.mark.parametrize(("kept", "side"), [(0.5, "above"), (1.0, "undecided"), (1.5, "below")])
def test_a_better_equal_and_worse_one_are_told_apart(tmp_path, kept, side):
    found = duels(frames(tmp_path, kept), made_rows.PRESET.name)
    assert [(one.family, one.rival, one.reward, one.seeds) for one in found] == [
        ("ama-own-embeddings", rival, reward, 3) for rival in ("ma", "ama") for reward in ("reward", "gold_reward")
    ]
    by_learned = [one.found.t for one in found if one.reward == "reward"]
    assert {one.verdict for one in by_learned} == {side}
    if kept == 1.0:
        assert all(one.mean == pytest.approx(0, abs=1e-12) for one in by_learned)
    (said,) = embeddings.answer(found)
    assert said.endswith(
        "so it should be the default." if side == "above" else "so the paper's grouping stays the default."
    )
    assert said.startswith("AMA, emb. apart, of 4 comparisons: ")
    assert "| tied | RSF | AMA, emb. apart | learned reward | " in embeddings.table(found, CALLED)


@pytest.mark.parametrize(
    ("tied", "untied", "said"),
    [
        (
            (2.0, 1.2),
            (0.5, 0.8),
            "So they move more with a tied head, and that is gone where the head has a table of its own.",
        ),
        (
            (2.0, 1.2),
            (0.5, 1.1),
            "So they move more with a tied head, and that is not gone where the head has a table of its own.",
        ),
        ((2.0, 0.9), (0.5, 0.8), "So even with a tied head they do not always move more."),
        ((2.0, 1.2), (), "times as far in the tied models as those that they hold (over algorithms and 2 seeds)."),
    ],
)
def test_whether_unused_tokens_move_more_is_told_for_both_heads(tied, untied, said):
    moved = {
        name: [{"rlhf": {"rsf": {"used": 1.0, "unused": ratio}, "dpo": {"used": 1.0, "unused": None}}} for ratio in of]
        for name, of in (("a", tied), ("b", untied))
        if of
    }
    assert embeddings.unused(moved, {"a": "tied", "b": "untied"}).endswith(said)
    assert embeddings.unused({}, {}) == ""


def test_without_rows_there_is_nothing_to_compare(tmp_path):
    assert embeddings.frames_of(tmp_path) == {}
    assert duels({}, "microcosm") == []


@pytest.mark.parametrize("name", ["microcosm-1", "microcosm-1-untied"])
def test_presets_that_differ_in_their_head_alone_stand_beside_each_other(name):
    assert embeddings.called(load_preset(name)) == {"microcosm-1": "tied", "microcosm-1-untied": "untied"}


def test_a_preset_without_such_a_neighbour_stands_alone():
    assert embeddings.called(load_preset("microcosm")) == {"microcosm": "tied"}
    assert embeddings.called(load_preset("openllama-3b")) == {"openllama-3b": "untied"}
