"""Files appear whole or not at all; what is damaged is named; parts of a page that a command makes replace older ones."""

import os
import subprocess
import sys

import pytest

from llm.errors import UserError
from llm.files import kept_answer, marks, parse_json, put_between, read_lines, read_made, read_text, write_text, written

BEGIN, END = marks("table")


def test_a_part_takes_the_place_of_an_older_one_and_others_stay(tmp_path):
    page, other = tmp_path / "page.md", "\n".join(marks("claims"))
    page.write_text(f"above\n{BEGIN}\nold\n{END}\nbelow\n{other}\n")
    put_between(page, {"table": "new\nlines"})
    assert page.read_text() == f"above\n{BEGIN}\nnew\nlines\n{END}\nbelow\n{other}\n"
    put_between(page, {"claims": "more"})
    assert "new\nlines" in page.read_text()
    with pytest.raises(UserError, match="has no place for the savings"):
        put_between(page, {"table": "not there", "savings": "x"})  # nothing is written where one is refused
    assert "new\nlines" in page.read_text()
    assert page.read_text().endswith("\nmore\n<!-- end of claims -->\n")


@pytest.mark.parametrize("text", [f"above\n{END}\n{BEGIN}\n", f"{BEGIN}\n", "nothing", "\n".join(marks("claims"))])
def test_a_page_without_the_marks_is_refused_and_left_as_it_is(tmp_path, text):
    page = tmp_path / "page.md"
    page.write_text(text)
    with pytest.raises(
        UserError, match="page.md has no place for the table; it must hold the marks <!-- table --> and"
    ):
        put_between(page, {"table": "new"})
    assert page.read_text() == text


def test_a_page_that_is_no_text_is_refused(tmp_path):
    (tmp_path / "page.md").write_bytes(b"\xff")
    with pytest.raises(UserError, match="page.md is no text in UTF-8"):
        put_between(tmp_path / "page.md", {"table": "new"})


def test_a_file_and_a_folder_take_the_place_of_older_ones_with_nothing_beside_them(tmp_path):
    for text in ("old", "new"):
        write_text(tmp_path / "sub" / "file.txt", text)
        with written(tmp_path / "folder") as aside:
            (aside / "inner").mkdir(parents=True)
            (aside / "inner" / text).write_text(text)
    assert (tmp_path / "sub" / "file.txt").read_text() == "new"
    assert [path.name for path in (tmp_path / "folder" / "inner").iterdir()] == ["new"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "sub"]
    assert len(list((tmp_path / "sub").iterdir())) == 1


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit, OSError])
def test_what_fails_on_the_way_leaves_the_old_one_alone(tmp_path, error):
    write_text(tmp_path / "file", "old")
    with pytest.raises(error), written(tmp_path / "file") as aside:
        aside.write_text("half")
        raise error
    assert (tmp_path / "file").read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_failure_of_the_disk_names_the_file_that_was_to_be(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "x").touch()
    (tmp_path / "file").touch()
    for path in (tmp_path / "folder", tmp_path / "file" / "inner", tmp_path / ("x" * 300)):
        with pytest.raises(OSError) as raised:
            write_text(path, "text")
        assert raised.value.filename in (str(path), str(path.parent))
    with pytest.raises(OSError) as raised, written(tmp_path / "new") as aside:
        (aside / "not there").write_text("")
    assert raised.value.filename == str(tmp_path / "new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


def test_what_dead_processes_left_is_removed_and_what_others_are_at_is_not(tmp_path):
    dead = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True)
    names = {who: f".a[1].txt.partial-{who}" for who in (int(dead.stdout), os.getpid(), os.getppid(), "x")}
    for name in (*names.values(), ".b.txt.partial-999999999"):
        (tmp_path / name / "a").mkdir(parents=True)
    write_text(tmp_path / "a[1].txt", "whole")
    kept = {names[os.getppid()], names["x"], ".b.txt.partial-999999999"}
    assert {path.name for path in tmp_path.iterdir()} == {"a[1].txt", *kept}


def test_the_bytes_are_on_the_disk_before_the_name(tmp_path, monkeypatch):
    done = []
    sync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda file: (done.append("sync"), sync(file)))
    monkeypatch.setattr(os, "replace", lambda *paths: (done.append("rename"), replace(*paths)))
    with written(tmp_path / "folder") as aside:
        aside.mkdir()
        for name in "ab":
            (aside / name).touch()
    assert done == ["sync", "sync", "rename"]


BAD = {
    b"": "Expecting value",
    b"{": "Expecting property name",
    b'{"a": 1, "a": 2}': "the key 'a' stands twice",
    b"[1" + b"0" * 18 + b"]": "a whole number has 19 digits; allowed are 18",
    b"1" * 5000: "a whole number has 5000 digits",
    b"[" * 100_000: "maximum recursion depth exceeded",
    b'{"a": "\xff"}': "'utf-8' codec can't decode byte 0xff",
    '{"a": 1}'.encode("utf-16"): "'utf-8' codec can't decode byte 0xff",
    rb'"\ud800"': "surrogates not allowed",
    b"\x00": "Expecting value",
}


@pytest.mark.parametrize("text", BAD)
def test_what_is_no_json_is_refused_with_the_place(tmp_path, text):
    with pytest.raises(ValueError, match=BAD[text]):
        parse_json(text)
    (tmp_path / "made.json").write_bytes(text)
    with pytest.raises(
        UserError, match=f"made.json is damaged .*{BAD[text]}.*; remove it and give the same command again"
    ):
        read_made(tmp_path / "made.json")
    (tmp_path / "given.jsonl").write_bytes(b'{"a": 1}\n' + text + b" ]\n")
    with pytest.raises(UserError, match="given.jsonl, line 2 is no JSON"):
        read_lines(tmp_path / "given.jsonl")


def test_json_of_another_shape_is_damaged_too(tmp_path):
    (tmp_path / "made.json").write_text("[1]")
    assert read_made(tmp_path / "made.json", lambda found: found[0]) == 1
    for take in (
        lambda found: found["a"],
        lambda found: found[1],
        lambda found: found.keys(),
        lambda found: len(found[0]),
    ):
        with pytest.raises(UserError, match="is damaged .its content is not what a run leaves.; remove it"):
            read_made(tmp_path / "made.json", take)


def test_a_byte_order_mark_is_read_over_and_all_of_unicode_is_text(tmp_path):
    (tmp_path / "a.jsonl").write_bytes('\ufeff{"a": "\u2028 \U0001f600"}\n\n\ufeff{"a": "\\ud83d\\ude00"}'.encode())
    assert [row for _, row in read_lines(tmp_path / "a.jsonl")] == [{"a": "\u2028 \U0001f600"}, {"a": "\U0001f600"}]
    assert read_text(tmp_path / "a.jsonl", 3) == '\ufeff{"'


@pytest.mark.parametrize("inputs", [[], ["made from"]])
def test_an_answer_is_found_once_and_anew_for_another_question_or_newer_inputs(tmp_path, inputs):
    inputs, calls = [tmp_path / name for name in inputs], []
    for path in inputs:
        path.write_text("")

    def answer(asked):
        return kept_answer(tmp_path / "kept.json", asked, inputs, lambda: calls.append(asked) or len(calls))

    assert [answer({"a": (1,)}), answer({"a": [1]}), answer({"a": [2]}), answer({"a": [2]})] == [1, 1, 2, 2]
    for path in inputs:
        os.utime(path, ns=(0, (tmp_path / "kept.json").stat().st_mtime_ns + 1))
    assert answer({"a": [2]}) == (3 if inputs else 2)
