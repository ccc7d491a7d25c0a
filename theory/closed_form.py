r"""Accuracies in the limit of many features: F_p and the effective number of features.

**The margins.** Let every feature vote for the right class with probability 1 - p + p/K and for each wrong
one with p/K (theory.model). The margin of the right class over wrong class j from one feature is
z_j = [right] - [j], with

    E z_j = 1 - p,   Var z_j = 1 - p + 2p/K - (1 - p)^2 = p (K + 2 - pK) / K,
    Cov(z_i, z_j) = 1 - p + p/K - (1 - p)^2 = p (K + 1 - pK) / K,

the paper's Sigma. With vote weights v_i the margins have mean (1 - p) sum v and covariance Sigma sum v^2, so

    accuracy -> F_p((1 - p) sum v / sqrt(sum v^2)) = F_p((1 - p) sqrt(n_eff)),   n_eff = (sum v)^2 / sum v^2,

where F_p(x) = P(all x + eta_j > 0), eta ~ N(0, Sigma). n_eff is Kish's effective sample size; F_p rises
strictly for 0 < p < 1, so **averaging helps exactly when it raises the effective number of features**.

**One integral.** Sigma = c 11^T + s^2 I with s^2 = p/K, c = s^2 r^2, r^2 = 1 + K (1 - p) >= 1. Given the
common part, the margins are independent: F_p(x) = E Phi(h + r Z)^(K-1) with h = x / s and Z standard normal,
i.e. with u = h + r Z

    F_p(x) = int phi((u - h) / r) / r  Phi(u)^(K-1) du.

Phi(u)^(K-1) is 0 below some a and 1 above some b (both known from quantiles, b - a < 19) and smooth on a
scale of 0.2 or more, the Gaussian has width r >= 1: Gauss-Legendre on [a, b], plus the tail Phi((h - b) / r),
is exact to rounding.
"""

from collections.abc import Sequence
from functools import cache, lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import erfcx, log_ndtr, logsumexp, ndtr, ndtri_exp

from . import validation

NODES = 96  # Gauss-Legendre nodes, enough for 1e-12 up to K = 10,000 (`python -m theory bench`)
BLOCK = 4096  # values of x at a time: bounds the memory of the (x, node) table
FAR = 1e150  # squares still fit a double; F_p is 0 or 1 there, and its logarithm beyond -1e308 or 0
LOG_DROP = 45.0  # e^-45 of the peak is below rounding


def F_p(x: ArrayLike, p: float, n_classes: int, n_labels: int | None = None) -> NDArray | float:
    """P(x + eta_j > 0 for all K - 1 wrong classes j), eta ~ N(0, Sigma): accuracy at margin x (paper, Def. of
    F_p).

    x: any shape, real or infinite. p in [0, 1], K = n_classes >= 2, n_labels = M >= K (default K;
    theory.model). Gives the shape of x, values in [0, 1], absolute error below 1e-12 for K up to 10,000. p =
    0 gives the step [x > 0]. Raises ValueError or TypeError for NaN or an argument out of range.
    """
    x, p, k, m = _arguments(x, p, n_classes, n_labels)
    if p == 0:
        return _as_given(np.where(x > 0, 1.0, 0.0))
    nodes, values, _, b = _transition(k)
    h, r = _standardised(x, p, m)
    tail = ndtr((h - b) / r)
    return _as_given(np.clip(tail + _smooth(h, r, nodes, values), 0.0, 1.0))


def dF_p_dx(x: ArrayLike, p: float, n_classes: int, n_labels: int | None = None) -> NDArray | float:
    """Derivative of F_p in x, of x's shape, >= 0; p must be in (0, 1] (F_0 is a step).

    Absolute error below 1e-12 sqrt(K/p): the derivative's own scale. By parts, the integral of
    phi((u - h)/r)/r times (K - 1) Phi(u)^(K-2) phi(u), divided by s = sqrt(p/K).
    """
    x, p, k, m = _arguments(x, p, n_classes, n_labels)
    if p == 0:
        raise ValueError("p must be in (0, 1] for the derivative of F_p, not 0: F_0 is a step.")
    nodes, _, slopes, _ = _transition(k)
    h, r = _standardised(x, p, m)
    return _as_given(_smooth(h, r, nodes, slopes) / np.sqrt(p / m))


def log_F_p(x: ArrayLike, p: float, n_classes: int, n_labels: int | None = None) -> NDArray | float:
    """Natural logarithm of F_p, also where F_p underflows: error below 1e-12 max(1, |log F_p|).

    The integrand's logarithm psi(u) = -(u - h)^2 / (2 r^2) + (K - 1) log Phi(u) is concave: its peak is found
    by Newton's method, the points where it has fallen by 45 bound the integral. Arguments as in F_p.
    """
    x, p, k, m = _arguments(x, p, n_classes, n_labels)
    if p == 0:
        return _as_given(np.where(x > 0, 0.0, -np.inf))
    h, r = _standardised(x, p, m)
    log_f = np.where(h > 0, 0.0, -np.inf)
    finite = np.abs(h) < FAR
    log_f[finite] = _log_integral(h[finite], r, k)
    return _as_given(np.minimum(log_f, 0.0))


def effective_features(counts: Sequence[int], weights: Sequence[validation.Number]) -> float:
    """Kish's n_eff = (sum v)^2 / sum v^2 of counts[g] features of vote weight weights[g]; 0 without."""
    return _root_effective(counts, weights) ** 2


def clt_accuracy(
    counts: Sequence[int], weights: Sequence[validation.Number], p: float, n_classes: int, n_labels: int | None = None
) -> float:
    """Accuracy in the limit of many features, F_p((1 - p) sum v / sqrt(sum v^2)), in [0, 1].

    counts: (group,) features, >= 0; weights: (group,) their vote weights. Without any vote it is 1/K, a
    guess.
    """
    p = validation.probability("p", p)
    k, m = validation.labels(n_classes, n_labels)
    root = _root_effective(counts, weights)
    if root == 0 and not any(count and weight for count, weight in zip(*validation.groups(counts, weights))):
        return 1 / k
    return float(F_p((1 - p) * root, p, k, m))


def _root_effective(counts: Sequence[int], weights: Sequence[validation.Number]) -> float:
    """sum v / sqrt(sum v^2): signed, and exact until the last rounding."""
    pairs = list(zip(*validation.groups(counts, weights)))
    total = sum(count * weight for count, weight in pairs)
    squares = sum(count * weight * weight for count, weight in pairs)
    if total == 0:
        return 0.0
    return float(np.sqrt(float(total * total / squares))) * (1 if total > 0 else -1)


def _arguments(x: ArrayLike, p: float, n_classes: int, n_labels: int | None) -> tuple[NDArray, float, int, int]:
    x = np.asarray(x, dtype=float)
    if np.isnan(x).any():
        raise ValueError("x must be real or infinite numbers, not NaN.")
    return x, validation.probability("p", p), *validation.labels(n_classes, n_labels)


def _as_given(values: NDArray) -> NDArray | float:
    return values if np.ndim(values) else float(values)


def _standardised(x: NDArray, p: float, m: int) -> tuple[NDArray, float]:
    """h = x / s and r = sqrt(c) / s, with s = sqrt(p/M) and c = p (M + 1 - pM) / M."""
    with np.errstate(over="ignore"):
        return np.clip(x / (np.sqrt(p) / np.sqrt(m)), -FAR, FAR), float(np.sqrt(1 + m * (1 - p)))


@cache
def _legendre() -> tuple[NDArray, NDArray]:
    return np.polynomial.legendre.leggauss(NODES)


@lru_cache(maxsize=64)
def _transition(k: int) -> tuple[NDArray, NDArray, NDArray, float]:
    """Nodes on [a, b], where Phi^(k-1) goes from 0 to 1, weighted values of it and of its slope, and b."""
    exponent = k - 1
    a = float(ndtri_exp(-LOG_DROP / exponent))
    b = -float(ndtri_exp(-LOG_DROP - np.log(exponent)))
    points, weights = _legendre()
    nodes = 0.5 * (a + b) + 0.5 * (b - a) * points
    weights = 0.5 * (b - a) * weights
    log_phi = -0.5 * nodes**2 - 0.5 * np.log(2 * np.pi)
    values = weights * np.exp(exponent * log_ndtr(nodes))
    slopes = weights * exponent * np.exp((exponent - 1) * log_ndtr(nodes) + log_phi)
    return nodes, values, slopes, b


def _smooth(h: NDArray, r: float, nodes: NDArray, values: NDArray) -> NDArray:
    """sum_j phi((u_j - h) / r) / r values_j for each h."""
    flat = h.reshape(-1)
    out = np.empty_like(flat)
    for start in range(0, flat.size, BLOCK):
        z = (nodes - flat[start : start + BLOCK, None]) / r
        out[start : start + BLOCK] = np.exp(-0.5 * z * z) @ values
    return out.reshape(h.shape) / (r * np.sqrt(2 * np.pi))


def _log_integral(h: NDArray, r: float, k: int) -> NDArray:
    """(h,) log of int phi((u - h)/r)/r Phi(u)^(k-1) du for finite h."""
    exponent = k - 1
    b = _transition(k)[3]

    def psi(u):
        return -0.5 * ((u - h) / r) ** 2 + exponent * log_ndtr(u)

    peak = _peak(h, r, exponent)
    low = _fallen(psi, peak, -1.0)
    high = np.maximum(np.minimum(_fallen(psi, peak, 1.0), b), low)
    middle = np.clip(peak, low, high)
    points, weights = _legendre()
    pieces = [log_ndtr((h - np.maximum(b, low)) / r)]
    for left, right in ((low, middle), (middle, high)):
        half = 0.5 * (right - left)
        values = psi((0.5 * (left + right)) + half * points[:, None])
        with np.errstate(divide="ignore"):  # an empty piece is log 0
            pieces.append(logsumexp(values, b=weights[:, None], axis=0) + np.log(half / (r * np.sqrt(2 * np.pi))))
    return logsumexp(pieces, axis=0)


def _inverse_mills(u: NDArray) -> NDArray:
    """phi(u) / Phi(u), for any u; 0 where erfcx(-u / sqrt 2) overflows."""
    return np.sqrt(2 / np.pi) / erfcx(-u / np.sqrt(2))


def _peak(h: NDArray, r: float, exponent: int) -> NDArray:
    """The zero of psi'(u) = (h - u) / r^2 + exponent lambda(u), by Newton's method.

    psi' is convex and falls, so Newton's steps from the left of the zero rise to it and never overshoot;
    u = min(h, 0) lies left of it, since there psi' > 0.
    """
    u = np.minimum(h, 0.0)
    for _ in range(100):
        mills = _inverse_mills(u)
        slope = (h - u) / r**2 + exponent * mills
        mills_falls = np.where(u < -1e4, 1.0, mills * (u + mills))  # = 1 - 1/u^2 + ..: rounding would drown it
        step = slope / (1 / r**2 + exponent * mills_falls)
        u = u + step
        if np.all(np.abs(step) <= 1e-9 * (1 + np.abs(u))):
            break
    return u


def _fallen(psi, peak: NDArray, sign: float) -> NDArray:
    """A point left (sign -1) or right (+1) of the peak where the concave psi has fallen by 45 or more."""
    goal = psi(peak) - LOG_DROP
    near, far = np.zeros_like(peak), np.full_like(peak, 1e-3)
    while np.any(short := psi(peak + sign * far) > goal):
        near, far = np.where(short, far, near), np.where(short, 2 * far, far)
    for _ in range(6):
        middle = 0.5 * (near + far)
        short = psi(peak + sign * middle) > goal
        near, far = np.where(short, middle, near), np.where(short, far, middle)
    return peak + sign * far
