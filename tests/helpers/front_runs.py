"""Runs of `front` on tiny models: their files, the options, and what is read from them."""

import json
from html.parser import HTMLParser

import pytest
from safetensors.torch import load_file

from ama_models import save_models, save_samples, words, write_lines
from averaging_models import command
from llm.averaging.live import average
from llm.models.loading import load_model, load_tokenizer

SETTINGS = {"task_tokens": 4, "tokens": 5, "resamples": 20, "name": "tiny", "rlhf": "dpo"}
OPTIONS = set(
    "config theta-0 theta with weight theta-pre tasks out reward-model reward-command prompts alphas method keep samples data seed".split()
)


def save_files(path):
    """Models, tasks, prompts and samples in a folder."""
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


def average_apart(folder):
    """The model at 0.5, made apart from `front`, and its tokenizer."""
    model = load_model(folder / "theta_0")
    states = [load_file(folder / name / "model.safetensors") for name in ("theta_0", "theta")]
    model.load_state_dict(average(*states, 0.5))
    return model, load_tokenizer(folder / "theta")


def row(frame, method, metric, key="{}"):
    return frame[(frame.method == method) & (frame.metric == metric) & (frame.setting_key == key)].iloc[0]


def lines(folder, name):
    return [json.loads(line) for line in (folder / f"{name}.jsonl").read_text().splitlines()]


class Links(HTMLParser):
    """Everything that a page would load from elsewhere."""

    def __init__(self):
        super().__init__()
        self.found, self.text = [], []

    def handle_starttag(self, tag, attributes):
        self.found += [value for key, value in attributes if key in ("src", "href")]

    def handle_data(self, data):
        self.text.append(data)
