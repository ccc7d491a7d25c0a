"""The benches compare what is the same: the same replies, the same training, in turns."""

import re

import pytest

from llm.bench import in_turns, ratio
from llm.bench.generate import measure, ours, theirs
from llm.bench.train import measure_dpo, measure_sft
from llm.models.chat import prompt_ids
from llm.models.loading import load_model, load_tokenizer
from llm.run import Run
from microcosm_runs import command, smoke, smoke_run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return smoke_run(tmp_path_factory.mktemp("out"), upto="sft")


@pytest.fixture(scope="module")
def chat(run):
    folder = run.folder / "theta_0"
    return load_model(folder), load_tokenizer(folder), run.source.prompts("train", run.preset.prompts, 6, run.rng("x"))


def test_every_other_round_goes_the_other_way_round():
    asked = []
    found = in_turns({name: lambda name=name: asked.append(name) or float(len(asked)) for name in "ab"}, repeats=3)
    assert "".join(asked) == "abbaab"
    assert found == {"a": [1.0, 4.0, 5.0], "b": [2.0, 3.0, 6.0]}
    assert ratio(found, "a", "b") == 4 / 3


@pytest.mark.parametrize("batch", [2, 6])
def test_without_chance_both_write_the_same_replies(run, chat, batch):
    """To a model whose end token is what it says most, so that some replies end."""
    model, tokenizer, prompts = chat
    ids = [prompt_ids(tokenizer, prompt.text) for prompt in prompts]
    said = [token for reply in theirs(model, tokenizer, ids, 8, batch, 0.0) for token in reply]
    ending = load_tokenizer(run.folder / "theta_0")
    ending.eos_token = tokenizer.convert_ids_to_tokens(max(set(said), key=said.count))
    first, second = (write(model, ending, ids, 8, batch, 0.0) for write in (ours, theirs))
    assert first == second
    assert min(map(len, first)) < 8


def test_a_speed_is_tokens_over_seconds(chat, monkeypatch):
    from llm.bench import generate as module

    model, tokenizer, prompts = chat
    texts = [prompt.text for prompt in prompts]
    monkeypatch.setattr(module, "processor_seconds", lambda work: work() or 0.5)
    found = measure(model, tokenizer, texts, max_new_tokens=4, batch=3, repeats=2, temperature=0.0)
    written = ours(model, tokenizer, [prompt_ids(tokenizer, text) for text in texts], 4, 3, 0.0)
    assert found == {"ours": [2.0 * sum(map(len, written))] * 2, "transformers": [2.0 * sum(map(len, written))] * 2}


def test_the_command_prints_a_line_for_each_load(run, monkeypatch, capsys):
    arguments = ("--preset", "smoke", "--prompts", "3", "--samples", "2", "--repeats", "1")
    assert command(monkeypatch, "bench", "generate", run.folder / "theta_0", *arguments) == 0
    said = capsys.readouterr().out.splitlines()
    assert [line.split(",")[0] for line in said[2:]] == ["3 prompts"] * 2
    for line in said[2:]:
        first, second, shown = map(float, re.findall(r"[\d.]+", line)[-3:])
        assert shown == pytest.approx(first / second, rel=0.02)
    assert command(monkeypatch, "bench", "generate", run.folder / "none", *arguments) == 2
    assert capsys.readouterr().err.startswith(f"error: model folder {run.folder / 'none'} is missing")


@pytest.mark.parametrize("measured", [measure_sft, measure_dpo])
def test_trl_does_the_same_training(tmp_path, measured):
    """Over several steps, so that its optimiser and the order of its batches are ours too."""
    found, losses = measured(Run(smoke(), 0, tmp_path), 4, 1)
    assert losses["ours"] == pytest.approx(losses["TRL"], rel=1e-4)
    assert {name: len(times) for name, times in found.items()} == {"ours": 1, "TRL": 1}
    assert min(found["ours"] + found["TRL"]) > 0


def test_generation_is_measured_for_presets_of_our_own_loop_alone(tmp_path, capsys, monkeypatch):
    assert command(monkeypatch, "bench", "generate", tmp_path, "--preset", "zephyr-7b-beta") == 2
    assert "preset = zephyr-7b-beta is not allowed" in capsys.readouterr().err
