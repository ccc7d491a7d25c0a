"""`adapt` on model folders: what it writes, how it goes on after a stop, what it refuses."""

import json
import re
import shutil
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from ama_models import pair, save_models, save_samples, words, write_lines
from averaging_models import command, save_tokenizer
from llm.averaging.ama import run as module
from llm.averaging.ama.run import adapt_files
from llm.averaging.ama.settings import AdaptSettings, Sources
from llm.averaging.live import average
from llm.errors import UserError
from llm.grouping import Grouping, assign, ratios
from llm.models import chat

SETTINGS = AdaptSettings(alpha=0.6, batch=5, epochs=1.5, lr=0.2, check=40)
LOOP = "{% for i in range(90000) %}{% for j in range(90000) %}{% set x = j %}{% endfor %}{% endfor %}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("models")
    save_models(path)
    save_samples(path / "samples.jsonl")
    write_lines(path / "prompts.jsonl", [{"prompt": prompt} for prompt in words(6, 3, 5)])
    return path


def sources(folder, **changes):
    return Sources(
        **{"theta_0": folder / "theta_0", "theta": folder / "theta", "data": folder / "samples.jsonl"} | changes
    )


@pytest.fixture(scope="module")
def found(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("found") / "ratios.json"
    return out, adapt_files(sources(folder), out, SETTINGS)


def test_ratios_have_the_mean_asked_for_and_raise_the_likelihood(found):
    out, content = found
    assert content == json.loads(out.read_text())
    groups = content["groups"]
    assert list(groups) == ["part1", "part2", "part3"]
    assert sum(groups.values()) / 3 == pytest.approx(0.6, abs=1e-12)
    assert len(content["path"]) == 12
    assert content["path"][0]["alphas"] == dict.fromkeys(groups, pytest.approx(0.6))
    loss = content["loss"]
    assert loss["n"] == 40
    assert loss["gain"] == pytest.approx(loss["equal"] - loss["found"])
    assert loss["gain"] > 0


def test_the_file_tells_where_everything_came_from(found, folder):
    _, content = found
    assert content["sources"]["theta"]["folder"] == "theta"
    assert {"model.safetensors", "config.json", "tokenizer.json"} <= set(content["sources"]["theta_0"]["sha256"])
    assert content["sources"]["theta"]["sha256"] != content["sources"]["theta_0"]["sha256"]
    assert content["samples"]["used"] == 40
    assert content["settings"]["lr"] == 0.2
    assert str(folder) not in json.dumps(content)


def test_a_picture_of_the_path_lies_beside_it_and_nothing_else(found):
    out, _ = found
    assert sorted(p.name for p in out.parent.iterdir()) == ["ratios.json", "ratios.path.pdf", "ratios.path.png"]
    assert (out.parent / "ratios.path.png").read_bytes().startswith(b"\x89PNG")
    assert b"CreationDate" not in (out.parent / "ratios.path.pdf").read_bytes()


def test_average_takes_the_file(found, folder, tmp_path, monkeypatch):
    out, content = found
    models = ["--theta-0", folder / "theta_0", "--theta", folder / "theta"]
    assert command(monkeypatch, "average", *models, "--alphas-file", out, "--out", tmp_path / "model") == 0
    states = [load_file(folder / name / "model.safetensors") for name in ("theta_0", "theta")]
    expected = average(*states, ratios(assign(states[0], Grouping(**content["grouping"])), content["groups"]))
    made = load_file(tmp_path / "model" / "model.safetensors")
    assert made.keys() == expected.keys()
    for name, tensor in made.items():
        torch.testing.assert_close(tensor, expected[name], rtol=1e-6, atol=1e-7)


def stopping(monkeypatch, at):
    """Make the progress of `adapt_files` stop the run at step `at`."""

    def progress(phase, done, total, state):
        if phase == "steps" and done == at:
            raise KeyboardInterrupt

    return progress


def test_a_stopped_run_goes_on_to_the_same_bytes(found, folder, tmp_path, monkeypatch):
    out, _ = found
    again, used, settings = tmp_path / "ratios.json", [], SETTINGS.model_copy(update={"save_every": 3})
    with pytest.raises(KeyboardInterrupt):
        adapt_files(sources(folder), again, settings, progress=stopping(monkeypatch, 8))
    assert not again.exists()
    assert len(json.loads((tmp_path / ".ratios.json.state").read_text())["reached"]["path"]) == 6
    adapt_files(sources(folder), again, settings, progress=lambda phase, done, total, state: used.append(done))
    assert used == list(range(7, 13))
    for name in ("ratios.json", "ratios.path.png", "ratios.path.pdf"):
        assert (tmp_path / name).read_bytes() == (out.parent / name).read_bytes()
    assert len(list(tmp_path.iterdir())) == 3


def test_the_state_of_another_run_is_not_taken_up(folder, tmp_path, monkeypatch):
    out = tmp_path / "ratios.json"
    with pytest.raises(KeyboardInterrupt):
        adapt_files(sources(folder), out, SETTINGS, progress=stopping(monkeypatch, 2))
    other = AdaptSettings(alpha=0.6, batch=5, epochs=1.5, lr=0.1, check=40)
    with pytest.raises(UserError, match=r"\.ratios\.json\.state holds a run with other arguments"):
        adapt_files(sources(folder), out, other)
    found = adapt_files(sources(folder), out, other, anew=True)
    assert other.are_of(json.loads(out.read_text())) and not SETTINGS.are_of(found)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text[: len(text) // 2],
        lambda text: "",
        lambda text: "[]",
        lambda text: text.replace('"first": [', '"first": [0.5, '),
        lambda text: text.replace('"loss": ', '"loss": null, "was": ', 1),
        lambda text: text.replace('"s": [', '"s": [NaN, '),
    ],
)
def test_a_damaged_state_is_named_and_can_be_removed(folder, tmp_path, monkeypatch, change):
    out, state = tmp_path / "ratios.json", tmp_path / ".ratios.json.state"
    settings = SETTINGS.model_copy(update={"save_every": 2})
    with pytest.raises(KeyboardInterrupt):
        adapt_files(sources(folder), out, settings, progress=stopping(monkeypatch, 3))
    state.write_text(change(state.read_text()))
    with pytest.raises(
        UserError, match=r"\.ratios\.json\.state is damaged .*; remove it and give the same command again"
    ):
        adapt_files(sources(folder), out, settings)
    assert [path.name for path in tmp_path.iterdir()] == [state.name]


def test_samples_are_made_from_prompts_where_none_are_given(folder, tmp_path):
    made = sources(folder, data=None, prompts=folder / "prompts.jsonl", reward_model=folder / "reward")
    settings = AdaptSettings(alpha=0.6, batch=2, samples=3, tokens=5, keep=9, draw=6, check=4)
    seen = []
    content = adapt_files(
        made, tmp_path / "a.json", settings, progress=lambda phase, done, total, _: seen.append((phase, done, total))
    )
    rows = [json.loads(line) for line in (tmp_path / "a.samples.jsonl").read_text().splitlines()]
    assert len(rows) == 18
    assert seen[:3] == [("samples", 6, 18), ("samples", 12, 18), ("samples", 18, 18)]
    assert content["samples"]["used"] == 6
    assert content["sources"]["reward_model"]["folder"] == "reward"
    # The same ratios as from the stored file: sampling leaves both models as they were.
    again = adapt_files(sources(folder, data=tmp_path / "a.samples.jsonl"), tmp_path / "b.json", settings)
    assert again["groups"] == content["groups"]


def test_samples_of_a_run_whose_state_is_gone_are_not_taken_up(folder, tmp_path):
    """Of a run that failed, since its reward did, or whose state was removed, the replies may be of another theta."""
    made = sources(folder, data=None, prompts=folder / "prompts.jsonl", reward_model=folder / "reward")
    settings = AdaptSettings(alpha=0.6, batch=2, samples=3, tokens=5, keep=9, draw=6, check=4)
    content = adapt_files(made, tmp_path / "a.json", settings)
    left = [json.dumps({"prompt": "w1", "reply": "w2", "finished": True, "reward": 99.0})] * 6
    (tmp_path / ".b.samples.jsonl.partial").write_text("\n".join(left) + "\n")
    assert adapt_files(made, tmp_path / "b.json", settings)["groups"] == content["groups"]
    assert (tmp_path / "b.samples.jsonl").read_bytes() == (tmp_path / "a.samples.jsonl").read_bytes()


def test_samples_are_theta_s_own(folder, monkeypatch, tmp_path):
    """While replies are written the model holds theta, bit by bit, and afterwards theta_0 again."""
    theta_0, theta = (load_file(folder / name / "model.safetensors") for name in ("theta_0", "theta"))
    seen = []
    plain = module.draw_samples
    monkeypatch.setattr(
        module, "draw_samples", lambda model, *a, **k: (seen.append(same(model, theta)), plain(model, *a, **k))
    )
    engine_for = module.engine_for
    monkeypatch.setattr(
        module,
        "engine_for",
        lambda model, other, *a: (seen.append(same(model, theta_0)), engine_for(model, other, *a))[1],
    )
    made = sources(folder, data=None, prompts=folder / "prompts.jsonl", reward_model=folder / "reward")
    adapt_files(made, tmp_path / "a.json", AdaptSettings(alpha=0.6, samples=2, tokens=3, batch=8, check=4))
    assert seen == [True, True]


def same(model, state):
    return all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())


def test_theta_may_be_a_lora_adapter(folder, tmp_path):
    peft = pytest.importorskip("peft")
    model, _ = pair("llama", torch.float32)
    adapted = peft.get_peft_model(model, peft.LoraConfig(r=2, target_modules=["q_proj", "down_proj"]))
    torch.manual_seed(0)
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    adapted.save_pretrained(tmp_path / "adapter")
    settings = AdaptSettings(alpha=0.5, batch=20, check=4)
    content = adapt_files(sources(folder, theta=tmp_path / "adapter"), tmp_path / "a.json", settings)
    full = adapted.merge_and_unload()
    full.save_pretrained(tmp_path / "full")
    for file in (folder / "theta").glob("*token*"):
        shutil.copy(file, tmp_path / "full")
    shutil.copy(folder / "theta" / "chat_template.jinja", tmp_path / "full")
    other = adapt_files(sources(folder, theta=tmp_path / "full"), tmp_path / "b.json", settings)
    assert content["groups"] == pytest.approx(other["groups"])
    assert set(content["sources"]["theta"]["sha256"]) == {"adapter_model.safetensors", "adapter_config.json"}


OPTIONS = {"theta-0", "theta", "alpha", "out", "data", "prompts", "reward-model", "seed", "device", "config"}


def arguments(folder, out, /, **changes):
    """Options for the command line, and a file for what only that may hold."""
    settings = {key: value for key, value in changes.items() if key not in OPTIONS}
    file = folder / f"settings-{hash(str(settings))}.yaml"
    file.write_text(json.dumps(settings))  # JSON is YAML
    changes = {key: value for key, value in changes.items() if key in OPTIONS}
    given = {
        "theta-0": folder / "theta_0",
        "theta": folder / "theta",
        "alpha": 0.6,
        "out": out,
        "data": folder / "samples.jsonl",
        "config": file,
    } | changes
    return [text for key, value in given.items() if value is not None for text in (f"--{key}", value)]


REFUSED = {
    "alpha above 1": ({"alpha": 1.5}, "alpha = 1.5 is not allowed; allowed are numbers from 0 to 1."),
    "alpha is NaN": ({"alpha": "nan"}, "alpha = nan is not allowed; allowed are numbers from 0 to 1."),
    "no samples": ({"data": None}, "The samples must be given by --data"),
    "prompts without reward model": ({"data": None, "prompts": "p"}, "The samples must be given by --data"),
    "both": ({"prompts": "p", "reward-model": "r"}, "The samples must be given by --data"),
    "missing data": ({"data": "nowhere.jsonl"}, "--data 'nowhere.jsonl' is no file"),
    "missing model": ({"theta": "nowhere"}, "theta is 'nowhere', which is no folder"),
    "more parts than layers": ({"grouping": {"parts": 9}}, "parts = 9 is not allowed; allowed are 1 to 3"),
    "unknown level": ({"grouping": {"level": "block"}}, "level = 'block'"),
    "no group of its own": ({"grouping": {"embeddings": "middle"}}, "embeddings = 'middle'"),
    "no batch": ({"batch": 0}, "batch = 0 is not allowed; allowed are whole numbers from 1."),
    "no learning rate": ({"lr": 0}, "lr = 0 is not allowed; allowed are numbers above 0."),
    "negative warmup": ({"warmup": -1}, "warmup = -1 is not allowed"),
    "eps without paper": ({"eps": 0.2}, "eps = 0.2 is not allowed with parameterisation 'sigmoid'; allowed is 0"),
    "unknown parameterisation": ({"parameterisation": "softmax"}, "parameterisation = 'softmax'"),
    "unknown dtype": ({"dtype": "int8"}, "dtype = 'int8'"),
    "unknown device": ({"device": "abacus"}, "device = 'abacus'"),
    "save_every 0": ({"save_every": 0}, "save_every = 0 is not allowed"),
    "squares of nothing": ({"squared": True}, "squared is set, but regulariser is 0"),
    "an unknown key": ({"steps": 3}, "steps = 3 is an unknown key; allowed are keep, draw, max_length"),
    "an unknown key of a section": ({"grouping": {"depth": 1}}, "grouping.depth = 1 is not allowed"),
    "no YAML": ({"config": "nowhere.yaml"}, "config is 'nowhere.yaml', which is no file"),
    "out without .json": ({"out": "ratios"}, "out = 'ratios' is not allowed; allowed are file names that end in .json"),
    "out in no folder": ({"out": "no/where.json"}, "out is 'no/where.json', whose folder does not exist"),
    "max-length too short": ({"max_length": 2}, "max-length is 2, which leaves no sample a reply"),
    "prompts missing": ({"data": None, "prompts": "p", "reward-model": "r"}, "--prompts 'p' is no file"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_input_is_refused_in_one_sentence_with_nothing_written(case, folder, tmp_path, monkeypatch, capsys):
    changes, said = REFUSED[case]
    monkeypatch.chdir(tmp_path)
    assert command(monkeypatch, "adapt", *arguments(folder, tmp_path / "ratios.json", **changes)) == 2
    error = capsys.readouterr().err
    assert re.match(rf"error: (\S+\.yaml: )?{re.escape(said)}", error)
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_key_that_is_no_text_is_unknown(folder, tmp_path, monkeypatch, capsys):
    (tmp_path / "number.yaml").write_text("1: 2")
    given = arguments(folder, tmp_path / "ratios.json", config=tmp_path / "number.yaml")
    assert command(monkeypatch, "adapt", *given) == 2
    assert "number.yaml: 1 = 2 is an unknown key; allowed are keep, draw, max_length" in capsys.readouterr().err


def test_the_documented_file_holds_every_setting_with_its_default():
    given = yaml.safe_load((Path(__file__).parents[2] / "docs" / "adapt.yaml").read_text())
    assert AdaptSettings(alpha=0.5, **given) == AdaptSettings(alpha=0.5)
    assert given.keys() == AdaptSettings.model_fields.keys() - {"alpha", "seed"}
    assert given["grouping"] == asdict(Grouping())


def test_out_that_exists_is_left_alone(folder, tmp_path, monkeypatch, capsys):
    out = tmp_path / "ratios.json"
    out.write_text("{}")
    assert command(monkeypatch, "adapt", *arguments(folder, out)) == 2
    assert "which exists; give a new file" in capsys.readouterr().err
    assert out.read_text() == "{}"


def test_folders_with_code_of_their_own_are_not_run(folder, tmp_path, monkeypatch, capsys):
    shutil.copytree(folder / "theta", tmp_path / "theta")
    config = json.loads((tmp_path / "theta" / "config.json").read_text())
    config |= {"model_type": "made-up", "auto_map": {"AutoModelForCausalLM": "code.Model", "AutoConfig": "code.Config"}}
    (tmp_path / "theta" / "config.json").write_text(json.dumps(config))
    (tmp_path / "theta" / "code.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    shutil.copytree(tmp_path / "theta", tmp_path / "theta_0")
    given = {"theta-0": tmp_path / "theta_0", "theta": tmp_path / "theta"}
    assert command(monkeypatch, "adapt", *arguments(folder, tmp_path / "ratios.json", **given)) == 2
    assert "transformers cannot load" in capsys.readouterr().err
    assert not (tmp_path / "ran").exists()


def test_every_step_is_a_line_and_the_end_says_what_was_found(folder, tmp_path, monkeypatch, capsys):
    changes = {"batch": 20, "check": 4, "regulariser": 1e-4, "parameterisation": "paper", "eps": 0.2}
    assert command(monkeypatch, "adapt", *arguments(folder, tmp_path / "ratios.json", **changes)) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("step 1/2  loss ") and "part1 0.6000" in lines[0]
    assert lines[1].startswith("step 2/2  loss ")
    assert lines[2].startswith("part1 ") and lines[-1] == f"wrote {tmp_path / 'ratios.json'}"


def test_a_rate_at_which_the_ratios_cannot_move_is_warned_of(folder, tmp_path, found, caplog):
    """Below 1/2 for the sum of the rates: the ratios have really hardly moved."""
    settings = AdaptSettings(alpha=0.6, batch=8, lr=0.05, check=4, warmup=0.0)
    content = adapt_files(sources(folder), tmp_path / "slow.json", settings)
    total = sum(settings.rate(step, 5) for step in range(5))
    assert 0.1 < total < 0.5 and content["samples"]["used"] == 40
    assert content["notes"][-1].startswith(f"Adam moves the numbers behind the ratios by about {total:.2g} at most")
    assert content["notes"][-1] in caplog.messages
    assert max(abs(ratio - 0.6) for ratio in content["groups"].values()) < total / 4
    assert found[1]["notes"] == []


REFUSING = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for m in messages %}w5 {{ m['content'] }} w6 {% endfor %}"
)


@pytest.mark.parametrize("template", [REFUSING, REFUSING.replace("{{ raise", LOOP + "{{ raise")])
def test_a_chat_template_that_refuses_or_loops_names_the_line_and_leaves_nothing(
    folder, tmp_path, monkeypatch, template
):
    monkeypatch.setattr(chat, "LONGEST", 0.2)
    theta = tmp_path / "theta"
    shutil.copytree(folder / "theta", theta)
    save_tokenizer(theta, template=template)
    told = (
        {"role": "system", "content": "w8"},
        {"role": "user", "content": "w9"},
        {"role": "assistant", "content": "w41"},
    )
    rows = [{"prompt": "w9", "reply": "w41"}, {"messages": list(told)}, {"prompt": "w9", "reply": "w42"}]
    data = write_lines(tmp_path / "samples.jsonl", rows)
    before = sorted(tmp_path.iterdir())
    settings = AdaptSettings(alpha=0.6, check=4)
    with pytest.raises(
        UserError,
        match=r"samples\.jsonl, line 2: the chat template of '.*theta' refuses the roles system, user .'w9'.: ",
    ):
        adapt_files(sources(folder, theta=theta, data=data), tmp_path / "out.json", settings)
    assert sorted(tmp_path.iterdir()) == before
    write_lines(data, [rows[0], rows[2]])
    assert adapt_files(sources(folder, theta=theta, data=data), tmp_path / "out.json", settings)["samples"]["used"] == 2
