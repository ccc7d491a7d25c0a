"""Hashes that follow a reader are those of the whole files, whatever the order in which it reads."""

import hashlib

import numpy as np
import pytest

from llm.averaging.files import hashes as hashing
from llm.averaging.files.hashes import FollowingHash
from llm.errors import UserError
from llm.models.safetensors import Source


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.setattr(hashing, "_STRETCH", 64)
    monkeypatch.setattr(hashing, "_BUFFER", 16)
    contents = {"a": np.random.default_rng(0).bytes(1003), "b": np.random.default_rng(1).bytes(5), "c": b""}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    return {Source(tmp_path / name): hashlib.sha256(content).hexdigest() for name, content in contents.items()}


@pytest.mark.parametrize("order", [range(0, 1004, 10), range(1003, 0, -100), [1003], [], [500, 20, 500, 990, 30]])
def test_every_order_of_reading_gives_the_hash_of_the_file(files, order):
    large = next(iter(files))
    with FollowingHash(list(files)) as found:
        for end in order:
            found.follow(large, end)
        assert found.hexdigests() == {source.path.name: digest for source, digest in files.items()}


def test_it_hashes_while_the_reader_goes_on(files):
    large = next(iter(files))
    with FollowingHash([large]) as found:
        for end in range(64, 1004, 64):
            found.follow(large, end)
            assert len(found._pending) <= hashing._BEHIND  # a reader never gets far ahead
        assert found._digests[large].hexdigest() != hashlib.sha256().hexdigest()


def test_a_file_that_was_cut_is_named(files):
    large = next(iter(files))
    with FollowingHash([large]) as found:
        large.path.write_bytes(b"short")
        found.follow(large, 1003)
        with pytest.raises(UserError, match="a changed while it was read"):
            found.hexdigests()


def test_leaving_early_ends_the_thread(files):
    large = next(iter(files))
    with pytest.raises(KeyError), FollowingHash([large]) as found:
        found.follow(large, 1003)
        raise KeyError
    with pytest.raises(RuntimeError):  # no thread takes work any more
        found.finish()
