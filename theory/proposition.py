r"""Proposition 5.1: as printed, and as it follows from the paper's Definition F.2.

**Proposition 5.1.** r = n_o / n is the shared part; xi = accuracy of the average minus accuracy of the single
model, averaged over the tasks; xi_1 for Y_a = Y_b, xi_2 for disjoint Y_a, Y_b. From the vote weights of
theory.model,

    case 1, weights: 2(n - n_o) features of weight 1, n_o of weight 4:  n_eff / n = 2 (1 + r)^2 / (1 + 7r);
    case 1, outputs: the same with weights 1 and 2:                       n_eff / n = 2 / (1 + r);
    case 2, weights: n - n_o of weight 1, n_o of weight 2:                n_eff / n = (1 + r)^2 / (1 + 3r);
    case 2, outputs: a's scores are unchanged:                            n_eff / n = 1.

* The printed terms, F_p(sqrt2 (1 - p) n / sqrt(n + n_o)) and xi_2 = 0, are those of *output* averaging.
* Where averaging weights hurts, case 1: 2 (1 + r)^2 - (1 + 7r) = (2r - 1)(r - 1), negative exactly
  for 1/2 < r < 1. The worst is at r = 5/7, where n_eff = 48/49 n; the best at r = 0, n_eff = 2n.
* Case 2: (1 + r)^2 - (1 + 3r) = r (r - 1) <= 0: xi_2 <= 0, with 0 only at r = 0 and 1; the worst is r = 1/3,
  8/9 n.
* The conclusion survives. Weights: 2 / (1 + 7r) >= 1 / (1 + 3r) iff 2 + 6r >= 1 + 7r iff r <= 1, so
  xi_1 - xi_2 >= 0, for 0 < p < 1 with equality iff n_o = n. Outputs: 2 / (1 + r) >= 1 iff r <= 1, likewise.
  (At p = 0 every accuracy is 1, at p = 1 none depends on n: both differences are 0 for all n_o.)
* The weight average's term of case 1 is already in Lin et al., arXiv 2309.17230 (n_s + n_s* + 14 n_so); new here are
  case 2, the threshold, all ratios, and what follows.
* The conclusion is one about many features: at n = 4, n_o = 1, p = .7, K = 5, xi_1 - xi_2 = -.0317 exactly.
* At finite n the votes are coarse, and averaging weights hurts from a little below r = 1/2 on (theory.exact).
"""

from dataclasses import dataclass
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
