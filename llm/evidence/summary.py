"""A short table of what was found: theta_0, theta, and the best of early stopping and of averaging."""

import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from ..errors import UserError
from . import paths
from .frames import abilities, first_of, rewards
from .intervals import Interval
from .metrics import METRICS
from .shares import matched, rises

KEPT = 0.95  # of the reward's rise: what the best of a method must reach
NAME, CELL = 23, 15  # columns of a line's name and of each of its cells


def summary(results: Path) -> str:
    """What the rows in the folder `results` say, in plain text of at most 100 columns.

    A line a model: value +- standard error, over seeds, or over items where there is one seed. "Best" is the
    largest mean ability among the models whose learned reward has risen to at least 95 % of the algorithm's highest.
    Below it the differences that matter, paired over seeds with their 95 % intervals. At the preset's own
    learning rate. Raises UserError for rows that are missing or damaged.
    """
    rows = paths.load(results)
    if "reward" not in set(rows["metric"]):
        raise UserError(
            f"results: {results} has no rows of metric reward, by which models are chosen; measure it first."
        )
    metrics, (models, lacking) = (*rewards(rows), *abilities(rows)), _models(rows)
    seeds = len(paths.seeds(rows))
    over = f"{seeds} seeds" if seeds > 1 else "1 seed"
    over += f"; value +- standard error over {'seeds' if seeds > 1 else 'items'}"
    rlhf = first_of(set(rows["rlhf"])).upper()
    head = f"{rows['preset'].iloc[0]}, {over}; {rlhf} at the preset's learning rate"
    lines = [head, "", _line("", (METRICS[metric].column for metric in metrics))]
    lines += [_line(name, (_number(chosen, metric) for metric in metrics)) for name, chosen in models.items()]
    best = f"best: the largest mean ability at {KEPT:.0%} or more of the rise of {rlhf}'s learned reward"
    none = [
        f"  {name}: no model that every seed has keeps that much, so that of the highest reward" for name in lacking
    ]
    return "\n".join([*lines, "", best, *none, "", *_findings(rows, metrics)])


def _models(rows: pd.DataFrame) -> tuple[dict[str, pd.DataFrame], list[str]]:
    """Name -> rows, in the order of the table; and what has no model of the reward that the best one is to have."""
    stopping, averaging = paths.path(rows, "early-stopping"), paths.path(rows, "ma")
    last = stopping.groupby("seed")["step"].max()  # runs to a common reward end at different iterations
    means = paths.on_every_seed(stopping[stopping["metric"] == "reward"]).groupby("step")["value"].mean()
    theta = paths.at(averaging, 1)
    highest = max(means.max(), theta.loc[theta["metric"] == "reward", "value"].mean())
    least = means[0] + KEPT * (highest - means[0])
    ends = "-".join(f"{step:.0f}" for step in sorted({last.min(), last.max()}))
    iteration, alpha = paths.best_step(stopping, least), paths.best_step(averaging, least)
    best = {"early stopping": paths.at(stopping, iteration), "averaging": paths.at(averaging, alpha)}
    lacking = [name for name, of in best.items() if of.loc[of["metric"] == "reward", "value"].mean() < least]
    models = {
        "chance": rows[rows["method"] == "chance"],
        "theta_0, before RLHF": paths.theta_0(rows),
        f"theta, {ends} iteration{'s' * (ends != '1')}": theta,
        f"early stopping: {iteration:.0f} it.": best["early stopping"],
        f"averaging: alpha {alpha:g}": best["averaging"],
    }
    return models, lacking


def _number(chosen: pd.DataFrame, metric: str) -> str:
    values = chosen[chosen["metric"] == metric]
    if values.empty:
        return "-"
    mean = values["value"].mean()
    error: Any = values["value"].sem() if len(values) > 1 else values["stderr"].iloc[0]
    return _fitting(lambda digits: f"{mean:.{digits}f} +- {error:.{digits}f}", metric)


def _fitting(write: Callable[[int], str], metric: str) -> str:
    """A cell with the metric's digits after the point, or as many as there is room for."""
    texts = [write(digits) for digits in range(METRICS[metric].decimals, -1, -1)]
    return next((text for text in texts if len(text) < CELL), texts[-1])


def _line(name: str, cells: Iterable[str]) -> str:
    return (f"{name:<{NAME}}" + "".join(f"{cell:>{CELL}}" for cell in cells)).rstrip()


def _findings(rows: pd.DataFrame, metrics: Sequence[str]) -> list[str]:
    stopping, averaging = paths.path(rows, "early-stopping"), paths.path(rows, "ma")
    theta, theta_0 = paths.at(averaging, 1), paths.theta_0(rows)
    pair = matched(averaging, stopping, rises(rows))
    gaps = {ability: paths.gap(*pair, ability) for ability in abilities(rows)}
    changes = (_interval(paths.difference(theta, theta_0, metric), metric) for metric in metrics)
    return [
        _line("95 % intervals", (METRICS[metric].column for metric in metrics)),
        _line("theta - theta_0", changes),
        _line("averaging - early", (_interval(gaps.get(metric), metric) for metric in metrics)),
        "  stopping, at equal learned reward, mean over the rewards that both reach",
    ]


def _interval(found: Interval | None, metric: str) -> str:
    """low..high; the difference alone where one seed gives no interval, - where nothing can be compared."""
    if found is None:
        return "-"
    if math.isnan(found.low):
        return _fitting(lambda digits: f"{found.mean:+.{digits}f}", metric)
    return _fitting(lambda digits: f"{found.low:+.{digits}f}..{found.high:+.{digits}f}", metric)
