"""The ledgers of the committed rows, each judged once in a run of tests, whichever of its processes asks first: half a minute each."""

import os
import pickle
from functools import cache
from pathlib import Path

from llm.evidence.claims.ledger import Entry, Ledger, ledger
from llm.evidence.claims.table import CLAIMS
from llm.files import by_one, written

RESULTS = Path(__file__).parents[2] / "results"


@cache
def judged(preset: str, folder: Path) -> Ledger:
    """The ledger of `results/<preset>`. folder: of this run's temporary files (`tmp_path_factory.getbasetemp`)."""
    kept = (folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) / f"ledger-{preset}.pickle"
    with by_one(kept):
        if not kept.exists():
            found = ledger(RESULTS / preset, RESULTS / "theory")
            lines = [(entry.preset, entry.lines) for entry in found.entries]  # a claim holds functions, which stay here
            with written(kept) as aside:
                aside.write_bytes(pickle.dumps((found.preset, found.seeds, lines)))
    name, seeds, lines = pickle.loads(kept.read_bytes())
    return Ledger(name, seeds, tuple(Entry(claim, *of) for claim, of in zip(CLAIMS, lines, strict=True)))
