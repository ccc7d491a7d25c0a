r"""Error exponents: which of two models wins in the end, as features become many at a fixed p.

The limit of theory.closed_form lets features become many and weak together: n -> infinity while (1 - p) sqrt(n) stays where it is. At
a fixed 0 < p < 1 every accuracy goes to 1, and errors fall exponentially. A model errs when some wrong class reaches the right one,
and with L(t) = log E exp(-t z) of one feature's margin z (1 with probability 1 - p + p/K, -1 with p/K, else 0), Chernoff and Cramer have

    lim -log(error) / n = max_t -sum_g (c_g / n) L(v_g t)

for groups of c_g features of vote weight v_g: the K - 1 wrong classes are alike and only change the factor before it. L is strictly
convex with L(0) = 0, so 2 L(s/2) < L(s) for s != 0. With r = n_o / n fixed, 0 < r < 1, at alpha = 1/2, each line at every s > 0:

    case 1, outputs, against one model:  2 (1 - r) L(s/2) + r L(s) < L(s)                       it always helps;
    case 2, weights, against one model:  (1 - r) L(s) + r L(2s) > min L                         it always hurts;
    case 1 against case 2, weights:      2 (1 - r) L(s/2) + r L(2s) < (1 - r) L(s) + r L(2s)    related tasks gain more.

The last one is Proposition 5.1's conclusion at fixed p and r < 1, for n large enough. Only where averaged weights begin to hurt in case
1 is in general another place than the limit's r = 1/2: `harm_threshold`, which goes to 1/2 as p goes to 1.
"""

from collections.abc import Sequence

import numpy as np
from scipy.optimize import brentq, minimize_scalar

from . import validation


def error_exponent(shares: Sequence[float], weights: Sequence[float], p: float, n_classes: int) -> float:
    """lim -log(error) / n in nats, >= 0, of shares[g] n features of vote weight weights[g] >= 0; not all of them 0.

    shares: >= 0. p: in (0, 1). n_classes: K >= 2. ValueError or TypeError for anything else.
    """
    k, p = validation.integer("n_classes", n_classes, 2), validation.inside("p", p)
    groups = [
        (float(validation.real("shares", share, 0, 1e9)), float(validation.real("weights", weight, 0, 1e9)))
        for share, weight in zip(shares, weights, strict=True)
    ]
    heaviest = max((weight for share, weight in groups if share), default=0.0)
    if not heaviest:
        raise ValueError("weights must not all be 0: without votes there is no exponent.")

    def exponent(t: float) -> float:
        return sum(share * _log_moment(weight * t, p, k) for share, weight in groups)

    # L is lowest here, and the sum between here over the largest and over the smallest weight
    furthest = 0.5 * np.log1p(k * (1 - p) / p)
    lightest = min(weight for share, weight in groups if share and weight)
    bounds = (0.0, furthest / lightest)
    found = minimize_scalar(exponent, bounds=bounds, method="bounded", options={"xatol": 1e-10 * bounds[1]})
    return max(-float(found.fun), 0.0)


def harm_threshold(p: float, n_classes: int) -> float:
    """The shared part r in (0, 1) from which on averaging the weights of two models of one task half and half hurts in the end.

    p in (0, 1), K >= 2: below r and for n large enough its accuracy is above one model's, beyond it (and below 1) under it.
    """
    alone = error_exponent([1], [1], p, n_classes)

    def gain(r: float) -> float:
        return error_exponent([2 * (1 - r), r], [1, 4], p, n_classes) - alone

    return float(brentq(gain, 0.0, 1 - 1e-3, xtol=1e-10))


def _log_moment(t: float, p: float, k: int) -> float:
    """L(t) = log E exp(-t z)."""
    right, wrong = 1 - p + p / k, p / k
    return float(np.log(right * np.exp(-t) + wrong * np.exp(t) + (1 - right - wrong)))
