"""What the tests of the trainers share."""

import pytest

from trainer_runs import make_models


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    make_models(folder)
    return folder
