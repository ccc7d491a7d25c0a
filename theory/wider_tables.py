"""The tables about how far the statements reach: few features, many classes, other ratios, graded overlap, several models,
own p per group of features and noise, a ratio per feature. One function per CSV file of results/theory, columns as in theory.tables.
"""

from collections.abc import Callable
from fractions import Fraction
from itertools import product
from typing import Any

import numpy as np

from .cases import HALF, LABELS, ROUTES, Rows, models_of
from .closed_form import clt_task_accuracy
from .exact import exact_accuracy, exact_task_accuracy
from .exponents import harm_threshold
from .fronts import closed_form_accuracy
from .many_classes import many_class_accuracy
from .model import Tasks, average, average_models, disjoint_labels, naive_bayes_weight, same_labels, single_model
from .monte_carlo import simulate_accuracy, simulate_task_accuracy
from .overlap import graded_effective_features, graded_weights, overlap_of, weights_help
from .regression import regression_votes, trained_regression
from .trained import Setting, trained_task_accuracies
from .votes import AVERAGINGS, Features, Votes

RATIOS = 20  # steps of the single ratios from which the best is taken


def finite_rows(rng: np.random.Generator) -> Rows:
    """xi_1 - xi_2 of averaged weights over a grid of (n, n_o, p, K): in the limit of many features and exactly."""
    for n, p, k in product((4, 5, 8, 12, 20, 40, 80), (0.5, 0.7, 0.8, 0.9), (2, 5, 20, 100)):
        for n_o in sorted({n * part // 8 for part in range(8)} | {1, n - 3, n - 2, n - 1}):
            row = {"n": n, "n_o": n_o, "p": p, "n_classes": k}
            votes = [average(make(n, n_o, k), "weights", HALF, "a") for make in LABELS.values()]
            for name, route in {"limit": closed_form_accuracy, "exact": exact_task_accuracy}.items():
                first, second = (route(each, p) for each in votes)
                row[f"difference_{name}"] = first - second
            yield row


def exponent_rows(rng: np.random.Generator) -> Rows:
    """From which shared part on averaging the weights of two models of one task hurts in the end, as n grows at a fixed p."""
    for k, tenth in product((2, 5, 20, 100), range(1, 10)):
        yield {"p": tenth / 10, "n_classes": k, "threshold": harm_threshold(tenth / 10, k)}


def many_class_rows(rng: np.random.Generator) -> Rows:
    """What averaging half and half adds in case 1, over n and K (empty: the limit K -> infinity), exactly; and what the limits
    of many features (at this K) and of many classes (at this n) say.
    """
    for n, p, part in product((4, 8, 12, 16, 20, 28, 40, 60, 80), (0.8, 0.9), (0.25, 0.5, 0.75)):
        yield from _many_class_rows(n, p, round(n * part))


def _many_class_rows(n: int, p: float, n_o: int) -> Rows:
    limit: dict[str, Any] | None = None  # of many classes: that of any K
    for k in (2, 3, 5, 10, 20, 50, 100, 300, 1000, None):
        votes = models_of(same_labels(n, n_o, k or 2))
        limit = limit or {model: many_class_accuracy(each, p) for model, each in votes.items()}
        exact = limit if k is None else {model: exact_task_accuracy(each, p) for model, each in votes.items()}
        row: dict[str, Any] = {"n": n, "n_o": n_o, "p": p, "n_classes": k}
        for averaging in AVERAGINGS:
            row[f"gain_{averaging}"] = exact[averaging] - exact["single"]
        row["accuracy_single"] = exact["single"]
        features = None if k is None else {model: closed_form_accuracy(each, p) for model, each in votes.items()}
        for name, found in {"many_features": features, "many_classes": limit}.items():
            for averaging in AVERAGINGS:
                row[f"gain_{averaging}_{name}"] = found and found[averaging] - found["single"]
            row[f"accuracy_single_{name}"] = found and found["single"]
        yield row


def few_feature_rows(rng: np.random.Generator) -> Rows:
    """What averaging weights half and half adds in case 1, exactly, at every number of shared features below n: few features lose."""
    settings = ((4, 0.8, 2), (4, 0.8, 3), (4, 0.8, 5), (4, 0.8, 10), (20, 0.8, 5), (20, 0.8, 10), (20, 0.9, 1000))
    for n, p, k in settings:
        alone = exact_task_accuracy(single_model(same_labels(n, n, k), "a", "a"), p)
        for n_o in range(n):
            averaged = exact_task_accuracy(average(same_labels(n, n_o, k), "weights", HALF, "a"), p)
            yield {"n": n, "n_o": n_o, "p": p, "n_classes": k, "gain_weights": averaged - alone}


def ratio_rows(rng: np.random.Generator) -> Rows:
    """The gain against the ratio at n = 20, n_o = 14 in case 1: alpha = 1/2 is a point of ties."""
    n, n_o, p, k = 20, 14, 0.8, 5
    tasks = same_labels(n, n_o, k)
    alone = single_model(tasks, "a", "a")
    single = {"exact": exact_task_accuracy(alone, p), "limit": closed_form_accuracy(alone, p)}
    for hundredths in (30, 40, 45, 48, 49, 50, 51, 52, 55, 60, 70):
        for averaging in AVERAGINGS:
            votes = average(tasks, averaging, Fraction(hundredths, 100), "a")
            row = {"n": n, "n_o": n_o, "p": p, "n_classes": k, "alpha": hundredths / 100, "model": averaging}
            found = {"exact": exact_task_accuracy(votes, p), "limit": closed_form_accuracy(votes, p)}
            yield row | {f"gain_{name}": found[name] - single[name] for name in found}


def overlap_rows(rng: np.random.Generator) -> Rows:
    """n_eff / n of two models of n = 24 features in case 1, by the mean and the variance of the squared principal cosines
    (low and high: the two values they have), and the sampled accuracy of the votes behind it.
    """
    n, p, k = 24, 0.8, 5
    single = exact_accuracy([n], [1], p, k)
    for part, low, high in product((2, 4, 6, 8, 10), (0.0, 0.25, 0.5, 0.75), (0.25, 0.5, 0.75, 1.0)):
        if high <= low:
            continue
        square = np.repeat([high, low], [2 * part, n - 2 * part])
        overlap = overlap_of(np.sqrt(square))
        row = {"n": n, "p": p, "n_classes": k, "high": high, "low": low, "mean": square.mean()}
        row |= {"variance": square.var(), "helps": int(bool(weights_help(overlap)))}
        for model in AVERAGINGS:
            weights, counts = np.unique(np.round(graded_weights(np.sqrt(square), model, 0.5), 12), return_counts=True)
            estimate, stderr = simulate_accuracy(counts.tolist(), weights.tolist(), p, k, 20_000, rng)
            row[f"effective_{model}"] = graded_effective_features(overlap, model) / n
            row |= {f"gain_{model}": estimate - single, f"stderr_{model}": stderr}
        yield row


def model_rows(rng: np.random.Generator) -> Rows:
    """n_eff / n of the equal average of T models of n = 24 features in case 1, a part r shared: "core" (the same features by
    all T models) or "independent" (each feature of a pool is used by each model with chance r).
    """
    n = 24
    for t, twelfths in product((2, 3, 4, 8), range(13)):
        r = twelfths / 12
        for sharing, counts in {"core": _core(n, t, r), "independent": _independent(n, t, r)}.items():
            for averaging in AVERAGINGS:
                votes = {m: (m / t) ** (2 if averaging == "weights" else 1) for m in counts}
                total = sum(count * votes[m] for m, count in counts.items())
                squares = sum(count * votes[m] ** 2 for m, count in counts.items())
                row = {"models": t, "shared": r, "sharing": sharing, "model": averaging}
                yield row | {"effective_features": total**2 / squares / n}


def _core(n: int, t: int, r: float) -> dict[int, float]:
    """In how many models -> how many features, if a core is used by all and the rest by one."""
    return {1: t * n * (1 - r), t: n * r}


def _independent(n: int, t: int, r: float) -> dict[int, float]:
    """The same if each of n / r features is used by each model with chance r (n features a model)."""
    from scipy.stats import binom  # as in theory.many_classes

    if r == 0:
        return {1: float(t * n)}
    return {m: n / r * float(binom.pmf(m, t, r)) for m in range(1, t + 1)}


def own_rate_rows(rng: np.random.Generator) -> Rows:
    """The equal average of T models of one task, each with 3 features of its own and the 3 that all share, where own and
    shared features fail with different p: by all four routes, without and with noise sigma of each x_i.
    """
    n, k = 3, 4
    for t, (p_own, p_shared), sigma in product((2, 3), ((0.6, 0.85), (0.75, 0.75), (0.85, 0.6)), (0.0, 0.1)):
        alone = [tuple(int(m == own) for m in range(t)) for own in range(t)]
        say = Fraction(
            naive_bayes_weight(p_shared, k) / naive_bayes_weight(p_own, k)
        )  # exactly 1 where they fail alike
        groups = [*(Features(n, used, p_own) for used in alone), Features(n, (1,) * t, p_shared, say)]
        equal = {averaging: average_models(groups, [Fraction(1, t)] * t, averaging, k) for averaging in AVERAGINGS}
        votes = {"single": average_models(groups, alone[0], "outputs", k)} | equal
        fitted = trained_task_accuracies(votes, Setting(None, sigma, 3000), 10_000, rng)
        base = {"models": t, "n_own": n, "n_shared": n, "p_own": p_own, "p_shared": p_shared, "n_classes": k}
        for model, each in votes.items():
            found = {
                "closed-form": (clt_task_accuracy(each, sigma=sigma), None),
                "exact": (exact_task_accuracy(each, sigma=sigma), None),
                "monte-carlo": simulate_task_accuracy(each, None, 40_000, rng, sigma=sigma),
                "trained": fitted[model],
            }
            for method, (accuracy, stderr) in found.items():
                row = base | {"sigma": sigma, "model": model, "method": method}
                yield row | {"accuracy": accuracy, "stderr": stderr}


def regression_rows(rng: np.random.Generator) -> Rows:
    """A ratio per feature against single ratios: 1/2, and "best ratio", the best for task a of 0, 1/20, .. 1 (alpha) by the
    same method (sampled and trained: by the exact one). Exact and in the limit; smaller, also sampled and really trained.
    """
    n, p, k = 20, 0.8, 5
    for labels, n_o in product(LABELS, range(0, n + 1, 2)):
        yield from _regression_answers(labels, LABELS[labels](n, n_o, k), p)
    n, p, k = 6, 0.75, 4
    for (labels, make), n_o, n_samples in product(LABELS.items(), (2, 4), (20, 100, 3000)):
        tasks = make(n, n_o, k)
        alphas = {"weights": HALF, "best ratio": _best_ratio(tasks, p, exact_task_accuracy)}
        for model, found in trained_regression(tasks, Setting(p, 0.01, 3000), n_samples, 10_000, rng, alphas).items():
            yield _regression_row(labels, tasks, p, model, alphas.get(model), "trained", found, n_samples)
    for (labels, make), n_o in product(LABELS.items(), (2, 4)):
        tasks = make(n, n_o, k)
        yield from _regression_answers(labels, tasks, p)
        for model, (votes, alpha) in _regression_votes(tasks, _best_ratio(tasks, p, exact_task_accuracy)).items():
            found = simulate_task_accuracy(votes, p, 20_000, rng)
            yield _regression_row(labels, tasks, p, model, alpha, "monte-carlo", found)


def condition_rows(rng: np.random.Generator) -> Rows:
    """A ratio per feature where a condition of its proposition fails, in the limit of many features: heads that use what is shared in
    opposite ways (case 1), and noise (case 2).
    """
    n, p, k = 20, 0.8, 5
    for n_o in (0, 5, 10, 15):
        same, apart = same_labels(n, n_o, k), disjoint_labels(n, n_o, k)
        rows: list[tuple[str, str, float, Votes]] = [
            ("identical", "one model", 0.0, single_model(same, "a", "a")),
            ("identical", "alike", 0.0, regression_votes(same, "a")),
            ("identical", "opposite use", 0.0, regression_votes(same, "a", opposite=True)),
        ]
        for sigma in (0.03, 0.1):
            rows.append(("disjoint", "one model", sigma, single_model(apart, "a", "a")))
            rows.append(("disjoint", "a ratio per feature", sigma, regression_votes(apart, "a")))
        for labels, model, sigma, votes in rows:
            row = {"n": n, "n_o": n_o, "p": p, "n_classes": k, "labels": labels, "sigma": sigma, "model": model}
            yield row | {"accuracy": float(clt_task_accuracy(votes, p, sigma=sigma))}


def _regression_answers(labels: str, tasks: Tasks, p: float) -> Rows:
    for method, route in ROUTES.items():
        for model, (votes, alpha) in _regression_votes(tasks, _best_ratio(tasks, p, route)).items():
            yield _regression_row(labels, tasks, p, model, alpha, method, (float(route(votes, p)), None))


def _regression_votes(tasks: Tasks, best: Fraction) -> dict[str, tuple[Votes, Fraction | None]]:
    """Model -> its votes on task a, and its ratio if it has one."""
    votes: dict[str, tuple[Votes, Fraction | None]] = {
        "single": (single_model(tasks, "a", "a"), None),
        "regression": (regression_votes(tasks, "a"), None),
    }
    votes |= {averaging: (average(tasks, averaging, HALF, "a"), HALF) for averaging in AVERAGINGS}
    votes["head only"] = regression_votes(tasks, "a", "single"), HALF
    return votes | {"best ratio": (average(tasks, "weights", best, "a"), best)}


def _best_ratio(tasks: Tasks, p: float, route: Callable[[Votes, float], float]) -> Fraction:
    """The ratio whose averaged weights are best on task a."""
    return max(
        (Fraction(i, RATIOS) for i in range(RATIOS + 1)),
        key=lambda alpha: round(float(route(average(tasks, "weights", alpha, "a"), p)), 10),
    )


def _regression_row(labels, tasks, p, model, alpha, method, found, n_samples=None) -> dict:
    row = {"n": tasks.n_a, "n_o": tasks.n_o, "p": p, "n_classes": tasks.n_classes, "labels": labels, "model": model}
    row |= {"method": method, "n_samples": n_samples, "accuracy": found[0], "stderr": found[1]}
    return row | {"alpha": None if alpha is None else float(alpha)}
