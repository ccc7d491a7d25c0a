"""One line of the ledger: a number with its intervals, and on which side of a bound the claim expects it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import isnan
from typing import Literal

from ..equivalence import Verdict, judge
from ..intervals import Estimate
from ..multiplicity import holm
from ..power import ALPHA, seeds_needed

Side = Literal["above", "below"]
DECIMALS = 6  # kept: what differs beyond them is arithmetic, not measurement
GOLD = "gold_reward"
FEWEST = 3  # seeds for a verdict: of two, that their difference is far from 0 says too little about a spread (docs/protocol.md)
OPEN = {"undecided", "not testable here", "not measured"}


class Missing(Exception):
    """Rows that a part needs are not there; its text says what measures them ("sweep mitigations")."""


@dataclass(frozen=True)
class Line:
    """What was estimated for one part of a claim.

    part: what is compared. metric: whose unit the numbers have (`llm.evidence.metrics`). by: the reward that a comparison at
        equal reward, or of rewards, is made by; "" for others.
    side, bound: the claim expects the number above or below the bound.
    estimate, low, high: the mean over `seeds` with its 95 % interval, None where there is none; per_seed: what it is the mean
        of; taxes: of a share of a tax what is paid on each seed. inner: the 90 % interval. p: two-sided, against the
        bound; sign_flip: the same by signs, from eight seeds on.
    margin: around the bound, what does not matter; None where there is none. inflation: of the squared error, where something was
        chosen on the other seeds (`llm.evidence.intervals.cross_chosen`). unit: what 1 is in units that lines of different
        metrics share (`llm.evidence.claims.book`), None where there is no such unit. levels: the shares of the reward's rise
        that were compared. deciding: whether the claim's verdict rests on it.
    some: the part is one of existence, and not every candidate fails, so it does not fail.
    untestable: why it cannot be tested here. missing: what would measure it. Both are "" for others.
    """

    part: str
    metric: str = ""
    by: str = ""
    side: Side = "above"
    bound: float = 0.0
    estimate: float | None = None
    low: float | None = None
    high: float | None = None
    inner: tuple[float, float] | None = None
    p: float | None = None
    sign_flip: float | None = None
    margin: float | None = None
    inflation: float = 1.0
    per_seed: tuple[float, ...] = ()
    taxes: tuple[float, ...] = ()
    seeds: tuple[int, ...] = ()
    unit: float | None = None
    levels: tuple[float, float] | None = None
    deciding: bool = True
    some: bool = False
    note: str = ""
    untestable: str = ""
    missing: str = ""

    @cached_property
    def verdict(self) -> Verdict:
        """By `llm.evidence.equivalence.judge`, on the claim's side. Near a ceiling, what holds all the same holds."""
        if self.missing:
            return "not measured"
        found = self._judged()
        if self.untestable and not found.startswith("holds"):
            return "not testable here"
        if found.startswith("fails") and self.some:
            return "undecided"
        return found

    def _judged(self) -> Verdict:
        if self.low is None or self.high is None or self.inner is None or 0 < len(self.per_seed) < FEWEST:
            return "undecided"
        outer, inner, bound = (self.low, self.high), self.inner, self.bound
        if self.side == "below":
            outer, inner, bound = (-self.high, -self.low), (-inner[1], -inner[0]), -bound
        return judge(outer, inner, self.margin, bound)

    @property
    def seeds_needed(self) -> int | None:
        """For what is undecided, the number of seeds that would decide it with a chance of 80 % (`llm.evidence.power`)."""
        if self.verdict != "undecided":
            return None
        needed = seeds_needed(self.per_seed, self.bound, self.margin, self.inflation > 1)
        return needed and max(needed, FEWEST)

    def favour(self, number: float) -> float:
        """A number as the distance from the bound towards the claim's side, in shared units (its own without them)."""
        return (1 if self.side == "above" else -1) * (number - self.bound) / (self.unit or 1.0)

    @property
    def reach(self) -> float:
        """The end of the interval that is least in favour of the claim, as `favour`; -inf where nothing is known."""
        ends = [end for end in (self.low, self.high) if end is not None] or [self.estimate]
        return min((self.favour(end) for end in ends if end is not None), default=float("-inf"))


def measured(part: str, metric: str, found: Estimate, seeds: Sequence[int], note: str = "", **fields) -> Line:
    """A line of an estimate over seeds; `fields` are further ones of `Line`."""
    numbers = (found.outer.mean, found.outer.low, found.outer.high)
    estimate, low, high = (None if isnan(number) else rounded(number) for number in numbers)
    inner = None if low is None else (rounded(found.inner.low), rounded(found.inner.high))
    per_seed = tuple(rounded(number) for number in found.outer.per_seed)
    if low is None:
        note = "; ".join(filter(None, (note, "one seed, so no interval")))
    for key in ("unit", "bound", "margin", "inflation"):
        if fields.get(key) is not None:
            fields[key] = rounded(fields[key])
    return Line(
        part,
        metric,
        estimate=estimate,
        low=low,
        high=high,
        inner=inner,
        p=None if found.p is None else rounded(found.p),
        sign_flip=None if found.sign_flip is None else rounded(found.sign_flip),
        per_seed=per_seed,
        seeds=tuple(seeds),
        note=note,
        **fields,
    )


def rounded(number: float) -> float:
    return round(float(number), DECIMALS) + 0.0  # no negative zero


def failing(lines: Sequence[Line]) -> list[Line]:
    """The deciding lines that fail after Holm's correction over all deciding lines that were tested."""
    tested = [line for line in lines if line.deciding and line.p is not None and not line.untestable]
    adjusted = holm([line.p for line in tested if line.p is not None])
    return [line for line, p in zip(tested, adjusted) if line.verdict.startswith("fails") and p <= ALPHA]


def conclude(lines: Sequence[Line]) -> Verdict:
    """The verdict of a claim, from its deciding lines.

    fails: a part fails after Holm's correction, small where all that do are small. holds: all parts hold, small where all are.
    What they all are, where they are all alike. undecided (not testable here, not measured), where no part is more than
    that. mixed: anything else.
    """
    if found := failing(lines):
        return "fails, small" if all(line.verdict == "fails, small" for line in found) else "fails"
    verdicts = {line.verdict for line in lines if line.deciding}
    if verdicts == {"holds", "holds, small"}:
        return "holds"
    if verdicts <= OPEN:
        words: tuple[Verdict, ...] = ("undecided", "not testable here", "not measured")
        return next(word for word in words if word in verdicts)
    alike = len(verdicts) == 1 and not verdicts & {"fails", "fails, small"}
    return verdicts.pop() if alike else "mixed"


def by_gold(lines: Sequence[Line]) -> list[Line] | None:
    """The deciding lines with those by gold reward in the place of those by learned reward; None where there are none."""
    gold = {line.part: line for line in lines if line.by == GOLD}
    if not gold:
        return None
    chosen = (line if line.missing else gold.get(line.part, line) for line in lines if line.deciding)
    return [replace(line, deciding=True) for line in chosen]


def weakest(lines: Sequence[Line]) -> Line:
    """The deciding line that the verdict hangs on: of those that fail, of those undecided, or of all that were measured the
    one that reaches farthest against the claim.
    """
    deciding = [line for line in lines if line.deciding]
    known = [line for line in deciding if line.estimate is not None and line.verdict != "not testable here"]
    undecided = [line for line in known if line.verdict == "undecided"]
    return min(failing(lines) or undecided or known or deciding, key=lambda line: line.reach)
