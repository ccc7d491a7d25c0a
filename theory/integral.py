"""The one-dimensional integral E Phi(h + r Z)^(k-1) behind F_p, and its logarithm where it is small (theory.closed_form)."""

from functools import cache, lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import erfcx, log_ndtr, ndtr, ndtri_exp

NODES = 96  # Gauss-Legendre nodes, enough for 1e-12 up to K = 10,000 (`python -m theory bench`)
BLOCK = 256  # values of x at a time: their (x, node) table fits the cache
FAR = 1e150  # squares still fit a double; F_p is 0 or 1 there, and its logarithm beyond -1e308 or 0
LOG_DROP = 45.0  # e^-45 of the peak is below rounding
DIRECT = 1e-2  # from here on log(F_p) is as exact as log_F_p promises
SHARED = 4.0  # standard deviations r that h may differ by among points with the same nodes
TAIL_NODES = 64  # on either side of the peak


def orthant(h: NDArray, r: NDArray, step: NDArray, k: int) -> NDArray:
    """E Phi(h + r Z)^(k-1), and `step` where r is infinite or step has been decided (not NaN, r = 1)."""
    nodes, values, _, b = transition(k)
    decided = ~np.isfinite(r) if step.dtype == bool else ~np.isnan(step)
    scale = np.where(decided, 1.0, r)
    area = np.clip(ndtr((h - b) / scale) + smooth(h, scale, nodes, values), 0.0, 1.0)
    return np.where(decided, step, area)


def log_orthant(h: NDArray, r: float, k: int) -> NDArray:
    """(h,) log E Phi(h + r Z)^(k-1) for finite h: direct where it is large, by `_log_tail` where it is small."""
    grid = np.linspace(h.min(), h.max(), 64)
    large = orthant(grid, np.full(64, r), grid > 0, k) > DIRECT
    direct = h >= (grid[np.argmax(large)] if large.any() else np.inf)
    out = np.empty_like(h)
    out[direct] = np.log(orthant(h[direct], np.full(direct.sum(), r), h[direct] > 0, k))
    tail = np.flatnonzero(~direct)
    bins, first = np.unique(np.floor(h[tail] / (SHARED * r)), return_inverse=True)
    windows = _windows(np.concatenate([bins, bins + 1]) * SHARED * r, r, k - 1)
    for each in range(len(bins)):
        chosen = tail[first == each]
        low, _, high = (edge[[each, each + len(bins)]] for edge in windows)
        out[chosen] = _log_tail(h[chosen], r, k, (low[0], windows[1][each], high[1]))
    return out


def _log_tail(h: NDArray, r: float, k: int, window: tuple[float, float, float]) -> NDArray:
    """(h,) the same for h within `SHARED` r of each other, by nodes that all of them share: window = (left of the
    lowest h's, its peak, right of the highest's).

    The integrand's logarithm psi(u) = -(u - h)^2 / (2 r^2) + (k-1) log Phi(u) is concave. Its peak, and the points
    where it has fallen by 45 on either side, rise with h by at most the rise of h, so the window from the lowest h's
    left to the highest h's right is little wider than each one's own.
    """
    exponent, b = k - 1, transition(k)[3]
    low, middle, high = window
    high = max(min(high, b), low)
    middle = min(max(middle, low), high)
    points, weights = legendre(TAIL_NODES)
    halves = 0.5 * (middle - low), 0.5 * (high - middle)
    nodes = np.concatenate([0.5 * (low + middle) + halves[0] * points, 0.5 * (middle + high) + halves[1] * points])
    mass = np.concatenate([half * weights for half in halves]) / (r * np.sqrt(2 * np.pi))
    centre, away = h.mean(), nodes - middle
    weight = -0.5 * ((nodes - centre) / r) ** 2 + exponent * log_ndtr(nodes)
    top = weight.max()
    mass, out, tilt = mass * np.exp(weight - top), np.empty_like(h), (h - centre) / r**2
    for start in range(0, h.size, BLOCK):  # exp((u - h)^2 / 2 r^2) is exp(tilt u) times what u has no part in
        t = tilt[start : start + BLOCK]
        with np.errstate(divide="ignore"):  # an empty window is log 0
            out[start : start + BLOCK] = np.log(np.exp(t[:, None] * away) @ mass)
    inner = out + top + tilt * (middle - centre - 0.5 * (h - centre))
    return np.logaddexp(inner, log_ndtr((h - max(b, low)) / r))


def _windows(h: NDArray, r: float, exponent: int) -> tuple[NDArray, NDArray, NDArray]:
    """(h,) where psi has fallen by 45 on the left, where it peaks, and where it has fallen by 45 on the right."""

    def psi(u):
        return -0.5 * ((u - h) / r) ** 2 + exponent * log_ndtr(u)

    peak = _peak(h, r, exponent)
    step = 4 / np.sqrt(1 / r**2 + exponent)  # the least that psi can take to fall by 8
    return _fallen(psi, peak, -1.0, step), peak, _fallen(psi, peak, 1.0, step)


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


def _fallen(psi, peak: NDArray, sign: float, step: float) -> NDArray:
    """A point left (sign -1) or right (+1) of the peak where the concave psi has fallen by 45 or more."""
    goal = psi(peak) - LOG_DROP
    near, far = np.zeros_like(peak), np.full_like(peak, step)
    while np.any(short := psi(peak + sign * far) > goal):
        near, far = np.where(short, far, near), np.where(short, 2 * far, far)
    for _ in range(3):
        middle = 0.5 * (near + far)
        short = psi(peak + sign * middle) > goal
        near, far = np.where(short, middle, near), np.where(short, far, middle)
    return peak + sign * far


def _inverse_mills(u: NDArray) -> NDArray:
    """phi(u) / Phi(u), for any u; 0 where erfcx(-u / sqrt 2) overflows."""
    return np.sqrt(2 / np.pi) / erfcx(-u / np.sqrt(2))


def smooth(h: NDArray, r: NDArray, nodes: NDArray, values: NDArray) -> NDArray:
    """sum_j phi((u_j - h) / r) / r values_j for each h and its r."""
    flat, spread = h.reshape(-1), r.reshape(-1)
    out, one = np.empty_like(flat), flat.size > 0 and np.all(spread == spread[0])
    for start in range(0, flat.size, BLOCK):
        width = spread[0] if one else spread[start : start + BLOCK, None]
        z = (nodes - flat[start : start + BLOCK, None]) / width
        out[start : start + BLOCK] = np.exp(-0.5 * z * z) @ values
    return out.reshape(h.shape) / (r * np.sqrt(2 * np.pi))


@lru_cache(maxsize=64)
def transition(k: int) -> tuple[NDArray, NDArray, NDArray, float]:
    """Nodes on [a, b], where Phi^(k-1) goes from 0 to 1, weighted values of it and of its slope, and b."""
    exponent = k - 1
    a = float(ndtri_exp(-LOG_DROP / exponent))
    b = -float(ndtri_exp(-LOG_DROP - np.log(exponent)))
    points, weights = legendre()
    nodes = 0.5 * (a + b) + 0.5 * (b - a) * points
    weights = 0.5 * (b - a) * weights
    log_phi = -0.5 * nodes**2 - 0.5 * np.log(2 * np.pi)
    values = weights * np.exp(exponent * log_ndtr(nodes))
    slopes = weights * exponent * np.exp((exponent - 1) * log_ndtr(nodes) + log_phi)
    return nodes, values, slopes, b


@cache
def legendre(nodes: int = NODES) -> tuple[NDArray, NDArray]:
    return np.polynomial.legendre.leggauss(nodes)
