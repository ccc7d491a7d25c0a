"""How fast and how exact: F_p against scipy's multivariate normal and 40 digits, the rest against sampling.

Needs mpmath (a development dependency) for the 40-digit reference; nothing else in the package does.
"""

from collections.abc import Callable, Iterator
from fractions import Fraction
from time import process_time

import numpy as np
from scipy.stats import multivariate_normal

from .closed_form import F_p, log_F_p
from .coefficients import accuracy_by_coefficients
from .exact import accuracy_on_contour, cached_accuracy, exact_accuracy, integer_weights
from .model import average, same_labels
from .monte_carlo import simulate_accuracy

DIGITS = 40
MVN_CLASSES = (3, 5, 10, 26)
P = 0.8
SAMPLES = 200_000  # of a Monte Carlo estimate


def reference_F_p(x: float, p: float, n_classes: int):
    """F_p(x) as an mpmath number to about 40 digits, p in (0, 1]; the same integral, other method and
    arithmetic.

    Tanh-sinh quadrature on panels around the integrand's peak, which is bracketed by bisection, out to where
    the integrand has fallen by e^-110. Takes some tenths of a second.
    """
    import mpmath as mp

    with mp.workdps(DIGITS + 10):
        s, r, m = mp.sqrt(mp.mpf(p) / n_classes), mp.sqrt(1 + n_classes * (1 - mp.mpf(p))), n_classes - 1
        h = mp.mpf(x) / s

        def psi(u):
            return -(((u - h) / r) ** 2) / 2 + m * mp.log(mp.erfc(-u / mp.sqrt(2)) / 2)

        def rises(u):
            return (h - u) / r**2 + m * mp.npdf(u) / mp.ncdf(u) > 0

        peak = _last_true(rises, min(h, mp.mpf(0)), halvings=80)  # far from the start, yet sharp
        top = psi(peak)
        left = peak - _last_true(lambda d: psi(peak - d) > top - 110, mp.mpf(0))
        right = peak + _last_true(lambda d: psi(peak + d) > top - 110, mp.mpf(0))
        panels = [left, (left + peak) / 2]
        panels += [peak + (right - peak) * (mp.mpf(j) / 5) ** 2 for j in range(6)]
        area = mp.quad(lambda u: mp.exp(psi(u) - top), panels)
        return +(area * mp.exp(top) / (r * mp.sqrt(2 * mp.pi)))


def _last_true(condition: Callable, start, halvings: int = 20):
    """The largest u >= start for which a condition, true at start, still holds, to 2^-halvings of the way."""
    step = 1e-3
    while condition(start + step):
        step *= 2
    low, high = start, start + step
    for _ in range(halvings):
        middle = (low + high) / 2
        low, high = (middle, high) if condition(middle) else (low, middle)
    return low


def draw_points(n_points: int, rng: np.random.Generator) -> Iterator[tuple[int, float, float]]:
    """(K, p, x) all over the range: K log-uniform in [2, 10,000], p near 0 and 1 too, x in [-40, 40]."""
    for _ in range(n_points):
        k = int(np.exp(rng.uniform(np.log(2), np.log(10_001))))
        p = float(rng.choice([rng.uniform(), 10 ** rng.uniform(-8, -1), 1 - 10 ** rng.uniform(-8, -1), 1.0]))
        yield (k, p, float(rng.choice([0.5 * rng.normal(), rng.uniform(-40, 40), 3 * rng.normal() * np.sqrt(p / k)])))


def accuracy_rows(points: Iterator[tuple[int, float, float]]) -> Iterator[dict]:
    """Errors of F_p (absolute) and log_F_p (relative to max(1, |log F_p|)) against the reference."""
    import mpmath as mp

    for k, p, x in points:
        reference = reference_F_p(x, p, k)
        log_reference = mp.log(reference)
        yield {
            "n_classes": k,
            "p": p,
            "x": x,
            "error": abs(float(reference - F_p(x, p, k))),
            "log_error": abs(float((log_reference - log_F_p(x, p, k)) / max(1, abs(log_reference)))),
        }


def speed_rows() -> Iterator[dict]:
    """Seconds a point and errors: F_p over 1000 values of x, and scipy's mvn, as it is by default, at one x."""
    p, x, many = P, 0.9, np.linspace(-3, 3, 1000)
    for k in MVN_CLASSES:
        sigma = np.full((k - 1, k - 1), p * (k + 1 - p * k) / k) + np.eye(k - 1) * p / k
        normal, at = multivariate_normal(cov=sigma), np.full(k - 1, x)
        reference = float(reference_F_p(x, p, k))
        seconds, mvn_seconds = (_seconds(lambda: F_p(many, p, k), 20) / many.size, _seconds(lambda: normal.cdf(at), 1))
        yield {
            "n_classes": k,
            "seconds": seconds,
            "mvn_seconds": mvn_seconds,
            "times_faster": mvn_seconds / seconds,
            "error": abs(F_p(x, p, k) - reference),
            "mvn_error": abs(normal.cdf(at) - reference),
        }


def ratio_rows(rng: np.random.Generator) -> Iterator[dict]:
    """Times as ratios: log_F_p to F_p a point, and votes of many classes sampled whole to sampled by their labels."""
    many = np.linspace(-3, 3, 10_000)
    for k in MVN_CLASSES:
        log_seconds, seconds = (
            _seconds(lambda function=function: function(many, P, k), 5) for function in (log_F_p, F_p)
        )
        yield {"what": "log_F_p / F_p", "n_classes": k, "ratio": log_seconds / seconds}
    for k in (100, 1000, 10_000):
        chances = np.r_[1 - 0.9 + 0.9 / k, np.full(k - 1, 0.9 / k)]
        whole = _seconds(lambda: [rng.multinomial(count, chances, size=200) for count in (12, 14)], 2) / 200
        few = _seconds(lambda: simulate_accuracy((12, 14), (1, 4), 0.9, k, 5000, rng), 2) / 5000
        yield {"what": "numpy multinomial / simulate_accuracy", "n_classes": k, "ratio": whole / few}


def generic_rows() -> Iterator[dict]:
    """CPU seconds of exact accuracy at the ratio .37, half of the features shared: by coefficients, and on the contour
    (which takes too long from n = 60 on), and how far the two are apart.
    """
    p, n_classes = P, 5
    pis, number = ([1 - p + p / n_classes] * 3, [p / n_classes] * 3), n_classes - 1
    for n in (20, 40, 60, 100):
        votes = average(same_labels(n, n // 2, n_classes), "weights", Fraction(37, 100), "a")
        counts, (weights,) = list(votes.counts), integer_weights([[Fraction(v) for v in votes.weights]])
        start = process_time()
        found = accuracy_by_coefficients(counts, weights, weights, pis, [0.0] * 3, number)
        row = {"n": n, "accuracy": found, "seconds": process_time() - start}
        if n <= 40:
            start = process_time()
            other = accuracy_on_contour(counts, [weights] * 2, list(pis), [0.0] * 3, [number])
            seconds = process_time() - start
            row |= {"contour_seconds": seconds, "ratio": seconds / row["seconds"], "apart": abs(found - other)}
        yield row


def exact_rows(rng: np.random.Generator) -> Iterator[dict]:
    """CPU seconds of exact_accuracy, and of Monte Carlo scaled to a standard error of 1e-6."""
    cases = [
        ((20,), (1,), 0.8, 5),
        ((12, 14), (1, 4), 0.8, 5),
        ((200,), (1,), 0.9, 100),
        ((33, 33, 34), (1, 2, 4), 0.8, 5),
    ]
    for counts, weights, p, k in cases:
        seconds = _seconds(lambda: exact_accuracy(counts, weights, p, k), 3, cached_accuracy.cache_clear)
        start = process_time()
        estimate, stderr = simulate_accuracy(counts, weights, p, k, SAMPLES, rng)
        sampling = (process_time() - start) * (stderr / 1e-6) ** 2
        exact = exact_accuracy(counts, weights, p, k)
        yield {
            "counts": counts,
            "weights": weights,
            "p": p,
            "n_classes": k,
            "seconds": seconds,
            "sampling_seconds": sampling,
            "exact": exact,
            "standard_errors_apart": (estimate - exact) / stderr,
        }


def _seconds(call: Callable, repeats: int, before: Callable = lambda: None) -> float:
    """CPU seconds of the fastest of `repeats` calls, after one that warms caches; `before`, outside the clock, comes before each."""
    call()
    times = []
    for _ in range(repeats):
        before()
        start = process_time()
        call()
        times.append(process_time() - start)
    return min(times)
