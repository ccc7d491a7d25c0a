"""What the tests of stages share; a file whose models are others has a `run` of its own."""

import shutil
from dataclasses import replace

import pytest

from microcosm_runs import far_stepping, smoke_run


@pytest.fixture(scope="session")
def original(tmp_path_factory):
    """A run that nobody changes: each file of tests works in a copy of it."""
    return smoke_run(tmp_path_factory.mktemp("original"), preset=far_stepping())


@pytest.fixture(scope="module")
def run(original, tmp_path_factory):
    copy = tmp_path_factory.mktemp("out") / "copy"
    shutil.copytree(original.out, copy)  # with the times of files, by which stages know what is up to date
    return replace(original, out=copy)
