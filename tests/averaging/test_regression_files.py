"""`average --method regmean`: folder to folder, layer by layer, equals the live computation; what it writes, keeps and refuses."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from averaging_models import command, make, save_pair
from llm.averaging.files import average as average_module
from llm.averaging.files import regression
from llm.averaging.files.average import average_files
from llm.averaging.files.output import Output
from llm.averaging.files.own_samples import Drawing
from llm.averaging.files.regression import Regression
from llm.averaging.ratios import uniform
from llm.averaging.whole.grams import equal_lengths, gather
from llm.averaging.whole.regression import Setting, regress, with_the_rest
from llm.errors import UserError
from llm.grouping import Grouping
from regressions import draw, merged, weights

FREE, REPLIES = draw(2), draw(3)
FEW = {"num_hidden_layers": 2}


def write_samples(path, free=FREE, replies=REPLIES):
    rows = [
        {"model": model, **one._asdict()} for model, found in (("theta_0", free), ("theta", replies)) for one in found
    ]
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


def average(theta_0, theta, out, strength: float = 0.8, **how):
    full, output = how.pop("full", False), how.pop("output", None)
    drawing = Drawing((write_samples(out.with_suffix(".jsonl"), how.pop("free", FREE)),))
    request = Regression(Setting(strength), drawing, **how)
    rest = uniform(request.setting.alpha, Grouping())
    return average_files(theta_0, theta, out, rest, full=full, regression=request, output=output)


def asked(folders, out):
    """The arguments of the command; its strength is left to give."""
    return ["average", "--theta-0", folders[0], "--theta", folders[1], "--out", out, "--method", "regmean"]


def few(architecture: str) -> dict:
    return {"n_layer": 2} if architecture in ("gpt2", "gptj") else FEW


@pytest.mark.parametrize(
    ("architecture", "changes", "shards"),
    [("llama-tied-biases", {}, "5GB"), ("qwen2", {}, "5KB"), ("gpt2", {}, "5GB"), ("opt", {}, "5GB")],
)
def test_a_folder_has_what_the_live_models_give(architecture, changes, shards, tmp_path):
    changes = changes | few(architecture)
    folders = save_pair(tmp_path, architecture, shards=shards, **changes)
    report = average(*folders, tmp_path / "out")
    pair = [make(architecture, seed, **changes) for seed in (0, 1)]
    live = with_the_rest(merged(*pair, (FREE, REPLIES), Setting(0.8)), weights(pair[0]), weights(pair[1]), Setting(0.8))
    found = {}
    for file in (tmp_path / "out").glob("*.safetensors"):
        found |= load_file(file)
    assert found.keys() == live.keys()
    for name, tensor in found.items():
        torch.testing.assert_close(tensor, live[name], rtol=2e-6, atol=2e-6)
    assert report.method == "regmean" and "regmean" in (tmp_path / "out/README.md").read_text()
    details = json.loads((tmp_path / "out/averaging.json").read_text())["details"]
    assert details["texts"]["theta_0"]["samples"] == len(FREE) and details["strength"] == 0.8
    assert set(details["moved"]) >= {"first", "0", "1"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "out.jsonl", "theta", "theta_0"]


def test_strength_0_is_theta_and_a_great_one_theta_0(tmp_path):
    folders = save_pair(tmp_path, "llama", **FEW)
    for strength, end in ((0.0, folders[1]), (1e9, folders[0])):
        average(*folders, tmp_path / f"out{strength}", strength)
        found, wanted = (load_file(one / "model.safetensors") for one in (tmp_path / f"out{strength}", end))
        for name, tensor in found.items():
            torch.testing.assert_close(tensor, wanted[name], rtol=1e-5, atol=1e-6)


def test_half_precision_is_rounded_once(tmp_path):
    folders = save_pair(tmp_path, "llama", torch.bfloat16, **FEW)
    average(*folders, tmp_path / "out")
    pair = [make("llama", seed, torch.bfloat16, **FEW).float() for seed in (0, 1)]
    start, end = (weights(one) for one in pair)
    grams = tuple(gather(one, equal_lengths(texts, 64, 32)) for one, texts in zip(pair, (FREE, REPLIES), strict=True))
    live = dict(regress(dict(pair[1].named_modules()), start, end, grams, Setting(0.8)))
    found = load_file(tmp_path / "out/model.safetensors")
    for name, value in live.items():
        assert found[name].dtype == torch.bfloat16
        assert ((found[name].double() - value).abs() <= 2**-8 * value.abs() + 1e-5).all()


@pytest.mark.parametrize(("dtype", "rounding"), [("auto", "nearest"), ("auto", "stochastic"), ("float32", "nearest")])
def test_what_rounding_does_is_counted_as_for_other_methods(dtype, rounding, tmp_path):
    """theta's updates have a standard deviation of a 512th of each weight, so in bf16 most merged ones are less than a step."""
    theta_0, theta = save_pair(tmp_path, "llama", torch.bfloat16, **FEW)
    start, rng = load_file(theta_0 / "model.safetensors"), torch.Generator().manual_seed(0)
    end = {name: (t * (1 + torch.randn(t.shape, generator=rng) / 512)).bfloat16() for name, t in start.items()}
    save_file(end, theta / "model.safetensors", {"format": "pt"})
    report = average(theta_0, theta, tmp_path / "out", output=Output(dtype, rounding, 3))
    exact = average(theta_0, theta, tmp_path / "exact", output=Output("float32"))
    found, fine = (load_file(tmp_path / name / "model.safetensors") for name in ("out", "exact"))
    low, high, made, wanted = (torch.cat([s[n].double().ravel() for n in start]) for s in (start, end, found, fine))
    step = high - low
    alpha, asked = (float((one - low) @ step / (step @ step)) for one in (made, wanted))
    assert report.effect["alpha"] == pytest.approx(alpha, abs=1e-5)
    assert report.effect["asked"] == pytest.approx(asked, abs=1e-5)
    assert report.effect["changed"] == float((made != low).double().mean()) and report.effect["seen"] == len(low)
    warned = [note for note in report.notes if note.startswith("Rounded to BF16 the average has an effective alpha")]
    assert len(warned) == ((dtype, rounding) == ("auto", "nearest")) == (abs(alpha - asked) > 0.02)
    assert (report.dtype, report.rounding) == ("F32" if dtype == "float32" else "BF16", rounding)
    of_parts = exact.details["moved"].values()
    regressed = [n for n, (label, *_) in exact.tensors.items() if label.startswith("regression")]
    low, wanted = (torch.cat([s[n].double().ravel() for n in regressed]) for s in (start, fine))
    assert sum(sum(part["steps"]) for part in of_parts) == pytest.approx((low != wanted).sum().item(), rel=1e-3)
    if dtype == "auto":
        place = 2.0 ** (low.abs().log2().floor() - 7)
        below = ((wanted - low).abs() < place)[wanted != low].double().mean().item()
        assert any(f"last place of BF16, by: {below:.1%} below 1" in note for note in report.notes)


def test_a_stopped_run_goes_on_where_it_was(tmp_path, monkeypatch):
    folders = save_pair(tmp_path, "llama", **FEW)
    average(*folders, tmp_path / "whole")
    made, true = [], regression.walk_through

    def stopping(sides, setting, merged_inputs, known):
        for number, part in enumerate(true(sides, setting, merged_inputs, known)):
            if not known and number == 2:
                raise KeyboardInterrupt
            made.append(part[0])
            yield part

    monkeypatch.setattr(regression, "walk_through", stopping)
    with pytest.raises(KeyboardInterrupt):
        average(*folders, tmp_path / "out")
    assert not (tmp_path / "out").exists() and made == ["first", "0"]
    with pytest.raises(UserError, match="holds a run with other arguments"):
        average(*folders, tmp_path / "out", 0.7)
    with pytest.raises(UserError, match="holds a run with other arguments"):  # the same file with other texts
        average(*folders, tmp_path / "out", free=FREE[:1])
    average(*folders, tmp_path / "out")
    assert made == ["first", "0", "1", "last"]
    first, second = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "out"))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not (tmp_path / ".out.regression").exists()


def test_an_adapter_is_merged_with_full_and_refused_without(tmp_path):
    from peft import LoraConfig, get_peft_model

    theta_0, _ = save_pair(tmp_path, "llama", **FEW)
    model = get_peft_model(
        make("llama", 0, **FEW), LoraConfig(r=2, target_modules=["q_proj", "down_proj"], init_lora_weights=False)
    )
    model.save_pretrained(tmp_path / "adapter")
    with pytest.raises(UserError, match="is not allowed with an adapter without --full"):
        average(theta_0, tmp_path / "adapter", tmp_path / "out")
    average(theta_0, tmp_path / "adapter", tmp_path / "out", full=True)
    pair = make("llama", 0, **FEW), model.merge_and_unload()
    live = merged(*pair, (FREE, REPLIES), Setting(0.8))
    found = load_file(tmp_path / "out/model.safetensors")
    for name, value in live.items():
        torch.testing.assert_close(found[name].double(), value, rtol=1e-5, atol=1e-5)


def test_the_models_write_their_own_samples_if_none_are_given(tmp_path, monkeypatch, capsys):
    folders = save_pair(tmp_path, "llama", **FEW)
    (tmp_path / "prompts.jsonl").write_text('{"prompt": "w5 w6"}\n')
    arguments = ["average", "--theta-0", folders[0], "--theta", folders[1], "--method", "regmean", "--strength", 2]
    arguments += ["--count", 6, "--prompts", tmp_path / "prompts.jsonl", "--device", "cpu"]
    for out, seed in (("a", 0), ("b", 0), ("c", 1)):
        assert command(monkeypatch, *arguments, "--seed", seed, "--out", tmp_path / out) == 0
    assert "6 samples" in capsys.readouterr().out
    texts = [(tmp_path / f"{out}.samples.jsonl").read_text() for out in "abc"]
    assert texts[0] == texts[1] != texts[2] and len(texts[0].splitlines()) == 12
    again = ["--samples", tmp_path / "a.samples.jsonl", "--device", "cpu", "--out", tmp_path / "d"]
    assert command(monkeypatch, *arguments[:7], "--strength", 2, *again) == 0
    first, second = (load_file(tmp_path / name / "model.safetensors") for name in "ad")
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_the_command_takes_a_lambda_a_layer(tmp_path, monkeypatch, capsys):
    folders = save_pair(tmp_path, "llama")
    given = [*asked(folders, tmp_path / "out"), "--layers", "increasing", "--strength", 0.8]
    given += ["--samples", write_samples(tmp_path / "s.jsonl"), "--device", "cpu"]
    assert command(monkeypatch, *given) == 0
    assert "it falls from layer to layer" in " ".join(capsys.readouterr().out.split())
    pair = [make("llama", seed) for seed in (0, 1)]
    start, end = (weights(one) for one in pair)
    setting = Setting(0.8, layers="increasing")
    live = with_the_rest(merged(*pair, (FREE, REPLIES), setting), start, end, setting)
    for name, tensor in load_file(tmp_path / "out/model.safetensors").items():
        torch.testing.assert_close(tensor, live[name], rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--strength", -1], "strength = -1.0 is not allowed"),
        ([], "strength is missing"),
        (["--strength", 1, "--alpha", 0.5], "alpha is not allowed with method regmean; allowed is strength"),
        (["--strength", 1, "--vocab", "union"], "vocab = 'union' is not allowed with method regmean; allowed is same"),
        (["--strength", 1, "--count", 0], "count = 0 is not allowed"),
        (["--strength", 1, "--seed", -1], "seed = -1 is not allowed; allowed are whole numbers from 0"),
        (["--strength", 1, "--ridge", 0], "ridge = 0.0 is not allowed"),
        (["--strength", 1, "--layers", "falling"], "layers = 'falling' is not allowed; allowed are equal, increasing"),
    ],
)
def test_what_is_not_allowed_is_refused_in_a_sentence(options, words, tmp_path, monkeypatch, capsys):
    folders = save_pair(tmp_path, "llama", **FEW)
    assert command(monkeypatch, *asked(folders, tmp_path / "out"), *options) == 2
    assert words in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["theta", "theta_0"]


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ('{"text": "w5 w6"}\n', "samples hold no replies of theta"),
        ('{"prompt": "w5", "reply": "w6"}\n', "samples hold no samples of theta-0"),
        ('{"model": "theta_0", "context": [0], "reply": [64]}\n{"prompt": "w5", "reply": "w6"}\n', "token id 64"),
        ('{"model": "theta_2", "context": [0], "reply": [6]}\n', "line 1: allowed are"),
        ('{"prompt": "w5", "reply": "w6", "finished": 1}\n', "finished = 1"),
    ],
)
def test_samples_that_do_not_fit_are_refused(lines, words, tmp_path):
    folders = save_pair(tmp_path, "llama", **FEW)
    (tmp_path / "s.jsonl").write_text(lines)
    request = Regression(Setting(1.0), Drawing((tmp_path / "s.jsonl",)))
    with pytest.raises(UserError, match=words):
        average_files(*folders, tmp_path / "out", uniform(0.5, Grouping()), regression=request)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["s.jsonl", "theta", "theta_0"]


def test_fused_experts_are_refused(tmp_path):
    folders = save_pair(tmp_path, "mixtral", **FEW)
    with pytest.raises(UserError, match="method regmean needs tensors stored one by one"):
        average(*folders, tmp_path / "out")


def test_a_model_that_transformers_does_not_know_is_refused(tmp_path):
    folders = save_pair(tmp_path, "llama", **FEW)
    for folder in folders:
        config = json.loads((folder / "config.json").read_text()) | {"model_type": "home-made"}
        (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="which transformers cannot build"):
        average(*folders, tmp_path / "out")
    assert not (tmp_path / ".out.regression").exists()


def test_where_there_is_no_room_for_the_output_what_is_merged_stays(tmp_path, monkeypatch):
    """Less room is asked for where a stopped run has merged a part; and a folder that has come into its place discards nothing."""
    folders = save_pair(tmp_path, "llama", **FEW)
    asked_for, check = [], average_module.check_new
    monkeypatch.setattr(average_module, "check_new", lambda out, size: (asked_for.append(size), check(out, size)))
    write = average_module._write

    def taken(*arguments):
        (tmp_path / "out").mkdir()
        return write(*arguments)

    monkeypatch.setattr(average_module, "_write", taken)
    with pytest.raises(UserError, match="which exists; give a new folder"):
        average(*folders, tmp_path / "out")
    kept = sum(file.stat().st_size for file in (tmp_path / ".out.regression").glob("*.safetensors"))
    (tmp_path / "out").rmdir()
    monkeypatch.setattr(average_module, "_write", write)
    average(*folders, tmp_path / "out")
    assert kept > 0 and asked_for[1] == asked_for[0] - kept


@pytest.mark.parametrize("where", ["model.layers.1.mlp.up_proj.weight", "model.norm.weight"])
def test_what_cannot_be_averaged_leaves_nothing_that_is_in_the_way_of_the_next_run(where, tmp_path):
    """NaN in a layer that is regressed, and in a tensor that is not."""
    folders = save_pair(tmp_path, "llama", **FEW)
    shutil.copytree(folders[1], tmp_path / "sound")
    state = load_file(folders[1] / "model.safetensors")
    state[where].view(-1)[3] = float("nan")
    save_file(state, folders[1] / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match="NaN"):
        average(*folders, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.jsonl", "sound", "theta", "theta_0"]
    average(folders[0], tmp_path / "sound", tmp_path / "out")


def test_options_that_given_samples_leave_without_a_use_are_refused(tmp_path, monkeypatch, capsys):
    folders = save_pair(tmp_path, "llama", **FEW)
    given = asked(folders, tmp_path / "out")
    given += ["--strength", 1, "--samples", write_samples(tmp_path / "s.jsonl")]
    for option, value in (("count", 5), ("seed", 4)):
        assert command(monkeypatch, *given, f"--{option}", value) == 2
        assert (
            f"{option} = {value} is not allowed with --samples, which are all that is read" in capsys.readouterr().err
        )
