"""The command line: every bad input is one sentence with exit code 2; light commands load nothing heavy."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from llm.config import names
from llm.data.microcosm.tokenizer import build_tokenizer
from llm.models.save import build_model, save_model
from microcosm_runs import ROW, command, smoke

HELP = """
import runpy, sys
sys.argv = ["llm", "--help"]
try:
    runpy.run_module("llm", run_name="__main__")
except SystemExit as stop:
    assert not stop.code
print("loaded:", sorted({"torch", "transformers", "scipy", "pandas", "matplotlib", "sacrebleu"} & set(sys.modules)))
"""


def refused(capsys, monkeypatch, *arguments) -> str:
    """The sentence with which a command is refused."""
    assert command(monkeypatch, *arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "Traceback" not in said.err
    (sentence,) = said.err.splitlines()
    assert sentence.startswith("error: ")
    return sentence.removeprefix("error: ")


@pytest.mark.parametrize("seed", ["-1", "one", "1.5", "4294967296"])
@pytest.mark.parametrize("stage", ["show", "pretrain", "align"])
def test_a_bad_seed_is_refused(capsys, monkeypatch, stage, seed):
    sentence = refused(capsys, monkeypatch, stage, "--preset", "smoke", "--seed", seed)
    assert sentence == f"seed = '{seed}' is not allowed; give a whole number from 0 to 4294967295"


@pytest.mark.parametrize("lr", ["0", "-1e-3", "2", "nan", "fast", ""])
def test_a_bad_learning_rate_is_refused(capsys, monkeypatch, tmp_path, lr):
    sentence = refused(capsys, monkeypatch, "align", "--preset", "smoke", "--out", tmp_path, "--lr", lr)
    assert sentence == f"lr = {lr!r} is not allowed; give `own` or a number in (0, 1]"


@pytest.mark.parametrize("eta", ["-0.1", "inf", "nan", "strong", ""])
def test_a_bad_penalty_is_refused(capsys, monkeypatch, tmp_path, eta):
    sentence = refused(
        capsys, monkeypatch, "align", "--preset", "smoke", "--out", tmp_path, "--rlhf", "ppo", "--eta", eta
    )
    assert sentence == f"eta = {eta!r} is not allowed; give `own` or a finite number from 0"


@pytest.mark.parametrize("stage", [["align"], ["trajectory"], ["sweep", "core", "--entry", "ma"]])
def test_an_unknown_algorithm_is_refused_with_the_known_ones(capsys, monkeypatch, tmp_path, stage):
    sentence = refused(capsys, monkeypatch, *stage, "--preset", "smoke", "--out", tmp_path, "--rlhf", "grpo")
    assert sentence == "rlhf = 'grpo' is unknown; allowed are rsf, dpo, ppo, rsf-gold, rsf-run2, rsf-run3"


@pytest.mark.parametrize("stage", ["show", "pretrain", "sft", "reward", "align", "baseline", "trajectory"])
def test_an_unknown_preset_is_refused_with_the_known_ones(capsys, monkeypatch, stage):
    sentence = refused(capsys, monkeypatch, stage, "--preset", "huge")
    assert sentence.startswith(f"preset = 'huge' is unknown; allowed are {', '.join(names('presets'))}, or the path")


@pytest.mark.parametrize(
    ("stage", "missing"),
    [
        (["sft"], "pretrained"),
        (["reward"], "theta_0"),
        (["align"], "theta_0"),
        (["baseline"], "theta_0"),
        (["align", "--rlhf", "dpo"], "theta_0"),
        (["align", "--rlhf", "ppo"], "theta_0"),
        (["trajectory", "--rlhf", "dpo"], "dpo/own/iteration01"),
        (["sweep", "algorithms", "--rlhf", "ppo", "--entry", "ma"], "ppo/own/iteration03"),
        (["trajectory"], "rsf/own/iteration01"),
        (["sweep", "core", "--entry", "ma"], "rsf/own/iteration02"),
        (["sweep", "core", "--entry", "ama"], "rsf/own/iteration02"),
        (["trajectory", "--lr", "0.5"], "rsf/0.5/iteration01"),
    ],
)
def test_a_missing_model_folder_is_named(capsys, monkeypatch, tmp_path, stage, missing):
    sentence = refused(capsys, monkeypatch, *stage, "--preset", "smoke", "--out", tmp_path)
    folder = tmp_path / "smoke" / "seed0" / missing
    assert sentence == f"model folder {folder} is missing or has no config.json; run the stage that makes it first"


def test_shipped_weights_that_are_missing_or_of_other_shapes_are_refused(capsys, monkeypatch, tmp_path):
    arguments = ("pretrain", "--preset", "smoke", "--out", tmp_path, "--shipped", tmp_path / "weights")
    assert refused(capsys, monkeypatch, *arguments).startswith(f"model folder {tmp_path / 'weights'} is missing")
    wider = smoke().model.model_copy(update={"intermediate_size": 40})
    save_model(build_model(wider, build_tokenizer(), seed=0), build_tokenizer(), tmp_path / "weights")
    sentence = refused(capsys, monkeypatch, *arguments)
    assert sentence.endswith("are not of the shapes of preset smoke; train anew without --shipped")


def test_shipped_weights_are_taken_as_they_are(monkeypatch, tmp_path):
    save_model(build_model(smoke().model, build_tokenizer(), seed=3), build_tokenizer(), tmp_path / "weights")
    assert (
        command(monkeypatch, "pretrain", "--preset", "smoke", "--out", tmp_path, "--shipped", tmp_path / "weights") == 0
    )
    name = "model.safetensors"
    taken = tmp_path / "smoke" / "seed0" / "pretrained"
    assert (taken / name).read_bytes() == (tmp_path / "weights" / name).read_bytes()
    assert (taken / "tokenizer.json").is_file()


def test_an_unknown_sweep_or_entry_is_refused_with_the_known_ones(capsys, monkeypatch):
    sentence = refused(capsys, monkeypatch, "sweep", "magic", "--entry", "ma", "--preset", "smoke")
    assert sentence.startswith(f"sweep = 'magic' is unknown; allowed are {', '.join(names('sweeps'))}, or the path")
    sentence = refused(capsys, monkeypatch, "sweep", "core", "--entry", "magic", "--preset", "smoke")
    assert (
        sentence
        == "entry = 'magic' is not in the sweep core; allowed are ma, part-input, part-middle, part-output, part-embeddings, ama, ama-own-embeddings"
    )


def test_collect_refuses_missing_and_damaged_files_and_leaves_nothing(capsys, monkeypatch, tmp_path):
    good, bad, to = tmp_path / "good.jsonl", tmp_path / "bad.jsonl", tmp_path / "all.jsonl"
    good.write_text(json.dumps(ROW) + "\n")
    assert str(bad) in refused(capsys, monkeypatch, "collect", good, bad, "--to", to)
    bad.write_text(json.dumps(ROW | {"metric": "bleu", "value": "high"}) + "\n")
    assert f"{bad}, line 1: value = 'high' is not allowed" in refused(
        capsys, monkeypatch, "collect", good, bad, "--to", to
    )
    assert not to.exists()
    assert command(monkeypatch, "collect", good, "--to", to) == 0
    assert json.loads(to.read_text()) == ROW


def test_show_prints_a_sample_of_everything_the_models_read(capsys, monkeypatch):
    assert command(monkeypatch, "show", "--preset", "smoke", "--count", "3") == 0
    blocks = dict(re.findall(r"\[(.*)\]\n((?:  .*\n?)+)", capsys.readouterr().out))
    kinds = [f"pre-training document, {kind}" for kind in smoke().pretrain.phases[0].mixture]
    kinds += [f"instruction tuning, {kind}" for kind in smoke().sft.mixture]
    kinds += [f"alignment prompt, {kind}, and a reply with its gold reward" for kind in smoke().prompts]
    kinds += [f"test item, {name}" for name in ("qa", "reading", "translation")]
    assert list(blocks) == kinds
    assert all(len(lines.splitlines()) == 3 for lines in blocks.values())


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("plan", "--seeds", "0"), "seeds = '0' is not allowed; allowed are whole numbers from 1"),
        (("plan", "--memory-gb", "nan"), "memory-gb = 'nan' is not allowed; allowed are numbers from 0 to 1000000"),
        (
            ("plan", "--sampler", "magic"),
            "sampler = 'magic' is not allowed; 'magic' is not one of 'auto', 'transformers', 'vllm'",
        ),
        (("bench", "average", "--repeats", "few"), "repeats = 'few' is not allowed; allowed are whole numbers from 1"),
    ],
)
def test_an_option_s_wrong_value_is_refused_in_the_project_s_words(capsys, monkeypatch, arguments, sentence):
    assert refused(capsys, monkeypatch, *arguments) == sentence


def test_help_lists_the_stages_and_loads_nothing_heavy():
    repository = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", HELP],
        cwd=repository,
        env=os.environ | {"COLUMNS": "120"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    *shown, loaded = done.stdout.splitlines()
    assert loaded == "loaded: []"
    for (
        stage
    ) in "show pretrain sft reward warm-start align baseline trajectory sweep mitigate collect table span".split():
        assert any(re.match(rf"\W*{stage}\b", line) for line in shown), stage


PANELS = {
    "Your models": "average adapt front tax benchmark replies win-rate fetch",
    "Experiments": "plan check tiny show pretrain sft reward warm-start align baseline trajectory movement overlap sweep mitigate bench",
    "Results": "collect table claims span",
}


def test_help_groups_the_commands(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    assert command(monkeypatch, "--help") == 0
    shown = capsys.readouterr().out
    titles = [shown.index(f"─ {panel} ─") for panel in PANELS]
    assert titles == sorted(titles)
    for begin, end, commands in zip(titles, [*titles[1:], len(shown)], PANELS.values(), strict=True):
        listed = [line.split()[1] for line in shown[begin:end].splitlines() if re.match(r"│ \S", line)]
        assert listed == commands.split()


def test_the_version_is_printed(capsys, monkeypatch):
    assert command(monkeypatch, "--version") == 0
    assert re.fullmatch(r"alignment-tax \d+\.\S+\n", capsys.readouterr().out)


@pytest.mark.parametrize(("name", "most"), [("adapt", 12), ("front", 22), ("tax", 12)])
def test_what_few_need_stands_in_the_file_and_not_on_the_command_line(name, most):
    from llm import cli

    options = typer.main.get_command(cli.app).commands[name].params
    assert len(options) <= most and {"config", "seed", "device"} <= {option.name for option in options}
