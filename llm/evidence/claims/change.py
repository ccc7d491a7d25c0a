"""Two models compared: how far a metric changes from one to the other, paired over seeds."""

from collections.abc import Callable
from dataclasses import dataclass
from math import inf

import numpy as np
import pandas as pd

from .. import paths
from ..equivalence import ABILITY_MARGIN, REWARD_MARGIN
from ..intervals import Estimate, cross_chosen, of_logits, of_mean
from ..metrics import ABILITIES, IN_TAXES, METRICS, REWARDS
from .book import Book, Route, paired
from .line import GOLD, Line, Missing, Side, measured

COMPANIONS = {"reward": (GOLD,), IN_TAXES: ABILITIES}  # beside it where they were measured, without deciding
NEAR_CEILING = 0.9  # where both shares are above it, they are compared on the logit scale
CEILING = 0.95  # of an ability's best value: from here on nothing can be seen to rise
LAST = inf  # the last step of a path
Choose = Callable[[pd.DataFrame, list[int]], float]  # (path, the seeds by which a step of it is chosen) -> the step


@dataclass(frozen=True)
class Model:
    """A model of a path: at a step, or for each seed at the one that `choose(path, other seeds)` finds by what these have."""

    route: Route
    step: float = LAST
    choose: Choose | None = None

    def steps(self, path: pd.DataFrame) -> dict[int, float]:
        """The step for each seed of the path; a single seed chooses for itself."""
        seeds = paths.seeds(path)
        if self.choose:
            return {seed: self.choose(path, [other for other in seeds if other != seed] or seeds) for seed in seeds}
        if self.step == LAST:  # of each seed: runs may stop at different iterations
            return {seed: float(path.loc[path["seed"] == seed, "step"].max()) for seed in seeds}
        return dict.fromkeys(seeds, self.step)


@dataclass(frozen=True)
class Change:
    """first - second in a metric.

    kept: the share of the metric's unit that may be lost and still count as kept. from_start: `second` is theta_0, above which
    nothing can be seen to rise where it is at the ceiling.
    """

    part: str
    first: Model
    second: Model
    metric: str
    side: Side = "above"
    kept: float = 0.0
    from_start: bool = False
    deciding: bool = True

    def lines(self, book: Book) -> list[Line]:
        book.need(self.metric)
        models = self.first, self.second
        sweep = next((model.route.sweep for model in models if model.route.sweep != "core"), "core")
        pair = paired(self.first.route.models(book), self.second.route.models(book), sweep)
        steps = [model.steps(path) for model, path in zip(models, pair, strict=True)]
        ends = [paths.at(path, step) for path, step in zip(pair, steps, strict=True)]
        chosen = [told for model, step in zip(models, steps, strict=True) if (told := _told(model, step))]
        beside = [metric for metric in COMPANIONS.get(self.metric, ()) if metric in book.metrics]
        inflation = cross_chosen(len(steps[0]), any(model.choose for model in models))
        return [
            self._line(book, ends, metric, ", ".join(chosen), inflation, self.deciding and metric == self.metric)
            for metric in (self.metric, *beside)
        ]

    def _line(
        self, book: Book, ends: list[pd.DataFrame], metric: str, note: str, inflation: float, deciding: bool
    ) -> Line:
        unit, seeds = book.units.get(metric), paths.seeds(ends[0])
        by = metric if metric in REWARDS else ""
        part = self.part if metric == self.metric or by else f"{self.part}: {METRICS[metric].words}"
        if metric not in set(ends[0]["metric"]):  # taxes of a preset without any
            if metric != IN_TAXES:
                raise Missing(f"rows of {metric}")
            return Line(
                part, metric, side=self.side, seeds=tuple(seeds), deciding=deciding, untestable="no tax is paid"
            )
        if self.kept and not unit:
            why = f"{METRICS[metric].words} does not rise"
            return Line(part, metric, by=by, side=self.side, seeds=tuple(seeds), deciding=deciding, untestable=why)
        values = [paths.values(end, seeds, metric) for end in ends]
        bound, margin = -self.kept * (unit or 0.0), None
        if unit and not self.kept:
            margin = unit * (REWARD_MARGIN if by else ABILITY_MARGIN)
        found, ceiling = _difference(ends[0], values, metric, bound, inflation), ""
        if self.from_start and (best := METRICS[metric].best) and values[1].mean() > CEILING * best:
            ceiling = f"theta_0 is at the ceiling, {values[1].mean():.3g} of {best:g}"
        return measured(
            part,
            metric,
            found,
            seeds,
            note,
            by=by,
            side=self.side,
            bound=bound,
            margin=margin,
            inflation=inflation,
            unit=unit,
            deciding=deciding,
            untestable=ceiling,
        )


def _difference(
    models: pd.DataFrame, values: list[np.ndarray], metric: str, bound: float, inflation: float
) -> Estimate:
    """On the logit scale for two shares near 1, else in the metric's own unit. One far from 1 alone may be skewed to the other side, and
    what is told of logits would then be far from the mean difference.
    """
    near = METRICS[metric].best == 1 and min(of.mean() for of in values) > NEAR_CEILING
    if near and bound == 0 and all(of.min() >= 0 and of.max() <= 1 for of in values):
        return of_logits(values[0], values[1], int(models.loc[models["metric"] == metric, "n"].min()), inflation)
    return of_mean(values[0] - values[1], bound, inflation)


def _told(model: Model, steps: dict[int, float]) -> str:
    """Which steps were chosen."""
    if not model.choose:
        return ""
    where = "for itself" if len(steps) == 1 else "on the other seeds"
    return f"step {', '.join(f'{step:g}' for step in sorted(set(steps.values())))} chosen {where}"


def extreme(metric: str) -> Choose:
    """The step at which a metric's mean is highest, among those that lie between the first and the last of every seed."""

    def choose(path: pd.DataFrame, others: list[int]) -> float:
        first, last = (path.groupby("seed")["step"].transform(end) for end in ("min", "max"))
        between = path[(path["step"] > first) & (path["step"] < last)]
        return _step(between, others, metric)

    return choose


def best_of_its_own(metric: str) -> Choose:
    """The step at which a metric's mean is highest, among the method's own models that all seeds of the path have: neither theta_0 nor theta."""

    def choose(path: pd.DataFrame, others: list[int]) -> float:
        return _step(path[~path["method"].isin(["theta_0", "theta"])], others, metric)

    return choose


def _step(models: pd.DataFrame, others: list[int], metric: str) -> float:
    """Of the steps that every seed has the one of the highest mean over the other seeds; the first of equals."""
    models = models[models["metric"] == metric]
    means = paths.of_seeds(paths.on_every_seed(models), others).groupby("step")["value"].mean()
    if means.empty:
        raise Missing(f"rows of {metric}")
    return float(means.index.to_numpy(dtype=float)[means.to_numpy().argmax()])


def keeping(share: float) -> Choose:
    """The first step from which on at least a share of the learned reward's rise along the path is kept, means over seeds."""

    def choose(path: pd.DataFrame, others: list[int]) -> float:
        models = paths.of_seeds(paths.on_every_seed(path[path["metric"] == "reward"]), others)
        rewards = models.groupby("step")["value"].mean()
        if rewards.empty:
            raise Missing("rows of reward at steps that every seed has")
        least = rewards.iloc[0] + share * (rewards.max() - rewards.iloc[0])
        return float(rewards.index[rewards >= least].min())

    return choose
