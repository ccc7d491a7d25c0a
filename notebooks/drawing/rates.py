"""Methods at several learning rates: each family's path at each rate, and how far MA and early stopping lie above it."""

from collections.abc import Mapping, Sequence
from math import isfinite

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from llm.config import Preset
from llm.evidence import paths
from llm.evidence.compare import AtBest, AtRates
from llm.evidence.intervals import Interval
from llm.evidence.metrics import IN_TAXES, MEAN_ABILITY
from llm.evidence.rates import Rate, at_rates

from . import panels, style
from .fronts import Line

LEAD = {IN_TAXES: "ability at equal learned\nreward, in taxes", MEAN_ABILITY: "mean ability at\nequal learned reward"}
AREA = "area under the front,\nshare of the ideal"
RIVALS = {"ma": True, "early-stopping": False}  # whether their marks are filled
WORDS = {"above": "above it", "below": "BELOW it", "undecided": "not distinguishable"}
CUT = 1.3  # a panel reaches at most this many times as far as the second longest bars


def find(rows: pd.DataFrame, names: Sequence[str], preset: Preset) -> dict[str, AtRates] | None:
    """The paths of families at every rate that all of them have, in rising order, of the seeds that have them all; None,
    after a sentence, where that is no rate but the preset's own, or no seed. `rows` from `llm.evidence.frames.after`.
    """
    families = [rows[rows["family"] == name] for name in names]
    others = set.intersection(*(set(chosen["lr"].dropna()) for chosen in families))
    if not others or any(chosen["lr"].notna().all() for chosen in families):
        print(
            "Not measured yet, so nothing is drawn here: every method at several learning rates. "
            'To measure: make reproduce TARGET="learning-rates mitigations mitigation-rates"'
        )
        return None
    rates = paths.rates(rows[rows["lr"].isna() | rows["lr"].isin(others)], preset.distil.optimiser.lr)
    found = {name: at_rates(rows, name, rates) for name in names}
    common = set.intersection(*(set(path["seed"]) for models in found.values() for path in models.values()))
    if not common:
        print("No seed has the rows of every method at several learning rates, so nothing is drawn here.")
        return None
    return {name: {lr: paths.of_seeds(path, common) for lr, path in models.items()} for name, models in found.items()}


def fronts_of(rows: pd.DataFrame, found: Mapping[str, AtRates], titles: Mapping[Rate, str]) -> list[Line]:
    """A line of panels for each rate, against the learned reward."""
    return [
        Line("reward", {name: models[lr] for name, models in found.items()}, rows, title, stars=("theta_0",))
        for lr, title in titles.items()
    ]


def figure(
    measures: Mapping[str, Mapping[str, Mapping[str, AtBest]]], titles: Mapping[Rate, str], preset: str
) -> Figure:
    """A line of panels for each measure, a panel for each rate and one for the best. `measures`: what -> rival -> method -> duel."""
    names = list(next(iter(measures.values()))["ma"])
    size = style.WIDTH, style.PANEL * len(measures) + 0.5
    fig, axes = plt.subplots(len(measures), len(titles) + 1, figsize=size, sharey=True, squeeze=False)
    for line, (what, by_rival) in zip(axes, measures.items(), strict=True):
        for ax, lr in zip(line, titles, strict=False):
            draw(
                ax,
                names,
                {rival: {name: duel.at[lr] for name, duel in duels.items()} for rival, duels in by_rival.items()},
            )
        draw(
            line[-1],
            names,
            {rival: {name: duel.best for name, duel in duels.items()} for rival, duels in by_rival.items()},
        )
        line[0].set_ylabel(what, fontsize=8)
    duel = next(iter(measures.values()))["ma"][names[0]]
    told_on = next((len(found.per_seed) for found in (duel.best,) if found), 0)
    seeds = max(len(found.per_seed) for found in duel.at.values() if found)
    for ax, title in zip(
        axes[0], (*titles.values(), f"each at its best,\ntold on {panels.seed_count(told_on)}"), strict=True
    ):
        ax.set_title(title, fontsize=8)
    axes[0, 0].set_yticks([-place for place in range(len(names))], [style.look(name).short for name in names])
    axes[0, 0].set_ylim(-len(names) + 0.4, 0.6)
    marks = [
        plt.Line2D(
            [],
            [],
            color="#555555",
            marker="o",
            linewidth=1.1,
            markersize=4,
            markerfacecolor="#555555" if filled else "white",
            label=f"{style.look(rival).short} minus the method",
        )
        for rival, filled in RIVALS.items()
    ]
    fig.legend(handles=marks, loc="outside upper center", ncols=2, fontsize=8)
    panels.stamp_differences(fig, preset, seeds)
    return fig


def draw(ax: Axes, names: Sequence[str], found: Mapping[str, Mapping[str, Interval | None]]) -> None:
    """One panel, a line for each method: the rivals' differences. Where one method's bars are much longer than all the
    others' (replay reaches few rewards), they leave the panel.
    """
    ax.axvline(0, color="#555555", linewidth=0.8)
    for rival, differences in found.items():
        for name, one in differences.items():
            if one is not None:
                height = -names.index(name) + (0.18 if RIVALS[rival] else -0.18)
                colour = style.look(name).colour
                ax.plot([one.low, one.high], [height] * 2, color=colour, linewidth=1.1)
                ax.plot(one.per_seed, [height] * len(one.per_seed), ".", color=colour, markersize=2.5, alpha=0.6)
                ax.plot(
                    one.mean,
                    height,
                    "o",
                    color=colour,
                    markerfacecolor=colour if RIVALS[rival] else "white",
                    markersize=4,
                )
    reach = sorted(max(_reach(by_name.get(name)) for by_name in found.values()) for name in names)
    if edge := min(reach[-1], CUT * reach[-2]):
        ax.set_xlim(-1.1 * edge, 1.1 * edge)
    ax.tick_params(labelsize=7)
    ax.locator_params(axis="x", nbins=4)


def _reach(found: Interval | None) -> float:
    """How far an interval and its seeds go from 0, or its mean where it has no ends."""
    return max(abs(end) for end in (found.low, found.high, *found.per_seed) if isfinite(end)) if found else 0.0


def highest(found: Mapping[str, AtRates], names: Mapping[Rate, str]) -> str:
    """How far each method gets in learned reward at any rate: what it does not reach counts in areas, and not at equal reward."""
    listed = []
    for name, models in found.items():
        means = {lr: float(panels.points(path, "reward")["mean"].max()) for lr, path in models.items()}
        best = max(means, key=lambda lr: means[lr])
        listed.append(f"{style.look(name).short} {means[best]:.2f} (at {names[best]})")
    ends = "those of methods that change training end with plain distillation"
    return f"Highest learned reward on each path ({ends}), means over seeds: " + ", ".join(listed) + "."


def table(duels: Mapping[str, AtBest], rival: str, metric: str, names: Mapping[Rate, str]) -> pd.DataFrame:
    """A line a method: what the rival is ahead by at each rate."""
    return pd.DataFrame(
        {
            f"{style.look(rival).short} minus {style.look(name).short}": {
                names[lr]: panels.number(one, metric) + (f", {WORDS[one.verdict]}" if one else "")
                for lr, one in duel.at.items()
            }
            for name, duel in duels.items()
        }
    ).T


def sentence(name: str, rival: str, duel: AtBest, metric: str, names: Mapping[Rate, str]) -> str:
    """One sentence about a rival and a method, each at its best."""
    first, second = (names[lr] for lr in duel.rates)
    seeds = f", told on {panels.seed_count(len(duel.best.per_seed))}" if duel.best else ""
    return (
        f"{style.look(rival).short} at {first} minus {style.look(name).short} at {second} (chosen on seed {duel.chosen_on}{seeds}): "
        f"{panels.number(duel.best, metric)}, {panels.verdict(duel.best, WORDS)}"
    )
