"""The ledger: every claim with its lines and its verdict, from the rows of a folder."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .book import Book, read_book
from .line import Line, Missing, Verdict, conclude, weakest
from .table import CLAIMS, ELSEWHERE, Claim, Comparison


@dataclass(frozen=True)
class Entry:
    """A claim and what the rows say about it."""

    claim: Claim
    lines: tuple[Line, ...]

    @property
    def deciding(self) -> tuple[Line, ...]:
        return tuple(line for line in self.lines if line.deciding)

    @property
    def verdict(self) -> Verdict:
        return conclude(self.lines)

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
    return make_ledger(read_book(results, ELSEWHERE, theory))


def make_ledger(book: Book, claims: Sequence[Claim] = CLAIMS) -> Ledger:
    entries = [Entry(claim, tuple(line for part in claim.parts for line in _lines(part, book))) for claim in claims]
    return Ledger(book.preset, tuple(book.seeds), tuple(entries))


def _lines(comparison: Comparison, book: Book) -> list[Line]:
    try:
        book.need(getattr(comparison, "metric", ""))
        return comparison.lines(book)
    except Missing as error:
        return [Line(comparison.part, deciding=getattr(comparison, "deciding", True), missing=str(error))]
