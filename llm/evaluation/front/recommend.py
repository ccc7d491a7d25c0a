"""Which ratio to take: the largest gain in ability among those that keep a stated share of what alignment has gained.

The rise is theta's alignment metric less theta_0's, and a model keeps (its metric - theta_0's) / rise of it, on the same items.
That is a ratio of means, so its interval is Fieller's (1954), which has the stated coverage where items' means are about normal;
a model is allowed if the interval's lower end is at least `keep` (non-inferiority). Along each method ratios are tried from theta
downwards (beyond theta, where models may keep more than all of it, upwards) up to the first that fails, so that trying many makes no
error more likely; nor do several methods, since each of M is judged at confidence 1 - (1 - confidence) / M (Bonferroni).
Where none is allowed those whose estimate is at least `keep` are taken, with a warning. Choosing the best on the items that it is
measured on flatters it, so the procedure is run on each resample and scored on the items that were left out: `expected` is what it
gains on new items, with the range that it has on the items left out of single resamples, some 37 % of all: wider than an interval.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from ...errors import UserError
from ...evidence.intervals import fieller, percentiles
from ..changes import Change, paired_change, shared, verdicts
from ..measurement import MEAN, Measurement, full_scale, values
from .candidate import Candidate, doubts_on, warnings_on
from .points import end_of

LEAST = 5  # items of a task


@dataclass(frozen=True)
class Series:
    """One task along the front. items: (points, items) or (points, items, 10), the first point theta_0's and the last theta's."""

    name: str
    items: NDArray[np.float64]
    statistic: str

    def value(self, chosen: NDArray[np.int64] | slice = slice(None)) -> NDArray[np.float64]:
        """The metric of each point on the chosen items, (points,)."""
        return values(self.items[:, chosen], self.statistic)


@dataclass(frozen=True)
class Recommendation:
    """The ratio, and how sure that is. All changes are against theta, but rise and tax, which are theta's against theta_0.

    method, alpha: of the recommended model, of regmean by its families and as 1 / (1 + lambda); theta and 1 where theta should be kept,
    theta and None where there is no rise to keep.
    sure: whether the lower bound is at least `keep`, and not the estimate alone; where theta should be kept, whether the intervals rule
    out every model that gains. each: confidence of the candidates' intervals, which is above `confidence` where there are
    several methods. by_method: method -> alpha, share kept and gain of the model that it is compared with others at, and the largest of
    these gains less its own, with its interval at a confidence that all pairs of methods share.
    """

    method: str
    alpha: float | None
    sure: bool
    keep: float
    confidence: float
    each: float
    rise: Change
    tax: dict[str, Change]
    candidates: list[Candidate]
    alignment: Change | None = None
    abilities: dict[str, Change] = field(default_factory=dict)
    gain: Change | None = None
    expected: Change | None = None
    by_method: dict[str, dict] = field(default_factory=dict)
    verdicts: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def best(self) -> Candidate | None:
        """The recommended model, None where it is one of the ends."""
        chosen = (one for one in self.candidates if (one.method, one.alpha) == (self.method, self.alpha))
        return next(chosen, None)


@dataclass(frozen=True)
class _Front:
    """Values of all tasks, the alignment metric first: (tasks, points) in full, (resamples, tasks, points) on drawn and left items."""

    names: list[tuple[str, float]]  # method and ratio of the points between the ends
    scales: NDArray[np.float64]
    full: NDArray[np.float64]
    seen: NDArray[np.float64]
    unseen: NDArray[np.float64]

    def gains(self, found: NDArray[np.float64]) -> NDArray[np.float64]:
        """Mean change of the abilities against theta as shares of their scales: (.., tasks, points) -> (.., points)."""
        return ((found[..., 1:, :] - found[..., 1:, -1:]) / self.scales[:, None]).mean(axis=-2)

    @property
    def methods(self) -> list[str]:
        return list(dict.fromkeys(name for name, _ in self.names))

    def away(self, method: str) -> list[int]:
        """Places in `names` of a method's models, from the one nearest to theta."""
        places = [place for place, (name, _) in enumerate(self.names) if name == method]
        return sorted(places, key=lambda place: abs(1 - self.names[place][1]))

    def in_sequence(self, passes: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Along each method from theta on, what passes up to the first that does not: (.., candidates) likewise."""
        found = np.zeros_like(passes)
        for method in self.methods:
            away = self.away(method)
            found[..., away] = np.logical_and.accumulate(passes[..., away], axis=-1)
        return found


def recommend(
    names: Sequence[tuple[str, float]],
    alignment: Series,
    abilities: Sequence[Series],
    seed: int,
    keep: float = 0.95,
    confidence: float = 0.95,
    resamples: int = 1000,
) -> Recommendation:
    """The recommended model among `names`, (method, ratio) of the points beside theta_0 and theta; a method's ratios are all at most 1,
    or all above it. seed: of the draws of items.

    Raises UserError unless 0 < keep <= 1, 0.5 <= confidence < 1, there is an ability, and each task has at least 5 items.
    """
    _check(names, alignment, abilities, keep, confidence, resamples)
    front = _resampled(names, alignment, abilities, np.random.default_rng([seed, 3]), resamples)
    change = _changes([alignment, *abilities], seed, confidence, resamples)
    clearly = _changes([alignment, *abilities], seed, shared(confidence, len(abilities)), resamples)
    each = shared(confidence, len(front.methods))
    judged = _judged(front, alignment, keep, each)
    gains, best, interval = front.gains(front.full), judged.best, _Interval(confidence)
    rise, tax = change(0, -1, 0), {task.name: change(k, -1, 0) for k, task in enumerate(abilities, start=1)}
    common: dict[str, Any] = {"keep": keep, "confidence": confidence, "each": each, "rise": rise, "tax": tax}
    pairs = len(front.methods) * (len(front.methods) - 1) // 2  # the one that gains most is chosen on these items, too
    common |= {"candidates": judged.candidates}
    common |= {"by_method": _by_method(front, judged.candidates, keep, _Interval(shared(confidence, pairs)))}
    clear = {task.name: clearly(k, -1, 0) for k, task in enumerate(abilities, start=1)}
    common |= {"verdicts": verdicts(tax, rise, alignment.name, clear)}
    if not rise.low > 0:
        return Recommendation("theta", None, False, **common)
    drawn = front.gains(front.seen)
    unseen = front.gains(front.unseen)[np.arange(resamples), judged.picks]
    method, alpha = (*front.names, ("theta", 1.0))[best - 1]
    chosen = None if method == "theta" else judged.candidates[best - 1]
    doubtful = [one for one in judged.candidates if one.may_keep(keep) and one.gain > 0] if chosen is None else []
    items = alignment.items.shape[1]
    return Recommendation(
        method,
        alpha,
        judged.sure if chosen else not doubtful,
        alignment=change(0, best, -1),
        abilities={task.name: change(k, best, -1) for k, task in enumerate(abilities, start=1)},
        gain=interval(gains[best], drawn[:, best]),
        expected=interval(unseen.mean(), unseen),
        warnings=warnings_on(chosen, judged.sure, keep, items, front.names)
        if chosen
        else doubts_on(doubtful, keep, items),
        **common,
    )


@dataclass(frozen=True)
class _Judged:
    """The candidates, whether lower bounds decided, the point that was chosen, and those on each resample, (resamples,)."""

    candidates: list[Candidate]
    sure: bool
    best: int
    picks: NDArray[np.int64]


def _judged(front: _Front, alignment: Series, keep: float, confidence: float) -> _Judged:
    """The rule, on all items and on each resample; there with the errors of all items."""
    quantile, spread = stdtrit(alignment.items.shape[1] - 1, (1 + confidence) / 2), _spread(front, alignment)
    lows, estimates, highs = fieller(front.full[0, 1:] - front.full[0, 0], spread, quantile)
    allowed = front.in_sequence(lows >= keep)
    by_estimate = front.in_sequence(estimates >= keep)
    sure = bool(allowed.any() or not by_estimate.any())
    allowed = allowed if sure else by_estimate
    slack = quantile * _margin_error(spread, keep) if sure else 0.0
    margins = _margin(front.seen[:, 0], keep)
    passed, estimated = (front.in_sequence(margins >= least) for least in (slack, 0.0))
    passed = np.where(passed.any(axis=1, keepdims=True), passed, estimated)  # where none surely keeps enough, as above
    picks = _best(front.gains(front.seen), passed)
    gains = front.gains(front.full)
    candidates = []
    for k, (method, alpha) in enumerate(front.names):
        kept, low, high = (float(x[k]) if np.isfinite(x[k]) else None for x in (estimates, lows, highs))
        share = float((picks == k + 1).mean())
        candidates.append(Candidate(method, alpha, kept, low, high, bool(allowed[k]), share, float(gains[k + 1])))
    return _Judged(candidates, sure, int(_best(gains[None], allowed[None])[0]), picks)


def _margin(points: NDArray[np.float64], keep: float) -> NDArray[np.float64]:
    """By how much each model between the ends is above theta_0 plus `keep` of the rise: (.., points) -> (.., points - 2)."""
    return points[..., 1:-1] - points[..., :1] - keep * (points[..., -1:] - points[..., :1])


def _margin_error(spread: NDArray[np.float64], keep: float) -> NDArray[np.float64]:
    """Standard error of each model's `_margin`, from the covariances of the rises; (models - 1,)."""
    own, both, of_rise = np.diag(spread)[:-1], spread[:-1, -1], spread[-1, -1]
    return np.sqrt(np.maximum(0, own - 2 * keep * both + keep**2 * of_rise))


def _check(
    names, alignment: Series, abilities: Sequence[Series], keep: float, confidence: float, resamples: int
) -> None:
    if not 0 < keep <= 1:
        raise UserError(f"keep = {keep} is not allowed; allowed are numbers above 0 to 1.")
    if not 0.5 <= confidence < 1:
        raise UserError(f"confidence = {confidence} is not allowed; allowed are numbers from 0.5 to below 1.")
    if resamples < 2:
        raise UserError(f"resamples = {resamples} is not allowed; allowed are whole numbers from 2.")
    if not abilities:
        raise UserError("tasks has no ability beside the alignment metric; give at least one.")
    if len(names) + 2 != len(alignment.items):
        raise ValueError(f"names = {names} must have a ratio for each point beside theta_0 and theta")
    for task in [alignment, *abilities]:
        check_count(task.name, task.items.shape[1])


def check_count(name: str, items: int) -> None:
    """UserError where a task has too few items for an interval."""
    if items < LEAST:
        raise UserError(f"{name} has {items} items; allowed are at least {LEAST}.")


def _resampled(
    names, alignment: Series, abilities: Sequence[Series], rng: np.random.Generator, resamples: int
) -> _Front:
    """All values, also on drawn items and on those left out. Only draws that leave out an item of every task count (with few
    items one may take them all).
    """
    tasks = [alignment, *abilities]
    seen: list[list] = []
    unseen: list[list] = []
    while len(seen) < resamples:
        draws = [rng.integers(task.items.shape[1], size=(task.items.shape[1],)) for task in tasks]
        rest = [np.setdiff1d(np.arange(len(draw)), draw) for draw in draws]
        if all(len(left) for left in rest):
            seen.append([task.value(draw) for task, draw in zip(tasks, draws, strict=True)])
            unseen.append([task.value(left) for task, left in zip(tasks, rest, strict=True)])
    scales = np.array([full_scale(task.statistic) for task in abilities])
    return _Front(list(names), scales, np.array([task.value() for task in tasks]), np.array(seen), np.array(unseen))


def _changes(tasks: Sequence[Series], seed: int, confidence: float, resamples: int):
    """A function of (task, point, other point): the change from the other to the point."""

    def change(task: int, point: int, other: int) -> Change:
        found = [Measurement.of(tasks[task].items[place], tasks[task].statistic) for place in (other, point)]
        return paired_change(found[0], found[1], seed, confidence, resamples)

    return change


def _spread(front: _Front, alignment: Series) -> NDArray[np.float64]:
    """Covariances of the means over items of all rises, theta's last."""
    if alignment.statistic == MEAN:
        return np.atleast_2d(np.cov(alignment.items[1:] - alignment.items[0])) / alignment.items.shape[1]
    return np.atleast_2d(np.cov((front.seen[:, 0, 1:] - front.seen[:, 0, :1]).T))


def _best(gains: NDArray[np.float64], allowed: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Points of the largest gain among allowed candidates and theta, of equals the last: (n, points), (n, candidates) -> (n,)."""
    ends = np.zeros((len(gains), 1), bool)
    masked = np.where(np.concatenate([ends, allowed, ~ends], axis=1), gains, -np.inf)
    return gains.shape[1] - 1 - masked[:, ::-1].argmax(axis=1)


def _by_method(front: _Front, candidates: Sequence[Candidate], keep: float, interval: "_Interval") -> dict[str, dict]:
    """Each of several methods at its model farthest from theta, up to which estimates keep enough of the rise; without any at the nearest.

    Ability has no part in that choice, and so does not flatter a method that has more models to choose from.
    """
    if len(front.methods) < 2:
        return {}
    between = np.array([end_of(*name) != "theta_0" for name in front.names])  # which all have in common
    enough = front.in_sequence((_margin(front.full[0], keep) >= 0) & between)
    gains, drawn = front.gains(front.full), front.gains(front.seen)
    places = [away[max(0, enough[away].sum() - 1)] for away in map(front.away, front.methods)]
    most, found = max(places, key=lambda place: gains[place + 1]) + 1, {}
    for place, own in ((place, candidates[place]) for place in places):
        less = interval(gains[most] - gains[place + 1], drawn[:, most] - drawn[:, place + 1])
        found[own.method] = {"alpha": own.alpha, "kept": own.kept, "gain": own.gain, "most_less_this": less}
    return found


@dataclass(frozen=True)
class _Interval:
    confidence: float

    def __call__(self, value: float, draws: NDArray[np.float64]) -> Change:
        return Change(float(value), *percentiles(draws, self.confidence))
