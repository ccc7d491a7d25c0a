"""Coefficients of products of generating functions by Cauchy's integral: the machinery of theory.exact.

In each group's variable t the coefficient of t^n is a mean over points of a circle, as many as keep the
neighbouring coefficients that a finite sum adds (aliases) below ALIAS. The radius is a little below the
saddle point n: aliases are then small and the wanted coefficient is still large, so rounding stays near
1e-14.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln, xlogy

ALIAS = 1e-14  # share of all neighbouring coefficients added to the wanted one
NEGLIGIBLE = 1e-21  # Poisson weights below this are left out
MAX_CELLS = 2_000_000_000  # contour points times score levels: minutes of work


@dataclass(frozen=True)
class Circle:
    """Points t = radius e^(i angle); `multiplicity` counts conjugates; `mass` is Poisson(radius) at n."""

    n: int
    radius: float
    roots: NDArray  # (points of the whole circle,) e^(i angle)
    multiplicity: NDArray  # (point,), adds up to the number of points on the whole circle
    mass: float

    def powers(self, exponents: NDArray | int) -> NDArray:
        """(exponent, point) e^(i angle exponent), integer exponents."""
        return self.roots[np.multiply.outer(exponents, np.arange(len(self.multiplicity))) % len(self.roots)]

    def poisson(self, pi: float) -> tuple[NDArray, NDArray]:
        """(votes,) numbers of votes that matter, and (votes, point) their Poisson weights with phases."""
        votes = np.arange(self.n + 1)
        size = np.exp(xlogy(votes, pi * self.radius) - pi * self.radius - gammaln(votes + 1))
        votes = votes[size > NEGLIGIBLE]
        return votes, size[votes, None] * self.powers(votes)

    @staticmethod
    @lru_cache(maxsize=1024)
    def around(n: int, halved: bool) -> "Circle":
        """The circle for the coefficient of t^n: as few points as keep all aliased coefficients below ALIAS.

        Only one of the group's circles may be halved: conjugating all angles conjugates the integrand.
        """
        radius = n * max(0.3, 1 - 1.2 / np.sqrt(n))
        totals = np.arange(8 * n + 60)
        log_mass = xlogy(totals, radius) - radius - gammaln(totals + 1)
        share = np.exp(np.minimum(log_mass - log_mass[n], 0.0))
        points = 2
        while share[n % points :: points].sum() - share[n] > ALIAS:
            points += 1
        index = np.arange(points // 2 + 1 if halved else points)
        multiplicity = 2.0 - (index == 0) - (2 * index == points) if halved else np.ones(points)
        roots = np.exp(2j * np.pi / points * np.arange(points))
        return Circle(n, radius, roots, multiplicity, float(np.exp(log_mass[n])))


@dataclass(frozen=True)
class Scores:
    """Score distribution of one class at every point of the contour, made for some scores at a time (the whole table is
    too big).

    first: (partial score, points of all but the last circle), and a last row of 0; last: (votes, points of the last
    circle). places: each score, an exact integer, rising -> its row in `rows` and `columns`, (score, pair), of `first` and of
    `last`: the products of these pairs add up to it. Pairs that are too many, and the last row of all, are 0.
    """

    first: NDArray
    last: NDArray
    places: dict[int, int]
    rows: NDArray
    columns: NDArray

    @staticmethod
    def build(weights: tuple[int, ...], pis: list[float], circles: list[Circle]) -> "Scores":
        tables = [circle.poisson(pi) for pi, circle in zip(pis, circles)]
        steps = _pairs(weights, tuple((int(votes[0]), int(votes[-1]) + 1) for votes, _ in tables))
        first, found = np.ones((1, 1), dtype=complex), list[Scores]()
        for (places, rows, columns), (_, last) in zip(steps, tables):
            if found:
                first = found[-1].at(list(found[-1].places)).reshape(len(found[-1].places), -1)
            padded = np.concatenate([first, np.zeros((1, first.shape[1]))])
            found.append(Scores(padded, last, places, rows, columns))
        return found[-1]

    def at(self, scores: list[int]) -> NDArray:
        """(score, points of all but the last circle, points of the last) f_s at these scores, 0 where impossible."""
        chosen = [self.places.get(score, -1) for score in scores]
        return self.first[self.rows[chosen]].transpose(0, 2, 1) @ self.last[self.columns[chosen]]


@lru_cache(maxsize=4)  # the right class and wrong ones have the same
def _pairs(
    weights: tuple[int, ...], votes: tuple[tuple[int, int], ...]
) -> list[tuple[dict[int, int], NDArray, NDArray]]:
    """(group,) places, rows and columns (`Scores`) of the sums over the groups so far; votes: (group,) range of numbers."""
    whole = np.int64 if sum(abs(w) * high for w, (_, high) in zip(weights, votes)) < 2**62 else object
    partial, steps = np.zeros(1, dtype=whole), []
    for weight, (low, high) in zip(weights, votes):
        sums = np.add.outer(partial, weight * np.arange(low, high, dtype=whole))
        order = np.argsort(sums, axis=None, kind="stable")
        rising = sums.reshape(-1)[order]
        starts = np.flatnonzero(np.append(True, rising[1:] != rising[:-1]))
        counts = np.diff(starts, append=len(order))
        level = np.repeat(np.arange(len(starts)), counts)
        number = np.arange(len(order)) - starts[level]
        rows = np.full((len(starts) + 1, counts.max()), len(partial))
        columns = np.zeros_like(rows)
        rows[level, number], columns[level, number] = np.divmod(order, high - low)
        partial = rising[starts]
        steps.append(({score: place for place, score in enumerate(partial.tolist())}, rows, columns))
    return steps


def coefficient(values: NDArray, circles: list[Circle], lost: list[float]) -> float:
    """prod_g n_g! [t^n] of the function with these values, times prod_g e^(lost_g t_g) for votes lost to other
    classes.

    values: (points of all but the last circle, points of the last), scaled by the e^(-pi radius) of the
    classes' votes.
    """
    factors = []
    for circle, away in zip(circles, lost):
        size = circle.multiplicity / circle.multiplicity.sum() / circle.mass
        turn = np.exp(away * circle.radius * (circle.powers(1) - 1)) if away else 1.0
        factors.append(size * turn * circle.powers(-circle.n))
    weighted = values.reshape([len(factor) for factor in factors])
    for factor in reversed(factors):
        weighted = weighted @ factor
    return min(max(float(weighted.real), 0.0), 1.0)


def power_mean(b: NDArray, f: NDArray, number: int) -> NDArray:
    """int_0^1 (b + u f)^m du = T_{m+1} / (m + 1), T_q = sum_{j<q} (b + f)^j b^(q-1-j), by doubling q.

    T_{2q} = T_q ((b + f)^q + b^q), T_{q+1} = (b + f) T_q + b^q: unlike ((b + f)^q - b^q) / f, safe for small
    f.
    """
    above = b + f
    top, bottom, total = above, b, np.ones(())  # T_1 = 1
    bits = bin(number + 1)[3:]
    for place, bit in enumerate(bits, start=1):
        both = top + bottom
        total = both if place == 1 else total * both
        if bit == "1":
            bottom = bottom * bottom
            total = above * total + bottom
        if place == len(bits):
            break
        top, bottom = (top * top, bottom * bottom) if bit == "0" else (top * top * above, bottom * b)
    return total / (number + 1)
