r"""Accuracies in the limit of many features: F_p and the effective number of features.

**The margins.** Let every feature vote for the right class with probability 1 - p + p/K and for each wrong
one with p/K (theory.model). The margin of the right class over wrong class j from one feature is
z_j = [right] - [j], with

    E z_j = 1 - p,   Var z_j = 1 - p + 2p/K - (1 - p)^2 = p (K + 2 - pK) / K,
    Cov(z_i, z_j) = 1 - p + p/K - (1 - p)^2 = p (K + 1 - pK) / K,

the paper's Sigma. With vote weights v_i the margins have mean (1 - p) sum v and covariance Sigma sum v^2, so

    accuracy -> F_p((1 - p) sum v / sqrt(sum v^2)) = F_p((1 - p) sqrt(n_eff)),   n_eff = (sum v)^2 / sum v^2,

where F_p(x) = P(all x + eta_j > 0), eta ~ N(0, Sigma). n_eff is Kish's effective sample size; F_p rises
strictly for 0 < p < 1, so *in this limit* (n -> infinity while (1 - p) sqrt(n) stays where it is) **averaging helps exactly when it raises
the effective number of features**. At a fixed p all accuracies go to 1, and error exponents decide (theory.exponents).

**One integral.** Sigma = c 11^T + s^2 I with s^2 = p/K, c = s^2 r^2, r^2 = 1 + K (1 - p) >= 1. Given the
common part, the margins are independent: F_p(x) = E Phi(h + r Z)^(K-1) with h = x / s and Z standard normal,
i.e. with u = h + r Z

    F_p(x) = int phi((u - h) / r) / r  Phi(u)^(K-1) du.

Phi(u)^(K-1) is 0 below some a and 1 above some b (both known from quantiles, b - a < 19) and smooth on a
scale of 0.2 or more, the Gaussian has width r >= 1: Gauss-Legendre on [a, b], plus the tail Phi((h - b) / r),
is exact to rounding.
"""

from collections.abc import Sequence
from functools import reduce

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr

from . import validation
from .integral import FAR, log_orthant, orthant, smooth, transition
from .votes import Votes


def F_p(x: ArrayLike, p: ArrayLike, n_classes: int, n_labels: int | None = None) -> NDArray | float:
    """P(x + eta_j > 0 for all K - 1 wrong classes j), eta ~ N(0, Sigma): accuracy at margin x (paper, Def. of
    F_p).

    x: any shape, real or infinite; p in [0, 1], one or an array that broadcasts against x; K = n_classes >= 2,
    n_labels = M >= K (default K; theory.model). Gives their common shape, values in [0, 1], absolute error below
    1e-12 for K up to 10,000. p = 0 gives the step [x > 0]. Raises ValueError or TypeError for NaN or an argument
    out of range.
    """
    x, p, k, m = _arguments(x, p, n_classes, n_labels)
    return _as_given(orthant(*_standardised(x, p, m), x > 0, k))


def margin_accuracy(mean: ArrayLike, common: ArrayLike, own: ArrayLike, n_classes: int) -> NDArray | float:
    """P(all K - 1 margins are positive) for margins mean + sqrt(common) z + sqrt(own) z_j, all z standard normal.

    The integral behind F_p for any exchangeable covariance, common 11^T + own I: features of several p, and noise.
    All broadcast; common >= own >= 0 (as every vote and every noise gives). own = 0 gives Phi(mean / sqrt(common)), the step [mean > 0]
    where that is 0, too.
    """
    mean, common, own = np.broadcast_arrays(*(np.asarray(each, dtype=float) for each in (mean, common, own)))
    if np.isnan(mean).any() or not np.all((own >= 0) & (common >= own * (1 - 1e-12)) & np.isfinite(common)):
        raise ValueError("common and own must be finite with common >= own >= 0, and mean a number.")
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        h = np.clip(np.where(own > 0, mean / np.sqrt(own), 0.0), -FAR, FAR)
        r = np.where(own > 0, np.sqrt(common / own), 1.0)
        alike = np.where(common > 0, ndtr(mean / np.sqrt(common)), mean > 0)  # all margins are one
    return _as_given(orthant(h, r, np.where(own > 0, np.nan, alike), validation.integer("n_classes", n_classes, 2)))


def dF_p_dx(x: ArrayLike, p: ArrayLike, n_classes: int, n_labels: int | None = None) -> NDArray | float:
    """Derivative of F_p in x, of x's and p's common shape, >= 0; p must be in (0, 1] (F_0 is a step).

    Absolute error below 1e-12 sqrt(K/p): the derivative's own scale. By parts, the integral of
    phi((u - h)/r)/r times (K - 1) Phi(u)^(K-2) phi(u), divided by s = sqrt(p/K).
    """
    x, p, k, m = _arguments(x, p, n_classes, n_labels)
    if np.any(p == 0):
        raise ValueError("p must be in (0, 1] for the derivative of F_p, not 0: F_0 is a step.")
    nodes, _, slopes, _ = transition(k)
    h, r = _standardised(x, p, m)
    return _as_given(smooth(h, r, nodes, slopes) / np.sqrt(p / m))


def log_F_p(x: ArrayLike, p: ArrayLike, n_classes: int, n_labels: int | None = None) -> NDArray | float:
    """Natural logarithm of F_p, also where F_p underflows: error below 1e-12 max(1, |log F_p|).

    Direct where F_p is large; in the tail the integrand is scaled by its peak, and points of nearly the same peak
    share their nodes (`_log_tail`). Arguments as in F_p; each different p is a pass of its own.
    """
    x, p, k, m = _arguments(x, p, n_classes, n_labels)
    h, r = _standardised(x, p, m)
    log_f = np.where(x > 0, 0.0, -np.inf)
    finite = (np.abs(h) < FAR) & np.isfinite(r)
    for spread in np.unique(r[finite]):
        chosen = finite & (r == spread)
        log_f[chosen] = log_orthant(h[chosen], float(spread), k)
    return _as_given(np.minimum(log_f, 0.0))


def effective_features(counts: Sequence[int], weights: Sequence) -> NDArray | float:
    """Kish's n_eff = (sum v)^2 / sum v^2 of counts[g] features of vote weight weights[g]; 0 without.

    weights[g] may be arrays (of many ratios): then n_eff has their common shape.
    """
    return _root_effective(counts, weights) ** 2


def clt_accuracy(
    counts: Sequence[int], weights: Sequence, p: ArrayLike, n_classes: int, n_labels: int | None = None
) -> NDArray | float:
    """Accuracy in the limit of many features, F_p((1 - p) sum v / sqrt(sum v^2)), in [0, 1].

    counts: (group,) features, >= 0; weights: (group,) their vote weights, numbers or arrays; p: a number or an
    array. Arrays broadcast. Without any vote, and where all votes are right and cancel, it is 1/K, a guess.
    """
    p = validation.probabilities("p", p)
    k, m = validation.labels(n_classes, n_labels)
    root = np.asarray(_root_effective(counts, weights))
    silent = reduce(np.logical_and, ((np.asarray(w) == 0) | (c == 0) for c, w in zip(counts, weights)), root == 0)
    return _as_given(np.where(silent | ((root == 0) & (p == 0)), 1 / k, F_p((1 - p) * root, p, k, m)))


def clt_task_accuracy(
    votes: Votes, p: ArrayLike | None = None, n_labels: int | None = None, sigma: float = 0.0
) -> NDArray | float:
    """Accuracy of `theory.model.Votes` in the limit of many features, for identical or disjoint label sets.

    p: in [0, 1], of all features (may be an array), unless the votes have their own. sigma >= 0: noise of each x_i;
    it adds sigma^2 N (I + 11^T) to the margins' covariance, with N = votes.noise. ValueError for partly overlapping
    label sets, for other classes that compete, for classes of unequal noise, and for two p or none.
    """
    k, m = validation.labels(votes.n_classes, n_labels)
    sigma = float(validation.real("sigma", sigma, 0, np.finfo(float).max))
    rates = votes_p(votes, p)
    if sigma == 0 and votes.p is None:
        return clt_accuracy(votes.counts, votes.weights, rates, k, m)
    if votes.n_common and votes.n_own and np.any(np.asarray(votes.noise[0]) != np.asarray(votes.noise[1])):
        raise ValueError(f"noise must be the same for all classes here, not {votes.noise[0]!r} and {votes.noise[1]!r}.")
    variance = sigma**2 * np.asarray(votes.noise[0] if votes.n_own == 0 else votes.noise[1], dtype=float)
    mean, common, own = np.zeros(()), variance, variance
    for g, (count, weight) in enumerate(zip(votes.counts, votes.weights)):
        rate, v = (rates if votes.p is None else rates[g]), np.asarray(weight, dtype=float)
        mean = mean + count * v * (1 - rate)
        common = common + count * v**2 * rate * (m + 1 - rate * m) / m
        own = own + count * v**2 * rate / m
    accuracy = margin_accuracy(mean, common, own, k)
    return _as_given(np.where((np.asarray(mean) == 0) & (np.asarray(own) == 0), 1 / k, accuracy))


def votes_p(votes: Votes, p: ArrayLike | None) -> NDArray:
    """The failure probabilities that a question to `votes` is about: its own, (group,), or the p that is given."""
    if (p is None) == (votes.p is None):
        raise ValueError("p must be given with the question or with the votes, not both and not neither.")
    return validation.probabilities("p", p if votes.p is None else list(votes.p))


def _root_effective(counts: Sequence[int], weights: Sequence) -> NDArray | float:
    """sum v / sqrt(sum v^2): signed, and for plain weights exact until the last rounding."""
    if validation.many(weights):
        whole = [validation.integer("counts", count, 0) for count in counts]
        many = [np.asarray(v, dtype=float) for v in weights]
        sums = np.asarray(sum(count * v for count, v in zip(whole, many, strict=True)))
        powers = np.asarray(sum(count * v**2 for count, v in zip(whole, many, strict=True)))
        if not np.all(np.isfinite(powers)):
            raise ValueError("weights must be finite real numbers.")
        return np.where(powers == 0, 0.0, sums / np.sqrt(np.where(powers == 0, 1.0, powers)))
    pairs = list(zip(*validation.groups(counts, weights)))
    total = sum(count * weight for count, weight in pairs)
    squares = sum(count * weight * weight for count, weight in pairs)
    if total == 0:
        return 0.0
    return float(np.sqrt(float(total * total / squares))) * (1 if total > 0 else -1)


def _arguments(x: ArrayLike, p: ArrayLike, n_classes: int, n_labels: int | None) -> tuple[NDArray, NDArray, int, int]:
    x = np.asarray(x, dtype=float)
    if np.isnan(x).any():
        raise ValueError("x must be real or infinite numbers, not NaN.")
    x, p = np.broadcast_arrays(x, validation.probabilities("p", p))
    return x, p, *validation.labels(n_classes, n_labels)


def _as_given(values: NDArray) -> NDArray | float:
    return values if np.ndim(values) else float(values)


def _standardised(x: NDArray, p: NDArray, m: int) -> tuple[NDArray, NDArray]:
    """h = x / s and r = sqrt(c) / s, with s = sqrt(p/M) and c = p (M + 1 - pM) / M; r is infinite at p = 0."""
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        h = np.where(p > 0, np.clip(x / (np.sqrt(p) / np.sqrt(m)), -FAR, FAR), 0.0)
        return h, np.where(p > 0, np.sqrt(1 + m * (1 - p)), np.inf)
