"""Claims of existence, "some ratio", "can raise": several candidates, one of which has to do what is claimed.

For each seed the candidate is taken that does best on the other seeds, so that a single test decides that some candidate holds,
however many there are; its squared error is that of a choice, the candidates' own or this one's (`llm.evidence.intervals.cross_chosen`).
The claim fails only where every candidate that was measured fails.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..intervals import Estimate, cross_chosen, of_mean, of_ratio, t_interval
from ..metrics import IN_TAXES
from .book import Book, Route
from .line import GOLD, Line, Missing, measured


class Comparison(Protocol):
    @property
    def part(self) -> str: ...

    def lines(self, book: Book) -> list[Line]: ...


Candidates = Mapping[str, tuple[Comparison, ...]]


@dataclass(frozen=True)
class Ratios:
    """A candidate for each ratio below 1 that a path was measured at: what `make` gives for it."""

    route: Route
    make: Callable[[float], tuple[Comparison, ...]]

    def __call__(self, book: Book) -> Candidates:
        steps = sorted(set(self.route.models(book)["step"]) - {1.0})
        return {f"{step:g}": self.make(step) for step in steps}


@dataclass(frozen=True)
class Some:
    """Some of the candidates does all that its comparisons say.

    candidates: name -> comparisons, or what gives them for a book; one deciding line each, as many for each candidate and about
        the same things in order. Where these are in different metrics, those without a shared unit are left out. parts: what the lines are called.
    """

    part: str
    candidates: Candidates | Ratios
    parts: tuple[str, ...]
    deciding: bool = True

    def lines(self, book: Book) -> list[Line]:
        found: dict[str, list[list[Line]]] = {}
        lacking = []
        candidates = self.candidates(book) if isinstance(self.candidates, Ratios) else self.candidates
        for name, comparisons in candidates.items():
            try:
                found[name] = [one.lines(book) for one in comparisons]
            except Missing as error:
                lacking.append(str(error))
        if not found:
            raise Missing(lacking[0] if lacking else "other ratios than 1")
        lines = self._chosen({name: [_deciding(of) for of in lists] for name, lists in found.items()})
        gold = {name: [_by_gold(of) for of in lists] for name, lists in found.items()}
        if any(line.by == GOLD for lists in gold.values() for line in lists):
            lines += [replace(line, by=GOLD, deciding=False) for line in self._chosen(gold)]
        note = f"not measured: {', '.join(dict.fromkeys(lacking))}" if lacking else ""
        return [replace(line, note="; ".join(filter(None, (line.note, note)))) for line in lines]

    def _chosen(self, found: Mapping[str, Sequence[Line]]) -> list[Line]:
        testable = {name: lines for name, lines in found.items() if all(line.per_seed for line in lines)}
        some = not all(any(line.verdict.startswith("fails") for line in lines) for lines in testable.values())
        if any(len({line.metric for line in of_part}) > 1 for of_part in zip(*testable.values(), strict=True)):
            testable = {name: lines for name, lines in testable.items() if all(line.unit for line in lines)} or testable
        if not testable:
            lines = next(iter(found.values()))
            why = next((line.untestable for line in lines if line.untestable), "")
            lacking = "" if why else next(line.missing for line in lines if line.missing)
            return [Line(part, untestable=why, missing=lacking, deciding=self.deciding) for part in self.parts]
        seeds = sorted(set.intersection(*(set(line.seeds) for lines in testable.values() for line in lines)))
        names = list(testable)
        favour = np.array([[_favours(line, seeds) for line in testable[name]] for name in names])
        others = favour.sum(axis=2, keepdims=True) - favour if len(seeds) > 1 else favour
        best = others.min(axis=1).argmax(axis=0)  # of the worst of each candidate's lines, for each seed
        counted = Counter(names[place] for place in best)
        how = ", ".join(f"{name} ({n})" if len(counted) > 1 else name for name, n in counted.most_common())
        where = "on the other seeds" if len(seeds) > 1 else "for itself"
        note = f"{how} chosen of {len(names)} {where}" if len(names) > 1 else f"{how} alone was measured"
        return [
            self._line(
                self.parts[place], [testable[name][place] for name in names], favour[:, place], best, seeds, some, note
            )
            for place in range(len(self.parts))
        ]

    def _line(
        self,
        part: str,
        lines: list[Line],
        favour: NDArray[np.float64],
        best: NDArray[np.intp],
        seeds: list[int],
        some: bool,
        note: str,
    ) -> Line:
        """The line of the candidates chosen, in their own unit where that is one, else in taxes."""
        first, alike = lines[0], len({line.metric for line in lines}) == 1
        unit = (first.unit or 1.0) if alike else 1.0
        sign = 1 if first.side == "above" else -1
        values = np.array([favour[chosen, k] for k, chosen in enumerate(best)]) * unit * sign
        margins = [line.margin / (line.unit or 1.0) for line in lines if line.margin is not None]
        margin = min(margins) * unit if len(margins) == len(lines) else None
        inflation = max(cross_chosen(len(seeds), len(lines) > 1), *(line.inflation for line in lines))
        ranges = [of for place in sorted(set(best)) if (of := lines[place].levels)]
        return measured(
            part,
            first.metric if alike else IN_TAXES,
            _estimate(lines, values, best, seeds, inflation),
            seeds,
            note,
            by=first.by,
            side=first.side,
            margin=margin,
            inflation=inflation,
            unit=unit,
            levels=(min(low for low, _ in ranges), max(high for _, high in ranges)) if ranges else None,
            deciding=self.deciding,
            some=some,
            untestable=first.untestable if all(line.untestable for line in lines) else "",
        )


def _estimate(
    lines: Sequence[Line], values: NDArray[np.float64], best: NDArray[np.intp], seeds: list[int], inflation: float
) -> Estimate:
    """The mean of the chosen candidates' values, (seeds,); of shares of a tax the ratio of means, as for one candidate, where what is
    paid in all is clear of 0.
    """
    chosen = [lines[place] for place in best]
    if all(line.taxes for line in lines):
        paid, shares = (
            np.array([dict(zip(line.seeds, of, strict=True))[seed] for line, of, seed in zip(chosen, column, seeds)])
            for column in ([line.taxes for line in chosen], [line.per_seed for line in chosen])
        )
        if len(seeds) == 1 or t_interval(paid, inflation=inflation).low > 0:
            return of_ratio(shares * [np.mean(line.taxes) for line in chosen], paid, inflation)
    return of_mean(values, inflation=inflation)


def _favours(line: Line, seeds: list[int]) -> list[float]:
    of_seed = dict(zip(line.seeds, line.per_seed, strict=True))
    return [line.favour(of_seed[seed]) for seed in seeds]


def _deciding(lines: Sequence[Line]) -> Line:
    return next(line for line in lines if line.deciding)


def _by_gold(lines: Sequence[Line]) -> Line:
    """The line by gold reward in the place of the one that decides, where there is one."""
    decides = _deciding(lines)
    return next((line for line in lines if line.by == GOLD and line.part == decides.part), decides)
