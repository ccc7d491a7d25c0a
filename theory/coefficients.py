r"""Exact accuracies where nearly every set of votes is a score of its own: coefficient by coefficient (theory.exact).

At a generic ratio the contour of theory.exact costs (points of the contour) x (scores), and both grow with the votes of
three groups. Of each score only one coefficient is wanted, though. With B the generating function of a wrong class's
votes below score s, f that of the votes at s, and r t^c one set of votes of the right class at s,

    [t^n] r t^c int_0^1 (B + u f)^m du = r sum_i C(m, i) / (i + 1) [t^(n - c)] f^i B^(m - i),

and [t^R] B^(a + b) is an inner product of the coefficients of B^a with those of B^b in reverse. So the powers of B up to
half of m are kept as real arrays, one axis a group, and follow the scores: when votes q t^c pass below s,

    B^j gains sum_{i=1}^j C(j, i) q^i t^(i c) B^(j - i),

a shift and a sum. All terms are positive, so nothing cancels. Votes lost to classes that do not compete are one more
factor e^(lost t). Coefficients are scaled as Poisson probabilities of mean n_g a group, so that nothing overflows.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby
from math import ceil, comb, prod

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln, xlogy

LEFT_OUT = 1e-15  # of the accuracy: what is too improbable to be looked at, all together
MAX_WORK = 3e11  # see `work`: minutes

Term = tuple[int, tuple[int, ...], float]  # score, votes of each group, coefficient


def work(counts: Sequence[int], number: int) -> float:
    """About how many sums and products `accuracy_by_coefficients` takes for `number` wrong classes."""
    return float(prod(count + 1.0 for count in counts)) ** 2 * ceil(number / 2)


def accuracy_by_coefficients(
    counts: Sequence[int],
    right: tuple[int, ...],
    wrong: tuple[int, ...],
    pis: tuple[list[float], list[float]],
    lost: list[float],
    number: int,
) -> float:
    """P(right first), ties split evenly, for `number` wrong classes of one kind.

    counts: (group,) features; right, wrong: (group,) integer vote weights; pis: (group,) chances of a vote for the right
    class and for one wrong class; lost: (group,) chances of a vote for none of them. Error below 1e-12.
    """
    mass = float(np.prod([np.exp(xlogy(n, n) - n - gammaln(n + 1)) for n in counts]))
    least = LEFT_OUT * mass / prod(count + 1 for count in counts) / (number + 1)
    wrong_terms = _terms(counts, wrong, pis[1], LEFT_OUT * mass / number)
    powers = Powers(counts, [max(v[g] for _, v, _ in wrong_terms) for g in range(len(counts))], lost, number)
    below, total = 0, 0.0
    for score, terms in groupby(_terms(counts, right, pis[0], LEFT_OUT * mass), key=lambda term: term[0]):
        while below < len(wrong_terms) and wrong_terms[below][0] < score:
            powers.add(*wrong_terms[below][1:])
            below += 1
        level = below
        while level < len(wrong_terms) and wrong_terms[level][0] == score:
            level += 1
        here = {votes: chance for _, votes, chance in terms}
        total += _even_split(powers, counts, here, wrong_terms[below:level], number, least)
    return min(total / mass, 1.0)


def _terms(counts: Sequence[int], weights: tuple[int, ...], pis: list[float], left_out: float) -> list[Term]:
    """The sets of votes of one class but for the least probable, which add up to `left_out` at most; scores (exact
    integers of any size) rising.
    """
    sizes = [_poisson(count, pi) for count, pi in zip(counts, pis)]
    chances = sizes[0]
    for size in sizes[1:]:
        chances = np.multiply.outer(chances, size)
    rising = np.sort(chances, axis=None)
    least = rising[np.searchsorted(np.cumsum(rising), left_out, side="right")]
    kept = np.argwhere(chances >= least).tolist()
    found = ((sum(w * v for w, v in zip(weights, votes)), tuple(votes), float(chances[tuple(votes)])) for votes in kept)
    return sorted(found, key=lambda term: term[0])


def _poisson(count: int, pi: float) -> NDArray:
    """(votes,) Poisson probabilities of 0 .. count votes, mean pi count."""
    votes = np.arange(count + 1)
    return np.exp(xlogy(votes, pi * count) - pi * count - gammaln(votes + 1))


def _even_split(
    powers: "Powers",
    counts: Sequence[int],
    terms: dict[tuple[int, ...], float],
    level: list[Term],
    number: int,
    least: float,
) -> float:
    """sum of [t^n] terms int_0^1 (B + u f)^number du, f the votes of a wrong class at the same score."""
    total = 0.0
    for ties in range(number + 1):
        share = comb(number, ties) / (ties + 1)
        for votes, chance in terms.items():
            if share * chance * powers.total ** (number - ties) > least:
                left = [count - vote for count, vote in zip(counts, votes)]
                total += share * chance * powers.coefficient(number - ties, left)
        terms = _times(terms, level, counts)
        if not terms:
            break
    return total


def _times(
    terms: dict[tuple[int, ...], float], level: list[Term], counts: Sequence[int]
) -> dict[tuple[int, ...], float]:
    """The product with f, without powers beyond n."""
    found: dict[tuple[int, ...], float] = {}
    for votes, chance in terms.items():
        for _, more, factor in level:
            both = tuple(v + w for v, w in zip(votes, more))
            if all(v <= count for v, count in zip(both, counts)):
                found[both] = found.get(both, 0.0) + chance * factor
    return found


class Powers:
    """B^0 .. B^J, J = number / 2 rounded up, as arrays by votes of each group; with and without the lost votes' factor."""

    def __init__(self, counts: Sequence[int], most: list[int], lost: list[float], number: int) -> None:
        """counts: (group,) n; most: (group,) votes of one set at most; lost as in `accuracy_by_coefficients`."""
        self.total, self._half = 0.0, ceil(number / 2)
        self._plain = self._family(counts, most, np.ones((1,) * len(counts)))
        self._lossy = self._plain
        if any(lost):
            away = np.ones(())
            for count, share in zip(counts, lost):
                away = np.multiply.outer(away, _poisson(count, share))
            self._lossy = self._family(counts, most, away)

    def _family(self, counts: Sequence[int], most: list[int], first: NDArray) -> list[NDArray]:
        shapes = [
            tuple(min(n, j * more + size - 1) + 1 for n, more, size in zip(counts, most, first.shape))
            for j in range(1, self._half + 1)
        ]
        return [first, *(np.zeros(shape) for shape in shapes)]

    def add(self, votes: tuple[int, ...], chance: float) -> None:
        """B gains chance t^votes."""
        self.total += chance
        for family in self._families():
            for power in range(self._half, 0, -1):  # the lower ones are still the old ones
                for times in range(1, power + 1):
                    place = tuple(slice(times * vote, None) for vote in votes)
                    factor = comb(power, times) * chance**times
                    target, source = family[power][place], family[power - times]
                    if factor == 0 or target.size == 0:
                        break
                    common = tuple(slice(0, min(pair)) for pair in zip(target.shape, source.shape))
                    target[common] += factor * source[common]

    def _families(self) -> Iterator[list[NDArray]]:
        yield self._plain
        if self._lossy is not self._plain:
            yield self._lossy

    def coefficient(self, power: int, votes: list[int]) -> float:
        """[t^votes] of B^power and the lost votes' factor, power <= number."""
        first, second = self._plain[min(power, self._half)], self._lossy[power - min(power, self._half)]
        low = [max(0, vote - size + 1) for vote, size in zip(votes, second.shape)]
        high = [min(vote, size - 1) for vote, size in zip(votes, first.shape)]
        if any(a > b for a, b in zip(low, high)):
            return 0.0
        forth = first[tuple(slice(a, b + 1) for a, b in zip(low, high))]
        back = second[tuple(slice(v - b, v - a + 1) for v, a, b in zip(votes, low, high))]
        axes = list(range(len(votes)))
        return float(np.einsum(forth, axes, back[(slice(None, None, -1),) * len(votes)], axes, []))
