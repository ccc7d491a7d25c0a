"""The committed rows are read once; `tests/evidence/test_reference_rows.py` reads them as they are."""

import pytest

from committed import rows_once


@pytest.fixture(scope="session", autouse=True)
def committed_rows_read_once(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("llm.evidence.frames.read_rows", rows_once(tmp_path_factory.getbasetemp()))
        yield
