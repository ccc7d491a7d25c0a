"""A table's CSV file. Apart from the command, whose functions a spawned process cannot import (`python -m theory` is `__main__` there)."""

import csv
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from .tables import TABLES


def write_table(name: str, out: Path, seed: int) -> None:
    """Write out/<name>.csv; each table has its own random numbers, so that none depends on the others."""
    write_csv(out / f"{name}.csv", TABLES[name](np.random.default_rng([seed, *name.encode()])))


def write_csv(path: Path, rows: Iterable[dict]) -> None:
    """Write rows of equal keys, floats to 8 digits, None as an empty field; whole or not at all."""
    rows = list(rows)
    aside = path.with_suffix(".partial")
    with aside.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows({key: _text(value) for key, value in row.items()} for row in rows)
    os.replace(aside, path)


def _text(value: object) -> object:
    return f"{value:.8g}" if isinstance(value, float) else value
