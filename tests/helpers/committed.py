"""What many tests ask of the committed results, made once in a run of tests, whichever of its processes asks first: their rows, which
take seconds to check, and their ledgers, half a minute each.
"""

import os
import pickle
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from llm.evidence import frames
from llm.evidence.claims.ledger import Entry, Ledger, ledger
from llm.evidence.claims.table import CLAIMS
from llm.files import by_one, written

RESULTS = Path(__file__).parents[2] / "results"
read = frames.read_rows


def once(name: str, folder: Path, make: Callable[[], Any]) -> Any:
    """What `make` gives, kept under a name. folder: of this run's temporary files (`tmp_path_factory.getbasetemp`)."""
    kept = (folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) / f"{name}.pickle"
    with by_one(kept):
        if not kept.exists():
            with written(kept) as aside:
                aside.write_bytes(pickle.dumps(make()))
    return pickle.loads(kept.read_bytes())


@cache
def rows_once(folder: Path) -> Callable:
    """`llm.evidence.rows.read_rows` that reads the committed rows of a preset once, and all others as it does."""
    asked = cache(lambda results: once(f"rows-{results.name}", folder, lambda: read(results)))

    def read_rows(path):
        results = Path(path).resolve()
        return asked(results).copy() if results.is_dir() and results.parent == RESULTS else read(path)

    return read_rows


@pytest.fixture(scope="session", autouse=True)
def committed_rows_read_once(tmp_path_factory):
    """Where a conftest.py imports it."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("llm.evidence.frames.read_rows", rows_once(tmp_path_factory.getbasetemp()))
        yield


@cache
def judged(preset: str, folder: Path) -> Ledger:
    """The ledger of `results/<preset>`."""

    def make() -> tuple:
        found = ledger(RESULTS / preset, RESULTS / "theory")
        lines = [(entry.preset, entry.lines) for entry in found.entries]  # a claim holds functions, which stay here
        return found.preset, found.seeds, lines

    name, seeds, lines = once(f"ledger-{preset}", folder, make)
    return Ledger(name, seeds, tuple(Entry(claim, *of) for claim, of in zip(CLAIMS, lines, strict=True)))
