r"""Proposition 5.1: as printed, and as it follows from the paper's Definition F.2.

**Proposition 5.1.** r = n_o / n is the shared part; xi = accuracy of the average minus accuracy of the single
model, averaged over the tasks; xi_1 for Y_a = Y_b, xi_2 for disjoint Y_a, Y_b. From the vote weights of
theory.model,

    case 1, weights: 2(n - n_o) features of weight 1, n_o of weight 4:  n_eff / n = 2 (1 + r)^2 / (1 + 7r);
    case 1, outputs: the same with weights 1 and 2:                       n_eff / n = 2 / (1 + r);
    case 2, weights: n - n_o of weight 1, n_o of weight 2:                n_eff / n = (1 + r)^2 / (1 + 3r);
    case 2, outputs: a's scores are unchanged:                            n_eff / n = 1.

* The printed terms, F_p(sqrt2 (1 - p) n / sqrt(n + n_o)) and xi_2 = 0, are those of *output* averaging.
* The conclusion xi_1 >= xi_2, equal iff n_o = n, survives in the limit of many weak features (n -> infinity, r and
  (1 - p) sqrt(n) fixed), and at fixed p and r < 1 for n large enough (theory.exponents).
* With two classes and 0 < p < 1 it holds at no n >= 3 for every n_o, however: `reversed_difference`.

Proofs, and where averaging weights hurts, are in notebooks/theory, sections 4 and 5. The weight average's term of case 1 is already in
Lin et al., arXiv 2309.17230 (n_s + n_s* + 14 n_so); new here are case 2, the threshold, all ratios, and what follows.
"""

from dataclasses import dataclass
from fractions import Fraction
from math import comb
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from . import validation
from .closed_form import F_p, clt_accuracy
from .model import Tasks, average, disjoint_labels, same_labels, single_model
from .votes import Averaging


@dataclass(frozen=True)
class Terms:
    """xi_1 (identical label sets), xi_2 (disjoint), each an accuracy difference in [-1, 1], or an array of them."""

    xi_1: Any
    xi_2: Any

    @property
    def difference(self) -> Any:
        """xi_1 - xi_2: how much more averaging helps related tasks than unrelated ones."""
        return self.xi_1 - self.xi_2


@dataclass(frozen=True)
class Proposition51:
    """The terms of Proposition 5.1: as printed, and as they follow from the paper's Definition F.2."""

    printed: Terms
    weights: Terms
    outputs: Terms


def proposition_5_1(n: ArrayLike, n_o: ArrayLike, p: ArrayLike, n_classes: int) -> Proposition51:
    """Proposition 5.1 at alpha = 1/2 for n >= 1 features, 0 <= n_o <= n shared, K >= 2, p in [0, 1].

    n, n_o and p may be arrays; they broadcast, and the terms have their common shape.
    """
    if np.ndim(n) or np.ndim(n_o) or np.ndim(p):
        arrays = np.broadcast_arrays(*(np.asarray(each, dtype=object) for each in (n, n_o, p)))
        every = [
            _proposition(n_, shared, rate, n_classes)
            for n_, shared, rate in zip(*(array.reshape(-1) for array in arrays))
        ]

        def gathered(version: str) -> Terms:
            terms = [getattr(each, version) for each in every]
            values = ([term.xi_1 for term in terms], [term.xi_2 for term in terms])
            return Terms(*(np.array(value, dtype=float).reshape(arrays[0].shape) for value in values))

        return Proposition51(*(gathered(version) for version in ("printed", "weights", "outputs")))
    return _proposition(n, n_o, p, n_classes)


def _proposition(n: Any, n_o: Any, p: Any, n_classes: int) -> Proposition51:
    n = validation.integer("n", n, 1)
    n_o = validation.integer("n_o", n_o, 0, n)
    p = validation.probability("p", p)
    margins = (1 - p) * np.array([np.sqrt(2) * n / np.sqrt(n + n_o), np.sqrt(n)])
    averaged, single = np.asarray(F_p(margins, p, n_classes))
    return Proposition51(
        printed=Terms(float(averaged - single), 0.0),
        weights=_terms(n, n_o, p, n_classes, "weights"),
        outputs=_terms(n, n_o, p, n_classes, "outputs"),
    )


def _terms(n: int, n_o: int, p: float, n_classes: int, averaging: Averaging) -> Terms:
    """Both tasks gain alike, since they have n features each: xi is the gain on task a."""

    def xi(tasks: Tasks) -> float:
        averaged = average(tasks, averaging, 0.5, "a")
        alone = single_model(tasks, "a", "a")
        accuracies = (clt_accuracy(votes.counts, votes.weights, p, n_classes) for votes in (averaged, alone))
        with_average, without = map(float, accuracies)
        return with_average - without

    return Terms(xi(same_labels(n, n_o, n_classes)), xi(disjoint_labels(n, n_o, n_classes)))


def reversed_difference(n: int, p: float) -> tuple[int, float]:
    """(n_o, xi_1 - xi_2 of averaged weights there, exactly) for two classes: below 0 at every n >= 3 and 0 < p < 1.

    With a = 1 - p/2 the chance that a vote is right and b = p/2, votes of two classes are steps +1 and -1. Of an odd number of shared
    votes, which decide but where they add up to +1 or -1, xi_1 - xi_2 takes only what the own votes do there. n odd, n_o = n - 2,
    m = (n - 3) / 2: -1/2 C(n_o, m) (ab)^(m + 2) (a - b). n even, n_o = n - 3, m = (n - 4) / 2: -2 C(n_o, m) (ab)^(m + 3) (a - b).
    """
    n, p = validation.integer("n", n, 3, 10_000), validation.probability("p", p)
    own = 2 + (n % 2 == 0)
    n_o = n - own
    m, product = (n_o - 1) // 2, p / 2 * (1 - p / 2)
    # C(n_o, m) product^m without overflow: C(n_o, m) 4^-m is below 1
    chance = float(Fraction(comb(n_o, m), 4**m)) * (4 * product) ** m
    return n_o, -(0.5 if own == 2 else 2.0) * chance * product**own * (1 - p)
