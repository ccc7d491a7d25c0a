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
    angles: NDArray  # (point,)
    multiplicity: NDArray  # (point,), adds up to the number of points on the whole circle
    mass: float

    def poisson(self, pi: float) -> tuple[NDArray, NDArray]:
        """(votes,) numbers of votes that matter, and (point, votes) their Poisson weights with phases."""
        votes = np.arange(self.n + 1)
        size = np.exp(xlogy(votes, pi * self.radius) - pi * self.radius - gammaln(votes + 1))
        votes = votes[size > NEGLIGIBLE]
        return votes, size[votes] * np.exp(1j * np.outer(self.angles, votes))

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
        return Circle(n, radius, 2 * np.pi * index / points, multiplicity, float(np.exp(log_mass[n])))


@dataclass(frozen=True)
class Scores:
    """Score distribution of one class at every point of the contour, made score by score (the whole table is
    too big).

    first: (points of all but the last circle, partial score); last: (points of the last circle, votes);
    terms: for each score, in rising order, the columns of `first` and of `last` whose products add up to it.
    """

    first: NDArray
    last: NDArray
    terms: dict[int, tuple[list[int], list[int]]]

    @staticmethod
    def build(weights: tuple[int, ...], pis: list[float], circles: list[Circle]) -> "Scores":
        first, partial = np.ones((1, 1), dtype=complex), [0]
        for weight, pi, circle in zip(weights[:-1], pis[:-1], circles[:-1]):
            votes, table = circle.poisson(pi)
            terms = _score_terms(partial, weight, votes)
            columns = [np.einsum("xj,yj->xy", first[:, i], table[:, j]).reshape(-1) for i, j in terms.values()]
            first, partial = np.stack(columns, axis=1), list(terms)
        votes, table = circles[-1].poisson(pis[-1])
        return Scores(first, table, _score_terms(partial, weights[-1], votes))

    def at(self, score: int) -> NDArray | None:
        """(points of all but the last circle, points of the last) f_s at this score, None if impossible."""
        if score not in self.terms:
            return None
        columns, votes = self.terms[score]
        return self.first[:, columns] @ self.last[:, votes].T


def _score_terms(partial: list[int], weight: int, votes: NDArray) -> dict[int, tuple[list[int], list[int]]]:
    """partial[i] + weight * votes[j] -> all such (i, j), scores rising, as Python integers of any size."""
    terms: dict[int, tuple[list[int], list[int]]] = {}
    for j, number in enumerate(votes.tolist()):
        for i, score in enumerate(partial):
            rows, columns = terms.setdefault(score + weight * number, ([], []))
            rows.append(i)
            columns.append(j)
    return dict(sorted(terms.items()))


def coefficient(values: NDArray, circles: list[Circle], lost: list[float]) -> float:
    """prod_g n_g! [t^n] of the function with these values, times prod_g e^(lost_g t_g) for votes lost to other
    classes.

    values: (points of all but the last circle, points of the last), scaled by the e^(-pi radius) of the
    classes' votes.
    """
    factors = []
    for circle, away in zip(circles, lost):
        size = circle.multiplicity / circle.multiplicity.sum() / circle.mass
        turn = away * circle.radius * np.expm1(1j * circle.angles) - 1j * circle.n * circle.angles
        factors.append(size * np.exp(turn))
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
