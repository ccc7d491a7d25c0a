"""`front` on model folders: the numbers, the rows, the report, going on after a stop, refusals."""

import json
import re
import shutil
import sys
from dataclasses import asdict
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file

from ama_models import save_models, save_samples, words, write_lines
from averaging_models import command, save_tokenizer
from llm import averaging
from llm.averaging.ama.settings import Sources
from llm.averaging.live import average
from llm.averaging.pair import Pair
from llm.averaging.precision import Effect
from llm.errors import UserError
from llm.evaluation.formats import read_task
from llm.evaluation.front import measure as module
from llm.evaluation.front.claim import Claim
from llm.evaluation.front.points import Point
from llm.evaluation.front.run import _command, _saved, front_files
from llm.evaluation.front.settings import FrontSearch, FrontSettings
from llm.evaluation.measurement import bleu_statistics, corpus_bleu, f1
from llm.evaluation.tasks import Answer, Asking, Harness
from llm.evidence.rows import read_rows
from llm.grouping import Grouping
from llm.models.chat import encode_together, generate_replies
from llm.models.loading import load_model, load_reward_model, load_tokenizer
from llm.models.rewards import reward_scores


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("models")
    save_models(path)
    prompts, replies, others = (words(8, 3, seed) for seed in (1, 2, 3))
    write_lines(
        path / "qa.jsonl",
        [
            {"prompt": p, "choices": [a, b, "w9"], "answer": b if k % 2 else 0}
            for k, (p, a, b) in enumerate(zip(prompts, replies, others, strict=True))
        ],
    )
    write_lines(
        path / "reading.jsonl",
        [{"prompt": p, "answers": [a, b]} for p, a, b in zip(prompts, replies, others, strict=True)],
    )
    write_lines(path / "french.jsonl", [{"prompt": p, "reference": a} for p, a in zip(prompts, replies, strict=True)])
    write_lines(path / "prompts.jsonl", [{"prompt": prompt} for prompt in prompts])
    save_samples(path / "samples.jsonl")
    return path


CONTEXT = 2048  # of the models
SETTINGS = {"task_tokens": 4, "tokens": 5, "resamples": 20, "name": "tiny", "rlhf": "dpo"}
OPTIONS = set(
    "config theta-0 theta with weight theta-pre tasks out reward-model reward-command prompts alphas method keep samples data seed".split()
)


def arguments(folder, out, /, **changes):
    """Options for the command line, and a file for what only that may hold."""
    settings = SETTINGS | {key: value for key, value in changes.items() if key not in OPTIONS}
    file = folder / f"settings-{hash(str(settings))}.yaml"
    file.write_text(json.dumps(settings))  # JSON is YAML
    changes = {key: value for key, value in changes.items() if key in OPTIONS}
    tasks = ",".join(str(folder / f"{name}.jsonl") for name in ("qa", "reading", "french"))
    given = {
        "theta-0": folder / "theta_0",
        "theta": folder / "theta",
        "tasks": tasks,
        "out": out,
        "reward-model": folder / "reward",
        "prompts": folder / "prompts.jsonl",
        "alphas": "0,0.5",
        "config": file,
    } | changes
    return [text for key, value in given.items() if value is not None for text in (f"--{key}", value)]


def run(folder, out, **changes):
    """`front` in this process, raising what goes wrong."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        assert command(monkeypatch, "front", *arguments(folder, out, **changes)) == 0


@pytest.fixture(scope="module")
def found(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("front") / "ma"
    run(folder, out)
    return out


def row(frame, method, metric, key="{}"):
    return frame[(frame.method == method) & (frame.metric == metric) & (frame.setting_key == key)].iloc[0]


def test_rows_cover_both_ends_and_every_ratio_with_errors(found):
    frame = read_rows(found / "rows.jsonl")
    of_choices = {f"qa/{metric}" for metric in ("acc_norm", "brier", "calibration_error", "log_likelihood")}
    assert set(frame.metric) == {"reward", "qa", "reading", "french", "reward/length", "reward/distinct_2"} | of_choices
    assert len(frame) == 4 * 10
    assert set(frame.preset) == {"tiny"}
    assert set(frame[frame.method == "theta_0"].rlhf) == {"none"}
    assert set(frame[frame.method != "theta_0"].rlhf) == {"dpo"}
    assert (frame.n == 8).all()
    assert frame.stderr.notna().all()


def test_ratio_0_is_theta_0_and_values_are_means_of_the_stored_items(found):
    frame = read_rows(found / "rows.jsonl")
    for metric in ("reward", "qa", "reading", "french"):
        assert row(frame, "ma", metric, '{"alpha": 0}').value == row(frame, "theta_0", metric).value
    stored = json.loads((found / "points" / "ma-0.5.json").read_text())["tasks"]
    for metric in ("reward", "qa", "reading"):
        items = np.array(stored[metric]["items"])
        assert row(frame, "ma", metric, '{"alpha": 0.5}').value == pytest.approx(items.mean())
        assert row(frame, "ma", metric, '{"alpha": 0.5}').stderr == pytest.approx(items.std(ddof=1) / np.sqrt(8))
    assert row(frame, "ma", "french", '{"alpha": 0.5}').value == pytest.approx(
        corpus_bleu(np.array(stored["french"]["items"]))
    )
    assert row(frame, "ma", "reward", '{"alpha": 0.5}').value != row(frame, "theta", "reward").value


@pytest.fixture(scope="module")
def averaged(folder):
    """The model at 0.5, made apart from `front`, and its tokenizer."""
    model = load_model(folder / "theta_0")
    states = [load_file(folder / name / "model.safetensors") for name in ("theta_0", "theta")]
    model.load_state_dict(average(*states, 0.5))
    return model, load_tokenizer(folder / "theta")


def stored(found, task):
    return np.array(json.loads((found / "points" / "ma-0.5.json").read_text())["tasks"][task]["items"])


def lines(folder, name):
    return [json.loads(line) for line in (folder / f"{name}.jsonl").read_text().splitlines()]


def greedy(model, tokenizer, prompt, tokens=4):
    """The likeliest reply by a plain loop without cache."""
    ids = tokenizer.encode(f"w5 {prompt} w6", add_special_tokens=False)
    start = len(ids)
    for _ in range(tokens):
        with torch.no_grad():
            token = model(input_ids=torch.tensor([ids])).logits[0, -1].argmax().item()
        if token == 1:
            break
        ids.append(token)
    return tokenizer.decode(ids[start:], skip_special_tokens=True)


def test_choices_are_the_likeliest_by_a_plain_computation(found, folder, averaged):
    model, tokenizer = averaged
    for item, score in zip(lines(folder, "qa"), stored(found, "qa"), strict=True):
        sums = []
        for choice in item["choices"]:
            context = tokenizer.encode(f"w5 {item['prompt']} w6", add_special_tokens=False)
            whole = torch.tensor([context + tokenizer.encode(choice, add_special_tokens=False)])
            with torch.no_grad():
                log_p = model(input_ids=whole).logits[0, :-1].log_softmax(-1)
            sums.append(log_p.gather(1, whole[0, 1:, None])[len(context) - 1 :].sum().item())
        right = item["answer"] if isinstance(item["answer"], int) else item["choices"].index(item["answer"])
        assert score == (int(np.argmax(sums)) == right)


def test_answers_and_translations_are_scored_on_the_likeliest_reply(found, folder, averaged):
    replies = [greedy(*averaged, item["prompt"]) for item in lines(folder, "reading")]
    expected = [
        max(f1(reply, answer) for answer in item["answers"])
        for reply, item in zip(replies, lines(folder, "reading"), strict=True)
    ]
    assert stored(found, "reading") == pytest.approx(expected)
    references = [item["reference"] for item in lines(folder, "french")]
    assert stored(found, "french").tolist() == bleu_statistics(replies, references, tokenize="13a").tolist()


def test_rewards_are_of_sampled_replies_with_the_same_random_numbers_for_every_model(found, folder, averaged):
    reward, words = load_reward_model(folder / "reward"), load_tokenizer(folder / "reward")
    prompts = [line["prompt"] for line in lines(folder, "prompts")]
    how = {"max_new_tokens": 5, "temperature": 1.0, "batch_size": 16, "skip_special_tokens": True}
    replies = generate_replies(*averaged, prompts, rng=torch.Generator().manual_seed(0), **how)
    triples = [(prompt, *reply) for prompt, reply in zip(prompts, replies, strict=True)]
    scores = reward_scores(reward, words, triples, 16, encode_together)
    assert stored(found, "reward") == pytest.approx(scores.numpy(), abs=1e-5)


class Links(HTMLParser):
    """Everything that a page would load from elsewhere."""

    def __init__(self):
        super().__init__()
        self.found, self.text = [], []

    def handle_starttag(self, tag, attributes):
        self.found += [value for key, value in attributes if key in ("src", "href")]

    def handle_data(self, data):
        self.text.append(data)


def test_the_report_needs_nothing_else_and_says_what_was_found(found):
    page = Links()
    page.feed((found / "report.html").read_text())
    assert page.found and all(link.startswith("data:image/png;base64,") for link in page.found)
    text = " ".join(page.text)
    decision = json.loads((found / "recommendation.json").read_text())
    if decision["alpha"] is None:
        assert "no ratio is recommended" in text and "theta does not beat theta_0" in text
    elif decision["alpha"] < 1:
        assert f"Take alpha = {decision['alpha']:g}" in text
        assert "alignment-tax average --theta-0" in text
    else:
        assert "keep theta" in text
    for name in ("front.png", "front.pdf"):
        assert (found / name).stat().st_size > 5000


def test_a_stopped_run_goes_on_and_measures_nothing_twice(found, folder, tmp_path, monkeypatch):
    plain, calls = module.measure_tasks, []

    def measured(*given):
        if len(calls) == 2:
            raise KeyboardInterrupt
        calls.append(1)
        return plain(*given)

    monkeypatch.setattr(module, "measure_tasks", measured)
    out = tmp_path / "front"
    assert command(monkeypatch, "front", *arguments(folder, out)) == 130
    assert sorted(path.name for path in (out / "points").iterdir()) == ["ma-0.json", "theta.json", "theta_0.json"]
    calls[:] = [1]  # one more is allowed
    run(folder, out)
    frames = [read_rows(path / "rows.jsonl").drop(columns="seconds") for path in (out, found)]
    assert frames[0].equals(frames[1])
    assert (out / "recommendation.json").read_bytes() == (found / "recommendation.json").read_bytes()


@pytest.fixture
def copied(found, tmp_path, monkeypatch):
    """The run's folder once more; nothing may be measured."""
    shutil.copytree(found, tmp_path / "front")
    monkeypatch.setattr(module, "measure_tasks", lambda *_: pytest.fail("measures again"))
    return tmp_path / "front"


def test_another_name_is_drawn_as_it_stands_from_the_same_points(folder, copied):
    name = r"$\frac{a <b>&'\"^_ $$ %s {{ x }}"
    run(folder, copied, name=name, rlhf="ppo", confidence=0.9)
    frame = read_rows(copied / "rows.jsonl")
    assert set(frame.preset) == {name} and set(frame.rlhf) == {"none", "ppo"}
    page = Links()
    page.feed((copied / "report.html").read_text())
    assert f"Front of {name}" in page.text


def test_tasks_may_be_called_what_the_pictures_take_for_formulas(folder, tmp_path):
    names = ["$a^{$", "b_$x"]
    tasks = ",".join(f"{name}={folder / file}.jsonl" for name, file in zip(names, ("french", "reading"), strict=True))
    run(
        folder,
        tmp_path / "front",
        tasks=tasks,
        alignment=names[0],
        **{"reward-model": None, "prompts": None, "alphas": "0.5"},
    )
    assert set(read_rows(tmp_path / "front" / "rows.jsonl").metric) == set(names)
    assert (tmp_path / "front" / "front.pdf").stat().st_size > 5000


@pytest.mark.parametrize(
    ("file", "change"),
    [
        ("settings.json", lambda text: text[:50]),
        ("points/ma-0.5.json", lambda text: ""),
        ("points/theta.json", lambda text: text.replace('"items": [', '"items": [0.5, ', 1)),
        ("points/theta.json", lambda text: text.replace('"items": [', '"items": [NaN, ', 1)),
        ("points/theta.json", lambda text: text.replace('"qa/brier"', '"qa/other"')),
    ],
)
def test_a_damaged_file_of_a_stopped_run_is_named(folder, copied, monkeypatch, capsys, file, change):
    (copied / file).write_text(change((copied / file).read_text()))
    assert command(monkeypatch, "front", *arguments(folder, copied)) == 2
    assert re.fullmatch(
        f"error: {copied / file} is damaged .*; remove it and give the same command again.\n", capsys.readouterr().err
    )


def test_ratios_that_differ_little_are_points_of_their_own(folder, tmp_path):
    tasks = f"{folder / 'qa.jsonl'}"
    run(folder, tmp_path / "front", tasks=tasks, alphas="0.1234567,0.1234568,0.12345680000001")
    points = sorted(path.name for path in (tmp_path / "front" / "points").glob("ma-*"))
    assert points == ["ma-0.1234567.json", "ma-0.1234568.json"]
    assert len(read_rows(tmp_path / "front" / "rows.jsonl")) == 4 * 8


def test_a_score_that_is_no_number_is_refused_before_it_is_kept(folder, tmp_path, monkeypatch, capsys):
    from llm.evaluation.measurement import Measurement
    from llm.evaluation.tasks import Replies

    monkeypatch.setattr(Replies, "measure", lambda *_: {"reward": Measurement.of(np.array([0.5, np.nan]))})
    assert command(monkeypatch, "front", *arguments(folder, tmp_path / "front")) == 2
    assert "gives a model a score that is not finite; look at its weights" in capsys.readouterr().err
    assert not (tmp_path / "front" / "points").exists()


def test_a_folder_that_a_kill_left_empty_is_taken(folder, tmp_path, found):
    (tmp_path / "front" / ".settings.json.partial-999999999").mkdir(parents=True)
    run(folder, tmp_path / "front", tasks=folder / "qa.jsonl", alphas="0.5")
    assert not list((tmp_path / "front").glob(".*"))


def test_one_part_alone_leaves_the_rest_as_in_theta(folder, tmp_path, monkeypatch):
    made = {}
    plain = module.mix_

    def spied(model, theta_0, theta, ratios, merge, theta_pre):
        plain(model, theta_0, theta, ratios, merge)
        made[str(len(made))] = {name: tensor.clone() for name, tensor in model.state_dict().items()}

    monkeypatch.setattr(module, "mix_", spied)
    changes = {"method": "part", "part": "middle", "alphas": "0.25", "tasks": folder / "qa.jsonl"}
    run(folder, tmp_path / "front", **changes)
    theta_0, theta = (load_file(folder / name / "model.safetensors") for name in ("theta_0", "theta"))
    (mixed,) = [state for key, state in made.items() if key == "2"]
    for name, tensor in mixed.items():
        weight = 0.25 if "layers.1." in name else 1.0
        torch.testing.assert_close(tensor, torch.lerp(theta_0[name], theta[name], weight), rtol=1e-6, atol=1e-7)
    frame = read_rows(tmp_path / "front" / "rows.jsonl")
    assert {"part": "middle", "alpha": 0.25} in list(frame.setting)


def test_adaptive_ratios_are_found_on_the_way_and_kept_in_the_rows(folder, tmp_path):
    changes = {"method": "ama", "alphas": "0.5", "tasks": folder / "qa.jsonl", "data": folder / "samples.jsonl"}
    run(folder, tmp_path / "front", adapt={"batch": 20}, **changes)
    frame = read_rows(tmp_path / "front" / "rows.jsonl")
    (setting,) = frame[(frame.method == "ama") & (frame.metric == "qa")].setting
    assert sum(setting["alphas"].values()) / 3 == pytest.approx(0.5)
    assert len(set(setting["alphas"].values())) == 3
    assert setting["parts"] == 3 and setting["embeddings"] == "first"


def test_embeddings_and_head_with_ratios_of_their_own_stand_in_rows_and_report(folder, tmp_path):
    changes = {"method": "ama", "alphas": "0.5", "tasks": folder / "qa.jsonl", "data": folder / "samples.jsonl"}
    run(folder, tmp_path / "front", adapt={"batch": 20}, grouping={"embeddings": "own", "head": "own"}, **changes)
    frame = read_rows(tmp_path / "front" / "rows.jsonl")
    (setting,) = frame[(frame.method == "ama") & (frame.metric == "qa")].setting
    assert list(setting["alphas"]) == ["part1", "part2", "part3", "embeddings", "head"]
    assert sum(setting["alphas"].values()) / 5 == pytest.approx(0.5)
    written = (tmp_path / "front" / "report.html").read_text()
    said = ", ".join(f"{group} {ratio:.3f}" for group, ratio in setting["alphas"].items())
    assert f"ama, alpha 0.5 ({said})" in written


REFUSED = {
    "no reward": (
        {"reward-model": None, "prompts": None},
        "The alignment metric is missing: give --prompts with --reward-model or --reward-command for a reward, or name one of the "
        "tasks qa as `alignment` in the file of --config.",
    ),
    "no such alignment": (
        {"alignment": "quality"},
        "alignment is 'quality', allowed are the tasks reward, qa (reward, with --prompts and",
    ),
    "keep is NaN": ({"keep": "nan"}, "keep = nan is not allowed; allowed are numbers above 0 to 1."),
    "no method": ({"method": ""}, "method = '' is not allowed; allowed is a list of at least 1."),
    "no number": ({"keep": "much"}, "keep = 'much' is not allowed; allowed are numbers"),
    "no whole number": ({"samples": "1.5"}, "samples = '1.5' is not allowed; allowed are whole numbers"),
    "reward model without prompts": (
        {"prompts": None},
        "reward-model (or reward-command) and prompts are allowed together only",
    ),
    "one task only": ({"tasks": ""}, "tasks has no ability beside the alignment metric"),
    "unknown method": ({"method": "sma"}, "method is 'sma', allowed are ma, slerp, trim"),
    "unknown option": (
        {"method": "trim", "options": {"trim": {"drop": 0.5}}},
        "drop is 0.5, which is no option of method trim",
    ),
    "option out of range": (
        {"method": "trim", "options": {"trim": {"keep": 2}}},
        "keep is 2.0, allowed with method trim are",
    ),
    "method of three models": (
        {"method": "ties"},
        "theta-pre is missing, needed with method ties: the model that theta-0 was tuned from",
    ),
    "a third model alone": ({"theta-pre": "x"}, "theta-pre is 'x', which none of the chosen methods takes"),
    "a weight alone": ({"weight": 1}, "weight is 1, allowed is with --with only"),
    "no other run": ({"with": "nowhere"}, "with 1 is 'nowhere', which is no folder"),
    "part without its name": ({"method": "part"}, "part is None, needed with method 'part'"),
    "part with ma": ({"part": "input"}, "part is 'input', needed with method 'part'"),
    "unknown part": ({"method": "part", "part": "first"}, "part is 'first', allowed are part1, part2, part3"),
    "ama without samples": ({"method": "ama"}, "data (samples of theta) is needed with method 'ama'"),
    "ratios out of range": (
        {"alphas": "0:3:1"},
        "alphas is '0:3:1', allowed are FIRST:LAST:STEP or numbers and commas, from 0 to 2",
    ),
    "ratios beyond theta": (
        {"method": "ma,lines", "alphas": "0:1.5:0.5"},
        "alphas has 1.5, which none of the chosen methods takes; allowed is with method extrapolate",
    ),
    "averages as extrapolations": (
        {"method": "extrapolate", "alphas": "0,0.5,1,1.5"},
        "alphas has 0.5, which none of the chosen methods takes; allowed is with method ma",
    ),
    "nothing beyond theta": ({"method": "ma,extrapolate"}, "alphas has no ratio above 1 (to 2), allowed is without"),
    "unknown rlhf": ({"rlhf": "grpo"}, "rlhf is 'grpo', allowed are none, rsf, dpo, ppo"),
    "confidence": ({"confidence": 2}, "confidence = 2 is not allowed; allowed are numbers from 0.5 to below 1."),
    "missing task file": (
        {"tasks": "nowhere.jsonl"},
        "--tasks 'nowhere.jsonl' is no file; give one that holds one JSON object a line, as {",
    ),
    "missing model": ({"theta-0": "nowhere"}, "theta-0 is 'nowhere', which is no folder"),
    "no tokens": ({"tokens": 0}, "tokens = 0 is not allowed; allowed are whole numbers from 1."),
    "an unknown key": ({"task-tokens": 4}, "task-tokens = 4 is an unknown key; allowed are tasks, samples"),
    "an unknown key of ama's": ({"adapt": {"check": 4}}, "adapt: check = 4 is an unknown key; allowed are keep, draw"),
    "an unknown place": ({"grouping": {"norm": "middle"}}, "norm is 'middle', allowed are first, last"),
    "an unknown file": ({"config": "nowhere.yaml"}, "config is 'nowhere.yaml', which is no file"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_input_is_refused_in_one_sentence(case, folder, tmp_path, monkeypatch, capsys):
    changes, said = REFUSED[case]
    changes = {"tasks": folder / "qa.jsonl"} | changes
    assert command(monkeypatch, "front", *arguments(folder, tmp_path / "out", **changes)) == 2
    error = capsys.readouterr().err
    assert re.match(rf"error: (\S+\.yaml: )?{re.escape(said)}", error)
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("method", "full"), [("ma", False), ("lines", False), ("slerp", True), ("trim", True)])
def test_the_command_for_an_adapter_makes_a_full_model_where_the_method_has_no_low_rank(method, full, tmp_path):
    (tmp_path / "adapter_config.json").write_text("{}")
    settings = FrontSettings(tasks=("qa.jsonl",), method=method)
    best = Point(f"{method}-0.5", method, 0.5, {"alpha": 0.5})
    assert ("--full" in _command(Sources(tmp_path, tmp_path), tmp_path, settings, best).split()) == full


def test_of_two_equal_models_nothing_is_said_about_saving():
    points = [Point(label, "ma", alpha, {}) for label, alpha in (("theta_0", 0.0), ("theta", 1.0), ("ma-0.5", 0.5))]
    assert _saved(points, Pair(torch.nn.Module(), {}, None, [])) == []


def test_saving_is_told_of_the_recommended_ratio_first():
    ends = [Point(label, "ma", alpha, {}) for label, alpha in (("theta_0", 0.0), ("theta", 1.0))]
    effects = {
        alpha: Effect(along=alpha + off, square=1, wanted=alpha, values=1) for alpha, off in ((0.2, 0.1), (0.7, 0.05))
    }
    first, best = (Point(f"ma-{alpha}", "ma", alpha, {"alpha": alpha}, saved=one) for alpha, one in effects.items())
    pair = Pair(torch.nn.Module(), {}, None, [], stored={"a": torch.bfloat16})
    told = _saved([*ends, first, best], pair, best)
    assert told[0].startswith("Saved in bfloat16 the average ma-0.7 has effective alpha 0.750")
    assert told[1].startswith("At alpha 0.7: ") and len(told) == 2
    for other in (None, ends[1]):
        assert "ma-0.2" in _saved([*ends, first, best], pair, other)[0]


def test_a_setting_of_the_command_line_may_not_stand_in_the_file_too(folder, tmp_path, monkeypatch, capsys):
    (tmp_path / "both.yaml").write_text("seed: 3\n")
    assert command(monkeypatch, "front", *arguments(folder, tmp_path / "out", config=tmp_path / "both.yaml")) == 2
    assert "both.yaml: seed is given on the command line" in capsys.readouterr().err


def test_the_documented_file_holds_every_setting_with_its_default():
    given = yaml.safe_load((Path(__file__).parents[2] / "docs" / "front.yaml").read_text())
    assert FrontSettings(tasks=(), **given) == FrontSettings(tasks=())
    options = {"tasks", "method", "alphas", "strength", "layers", "seed", "keep", "samples"}
    assert given.keys() == FrontSettings.model_fields.keys() - options
    assert given["adapt"].keys() == FrontSearch.model_fields.keys()
    assert given["grouping"] == asdict(Grouping())


@pytest.mark.parametrize("change", [{"tokens": 6}, {"task_tokens": 5}, {"temperature": 2.0}, {"seed": 1}])
def test_a_run_with_other_settings_is_not_taken_up(change, found, folder, monkeypatch, capsys):
    assert command(monkeypatch, "front", *arguments(folder, found, **change)) == 2
    assert "which holds a run with other arguments" in capsys.readouterr().err


def test_spherical_averages_are_measured_as_a_method_of_their_own(folder, tmp_path):
    run(folder, tmp_path / "front", method="slerp", alphas="0.5", tasks=folder / "qa.jsonl")
    frame = read_rows(tmp_path / "front" / "rows.jsonl")
    assert set(frame.method) == {"theta_0", "theta", "slerp"}
    model = load_model(folder / "theta_0")
    model.load_state_dict(
        average(*(load_file(folder / name / "model.safetensors") for name in ("theta_0", "theta")), 0.5, "slerp")
    )
    items = (
        read_task("qa", folder / "qa.jsonl", Asking(True, 4, 16))
        .measure(model, load_tokenizer(folder / "theta"))["accuracy"]
        .items
    )
    kept = json.loads((tmp_path / "front" / "points" / "slerp-0.5.json").read_text())
    assert kept["tasks"]["qa"]["items"] == items.tolist()


def test_extrapolations_are_measured_beside_averages_and_are_what_average_writes(folder, tmp_path):
    """Each ratio once: up to theta as averages, beyond it as extrapolations."""
    out = tmp_path / "front"
    run(folder, out, method="ma,extrapolate", alphas="0,0.5,1,1.25,2", tasks=folder / "qa.jsonl")
    points = {path.stem for path in (out / "points").iterdir()}
    assert points == {"theta_0", "theta", "ma-0", "ma-0.5", "ma-1", "extrapolate-1.25", "extrapolate-2"}
    for alpha in (1.25, 2):
        made = tmp_path / str(alpha)
        averaging.average(folder / "theta_0", folder / "theta", alpha, out=made, method="extrapolate")
        kept = json.loads((out / "points" / f"extrapolate-{alpha}.json").read_text())
        np.testing.assert_allclose(kept["tasks"]["qa/brier"]["items"], as_measured(folder, made), rtol=1e-5)
        assert kept["saved"]["along"] / kept["saved"]["square"] == pytest.approx(alpha, rel=1e-5)
        assert read_rows(out / "rows.jsonl").query("method == 'extrapolate'").setting_key.unique().size == 2


def test_without_ratios_extrapolation_has_those_of_its_source():
    settings = FrontSettings(tasks=(), method="lines,extrapolate")
    assert settings.ratios_of("lines") == [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1]
    assert settings.ratios_of("extrapolate") == [1.1, 1.2, 1.3, 1.4, 1.5]


@pytest.mark.parametrize(("method", "options"), [("trim", {"keep": 0.3}), ("lines", {"outer": "theta"})])
def test_methods_with_options_are_measured_by_their_own_ends(method, options, folder, tmp_path):
    """At ratio 1 trimming is not theta, and LiNeS is; at 0 it is the other way round with theta_0."""
    out = tmp_path / "front"
    run(folder, out, method=method, alphas="0,0.5,1", tasks=folder / "qa.jsonl", options={method: options})
    frame = read_rows(out / "rows.jsonl")
    assert {key for key in frame[frame.method == method].setting_key if next(iter(options)) in key}
    states = [load_file(folder / name / "model.safetensors") for name in ("theta_0", "theta")]
    model, task = load_model(folder / "theta_0"), read_task("qa", folder / "qa.jsonl", Asking(True, 4, 16))
    for alpha in (0, 0.5, 1):
        model.load_state_dict(averaging.average(*states, float(alpha), method=method, options=options))
        kept = json.loads((out / "points" / f"{method}-{alpha}.json").read_text())
        assert kept["setting"] == {**options, "alpha": alpha}
        assert (
            kept["tasks"]["qa"]["items"]
            == task.measure(model, load_tokenizer(folder / "theta"))["accuracy"].items.tolist()
        )


@pytest.fixture(scope="module")
def third(folder):
    """A third model: theta_0's weights, changed."""
    save_models(folder / "more")
    model, rng = load_model(folder / "theta_0"), torch.Generator().manual_seed(9)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=rng)
    model.save_pretrained(folder / "third")
    load_tokenizer(folder / "theta").save_pretrained(folder / "third")
    return folder / "third"


def as_measured(folder, model_folder):
    """The items of the task qa, of a model in a folder."""
    task = read_task("qa", folder / "qa.jsonl", Asking(True, 4, 16))
    return task.measure(load_model(model_folder), load_tokenizer(folder / "theta"))["brier"].items


def test_methods_with_a_third_model_and_soups_are_what_average_writes(folder, third, tmp_path, monkeypatch, capsys):
    """The command of the report, which names all models, writes the model that was measured."""
    for method, more in (
        ("ties", {"theta-pre": third}),
        ("dots", {"theta-pre": third}),
        ("ma", {"with": third, "weight": None}),
    ):
        out = tmp_path / method
        run(folder, out, method=method, alphas="0.5,1", tasks=folder / "qa.jsonl", **more)
        options = {"others": [third]} if method == "ma" else {"method": method, "theta_pre": third}
        for alpha in (0.5, 1):
            made = tmp_path / f"{method}-{alpha}"
            averaging.average(folder / "theta_0", folder / "theta", alpha, out=made, **options)
            kept = json.loads((out / "points" / f"{method}-{alpha}.json").read_text())
            np.testing.assert_allclose(kept["tasks"]["qa/brier"]["items"], as_measured(folder, made), rtol=1e-5)
            assert kept["saved"]["values"] > 0
    facts = (tmp_path / "ma" / "report.html").read_text()
    assert "the mean of theta (share 0.5) and third (share 0.5)" in facts
    assert "<td>third</td>" in (tmp_path / "ties" / "report.html").read_text().replace("\n", "")
    capsys.readouterr()
    other = arguments(folder, tmp_path / "ma", alphas="0.5", tasks=folder / "qa.jsonl")
    assert command(monkeypatch, "front", *other) == 2
    assert "which holds a run with other arguments" in capsys.readouterr().err


def test_another_run_s_folder_is_left_alone(found, folder, monkeypatch, capsys):
    before = (found / "rows.jsonl").read_bytes()
    assert command(monkeypatch, "front", *arguments(folder, found, prompts=folder / "samples.jsonl")) == 2
    assert "which holds a run with other arguments (prompts); give a new folder" in capsys.readouterr().err
    assert (found / "rows.jsonl").read_bytes() == before


@pytest.mark.parametrize(
    ("place", "said"),
    [
        (("sources", "theta", "model.safetensors"), "(theta)"),
        (("tasks", "reward", "prompts", "sha256"), "(prompts)"),
        (("tasks", "v.2"), "(v.2)"),
        (("settings", "tokens"), '(tokens: "a", now "b")'),
    ],
)
def test_the_option_that_differs_is_named(place, said, tmp_path):
    def claim(value):
        for key in reversed(place):
            value = {key: value}
        return Claim(tmp_path / "front", {"sources": {}, "settings": {}, "methods": {}, "tasks": {}} | value)

    long = 1 if place[0] == "settings" else 64
    claim("a" * long).make()
    with pytest.raises(UserError, match=re.escape(f"with other arguments {said}; give a new folder")):
        claim("b" * long).check()


ITEM = {"prompt": "a"}
BAD_ITEMS = {
    "no kind": (
        [ITEM],
        "line 1 has prompt: each line must have a prompt and the same one of choices, answers, reference",
    ),
    "two kinds": (
        [ITEM | {"reference": "b"}, ITEM | {"answers": ["b"]}],
        "line 2 has prompt, answers: each line must have a prompt and the same one",
    ),
    "one choice": ([ITEM | {"choices": ["a"], "answer": 0}], "line 1: choices is"),
    "answer out of range": ([ITEM | {"choices": ["a", "b"], "answer": 2}], "line 1: answer is 2"),
    "answer no choice": ([ITEM | {"choices": ["a", "b"], "answer": "c"}], "line 1: answer is 'c'"),
    "answers no list": ([ITEM | {"answers": "b"}], "line 1: answers is 'b'"),
    "reference no text": ([ITEM | {"reference": 1}], "line 1: reference is 1"),
    "no prompt": ([{"reference": "b"}], "line 1 has 'reference' and no prompt; allowed is"),
}


@pytest.mark.parametrize("case", BAD_ITEMS)
def test_bad_items_are_refused_naming_line_and_key(case, tmp_path):
    rows, said = BAD_ITEMS[case]
    path = write_lines(tmp_path / "items.jsonl", rows)
    with pytest.raises(UserError, match=said):
        read_task("items", path, Asking(True, 4, 2))


def test_plain_text_items_are_asked_without_the_chat_format(folder, averaged):
    model, tokenizer = averaged
    item = {"prompt": "w7 w8", "choices": ["w9", "w20"], "answer": 0}
    path = write_lines(folder / "plain.jsonl", [item] * 2)
    asked = read_task("plain", path, Asking(False, 4, 2)).measure(model, tokenizer)["accuracy"].items
    with torch.no_grad():
        log_p = model(input_ids=torch.tensor([[7, 8]])).logits[0, -1]
    assert asked.tolist() == [float(log_p[9] > log_p[20])] * 2


def test_tasks_of_lm_eval_are_measured_item_by_item(averaged, tmp_path):
    from lm_eval.tasks import TaskManager

    write_lines(
        tmp_path / "docs.jsonl",
        [{"question": q, "choices": ["w9", "w20"], "gold": k % 2} for k, q in enumerate(words(6, 2, 7))],
    )
    (tmp_path / "tiny_task.yaml").write_text(
        f"task: tiny_task\ndataset_path: json\ndataset_kwargs:\n  data_files: {tmp_path / 'docs.jsonl'}\n"
        f"  cache_dir: {tmp_path / 'cache'}\n"
        'test_split: train\noutput_type: multiple_choice\ndoc_to_text: "{{question}}"\ndoc_to_target: gold\n'
        'doc_to_choice: "{{choices}}"\nmetric_list:\n  - metric: acc\n'
    )
    model, tokenizer = averaged
    manager = TaskManager(include_path=str(tmp_path), include_defaults=False)
    measured = Harness("tiny_task", 4, manager).measure(model, tokenizer)
    found, expected, likelihoods = measured["acc"], [], []
    for k, question in enumerate(words(6, 2, 7)):
        ids = tokenizer.encode(question, add_special_tokens=False)
        with torch.no_grad():
            log_p = model(input_ids=torch.tensor([ids])).logits[0, -1]
        expected.append(float((log_p[9] < log_p[20]) == (k % 2)))
        likelihoods.append(log_p.double().log_softmax(-1)[[9, 20]].numpy())
    assert found.items.tolist() == expected
    shares = np.exp(likelihoods) / np.exp(likelihoods).sum(axis=1, keepdims=True)  # (items, choices)
    right = np.arange(6) % 2
    assert measured["brier"].items == pytest.approx(2 * (1 - shares[range(6), right]) ** 2, rel=1e-4)
    assert measured["log_likelihood"].items == pytest.approx(np.array(likelihoods)[range(6), right], rel=1e-4)
    sure = measured["calibration_error"].items
    assert sure[:, 0] == pytest.approx(shares.max(axis=1), rel=1e-4) and sure[:, 1].tolist() == expected
    with pytest.raises(UserError, match="'tiny_task:f1', whose metrics are acc"):
        Harness("tiny_task:f1", 4, manager).measure(model, tokenizer)
    with pytest.raises(UserError, match="'no_such_task', which is no file and no task of lm-eval"):
        Harness("no_such_task", 4, manager)


class Known:
    all_tasks = ("wmt",)


def test_a_task_whose_data_cannot_be_fetched_is_refused_with_what_to_do(monkeypatch):
    from llm.evaluation import tasks

    class Known:
        all_tasks = ("arc_easy",)

    def offline(manager, name):
        raise ConnectionError("Couldn't reach 'allenai/ai2_arc' on the Hub (OfflineModeIsEnabled)")

    monkeypatch.setattr(tasks, "load_tasks", offline)
    with pytest.raises(
        UserError, match=r"tasks has 'arc_easy', .*OfflineModeIsEnabled.*; items of your own go as FILE"
    ):
        Harness("arc_easy", 4, Known).measure(None, None)


def test_bleu_of_lm_eval_is_made_from_its_pairs_of_texts(monkeypatch):
    logged = [{"bleu": ("the cat sat on the mat", ["the cat sat on a mat"])}, {"bleu": (["a dog, so"], "a dog, so")}]
    monkeypatch.setattr(Harness, "_samples", lambda *_: logged)
    references, replies = ["the cat sat on the mat", "a dog, so"], ["the cat sat on a mat", "a dog, so"]
    expected = corpus_bleu(bleu_statistics(replies, references, tokenize="13a"))
    assert Harness("wmt", 4, Known).measure(None, None)["bleu"].value == pytest.approx(expected)
    for sample in logged:
        sample["other"] = ["no number"]
    with pytest.raises(UserError, match="'wmt:other', whose other has no value an item"):
        Harness("wmt:other", 4, Known).measure(None, None)


def test_after_a_chat_template_has_refused_an_item_the_corrected_run_needs_nothing_removed(
    folder, tmp_path, monkeypatch, capsys
):
    shutil.copytree(folder / "theta", tmp_path / "theta")
    raising = "{% if 'w8' in messages[0]['content'] %}{{ raise_exception('no w8') }}{% endif %}"
    save_tokenizer(
        tmp_path / "theta", template=raising + "{% for m in messages %}w5 {{ m['content'] }} w6 {% endfor %}"
    )
    rows = [{"prompt": prompt, "answers": ["w50"]} for prompt in [f"w{number}" for number in range(41, 46)] + ["w8 w9"]]
    tasks = ",".join(str(write_lines(tmp_path / f"{name}.jsonl", rows)) for name in ("one", "two"))
    given = {"theta": tmp_path / "theta", "tasks": tasks, "reward-model": None, "prompts": None, "alignment": "one"}
    asked = arguments(folder, tmp_path / "out", **given)
    assert command(monkeypatch, "front", *asked) == 2
    assert "refuses the roles user ('w8 w9'): no w8." in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    for name in ("one", "two"):
        write_lines(tmp_path / f"{name}.jsonl", rows[:5])
    assert command(monkeypatch, "front", *asked) == 0


def test_a_task_and_a_method_are_added_later_and_only_they_are_measured(folder, tmp_path, monkeypatch):
    out, asked = tmp_path / "front", []
    run(folder, out, tasks=folder / "qa.jsonl", alphas="0.5", resamples=20)
    plain = module.measure_tasks
    monkeypatch.setattr(
        module,
        "measure_tasks",
        lambda pair, tasks, label, show: (
            asked.append((label, [t.name for t in tasks])),
            plain(pair, tasks, label, show),
        )[1],
    )
    both = f"{folder / 'qa.jsonl'},{folder / 'french.jsonl'}"
    run(folder, out, tasks=both, alphas="0.5")
    assert asked == [(label, ["french"]) for label in ("theta_0", "theta", "ma-0.5")]
    asked.clear()
    run(folder, out, tasks=both, alphas="0.5", method="ma,slerp")
    assert asked == [("slerp-0.5", ["reward", "qa", "french"])]
    frame = read_rows(out / "rows.jsonl")
    assert set(frame.method) == {"theta_0", "theta", "ma", "slerp"}
    once = tmp_path / "once"
    run(folder, once, tasks=both, alphas="0.5", method="ma,slerp")
    same = read_rows(once / "rows.jsonl").drop(columns="seconds")
    assert frame.drop(columns="seconds").equals(same)
    assert (
        "<h2>Methods</h2>" in (out / "report.html").read_text()
        or json.loads((out / "recommendation.json").read_text())["alpha"] is None
    )
    asked.clear()
    run(folder, out, tasks=folder / "french.jsonl", alphas="0.5")
    assert (
        not asked
        and set(read_rows(out / "rows.jsonl").metric) >= {"french"}
        and "qa" not in set(read_rows(out / "rows.jsonl").metric)
    )


def test_a_task_that_has_changed_is_not_taken_up(found, folder, tmp_path, monkeypatch, capsys):
    shutil.copytree(found, tmp_path / "front")
    other = write_lines(tmp_path / "qa.jsonl", lines(folder, "qa")[:7])
    asked = arguments(folder, tmp_path / "front", tasks=f"{other},{folder / 'french.jsonl'}")
    assert command(monkeypatch, "front", *asked) == 2
    assert "holds a run with other arguments (qa" in capsys.readouterr().err


@pytest.mark.parametrize("key", ["tasks", "prompts"])
def test_too_few_items_are_refused_before_anything_is_measured(key, folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(module, "measure_tasks", lambda *_: pytest.fail("measures"))
    few = write_lines(tmp_path / "few.jsonl", lines(folder, "qa" if key == "tasks" else "prompts")[:4])
    assert command(monkeypatch, "front", *arguments(folder, tmp_path / "front", **{key: few})) == 2
    said = "few" if key == "tasks" else "reward"
    assert f"{said} has 4 items, allowed are at least 5." in capsys.readouterr().err
    assert not (tmp_path / "front").exists()


def test_rewards_of_a_program_that_has_changed_are_not_taken_up(folder, tmp_path, monkeypatch, capsys, caplog):
    program = tmp_path / "score.py"
    given = {"reward-model": None, "reward-command": f"{sys.executable} {program}", "tasks": folder / "qa.jsonl"}
    asked = arguments(folder, tmp_path / "front", **given, alphas="0.5")
    for text in ("len(line)", "-len(line)"):
        program.write_text(f"import sys\nfor line in sys.stdin: print({text})\n")
        code = command(monkeypatch, "front", *asked)
    assert code == 2 and "holds a run with other arguments (reward_command_files" in capsys.readouterr().err
    program.write_text(program.read_text().replace("-", ""))
    assert "keep the rewards" not in caplog.text
    assert command(monkeypatch, "front", *asked) == 0  # what it was
    assert "3 models keep the rewards that an earlier run in" in caplog.text


def test_rewards_of_another_function_are_not_taken_up(folder, tmp_path):
    sources = Sources(folder / "theta_0", folder / "theta", prompts=folder / "prompts.jsonl")
    settings = FrontSettings(tasks=(str(folder / "qa.jsonl"),), alphas="0.5", tokens=4, resamples=20)
    one = lambda triples: np.array([len(reply) for _, reply, _ in triples], float)
    other = lambda triples: np.array([-len(reply) for _, reply, _ in triples], float)
    front_files(sources, tmp_path / "front", settings, scorer=one)
    with pytest.raises(UserError, match="holds a run with other arguments .*; give a new folder"):
        front_files(sources, tmp_path / "front", settings, scorer=other)
    front_files(sources, tmp_path / "front", settings, scorer=one)


def test_what_cannot_be_measured_is_refused_before_anything_is(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(module, "measure_tasks", lambda *_: pytest.fail("measures"))
    given = {"reward-model": None, "reward-command": "false"}
    assert command(monkeypatch, "front", *arguments(folder, tmp_path / "front", **given)) == 2
    assert "reward-command is 'false', which failed" in capsys.readouterr().err
    assert not (tmp_path / "front").exists()


@pytest.mark.parametrize(
    ("item", "follows"),
    [
        ({"choices": ["w9", "w10"], "answer": 0}, 1),
        ({"answers": ["w9"]}, SETTINGS["task_tokens"]),
        ({"reference": "w9"}, SETTINGS["task_tokens"]),
    ],
)
@pytest.mark.parametrize("chat", [True, False])
def test_items_that_do_not_fit_into_the_context_are_refused(chat, item, follows, folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(module, "measure_tasks", lambda *_: pytest.fail("measures"))
    marks = 2 * chat + ("choices" in item)  # w5 PROMPT w6, and the space before a choice
    fits = CONTEXT - marks - follows
    for words_of_prompt, code in ((fits, None), (fits + 1, 2)):
        items = [*[{"prompt": "w50"} | item] * 4, {"prompt": "w50 " * words_of_prompt} | item]
        file = write_lines(tmp_path / "long.jsonl", items)
        tasks = f"{folder / 'qa.jsonl'},{file}"
        given = {"tasks": tasks, "chat": chat, "reward-model": None, "prompts": None, "alignment": "qa"}
        asked = arguments(folder, tmp_path / "front", **given)
        if code is None:
            with pytest.raises(pytest.fail.Exception, match="measures"):
                command(monkeypatch, "front", *asked)
            shutil.rmtree(tmp_path / "front", ignore_errors=True)
            continue
        assert command(monkeypatch, "front", *asked) == code
        said = f"item 5 of long with its longest reply = {CONTEXT + 1} tokens is not allowed: the model's context is {CONTEXT}"
        assert said in capsys.readouterr().err and not (tmp_path / "front").exists()


def test_prompts_for_choosing_and_for_testing_that_are_the_same_are_noted(folder, tmp_path, caplog):
    samples = write_lines(
        tmp_path / "s.jsonl", [{"prompt": row["prompt"], "reply": "w50"} for row in lines(folder, "prompts")[:3]]
    )
    changes = {"method": "ama", "alphas": "0.5", "tasks": folder / "qa.jsonl", "data": samples}
    run(folder, tmp_path / "front", adapt={"batch": 20}, **changes)
    note = "3 of 8 prompts of --prompts are prompts of --data, too"
    assert note in caplog.text and note in (tmp_path / "front" / "report.html").read_text()


def test_several_replies_a_prompt_are_averaged_for_each(folder, tmp_path, averaged):
    run(folder, tmp_path / "front", tasks=folder / "qa.jsonl", alphas="0.5", samples=3)
    kept = json.loads((tmp_path / "front" / "points" / "ma-0.5.json").read_text())["tasks"]
    prompts = [row["prompt"] for row in lines(folder, "prompts") for _ in range(3)]
    how = {"max_new_tokens": 5, "temperature": 1.0, "batch_size": 16, "skip_special_tokens": True}
    replies = generate_replies(*averaged, prompts, rng=torch.Generator().manual_seed(0), **how)
    reward, words = load_reward_model(folder / "reward"), load_tokenizer(folder / "reward")
    scores = reward_scores(reward, words, [(p, *r) for p, r in zip(prompts, replies, strict=True)], 16, encode_together)
    assert kept["reward"]["items"] == pytest.approx(scores.numpy().reshape(8, 3).mean(axis=1), abs=1e-5)
    assert "reward/self_bleu" in kept


@pytest.mark.parametrize("chat", [True, False])
def test_answers_are_drawn_from_what_the_likeliest_ones_are_asked_with(chat, folder, monkeypatch):
    from llm.evaluation import tasks

    asked = []

    def write(model, tokenizer, contexts, end, *, temperature, **how):
        asked.append((contexts, end, temperature))
        return [("w7 w7\nw8", True)] * len(contexts)

    monkeypatch.setattr(tasks, "continue_texts", write)
    items = [{"prompt": "w50", "answers": ["w8"]}, {"prompt": "w51", "answers": ["w7"]}]
    found = Answer("qa", items, Asking(chat, 4, 2, samples=3)).measure(None, load_tokenizer(folder / "theta_0"))
    (once, end, coldest), (thrice, same, temperature) = asked
    assert thrice == [context for context in once for _ in range(3)]
    assert (end, coldest) == (same, 0) and temperature == 1
    right = [chat, 1]  # plain text ends with its line
    assert found["pass@1"].items.tolist() == found["pass@3"].items.tolist() == right


@pytest.mark.parametrize("item", [{"choices": ["w9", "w10"], "answer": 0}, {"answers": ["w9"]}, {"reference": "w9"}])
def test_a_prompt_without_a_token_is_refused_before_anything_is_measured(item, folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(module, "measure_tasks", lambda *_: pytest.fail("measures"))
    file = write_lines(tmp_path / "empty.jsonl", [*[{"prompt": "w50"} | item] * 4, {"prompt": ""} | item])
    given = {"reward-model": None, "prompts": None, "alignment": "qa", "tasks": f"{folder / 'qa.jsonl'},{file}"}
    asked = arguments(folder, tmp_path / "front", chat=False, **given)
    assert command(monkeypatch, "front", *asked) == 2
    assert "a prompt is ''; allowed are those that have a token." in capsys.readouterr().err
    with pytest.raises(pytest.fail.Exception, match="measures"):  # a chat format has tokens of its own
        command(monkeypatch, "front", *arguments(folder, tmp_path / "chat", chat=True, **given))


def test_items_are_answered_by_letter_and_asked_in_chats(tmp_path):
    chat = {"messages": [{"role": "user", "content": "a"}]}
    rows = [chat | {"choices": ["x", "y"], "answer": "B"}, ITEM | {"choices": ["B", "A"], "answer": "A"}]
    found = read_task("items", write_lines(tmp_path / "items.jsonl", rows), Asking(True, 4, 2))
    assert [item["answer"] for item in found.items] == [1, 1]
    assert [item["prompt"] for item in found.items] == ["a", "a"]
    with pytest.raises(
        UserError, match="answer is 'C', allowed is one of the choices, its index from 0, or its letter from A to B"
    ):
        read_task("items", write_lines(tmp_path / "items.jsonl", [rows[0] | {"answer": "C"}]), Asking(True, 4, 2))
