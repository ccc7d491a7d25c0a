"""Regression averaging on the front: its models are those of `average`, on samples that are drawn once and kept with the run."""

import json
import shlex
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from ama_models import save_models, words, write_lines
from averaging_models import command, make, save_tokenizer
from llm.averaging.files import own_samples
from llm.evaluation.front import measure as module
from llm.evaluation.front.texts import own_texts
from llm.evaluation.measurement import Measurement
from llm.evidence.rows import read_rows

KEPT = {"theta_0": 0.0, "theta": 1.0}  # a model's share of the rise, 1 where it is not listed
ABILITY = {"theta_0": 1.0, "theta": 0.1, "regmean-1": 0.9, "regmean-layers-increasing-1": 0.8}  # 0.5 where it is not


def measured(models):
    """Instead of `measure_tasks`: known scores, whatever the model; its tensors are kept in `models`."""

    def measure(pair, tasks, label, progress):
        models[label] = {name: tensor.clone() for name, tensor in pair.model.state_dict().items()}
        noise = np.random.default_rng(0).normal(0, 0.01, 8)
        values = {"reward": KEPT.get(label, 1.0) + noise, "qa": ABILITY.get(label, 0.5) + noise}
        scores = {task.name: Measurement.of(values[task.name]) for task in tasks}
        return scores, dict.fromkeys(scores, 1.0)

    return measure


@pytest.fixture
def measuring(monkeypatch, without_files_of_pictures):
    models: dict = {}
    monkeypatch.setattr(module, "measure_tasks", measured(models))
    monkeypatch.setattr("llm.evaluation.front.run.try_tasks", lambda tasks, _: tasks)
    return models


def save(path, **changes):
    """Two models, a reward model, items, prompts to test on and others."""
    save_models(path, **changes)
    rows = [{"prompt": text, "choices": ["w8", "w9"], "answer": 0} for text in words(8, 3, 1)]
    write_lines(path / "qa.jsonl", rows)
    write_lines(path / "prompts.jsonl", [{"prompt": row["prompt"]} for row in rows])
    write_lines(path / "others.jsonl", [{"prompt": text} for text in words(8, 3, 2)])
    (path / "front.yaml").write_text('{"regmean": {"count": 6}, "resamples": 20, "tokens": 4}')
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save(tmp_path_factory.mktemp("models"))


def arguments(folder, out, **changes):
    given = {
        "theta-0": folder / "theta_0",
        "theta": folder / "theta",
        "tasks": folder / "qa.jsonl",
        "reward-model": folder / "reward",
        "prompts": folder / "prompts.jsonl",
        "method": "regmean",
        "strength": 1,
        "config": folder / "front.yaml",
        "device": "cpu",
        "out": out,
    } | changes
    given |= {"alphas": given.get("alphas", "0.5")} if "ma" in given["method"].split(",") else {}
    return ["front", *(text for key, value in given.items() if value is not None for text in (f"--{key}", value))]


def same(folder, state, tolerance=2e-6):
    found = load_file(folder / "model.safetensors")
    assert found.keys() <= state.keys() and len(found) > 10
    for name, tensor in found.items():
        torch.testing.assert_close(tensor, state[name], rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("changes", [{}, {"tie_word_embeddings": True, "attention_bias": True}])
def test_each_model_is_what_average_writes_on_the_same_samples(changes, tmp_path, monkeypatch, measuring):
    folder, out = save(tmp_path, **changes), tmp_path / "front"
    curves = {"method": "ma,regmean", "strength": "0,0.3,1", "layers": "equal,increasing"}
    assert command(monkeypatch, *arguments(folder, out, **curves)) == 0
    own = [f"regmean{kind}-{strength}" for kind in ("", "-layers-increasing") for strength in (1, 0.3)]
    assert list(measuring) == ["theta_0", "theta", "ma-0.5", *own]  # strength 0 is theta, which is not measured again
    average = ["average", "--theta-0", folder / "theta_0", "--theta", folder / "theta", "--method", "regmean"]
    average += ["--device", "cpu"]
    for label in own:
        how = ["--strength", label.rpartition("-")[2], "--samples", out / "samples.jsonl", "--out", tmp_path / label]
        assert command(monkeypatch, *average, *how, *(["--layers", "increasing"] if "layers" in label else [])) == 0
        same(tmp_path / label, measuring[label])
    drawn = ["--strength", 1, "--count", 6, "--prompts", folder / "prompts.jsonl", "--out", tmp_path / "drawn"]
    assert command(monkeypatch, *average, *drawn) == 0
    assert (tmp_path / "drawn.samples.jsonl").read_bytes() == (out / "samples.jsonl").read_bytes()


def test_what_is_said_to_be_measured_is_measured_both_ends_counted(folder, tmp_path, monkeypatch, measuring, capsys):
    """Ratios 0 and 1 are the ends of some methods and models of their own of others."""
    curves = {"method": "ma,lines,slerp,trim,part,regmean", "alphas": "0,0.5,1", "strength": "0,0.3,1"}
    config = tmp_path / "front.yaml"
    config.write_text(json.dumps(json.loads((folder / "front.yaml").read_text()) | {"part": "middle"}))
    assert command(monkeypatch, *arguments(folder, tmp_path / "front", **curves, config=config)) == 0
    said = capsys.readouterr().out.splitlines()[0]
    assert said == (
        f"{len(measuring)} models: both ends (theta_0 and theta), 1 of ma, 2 of lines, 1 of slerp, 2 of trim, 2 of part, 2 of regmean"
    )


def test_the_recommendation_names_lambda_and_its_command_makes_that_model(
    folder, tmp_path, monkeypatch, measuring, capsys
):
    out = tmp_path / "front"
    curves = {"method": "ma,lines,regmean", "strength": "1,0.3", "layers": "increasing,equal"}
    assert command(monkeypatch, *arguments(folder, out, **curves)) == 0
    said = capsys.readouterr().out.splitlines()
    (advice,) = [line for line in said if "Take " in line]
    (made,) = [line for line in said if line.startswith("alignment-tax average")]
    assert "Take lambda = 1 with regmean: the largest gain" in advice
    found = json.loads((out / "recommendation.json").read_text())
    assert (found["method"], found["alpha"], found["setting"]) == ("regmean", 0.5, {"strength": 1.0})
    assert list(found["by_method"]) == ["ma", "lines", "regmean-layers-increasing", "regmean"]
    lead = found["by_method"]["regmean-layers-increasing"]
    assert lead["most_less_this"]["value"] == pytest.approx(0.1) and lead["most_less_this"]["low"] > 0
    page = (out / "report.html").read_text()
    assert 'class="best"><td>regmean, lambda 1</td>' in page and "regmean-layers-increasing, lambda 0.3" in page
    monkeypatch.chdir(tmp_path)
    assert command(monkeypatch, *shlex.split(made)[1:], "--device", "cpu") == 0
    same(tmp_path / "averaged", measuring["regmean-1"])
    frame = read_rows(out / "rows.jsonl")
    assert set(frame[frame.method == "regmean"].setting_key) == {
        '{"strength": 1}',
        '{"strength": 0.3}',
        '{"layers": "increasing", "strength": 1}',
        '{"layers": "increasing", "strength": 0.3}',
    }


def test_what_saving_does_is_told_from_what_the_regression_does(folder, tmp_path, monkeypatch, measuring):
    """Its share of theta - theta_0 is no ratio that was asked for, and in fp32 it is saved as it is."""
    assert command(monkeypatch, *arguments(folder, tmp_path / "front")) == 0
    saved = json.loads((tmp_path / "front/points/regmean-1.json").read_text())["saved"]
    low, high, made = (measuring[label] for label in ("theta_0", "theta", "regmean-1"))
    steps = {name: (high[name] - low[name]).double() for name in low}
    along = sum(((made[name] - low[name]).double() * step).sum().item() for name, step in steps.items())
    share = along / sum(step.square().sum().item() for step in steps.values())
    assert saved["along"] / saved["square"] == pytest.approx(share, rel=1e-5)
    assert saved["wanted"] == pytest.approx(saved["along"], rel=1e-6) and abs(share - 0.5) > 0.01


def test_an_adapter_is_merged_as_average_does_with_full(folder, tmp_path, monkeypatch, measuring, capsys):
    from peft import LoraConfig, get_peft_model

    from llm.models.loading import load_model

    torch.manual_seed(0)
    how = LoraConfig(r=2, target_modules=["q_proj", "down_proj"], init_lora_weights=False)
    get_peft_model(load_model(folder / "theta_0"), how).save_pretrained(tmp_path / "adapter")
    assert command(monkeypatch, *arguments(folder, tmp_path / "front", theta=tmp_path / "adapter")) == 0
    (made,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("alignment-tax average")]
    assert "--full" in made
    monkeypatch.chdir(tmp_path)
    assert command(monkeypatch, *shlex.split(made)[1:], "--device", "cpu") == 0
    same(tmp_path / "averaged", measuring["regmean-1"], 1e-5)


def test_samples_are_drawn_once_for_a_stopped_and_an_extended_front(folder, tmp_path, monkeypatch, measuring):
    out, plain, times = tmp_path / "front", module.measure_tasks, []

    def stopping(*given):
        if len(measuring) == 3 and not times:
            times.append(1)
            raise KeyboardInterrupt
        return plain(*given)

    monkeypatch.setattr(module, "measure_tasks", stopping)
    assert command(monkeypatch, *arguments(folder, out, strength="1,0.3")) == 130
    assert [path.name for path in (out / "points").glob("regmean*")] == ["regmean-1.json"]
    kept = (out / "samples.jsonl").read_bytes()
    monkeypatch.setattr(own_samples, "_drawn", lambda *_: pytest.fail("draws again"))
    before = set(measuring)
    assert command(monkeypatch, *arguments(folder, out, strength="1,0.3")) == 0
    assert command(monkeypatch, *arguments(folder, out, strength="1,0.3", layers="equal,increasing")) == 0
    new = ["regmean-0.3", "regmean-layers-increasing-1", "regmean-layers-increasing-0.3"]
    assert [label for label in measuring if label not in before] == new
    assert (out / "samples.jsonl").read_bytes() == kept
    once = tmp_path / "once"
    once.mkdir()
    shutil.copy(out / "samples.jsonl", tmp_path / "given.jsonl")
    given = {"strength": "1,0.3", "layers": "equal,increasing", "own-samples": tmp_path / "given.jsonl"}
    resumed = {label: measuring[label] for label in new}
    assert command(monkeypatch, *arguments(folder, once, **given)) == 0
    assert (once / "samples.jsonl").read_bytes() == kept
    for label in new:
        assert all(torch.equal(tensor, resumed[label][name]) for name, tensor in measuring[label].items())


def test_a_run_with_other_texts_is_not_taken_up(folder, tmp_path, monkeypatch, measuring, capsys):
    out = tmp_path / "front"
    assert command(monkeypatch, *arguments(folder, out)) == 0
    for changes, key in (
        ({"train-prompts": folder / "others.jsonl"}, "train_prompts"),
        ({"own-samples": out / "samples.jsonl"}, "own_samples 1"),
    ):
        capsys.readouterr()
        assert command(monkeypatch, *arguments(folder, out, **changes)) == 2
        assert f"which holds a run with other arguments ({key}" in capsys.readouterr().err


def test_another_run_that_has_taken_the_folder_meanwhile_is_seen(folder, tmp_path, monkeypatch, measuring, capsys):
    def meanwhile(*given, **changes):
        monkeypatch.setattr("llm.evaluation.front.run.own_texts", own_texts)
        assert command(monkeypatch, *arguments(folder, tmp_path / "front", **changes)) == 0
        return own_texts(*given)

    for changes, code in (({"method": "ma", "strength": None}, 0), ({"seed": 1}, 2)):
        monkeypatch.setattr("llm.evaluation.front.run.own_texts", lambda *given: meanwhile(*given, **changes))
        assert command(monkeypatch, *arguments(folder, tmp_path / "front")) == code
        held = json.loads((tmp_path / "front/settings.json").read_text())
        assert (list(held["methods"]), held["settings"]["seed"]) == (
            (["ma", "regmean"], 0) if not code else (["regmean"], 1)
        )
        shutil.rmtree(tmp_path / "front")
    assert "which holds a run with other arguments (seed: 1, now 0)" in capsys.readouterr().err


def test_prompts_that_leave_no_room_for_a_reply_are_refused(tmp_path, monkeypatch, capsys):
    folder = save(tmp_path / "models", max_position_embeddings=160)
    monkeypatch.setattr(module, "measure_tasks", lambda *_: pytest.fail("measures"))
    for key, count, tokens, what in (
        ("train-prompts", 40, 42 + 128, "the longest prompt + its reply"),
        ("prompts", 158, 160 + 4, "item 5 of reward with its longest reply"),
    ):
        file = write_lines(tmp_path / "long.jsonl", [*[{"prompt": "w50"}] * 4, {"prompt": "w50 " * count}])
        assert command(monkeypatch, *arguments(folder, tmp_path / "front", **{key: file})) == 2
        said = f"{what} = {tokens} tokens is not allowed: the model's context is 160"
        assert said in capsys.readouterr().err and not (tmp_path / "front").exists()


def test_prompts_that_theta_is_measured_on_and_replies_to_are_noted(folder, tmp_path, monkeypatch, measuring, caplog):
    note = "prompts of --prompts are replied to in the texts of regmean, too"
    others = {"train-prompts": folder / "others.jsonl"}
    assert command(monkeypatch, *arguments(folder, tmp_path / "others", **others)) == 0
    assert note not in caplog.text
    assert command(monkeypatch, *arguments(folder, tmp_path / "same")) == 0
    assert f"6 of 8 {note}" in caplog.text and note in (tmp_path / "same/report.html").read_text()


REFUSED = {
    "strength of another method": ({"method": "ma"}, "strength is not allowed without method regmean"),
    "layers of another": ({"method": "ma", "strength": None, "layers": "equal"}, "layers is not allowed without"),
    "ratios": ({"alphas": "0.5"}, "alphas is not allowed with method regmean alone"),
    "a strength below 0": (
        {"strength": "1,-1"},
        "strength = '1,-1' is not allowed; allowed are FIRST:LAST:STEP or numbers and commas, from 0 to 1e+12",
    ),
    "no number": ({"strength": "1,x"}, "strength = '1,x' is not allowed; allowed are FIRST:LAST:STEP"),
    "unknown layers": (
        {"layers": "falling"},
        "layers.0 = 'falling' is not allowed; allowed is 'equal' or 'increasing'",
    ),
    "a soup": ({"with": "theta"}, "with is not allowed with method regmean; allowed is one theta"),
    "samples of another": (
        {"method": "ma", "strength": None, "own-samples": "qa.jsonl"},
        "own-samples is not allowed without method regmean",
    ),
    "samples and prompts": (
        {"own-samples": "qa.jsonl", "train-prompts": "others.jsonl"},
        "own-samples and train-prompts are both given; allowed is one of them",
    ),
    "samples of one model": ({"own-samples": "prompts.jsonl"}, "prompts.jsonl, line 1: reply = None"),
    "no file": ({"train-prompts": "nowhere.jsonl"}, "nowhere.jsonl' is no file; give one that holds {"),
}


@pytest.mark.parametrize("given", ["layers: 3", "layers: [1]", "layers: {equal: 1}", "strength: true"])
def test_what_is_no_name_and_no_number_is_refused(given, folder, tmp_path, monkeypatch, capsys):
    file = tmp_path / "front.yaml"
    file.write_text(given)
    assert command(monkeypatch, *arguments(folder, tmp_path / "out", config=file, strength=None)) == 2
    assert given[:6] in capsys.readouterr().err and list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_allowed_is_refused_before_anything_is_measured(case, folder, tmp_path, monkeypatch, capsys):
    changes, said = REFUSED[case]
    files = {key: folder / value for key, value in changes.items() if key in ("with", "own-samples", "train-prompts")}
    monkeypatch.setattr(module, "measure_tasks", lambda *_: pytest.fail("measures"))
    assert command(monkeypatch, *arguments(folder, tmp_path / "out", **(changes | files))) == 2
    error = capsys.readouterr().err
    assert said in error and error.startswith("error: ") and error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_fused_experts_are_refused_as_average_does(folder, tmp_path, monkeypatch, measuring, capsys):
    for seed, name in enumerate(("theta_0", "theta")):
        make("mixtral", seed, num_hidden_layers=2).save_pretrained(tmp_path / name)
        save_tokenizer(tmp_path / name)
    models = {"theta-0": tmp_path / "theta_0", "theta": tmp_path / "theta"}
    assert command(monkeypatch, *arguments(folder, tmp_path / "out", **models)) == 2
    assert "method regmean needs tensors stored one by one" in capsys.readouterr().err
    assert not (tmp_path / "out").exists() and not measuring
