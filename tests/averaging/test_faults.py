"""Sources that change while they are read, disks that fail, runs that were killed: one sentence, and nothing left behind."""

import os
import shutil
import subprocess
import sys

import pytest
from safetensors.numpy import load_file, save_file

from averaging_models import command, make, save_tokenizer
from llm.averaging.files.average import average_files
from llm.averaging.files.hashes import FollowingHash
from llm.averaging.ratios import uniform
from llm.errors import UserError
from llm.grouping import Grouping
from llm.models.safetensors import Source

HALF = uniform(0.5, Grouping())


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pair")
    for seed, name in enumerate(("theta_0", "theta")):
        make("llama", seed, num_hidden_layers=2).save_pretrained(folder / name)
        save_tokenizer(folder / name)
    return folder


@pytest.fixture
def pair(originals, tmp_path):
    for name in ("theta_0", "theta"):
        shutil.copytree(originals / name, tmp_path / name)
    return tmp_path / "theta_0", tmp_path / "theta"


def _replace(file):
    """A new checkpoint of the same shapes, put in place at once, with the old one's times."""
    new = file.with_suffix(".new")
    save_file({name: 2 * tensor for name, tensor in load_file(file).items()}, new)
    os.utime(new, ns=(file.stat().st_atime_ns, file.stat().st_mtime_ns))
    os.replace(new, file)


def _overwrite(file):
    with file.open("r+b") as out:
        out.seek(-4, os.SEEK_END)
        out.write(b"\0\0\0\0")
    os.utime(file, ns=(0, file.stat().st_mtime_ns + 1))


CHANGES = {
    "replaced": _replace,
    "overwritten": _overwrite,
    "cut": lambda file: os.truncate(file, 1000),
    "grown": lambda file: file.open("ab").write(b"\0" * 16),
    "deleted": lambda file: file.unlink(),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("which", [0, 1])
def test_a_source_that_changes_while_it_is_read(change, which, pair, tmp_path):
    """Without this the output would be a mixture of two models, with the hashes of neither."""
    file = pair[which] / "model.safetensors"
    pending = [CHANGES[change]]

    def progress(done, total):
        if done > total / 2 and pending:
            pending.pop()(file)

    with pytest.raises(UserError, match=r"model\.safetensors changed while it was read"):
        average_files(*pair, tmp_path / "out", HALF, progress=progress)
    assert not pending and {path.name for path in tmp_path.iterdir()} == {"theta_0", "theta"}


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json"])
def test_a_file_beside_the_weights_that_changes_meanwhile(name, pair, tmp_path):
    def progress(_done, _total):
        (pair[1] / name).write_text((pair[1] / name).read_text() + "\n")

    with pytest.raises(UserError, match=f"{name} changed while it was read"):
        average_files(*pair, tmp_path / "out", HALF, progress=progress)
    assert {path.name for path in tmp_path.iterdir()} == {"theta_0", "theta"}


def test_what_was_opened_is_read_to_its_end(pair):
    """A rename does not touch the old file: until `check`, one consistent model is read."""
    file = pair[1] / "model.safetensors"
    before, source = file.read_bytes(), Source(file)
    _replace(file)
    found = bytearray(source.size)
    source.read_into(memoryview(found), 0)
    assert bytes(found) == before != file.read_bytes()
    with FollowingHash([source]) as hash_, FollowingHash([Source(file)]) as other:
        assert hash_.hexdigests() != other.hexdigests()


def _no_space(*_):
    raise OSError(28, "No space left on device")


def _no_permission(*_):
    raise PermissionError(13, "Permission denied", "/theta/config.json")


FAILURES = {
    "a disk that is full, at a copy": ("llm.models.safetensors.Source.copy_to", _no_space, "No space left on device"),
    "a disk that is full, at the weights": ("llm.averaging.files.average.write_weights", _no_space, "No space left"),
    "a disk that is full, at the card": ("llm.averaging.files.average.write_card", _no_space, "No space left"),
    "a disk that cannot be read": ("os.preadv", _no_space, "average was stopped by"),
    "a file that may not be read": (
        "llm.models.folder.read_json",
        _no_permission,
        "average was stopped by /theta/config.json: Permission denied;",
    ),
    "a folder that may not be listed": ("llm.averaging.files.copies._files", _no_permission, "Permission denied"),
}


@pytest.mark.parametrize("failure", FAILURES)
def test_a_failure_of_the_disk_is_one_sentence(failure, pair, tmp_path, monkeypatch, capsys):
    place, fail, words = FAILURES[failure]
    monkeypatch.setattr(place, fail)
    arguments = ["average", "--theta-0", pair[0], "--theta", pair[1], "--alpha", 0.5, "--out", tmp_path / "out"]
    assert command(monkeypatch, *arguments) == 2
    sentence = capsys.readouterr().err.strip().splitlines()
    assert len(sentence) == 1 and words in sentence[0] and sentence[0].endswith(".")
    assert {path.name for path in tmp_path.iterdir()} == {"theta_0", "theta"}


def test_what_a_dead_process_has_left_is_removed_and_not_mentioned(pair, tmp_path, monkeypatch):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    average_files(*pair, tmp_path / "out", HALF)
    first = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    shutil.rmtree(tmp_path / "out")
    for process in (dead.pid, os.getppid(), os.getpid()):
        (tmp_path / f".out.partial-{process}").mkdir()
        (tmp_path / f".out.partial-{process}" / "model.safetensors").write_bytes(b"half")
    (tmp_path / ".out2.partial-1").mkdir()
    average_files(*pair, tmp_path / "out", HALF)
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == first
    left = {path.name for path in tmp_path.iterdir() if path.name.startswith(".")}
    assert left == {f".out.partial-{os.getppid()}", ".out2.partial-1"}  # of processes that run, and of another output


def test_a_folder_that_somebody_else_makes_meanwhile_is_left_alone(pair, tmp_path):
    def progress(_done, _total):
        (tmp_path / "out").mkdir(exist_ok=True)
        (tmp_path / "out" / "notes.txt").write_text("mine")

    with pytest.raises(UserError, match="which something else has made meanwhile"):
        average_files(*pair, tmp_path / "out", HALF, progress=progress)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["notes.txt"]
    assert {path.name for path in tmp_path.iterdir()} == {"theta_0", "theta", "out"}


def test_a_name_that_is_no_utf_8(pair, tmp_path):
    with pytest.raises(UserError, match="whose name is no UTF-8"):
        average_files(*pair, tmp_path / "out\udcff", HALF)
    odd = tmp_path / "theta\udcff"
    shutil.copytree(pair[1], odd)
    (odd / "code\udcff.py").write_text("")
    average_files(pair[0], odd, tmp_path / "out", HALF, code=True)
    assert "theta\\udcff (theta_0" not in (tmp_path / "out" / "README.md").read_text("utf-8")


def test_nothing_is_checked_after_the_output_is_in_place(pair, tmp_path, monkeypatch):
    """The last look at the sources comes before the rename."""
    seen = []
    monkeypatch.setattr(Source, "check", lambda self: seen.append((tmp_path / "out").exists()))
    average_files(*pair, tmp_path / "out", HALF)
    assert seen and not any(seen)
