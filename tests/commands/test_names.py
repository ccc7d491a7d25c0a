"""What models are called on pages, in JSON and on cards: as the user gave them, without the folders above."""

import json
import shutil

import pytest

from ama_models import save_models, save_samples, words, write_lines
from averaging_models import command
from llm.models.cache import shown_name

REVISION = "0123456789abcdef"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Models of one last name in two folders, the second behind a link, both in a hub's cache too; items, prompts, samples."""
    path = tmp_path_factory.mktemp("work")
    save_models(path)
    for number, name in enumerate(("theta_0", "theta")):
        shutil.copytree(path / name, path / f"runs/{number}/final")
        snapshot = path / f"cache/models--org--{name}/snapshots/{REVISION}"
        shutil.copytree(path / name, snapshot)
        (snapshot.parents[1] / "refs").mkdir()
        (snapshot.parents[1] / "refs/main").write_text(REVISION)
    (path / "linked").symlink_to("runs/1", target_is_directory=True)
    rows = [{"prompt": text, "choices": ["w8", "w9"], "answer": 0} for text in words(6, 3, 1)]
    for task in ("qa", "kept"):
        write_lines(path / f"{task}.jsonl", rows)
    save_samples(path / "samples.jsonl")
    (path / "front.yaml").write_text("{alignment: kept, resamples: 20}")
    (path / "adapt.yaml").write_text("{batch: 5, check: 8}")
    return path


@pytest.mark.parametrize(("before", "after"), [("runs/0/final", "linked/final"), ("org/theta_0", "org/theta")])
def test_models_are_called_as_they_were_given(before, after, folder, tmp_path, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HF_HUB_CACHE", str(folder / "cache"))
    pair = ("--theta-0", before, "--theta", after)
    assert command(monkeypatch, "average", *pair, "--alpha", 0.5, "--out", tmp_path / "averaged") == 0
    card, made = ((tmp_path / "averaged" / name).read_text() for name in ("README.md", "averaging.json"))
    assert json.loads(made)["sources"] == {"theta_0": before, "theta": after}
    assert f"{before} (theta_0, before RLHF) and {after}\n(theta, after RLHF)" in card
    assert f"alignment-tax average --theta-0 {before} --theta {after} --alpha 0.5" in card
    assert (
        f"base_model: {json.dumps(['final'] if 'final' in after else [before, after])}\n" in card
    )  # ids of the hub's alone
    assert command(monkeypatch, "tax", *pair, "--tasks", "qa.jsonl", "--out", tmp_path / "tax") == 0
    page, tax = ((tmp_path / "tax" / name).read_text() for name in ("report.html", "tax.json"))
    found = json.loads(tax)
    assert (found["theta_0"], found["theta"]) == (before, after)
    assert [found["sources"][key]["folder"] for key in ("theta_0", "theta")] == [before, after]
    assert f"The alignment tax of {after}" in page and f"theta_0 (before RLHF): {before};" in page
    how = ("--tasks", "qa.jsonl,kept.jsonl", "--alphas", "0.5", "--config", "front.yaml")
    assert command(monkeypatch, "front", *pair, *how, "--out", tmp_path / "front") == 0
    report, rows = ((tmp_path / "front" / name).read_text() for name in ("report.html", "rows.jsonl"))
    assert f"Front of {after}" in report and f"<td>{before}</td>" in report and f'"preset":"{after}"' in rows
    how = ("--alpha", 0.5, "--data", "samples.jsonl", "--config", "adapt.yaml", "--device", "cpu")
    assert command(monkeypatch, "adapt", *pair, *how, "--out", tmp_path / "ratios.json") == 0
    ratios = (tmp_path / "ratios.json").read_text()
    assert [json.loads(ratios)["sources"][key]["folder"] for key in ("theta_0", "theta")] == [before, after]
    for text in (card, made, page, tax, report, rows, ratios):
        assert REVISION not in text and str(folder) not in text


def test_folders_above_are_on_no_page(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sft").mkdir()
    assert shown_name(tmp_path / "sft") == "sft"
    assert shown_name(tmp_path.relative_to(tmp_path)) == tmp_path.name
