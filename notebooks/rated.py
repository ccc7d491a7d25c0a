"""Methods at several learning rates: each family's path at each rate, and MA's lead over it."""

from collections.abc import Mapping, Sequence
from math import isfinite

import numpy as np
import pandas as pd
import panels
import pareto
import style
from matplotlib.axes import Axes

from llm import paths
from llm.families import TRAINED, strengths
from llm.fronts import Interval
from llm.rates import by_lead

SETTING = ["strength", "rank", "lora_alpha"]  # what tells the models of a method apart
AtRates = dict[float | None, pd.DataFrame]  # learning rate, None for the preset's own -> path


def at_rates(rows: pd.DataFrame, name: str, rates: Sequence[float | None]) -> AtRates | None:
    """A family's paths, of the strengths that it has at every rate, so that no rate is measured more finely; None where a rate
    has no rows. `rows` from `llm.named.with_families`.
    """
    chosen = rows[rows["family"] == name]
    if not all((chosen["lr"].isna() if lr is None else chosen["lr"] == lr).any() for lr in rates):
        return None
    method = chosen["method"].iloc[0]
    if method not in TRAINED:
        return {lr: paths.path(rows, method, lr, family=name) for lr in rates}
    found = {lr: strengths(rows, method, lr, family=name) for lr in rates}
    common = set.intersection(*(_settings(path, name) for path in found.values()))
    return {lr: path[np.array([row in common for row in _keys(path)]) | path["family"].ne(name)] for lr, path in found.items()}


def _keys(path: pd.DataFrame) -> list[tuple]:
    return list(path[SETTING].fillna(-1.0).itertuples(index=False, name=None))


def _settings(path: pd.DataFrame, name: str) -> set[tuple]:
    return set(_keys(path[path["family"] == name]))


def leads(
    found: Mapping[str, AtRates], metric: str = "mean_ability", rival: str = "ma"
) -> dict[str, dict[float | str | None, Interval | None]]:
    """name -> rate, or "best" -> `metric` of `rival` minus that of the method at equal learned reward.

    At a rate both have it. At their best, each has the rate that `llm.rates.by_lead` chooses on the first seed; the
    interval is over the others.
    """
    result = {}
    for name, models in found.items():
        if name == rival:
            continue
        result[name] = {lr: _gap(found[rival][lr], models[lr], metric) for lr in models}
        first, second, others = best(found, name, metric, rival)
        at_best = (path[path["seed"].isin(others)] for path in (found[rival][first], models[second]))
        result[name]["best"] = _gap(*at_best, metric)
    return result


def best(found: Mapping[str, AtRates], name: str, metric: str = "mean_ability", rival: str = "ma") -> tuple[float | None, float | None, list[int]]:
    """The rival's best rate, the method's, and the seeds that they were not chosen on (that one, if it is the only one)."""
    seeds = paths.seeds(found[name][None])
    return *by_lead(found[rival], found[name], seeds[0], metric), seeds[1:] or seeds


def _gap(first: pd.DataFrame, second: pd.DataFrame, metric: str) -> Interval | None:
    return paths.gap(paths.curves(first, metric), paths.curves(second, metric))


def fronts_of(rows: pd.DataFrame, found: Mapping[str, AtRates], titles: Mapping[float | None, str]) -> list[pareto.Line]:
    """A line of panels for each rate, against the learned reward."""
    return [
        pareto.Line("reward", {name: models[lr] for name, models in found.items()}, rows, title, stars=("theta_0",))
        for lr, title in titles.items()
    ]


def draw_leads(axes: Sequence[Axes], found: Mapping[str, Mapping], titles: Mapping[float | str | None, str]) -> None:
    """A panel for each rate and one for the best, a line for each method. Replay reaches few rewards, so that its interval may
    be much wider than the others'; it is cut.
    """
    for ax, (key, title) in zip(axes, titles.items(), strict=True):
        ax.axvline(0, color="#555555", linewidth=0.8)
        for place, (name, at) in enumerate(found.items()):
            lead, colour = at[key], style.look(name).colour
            if lead is not None:
                ax.plot([lead.low, lead.high], [-place] * 2, color=colour, linewidth=1.1)
                ax.plot(lead.per_seed, [-place] * len(lead.per_seed), ".", color=colour, markersize=3, alpha=0.6)
                ax.plot(lead.mean, -place, "o", color=colour)
        others = [at[key] for name, at in found.items() if name != "er" and at[key] is not None]
        edge = 1.15 * max(max(abs(lead.low), abs(lead.high)) for lead in others)
        if isfinite(edge):
            ax.set_xlim(-edge, edge)
        ax.set_title(title, fontsize=8)
        ax.set_yticks([-place for place in range(len(found))], [style.look(name).short for name in found], fontsize=7)
        ax.tick_params(axis="x", labelsize=7)
        ax.locator_params(axis="x", nbins=4)
    for ax in axes[1:]:
        ax.tick_params(labelleft=False)
    axes[0].set_ylim(-len(found) + 0.5, 0.5)


def told(name: str, at: Mapping, found: Mapping[str, AtRates], names: Mapping[float | None, str], metric: str = "mean_ability") -> str:
    """One sentence about a method."""
    words = {"above": "MA above it", "below": "MA BELOW it", "undecided": "not distinguishable"}
    each = [f"at {names[lr]} {panels.number(one, metric)}, {panels.verdict(one, words)}" for lr, one in at.items() if lr != "best"]
    first, second, others = best(found, name, metric)
    return (
        f"{style.look(name).short}: {'; '.join(each)}; MA at {names[first]} and it at {names[second]} (chosen on seed "
        f"{min(paths.seeds(found[name][None]))}, told on {panels.seed_count(len(others))}) {panels.number(at['best'], metric)}, "
        f"{panels.verdict(at['best'], words)}"
    )
