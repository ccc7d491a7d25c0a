"""AlpacaEval's files: written in its format, read back, paired with another model's, and written by the command."""

import json
import shutil

import pytest
import torch

from ama_models import save_models, words, write_lines
from averaging_models import command
from llm.data.records import Turn
from llm.errors import UserError
from llm.evaluation.benchmarks.alpaca import (
    Instruction,
    Outputs,
    Sampling,
    paired,
    read_instructions,
    read_outputs,
    replies_to,
    write_outputs,
)
from llm.models.chat import generate_replies
from llm.models.loading import load_model, load_tokenizer

ASKED = [Instruction("What is kelp?", "helpful_base"), Instruction("Write « three » words.", "koala")]


def test_a_file_is_a_list_with_the_keys_of_alpacaevals_own(tmp_path):
    write_outputs(tmp_path / "out.json", "mine", ASKED, ["A seaweed.", "One\ntwo"])
    first, second = json.loads((tmp_path / "out.json").read_text())
    assert first == {
        "instruction": "What is kelp?",
        "output": "A seaweed.",
        "generator": "mine",
        "dataset": "helpful_base",
        "datasplit": "eval",
    }
    assert (second["instruction"], second["output"], second["dataset"]) == (ASKED[1].text, "One\ntwo", "koala")
    said = read_outputs(tmp_path / "out.json")
    assert said == Outputs("mine", [one.text for one in ASKED], ["A seaweed.", "One\ntwo"])
    assert [path.name for path in tmp_path.iterdir()] == ["out.json"]


def test_instructions_come_from_alpacaevals_list_or_from_lines(tmp_path):
    entries = [{"instruction": one.text, "dataset": one.dataset, "output": "x", "generator": "gpt4"} for one in ASKED]
    (tmp_path / "alpaca_eval.json").write_text(json.dumps(entries))
    assert read_instructions(tmp_path / "alpaca_eval.json") == ASKED
    write_lines(tmp_path / "mine.jsonl", [{"prompt": one.text} for one in ASKED])
    assert read_instructions(tmp_path / "mine.jsonl") == [Instruction(one.text, "mine") for one in ASKED]


def test_replies_of_two_models_are_paired_by_their_instructions():
    own = Outputs("one", ["a", "b"], ["1", "2"])
    assert paired(own, Outputs("two", ["b", "a"], ["4", "3"])) == (["a", "b"], ["1", "2"], ["3", "4"])
    assert paired(own, Outputs("two", ["a", "b"], ["3", "4"])) == (["a", "b"], ["1", "2"], ["3", "4"])
    for one, other in ((own, Outputs("two", ["a"], ["3"])), (Outputs("two", ["a"], ["3"]), own)):
        with pytest.raises(UserError, match="two has no output for 'b'; both models must answer the same instructions"):
            paired(one, other)
    twice = Outputs("one", ["a", "a", "b"], ["1", "2", "3"]), Outputs("two", ["a", "b", "a"], ["4", "5", "6"])
    with pytest.raises(UserError, match="'a' is answered twice in one of the files"):
        paired(*twice)


BAD = {
    "no json": ("{", "is no JSON"),
    "no list": ("{}", "must hold a JSON list of objects, at least one"),
    "empty": ("[]", "must hold a JSON list of objects, at least one"),
    "no output": (
        '[{"instruction": "a", "generator": "g"}]',
        "entry 1: output = None is not allowed; allowed is a text",
    ),
    "two models": (
        json.dumps([{"instruction": "a", "output": "b", "generator": name} for name in "gh"]),
        "has the generators g, h; allowed is one",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_other_files_are_refused(case, tmp_path):
    text, said = BAD[case]
    (tmp_path / "out.json").write_text(text)
    with pytest.raises(UserError, match=said):
        read_outputs(tmp_path / "out.json")


@pytest.mark.parametrize(
    ("sampling", "said"),
    [((0, 1.0, 3, 3), "tokens = 0 is not allowed; "), ((5, 1.0, 3, -1), "seed = -1 is not allowed; ")],
)
def test_numbers_out_of_range_are_refused(sampling, said):
    with pytest.raises(UserError, match=f"^{said}allowed are whole numbers from"):
        Sampling(*sampling)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(UserError, match="is no file; give one that holds a JSON list, as"):
        read_instructions(tmp_path / "alpaca_eval.json")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("models")
    save_models(path)
    write_lines(path / "prompts.jsonl", [{"prompt": prompt} for prompt in words(4, 3, 1)])
    return path


def test_the_command_writes_what_the_model_says_in_its_chat_format(folder, tmp_path, monkeypatch, capsys):
    to = tmp_path / "theta.json"
    options = ("--instructions", folder / "prompts.jsonl", "--tokens", 5, "--seed", 3, "--device", "cpu", "--batch", 3)
    assert command(monkeypatch, "replies", folder / "theta", *options, "--to", to) == 0
    assert f"alpaca_eval --model_outputs {to}" in capsys.readouterr().out
    said, asked = read_outputs(to), words(4, 3, 1)
    model, tokenizer = load_model(folder / "theta"), load_tokenizer(folder / "theta")
    assert said == Outputs("theta", asked, replies_to(asked, model, tokenizer, Sampling(5, 1.0, 3, 3)))
    assert said.replies != replies_to(asked, model, tokenizer, Sampling(5, 1.0, 3, 4))
    assert replies_to(asked, model, tokenizer, Sampling(5, 0.0, 3, 3)) == replies_to(
        asked, model, tokenizer, Sampling(5, 0.0, 1, 4)
    )
    theirs = tmp_path / "with-system.json"
    assert command(monkeypatch, "replies", folder / "theta", *options, "--system", asked[0], "--to", theirs) == 0
    turns = [(Turn("system", asked[0]), Turn("user", text)) for text in asked]
    how = {"max_new_tokens": 5, "temperature": 1.0, "batch_size": 3, "rng": torch.Generator().manual_seed(3)}
    answered = generate_replies(model, tokenizer, turns, skip_special_tokens=True, **how)
    assert read_outputs(theirs).replies == [reply for reply, _ in answered] != said.replies
    assert command(monkeypatch, "replies", folder / "theta", *options, "--to", to) == 2
    assert "which exists; give a new file" in capsys.readouterr().err


def test_a_model_of_the_cache_is_taken_and_called_by_its_name(folder, tmp_path, monkeypatch, capsys):
    def refuse(_, name, *others):
        raise UserError(f"called {name}")

    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    shutil.copytree(folder / "theta", tmp_path / "models--org--theta" / "snapshots" / "main")
    to = ("--to", tmp_path / "theta.json")
    options = ("--instructions", folder / "prompts.jsonl", "--tokens", 1, "--device", "cpu", *to)
    assert command(monkeypatch, "replies", "org/theta", *options) == 0
    assert read_outputs(tmp_path / "theta.json").generator == "org/theta"
    monkeypatch.setattr("llm.commands.benchmarks._check", refuse)
    for given, said in (
        ("org/theta", "error: called org/theta\n"),
        ("org/none", "error: model is 'org/none', which is no"),
    ):
        assert command(monkeypatch, "benchmark", given, *to) == 2
        assert capsys.readouterr().err.startswith(said)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--tokens", 0), "tokens = 0 is not allowed; allowed are whole numbers from 1"),
        (("--temperature", -1), "temperature = -1.0 is not allowed; allowed are finite numbers from 0"),
        (("--instructions", "nowhere.jsonl"), "--instructions 'nowhere.jsonl' is no file"),
    ],
)
def test_the_command_refuses_bad_options(options, said, folder, tmp_path, monkeypatch, capsys):
    given = {"--instructions": folder / "prompts.jsonl", "--to": tmp_path / "out.json"} | {options[0]: options[1]}
    arguments = [argument for pair in given.items() for argument in pair]
    assert command(monkeypatch, "replies", folder / "theta", *arguments) == 2
    assert capsys.readouterr().err.startswith(f"error: {said}")
    assert not list(tmp_path.iterdir())
