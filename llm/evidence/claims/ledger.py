"""The ledger: every claim with its lines and its verdict, from the rows of a folder."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..equivalence import Verdict
from .book import Book, read_book
from .comparisons import NEIGHBOURS
from .existence import Comparison
from .line import Line, Missing, by_gold, conclude, weakest
from .table import CLAIMS, Claim


@dataclass(frozen=True)
class Entry:
    """A claim and what the rows of a preset say about it."""

    claim: Claim
    preset: str
    lines: tuple[Line, ...]

    @property
    def deciding(self) -> tuple[Line, ...]:
        return tuple(line for line in self.lines if line.deciding)

    @property
    def verdict(self) -> Verdict:
        return conclude(self.lines)

    @property
    def by_gold(self) -> Verdict | None:
        """The verdict with gold reward in the place of learned reward; None where no part is by a reward that has both."""
        lines = by_gold(self.lines)
        return conclude(lines) if lines else None

    @property
    def otherwise(self) -> Verdict | None:
        """What gold reward says, where that is another verdict."""
        return self.by_gold if self.by_gold != self.verdict else None

    @property
    def seeds_needed(self) -> int | None:
        """How many seeds would decide the undecided part that the verdict hangs on, with a chance of 80 %."""
        return self.weakest.seeds_needed

    @property
    def weakest(self) -> Line:
        return weakest(self.lines)

    def count(self, verdict: Verdict) -> int:
        """How many of the parts that decide have a verdict."""
        return sum(line.verdict == verdict for line in self.deciding)


@dataclass(frozen=True)
class Ledger:
    preset: str
    seeds: tuple[int, ...]
    entries: tuple[Entry, ...]


def ledger(results: Path, theory: Path) -> Ledger:
    """The ledger of the rows in the folder `results`; `theory` holds the theory's tables.

    Rows of other presets that a claim is about are looked for beside `results`. What is not there is "not measured".
    Raises UserError for rows that are damaged, or missing where others of their sweep are there.
    """
    return make_ledger(read_book(results, NEIGHBOURS, theory))


def make_ledger(book: Book, claims: Sequence[Claim] = CLAIMS) -> Ledger:
    return Ledger(book.preset, tuple(book.seeds), tuple(_entry(claim, book) for claim in claims))


def _entry(claim: Claim, book: Book) -> Entry:
    preset = claim.preset or book.preset
    there = book if preset == book.preset else book.neighbours.get(preset)
    if there is not None and there is not book:
        there = replace(there, neighbours=book.neighbours)
    return Entry(claim, preset, tuple(line for part in claim.parts for line in _lines(part, there, preset)))


def _lines(comparison: Comparison, book: Book | None, preset: str) -> list[Line]:
    try:
        if book is None:
            raise Missing(f"preset {preset}")
        return comparison.lines(book)
    except Missing as error:
        return [Line(comparison.part, deciding=getattr(comparison, "deciding", True), missing=str(error))]
