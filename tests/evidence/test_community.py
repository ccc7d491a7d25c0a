"""Rows that others send: whole ones pass, and each kind of damage is one sentence with exit code 2."""

from pathlib import Path

import pytest

from llm.evidence.community import check
from llm.evidence.rows import write_rows
from microcosm_runs import command
from rsf_rows import core, sweep

COMMUNITY = Path(__file__).parents[2] / "results" / "community"


def folder_of(tmp_path, rows, name="microcosm"):
    write_rows(tmp_path / name / "rows.jsonl", rows)
    return tmp_path / name


WHOLE = [row for seed in (0, 1) for row in core(seed)]


def without(**wanted):
    """The whole rows without those that have all of these."""
    return [row for row in WHOLE if not all(row[key] == value for key, value in wanted.items())]


def test_whole_rows_pass_and_are_counted(tmp_path, capsys, monkeypatch):
    folder = folder_of(tmp_path, [*WHOLE, *sweep(0, 1e-3, 0.4)])
    rows = len(WHOLE) + len(sweep(0, 1e-3, 0.4))
    assert command(monkeypatch, "collect", folder, "--check") == 0
    assert capsys.readouterr().out == f"microcosm: {rows} rows, 2 seeds, rsf; nothing is missing.\n"
    assert [path.name for path in folder.iterdir()] == ["rows.jsonl"]


DAMAGES = {
    "theta": (without(method="theta", seed=1), "rlhf = rsf, seed = 1, but none of theta;"),
    "theta_0": (without(method="theta_0", seed=1), "seed = 1, but none of theta_0;"),
    "no theta_0": (without(method="theta_0"), "no rows of method theta_0"),
    "a metric": (
        without(method="ma", setting={"alpha": 0.4}, seed=0, metric="qa"),
        'method = ma, setting = {"alpha": 0.4}, seed = 0, metric = qa',
    ),
    "a model": (without(method="ma", setting={"alpha": 0.4}, seed=1), "seed = 1, metric = bleu"),
    "rewards": ([row for row in WHOLE if "reward" not in row["metric"]], "no rows of a reward"),
    "abilities": ([row for row in WHOLE if "reward" in row["metric"]], "no rows of an ability"),
    "averages": (without(method="ma"), "has rows of rlhf = rsf, but 0 ratios of method ma; at least 2 must be there"),
    "a standard error": (
        [row | ({"stderr": None} if row["metric"] == "bleu" and row["method"] == "ma" else {}) for row in WHOLE],
        "has bleu of method = ma, seed = 0 with stderr = null; rewards and abilities must have",
    ),
    "an algorithm": ([row | {"rlhf": "none"} for row in WHOLE], "has rows of no algorithm"),
    "another rate": (
        [*WHOLE, *(row for row in sweep(0, 1e-3, 0.4) if row["method"] == "ma")],
        "lr = 0.001, seed = 0, but none of theta;",
    ),
    "a value out of range": (
        [*without(metric="qa"), *({**row, "value": 2.0} for row in WHOLE if row["metric"] == "qa")],
        "has qa = 2; allowed are numbers from 0 to 1",
    ),
    "other items": (
        [row | ({"n": 7} if row["metric"] == "bleu" and row["method"] == "theta" else {}) for row in WHOLE],
        "has bleu of seed = 0 by n = 7 and ",
    ),
    "an unknown method": ([*WHOLE, {**WHOLE[0], "method": "magic"}], "method = 'magic' is unknown"),
    "an unknown metric": ([*WHOLE, {**WHOLE[0], "metric": "vibes"}], "metric = vibes is an unknown name"),
    "a number of an unknown task": (
        [*WHOLE, {**WHOLE[0], "metric": "vibes/brier"}],
        "metric = vibes/brier is an unknown",
    ),
    "another preset": ([*WHOLE, {**WHOLE[0], "preset": "other"}], "holds rows of microcosm, other"),
}


@pytest.mark.parametrize("lacking", DAMAGES)
def test_what_is_not_whole_is_one_sentence(lacking, tmp_path, capsys, monkeypatch):
    rows, sentence = DAMAGES[lacking]
    assert command(monkeypatch, "collect", folder_of(tmp_path, rows), "--check") == 2
    said = capsys.readouterr()
    (line,) = said.err.splitlines()
    assert line.startswith("error: ")
    assert sentence in line
    assert said.out == ""


def test_a_damaged_line_and_a_wrong_name_are_refused(tmp_path, capsys, monkeypatch):
    folder = folder_of(tmp_path, WHOLE, "elsewhere")
    assert command(monkeypatch, "collect", folder, "--check") == 2
    assert "its folder must be called microcosm" in capsys.readouterr().err
    damaged = folder_of(tmp_path, WHOLE)
    with (damaged / "rows.jsonl").open("a") as file:
        file.write('{"preset": "microcosm"}\n')
    assert command(monkeypatch, "collect", damaged, "--check") == 2
    assert "the key seed is missing" in capsys.readouterr().err
    assert command(monkeypatch, "collect", damaged / "rows.jsonl", "--check") == 2
    assert "is no folder" in capsys.readouterr().err


def test_either_a_file_is_written_or_a_folder_checked(tmp_path, capsys, monkeypatch):
    folder = folder_of(tmp_path, WHOLE)
    assert command(monkeypatch, "collect", folder) == 2
    assert "neither --to nor --check" in capsys.readouterr().err
    assert command(monkeypatch, "collect", folder, "--check", "--to", tmp_path / "all.jsonl") == 2
    assert "--check and --to" in capsys.readouterr().err
    assert not (tmp_path / "all.jsonl").exists()


def test_in_the_community_a_folder_says_what_it_holds(tmp_path, capsys, monkeypatch):
    folder = folder_of(tmp_path / "community", WHOLE)
    assert command(monkeypatch, "collect", folder, "--check") == 2
    assert "has no README.md; it must tell models, commands and the version" in capsys.readouterr().err
    (folder / "README.md").write_text("made by hand\n")
    assert command(monkeypatch, "collect", folder, "--check") == 0


def test_files_that_are_collected_are_counted_and_hold_something(tmp_path, capsys, monkeypatch):
    folder = folder_of(tmp_path, WHOLE)
    assert command(monkeypatch, "collect", folder / "rows.jsonl", "--to", tmp_path / "all.jsonl") == 0
    assert capsys.readouterr().out == f"{len(WHOLE)} rows, wrote {tmp_path / 'all.jsonl'}\n"
    (tmp_path / "none.jsonl").write_text("")
    for source, said in ((tmp_path / "none.jsonl", "hold no rows"), (folder, "is no file; give .jsonl files")):
        assert command(monkeypatch, "collect", source, "--to", tmp_path / "more.jsonl") == 2
        assert said in capsys.readouterr().err
    assert not (tmp_path / "more.jsonl").exists()


def test_what_is_there_is_whole():
    folders = [path for path in COMMUNITY.iterdir() if path.is_dir()]
    assert all(check(folder).endswith("nothing is missing.") and (folder / "README.md").is_file() for folder in folders)
