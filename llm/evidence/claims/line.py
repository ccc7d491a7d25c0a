"""One line of the ledger: a number with its 95 % interval, and on which side of a bound the claim expects it."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan
from typing import Literal

from ..intervals import Interval

Verdict = Literal["holds", "fails", "undecided", "not measured"]
VERDICTS: tuple[Verdict, ...] = ("holds", "fails", "undecided", "not measured")
DECIMALS = 6  # kept: what differs beyond them is arithmetic, not measurement


class Missing(Exception):
    """Rows that a part needs are not there; its text says what measures them ("sweep mitigations")."""


@dataclass(frozen=True)
class Line:
    """What was estimated for one part of a claim.

    part: what is compared. metric: whose unit the numbers have (`llm.evidence.metrics`).
    side, bound: the claim expects the number above or below the bound. estimate, low, high: the mean over
    `seeds` with its 95 % interval, None where there is none; per_seed: what it is the mean of. unit: what 1
    is in units that lines of different metrics share (`llm.evidence.claims.book`), None where there is no such unit.
    deciding: whether the claim's verdict rests on it. missing: what would measure it, "" where nothing is missing.
    """

    part: str
    metric: str = ""
    side: Literal["above", "below"] = "above"
    bound: float = 0.0
    estimate: float | None = None
    low: float | None = None
    high: float | None = None
    per_seed: tuple[float, ...] = ()
    seeds: tuple[int, ...] = ()
    unit: float | None = None
    deciding: bool = True
    note: str = ""
    missing: str = ""

    @property
    def verdict(self) -> Verdict:
        """holds: the whole interval lies on the claim's side of the bound; fails: on the other; else undecided."""
        if self.missing:
            return "not measured"
        if self.low is None or self.high is None or self.low <= self.bound <= self.high:
            return "undecided"
        return "holds" if (self.low > self.bound) == (self.side == "above") else "fails"

    def favour(self, number: float) -> float:
        """A number as the distance from the bound towards the claim's side, in shared units (its own without them)."""
        return (1 if self.side == "above" else -1) * (number - self.bound) / (self.unit or 1.0)

    @property
    def reach(self) -> float:
        """The end of the interval that is least in favour of the claim, as `favour`; -inf where nothing is known."""
        ends = [end for end in (self.low, self.high) if end is not None] or [self.estimate]
        return min((self.favour(end) for end in ends if end is not None), default=float("-inf"))


def measured(
    part: str,
    metric: str,
    found: Interval | None,
    seeds: Sequence[int],
    side: Literal["above", "below"] = "above",
    bound: float = 0.0,
    unit: float | None = None,
    deciding: bool = True,
    note: str = "",
) -> Line:
    """A line of an interval over seeds (None: the two cannot be compared, and `note` says why)."""
    numbers = [None] * 3 if found is None else [found.mean, found.low, found.high]
    estimate, low, high = (None if number is None or isnan(number) else rounded(number) for number in numbers)
    per_seed = () if found is None else tuple(rounded(float(number)) for number in found.per_seed)
    if found is not None and isnan(found.low):
        note = "; ".join(filter(None, (note, "one seed, so no interval")))
    unit = None if unit is None else rounded(unit)
    bound, ids = rounded(bound), tuple(seeds)
    return Line(part, metric, side, bound, estimate, low, high, per_seed, ids, unit, deciding, note)


def rounded(number: float) -> float:
    return round(float(number), DECIMALS) + 0.0  # no negative zero


def conclude(lines: Sequence[Line]) -> Verdict:
    """The verdict of a claim, from its deciding lines.

    fails: one part fails; holds: every part holds; not measured: no part is; undecided: anything else.
    """
    verdicts = {line.verdict for line in lines if line.deciding}
    if "fails" in verdicts:
        return "fails"
    return verdicts.pop() if len(verdicts) == 1 else "undecided"


def weakest(lines: Sequence[Line]) -> Line:
    """The deciding line that the verdict hangs on: of those with the claim's verdict, or measured ones if it is
    undecided, the one that reaches farthest against the claim.
    """
    deciding, verdict = [line for line in lines if line.deciding], conclude(lines)
    chosen = [line for line in deciding if line.verdict == verdict and not line.missing] or deciding
    return min(chosen, key=lambda line: line.reach)
