"""What the tests of `front` share; a file whose models are others has a `folder` of its own."""

import pytest

from front_runs import run, save_files


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_files(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def found(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("front") / "ma"
    run(folder, out)
    return out


@pytest.fixture
def without_files_of_pictures(monkeypatch):
    """Nor one in the report: `test_front_files.py` looks at them."""
    monkeypatch.setattr("llm.evaluation.front.run.save_figure", lambda *_: None)
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda figure, file, **_: file.write(b"a picture"))
