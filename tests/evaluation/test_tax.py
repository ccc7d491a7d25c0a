"""`tax` on two models whose every probability is known: what changed, what was lost, how far apart they are, what moved."""

import json
import re
import sys
from math import log
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from ama_models import save_models, write_lines
from averaging_models import command
from bigram_models import WORDS, save_bigram
from llm.averaging.ama.settings import Sources
from llm.averaging.displacement import last_place
from llm.errors import UserError
from llm.evaluation.changes import Change, flips, paired_change, verdicts
from llm.evaluation.measurement import BLEU, CALIBRATION, Measurement
from llm.evaluation.tax.run import TaxSettings, _of_averages, tax_files

# Chat: w5 PROMPT w6 REPLY w1. theta_0 replies "w50 w51", theta "w50 w50 ..", without an end.
REPLIES_0 = {6: {50: 1.0}, 50: {51: 1.0}, 51: {1: 1.0}}
REPLIES = {6: {50: 1.0}, 50: {50: 1.0}, 51: {1: 1.0}}
# p(w20), p(w21) after each item's word, before and after; the right one is w20.
ITEMS = {40: (0.82, 0.42), 41: (0.93, 0.93), 42: (0.31, 0.62), 43: (0.71, 0.46), 44: (0.83, 0.36)}


def table(side, replies):
    return replies | {word: {20: p[side], 21: 1 - p[side]} for word, p in ITEMS.items()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("tax")
    save_bigram(path / "theta_0", table(0, REPLIES_0))
    save_bigram(path / "theta", table(1, REPLIES))
    rows = [{"prompt": f"w{word}", "choices": ["w20", "w21"], "answer": "A"} for word in ITEMS]
    write_lines(path / "qa.jsonl", rows)
    write_lines(path / "facts.jsonl", [{"prompt": f"w{word}", "answers": ["w51"]} for word in ITEMS])
    write_lines(
        path / "prompts.jsonl", [{"instruction": "w40"}, {"messages": [{"role": "user", "content": "w41"}]}] * 3
    )
    (path / "score.py").write_text(
        "import json, sys\nfor line in sys.stdin:\n    row = json.loads(line)\n"
        "    print(len(row['reply'].split()) + int(row['prompt'][1:]) / 100)\n"
    )
    (path / "tax.yaml").write_text("{chat: false, tokens: 5, task_tokens: 5}")
    (path / "chat.yaml").write_text("{tokens: 5, task_tokens: 5}")
    return path


def run(folder, out, *more, code=0):
    models = ("--theta-0", folder / "theta_0", "--theta", folder / "theta", "--out", out)
    with pytest.MonkeyPatch.context() as monkeypatch:
        assert command(monkeypatch, "tax", *models, *more) == code
    return json.loads((out / "tax.json").read_text()) if not code else None


@pytest.fixture(scope="module")
def plain(folder, tmp_path_factory):
    """Choices in plain text, where the last word decides."""
    return run(
        folder,
        tmp_path_factory.mktemp("plain") / "out",
        "--tasks",
        folder / "qa.jsonl",
        "--config",
        folder / "tax.yaml",
    )


@pytest.fixture(scope="module")
def chat(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("chat") / "out"
    score = f"{sys.executable} {folder / 'score.py'}"
    given = (
        "--reward-command",
        score,
        "--prompts",
        folder / "prompts.jsonl",
        "--samples",
        3,
        "--tasks",
        folder / "facts.jsonl",
    )
    return run(folder, out, *given, "--config", folder / "chat.yaml"), out


def test_numbers_of_lm_eval_are_called_by_task_and_metric(folder, tmp_path):
    """Of each task the metric that it has first of those that are preferred, or the one after the colon."""
    save = [{"question": f"w{word}", "choices": ["w20", "w21"], "gold": 0} for word in ITEMS]
    write_lines(tmp_path / "docs.jsonl", save)
    (tmp_path / "own_task.yaml").write_text(
        f"task: own_task\ndataset_path: json\ndataset_kwargs:\n  data_files: {tmp_path / 'docs.jsonl'}\n"
        f"  cache_dir: {tmp_path / 'cache'}\n"
        'test_split: train\noutput_type: multiple_choice\ndoc_to_text: "{{question}}"\ndoc_to_target: gold\n'
        'doc_to_choice: "{{choices}}"\nmetric_list:\n  - metric: acc\n  - metric: acc_norm\n'
    )
    (tmp_path / "tax.yaml").write_text(json.dumps({"task_folder": str(tmp_path)}))
    how = ("--tasks", "own_task,own_task:acc_norm", "--config", tmp_path / "tax.yaml")
    found = run(folder, tmp_path / "out", *how)
    assert [task["name"] for task in found["tasks"]] == ["own_task", "own_task:acc_norm"]
    assert [task["kind"] for task in found["tasks"]] == ["acc", "acc_norm"]
    sure = ["brier", "calibration error", "log likelihood"]
    assert [list(task["metrics"]) for task in found["tasks"]] == [["acc", "acc norm", *sure], ["acc_norm", *sure]]
    page = (tmp_path / "out" / "report.html").read_text()
    assert "<h2>own_task</h2>" in page and "<td>acc</td>" in page and "lm-eval" not in page


def test_changes_calibration_and_flips_are_those_known_by_hand(plain):
    (task,) = plain["tasks"]
    before, after = (np.array([p[side] for p in ITEMS.values()]) for side in (0, 1))
    right = [before > 0.5, after > 0.5]
    assert task["lost"] == [0, 3, 4] and task["gained"] == [2]
    metrics = task["metrics"]
    for number, (side, p) in enumerate((("theta_0", before), ("theta", after))):
        found = {name: one[side]["value"] for name, one in metrics.items()}
        assert found["accuracy"] == right[number].mean() == found["acc norm"]
        assert found["brier"] == pytest.approx((2 * (1 - p) ** 2).mean(), abs=1e-5)
        assert found["log likelihood"] == pytest.approx(np.log(p).mean(), abs=1e-5)
    # confidences .82 .93 .69 .71 .83, right 1 1 0 1 1, each bin by its sum: (.6,.7], (.7,.8], (.8,.9], (.9,1]
    assert metrics["calibration error"]["theta_0"]["value"] == pytest.approx((0.69 + 0.29 + 0.35 + 0.07) / 5, abs=1e-5)
    # confidences .58 .93 .62 .54 .64, right 0 1 1 0 0: (.5,.6], (.6,.7], (.9,1]
    assert metrics["calibration error"]["theta"]["value"] == pytest.approx((1.12 + 0.26 + 0.07) / 5, abs=1e-5)
    assert metrics["accuracy"]["change"] == pytest.approx(-0.4)
    assert metrics["brier"]["better"] == metrics["calibration error"]["better"] == "lower"
    error = np.std([-1, 0, 1, -1, -1], ddof=1) / 5**0.5
    assert metrics["accuracy"]["low"] == pytest.approx(-0.4 - 2.7764451 * error)  # t, 4 degrees of freedom
    assert plain["verdicts"] == ["theta pays no measurable tax on these items."]


def test_replies_reward_and_pass_at_k_are_those_known_by_hand(chat):
    found, _ = chat
    replies, facts = found["tasks"]
    sides = lambda name, of=replies: [of["metrics"][name][side]["value"] for side in ("theta_0", "theta")]
    assert sides("length") == [2, 5]
    assert sides("reward") == pytest.approx([2.405, 5.405])  # words and a hundredth of the prompt's number
    assert sides("distinct 2") == pytest.approx([1 / 3, 1 / 12])  # of 3 and of 12 bigrams all are one
    assert sides("self bleu")[1] == pytest.approx(100)
    assert sides("pass@1", facts) == sides("pass@3", facts) == [1, 0]
    assert facts["lost"] == [0, 1, 2, 3, 4] and facts["lost_prompts"] == [f"w{word}" for word in ITEMS]
    assert found["verdicts"] == ["theta pays a tax on facts (-0.6667 [-0.6667, -0.6667])."]


def test_divergences_are_the_tables_own(chat):
    """w5 and w6 are followed alike in both models; a third of the positions is the prompt's word."""
    found, _ = chat

    def kl(p, q):
        return p * log(p / q) + (1 - p) * log((1 - p) / (1 - q))

    forward = np.mean([kl(*ITEMS[40]), kl(*ITEMS[41])]) / 3
    reverse = np.mean([kl(*ITEMS[40][::-1]), 0]) / 3
    values = {name: one["value"] for name, one in found["divergence"].items()}
    assert values["KL(theta_0 || theta)"] == pytest.approx(forward, abs=1e-6)
    assert values["KL(theta || theta_0)"] == pytest.approx(reverse, abs=1e-6)


def test_what_moved_is_counted(plain):
    """Four items' words and w50 have other rows: two words each in the head, of 64 x 64."""
    moved = plain["moved"]
    changed = 2 * 4 + 2
    assert moved["weights"] == 2 * WORDS**2 + 3 * (4 * WORDS**2 + 3 * 8 * WORDS + 2 * WORDS) + WORDS
    assert round(moved["changed"] * moved["weights"]) == changed
    assert moved["groups"]["head"]["share"] == 1 and moved["groups"]["layer1"] == {"relative": 0, "share": 0}
    assert sum(moved["steps"]) == pytest.approx(1) and moved["steps"][-1] > 0.9
    assert moved["saved"]["0.5"]["alpha"] == pytest.approx(0.5, abs=1e-6)
    assert [*moved["groups"]] == "embeddings layer1 layer2 layer3 norm head".split()  # the model's own order


def test_few_items_are_warned_of(plain, chat):
    said = "has {} items or prompts: with fewer than 20 an interval may be far too narrow."
    assert plain["notes"] == [f"qa {said.format(5)}"]
    assert {f"reward {said.format(6)}", f"facts {said.format(5)}"} <= set(chat[0]["notes"])


def test_the_page_needs_nothing_else_and_one_json_lies_beside_it(chat):
    _, out = chat
    page = (out / "report.html").read_text()
    assert not re.search(r"(src|href)=|url\(|<script|@import", page)
    assert "theta pays a tax on facts" in page and "KL(theta_0 || theta)" in page
    assert sorted(path.name for path in out.iterdir()) == ["report.html", "tax.json"]


def test_a_python_function_scores_and_a_score_that_is_no_number_is_refused(folder, tmp_path):
    sources = Sources(folder / "theta_0", folder / "theta", prompts=folder / "prompts.jsonl")
    settings = TaxSettings(tokens=5)
    longer = lambda triples: np.array([len(reply) for _, reply, _ in triples], float)
    tax_files(sources, tmp_path / "out", settings, scorer=longer)
    (task,) = json.loads((tmp_path / "out" / "tax.json").read_text())["tasks"]
    assert task["metrics"]["reward"]["theta_0"]["value"] == len("w50 w51")
    assert task["metrics"]["reward"]["theta"]["value"] == len("w50 w50 w50 w50 w50")
    with pytest.raises(
        UserError, match=r"the scorer of replies returned .*nan.*; allowed is a finite number for each of \d+ replies"
    ):
        tax_files(sources, tmp_path / "none", settings, scorer=lambda triples: np.full(len(triples), np.nan))
    for wrong in (
        lambda triples: [[1, 2] for _ in triples],
        lambda triples: [1.0],
        lambda triples: None,
        lambda triples: ["a"],
    ):
        with pytest.raises(UserError, match="the scorer of replies returned"):
            tax_files(sources, tmp_path / "none", settings, scorer=wrong)
    with pytest.raises(UserError, match="which exists; give a new folder"):
        tax_files(sources, tmp_path / "out", settings)
    (tmp_path / "link").symlink_to(tmp_path / "nothing")
    with pytest.raises(UserError, match="a link to nothing; give a new folder"):
        tax_files(sources, tmp_path / "link", settings)
    assert not (tmp_path / "none").exists()


def test_without_tasks_what_moved_is_told(folder, tmp_path):
    assert run(folder, tmp_path / "out")["tasks"] == []


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--tasks", "nowhere.jsonl"), "'nowhere.jsonl' is no file"),
        (
            ("--tasks", "qa=items.csv"),
            "tasks has the file 'items.csv'; allowed are files .jsonl of one JSON object a line",
        ),
        (("--tasks", "PROMPTS.copy"), "tasks has the file '.*copy'; allowed are files .jsonl of .*, as {"),
        (("--tasks", "ARRAY"), r"array.json, line 1 is no JSON .*; allowed is one JSON object a line, as {"),
        (("--reward-command", "false"), "a reward model or command is given without prompts"),
        (("--prompts", "PROMPTS", "--reward-command", "false"), "reward-command is 'false', which failed"),
        (("--prompts", "PROMPTS", "--reward-command", "echo one"), "reward-command is 'echo one', which failed"),
        (("--prompts", "PROMPTS", "--reward-command", "echo 1\n2"), "printed 2 numbers|which failed"),
        (("--prompts", "PROMPTS", "--reward-model", "x", "--reward-command", "y"), "are both given"),
        (("--tasks", "no_such_task"), "'no_such_task', which is no file"),
        (("--samples", "0"), "samples = 0 is not allowed"),
        (("--samples", "2"), "samples = 2 is not allowed without prompts and items with answers; allowed is 1"),
        (("--config", "LIMIT"), "limit = 5 is not allowed without a task of lm-eval; allowed is to leave it out"),
        (("--config", "TASK_FOLDER"), "task_folder = 'further' is not allowed without a task of lm-eval"),
        (("--config", "ALIGNMENT"), r"alignment = 'nosuch' is not allowed; allowed are the tasks \(none\)"),
        (("--out", "FOLDER/that/is/not"), "but the folder it is to be in does not exist"),
    ],
)
def test_what_is_wrong_is_named_and_nothing_is_written(folder, tmp_path, monkeypatch, capsys, more, said):
    if "no_such_task" in more:
        # the real list takes long
        monkeypatch.setattr("lm_eval.tasks.TaskManager", lambda *_, **__: SimpleNamespace(all_tasks=["piqa"]))
    else:
        monkeypatch.setattr("llm.evaluation.measuring.manager_for", lambda *_: pytest.fail("reads lm-eval's list"))
    (folder / "alignment.yaml").write_text("alignment: nosuch\n")
    (folder / "limit.yaml").write_text("limit: 5\n")
    (folder / "task_folder.yaml").write_text("task_folder: further\n")
    (folder / "array.json").write_text(json.dumps([{"prompt": "a", "answers": ["b"]}], indent=1))
    (folder / "prompts.copy").write_bytes((folder / "prompts.jsonl").read_bytes())
    places = {"ARRAY": folder / "array.json", "PROMPTS.copy": folder / "prompts.copy"}
    places |= {
        "PROMPTS": folder / "prompts.jsonl",
        "ALIGNMENT": folder / "alignment.yaml",
        "LIMIT": folder / "limit.yaml",
        "TASK_FOLDER": folder / "task_folder.yaml",
    }
    more = [places.get(text, text.replace("FOLDER", str(tmp_path))) for text in more]
    run(folder, tmp_path / "out", *more, code=2)
    error = capsys.readouterr().err
    assert re.search(said, error) and error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_the_models_are_left_as_they_were(tmp_path):
    from llm.averaging.pair import load_pair

    save_models(tmp_path)
    pair = load_pair(tmp_path / "theta_0", tmp_path / "theta", "auto", torch.device("cpu"))
    first = {name: (low.clone(), high.clone()) for name, low, high in pair.tensors()}
    pair.exchange()
    assert all(
        torch.equal(low, first[name][1]) and torch.equal(high, first[name][0]) for name, low, high in pair.tensors()
    )
    pair.exchange()
    assert all(torch.equal(low, first[name][0]) for name, low, _ in pair.tensors())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_a_unit_in_the_last_place_is_the_distance_to_the_next_value(dtype):
    bits = torch.randint(1, 0x7B00, (5000,), generator=torch.Generator().manual_seed(0), dtype=torch.int16)
    values = bits.view(dtype) if dtype.itemsize == 2 else (bits.int() << 16).view(dtype)
    whole = torch.int16 if dtype.itemsize == 2 else torch.int32
    above = (values.view(whole) + 1).view(dtype).double() - values.double()
    assert torch.equal(last_place(values.double(), dtype), above)
    smallest = torch.finfo(dtype).tiny * torch.finfo(dtype).eps
    assert last_place(torch.zeros(1, dtype=torch.float64), dtype).item() == smallest


def test_changes_of_means_are_students_and_of_others_a_bootstrap():
    rng = np.random.default_rng(0)
    before, after = (Measurement.of(rng.normal(size=40)) for _ in range(2))
    found = paired_change(before, after, 0, 0.9, 10)
    from scipy.stats import ttest_rel

    expected = ttest_rel(after.items, before.items).confidence_interval(0.9)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    items = np.stack([rng.random(60), rng.integers(2, size=60)], axis=1)
    low = Measurement.of(items, CALIBRATION, rng)
    same = paired_change(low, low, 0, 0.95, 50)
    assert same == Change(0, 0, 0) and low.stderr > 0
    assert flips(low, low) == ([], []) and BLEU != CALIBRATION


def test_front_gives_the_same_items_the_interval_and_the_errors_that_tax_gives(folder, tmp_path):
    replies = "w50 w51", "w50 w50 w50 w50", "w50 w51", "w50", "w50 w51 w50 w50"
    items = [{"prompt": f"w{word}", "reference": reply} for word, reply in zip(ITEMS, replies, strict=True)]
    write_lines(tmp_path / "fr.jsonl", items)
    tasks, seven = f"{tmp_path / 'fr.jsonl'},{folder / 'qa.jsonl'}", ("--seed", 7, "--config", folder / "chat.yaml")
    found = run(folder, tmp_path / "tax", "--tasks", tasks, *seven)
    metrics = {task["name"]: task["metrics"] for task in found["tasks"]}
    (tmp_path / "front.yaml").write_text("{tokens: 5, task_tokens: 5, alignment: qa}")
    models = ("--theta-0", folder / "theta_0", "--theta", folder / "theta", "--out", tmp_path / "front")
    how = ("--tasks", tasks, "--seed", 7, "--config", tmp_path / "front.yaml", "--alphas", "0.5")
    with pytest.MonkeyPatch.context() as monkeypatch:
        assert command(monkeypatch, "front", *models, *how) == 0
    of_front = json.loads((tmp_path / "front" / "recommendation.json").read_text())["tax"]["fr"]
    of_tax = metrics["fr"]["BLEU"]
    assert of_front["low"] < of_front["high"]
    assert of_front == {"value": of_tax["change"], "low": of_tax["low"], "high": of_tax["high"]}
    rows = list(map(json.loads, (tmp_path / "front" / "rows.jsonl").read_text().splitlines()))
    for method in ("theta_0", "theta"):
        errors = {row["metric"]: row["stderr"] for row in rows if row["method"] == method}
        assert errors["fr"] == of_tax[method]["stderr"] is not None
        assert errors["qa/calibration_error"] == metrics["qa"]["calibration error"][method]["stderr"] is not None


def test_a_single_item_says_nothing_of_a_tax():
    one = Change(-1.0, float("nan"), float("nan"))
    assert verdicts({"qa": one}, None, "reward") == ["A single item says nothing of a tax: qa."]
    both = verdicts({"qa": one, "bleu": Change(-1.0, -2.0, 1.0)}, None, "reward")
    assert both == ["theta pays no measurable tax on these items.", "A single item says nothing of a tax: qa."]


def test_the_length_of_replies_is_neither_better_nor_worse(folder, tmp_path):
    found = run(folder, tmp_path / "out", "--prompts", folder / "prompts.jsonl", "--config", folder / "chat.yaml")
    (task,) = found["tasks"]
    assert task["metrics"]["words a reply"]["better"] == "neither" and task["metrics"]["words a reply"]["change"]
    assert task["lost"] == task["gained"] == task["lost_prompts"] == []
    assert "got worse" not in (tmp_path / "out" / "report.html").read_text()


def test_equal_models_are_told_to_be_equal(folder, tmp_path, capsys):
    tax_files(Sources(folder / "theta", folder / "theta"), tmp_path / "out", TaxSettings())
    assert _of_averages(json.loads((tmp_path / "out" / "tax.json").read_text())["moved"]) == [
        "The two models are equal, and so is every average of them."
    ]


def test_verdicts_follow_the_intervals():
    sure, unsure, rise = Change(-0.2, -0.3, -0.1), Change(-0.1, -0.3, 0.1), Change(1.0, 0.5, 1.5)
    assert verdicts({"qa": unsure}, rise, "reward") == ["theta pays no measurable tax on these items."]
    said = verdicts({"qa": sure, "f": unsure}, Change(0.1, -0.1, 0.3), "reward")
    assert said[0].startswith("theta pays a tax on qa (-0.2 [") and "f (" not in said[0]
    assert verdicts({}, Change(3.2, np.nan, np.nan), "reward") == [
        "A single prompt says nothing of alignment: reward +3.2."
    ]
    assert said[1].startswith("theta does not measurably beat theta_0 on the alignment metric: reward +0.1")


def test_the_documented_file_holds_every_setting_with_its_default():
    from pathlib import Path

    import yaml

    given = yaml.safe_load((Path(__file__).parents[2] / "docs" / "tax.yaml").read_text())
    assert TaxSettings(**given) == TaxSettings()
    assert given.keys() == TaxSettings.model_fields.keys() - {"tasks", "seed", "samples"}
