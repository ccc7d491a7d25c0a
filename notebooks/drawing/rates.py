"""Methods at several learning rates: each family's path at each rate, and what MA and early stopping save of its tax."""

from collections.abc import Mapping, Sequence
from math import isfinite

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from llm.config import Preset
from llm.evidence import paths
from llm.evidence.compare import AtBest
from llm.evidence.intervals import Interval
from llm.evidence.metrics import SAVED
from llm.evidence.shares import Models, Rate

from . import panels, style
from .fronts import Line

LEAD = "share of the method's tax saved\nat equal learned reward"
RIVALS = {"ma": True, "early-stopping": False}  # whether their marks are filled
WORDS = {"above": "saves tax", "below": "PAYS MORE", "undecided": "not distinguishable"}
UNTAXED = "no tax that is clear of 0, or no rewards in common"
CUT = 1.3  # a panel reaches at most this many times as far as the second longest bars


def find(rows: pd.DataFrame, names: Sequence[str], preset: Preset) -> dict[str, Models] | None:
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
    found = {name: {lr: paths.path(rows, name, lr) for lr in rates} for name in names}
    common = set.intersection(*(set(path["seed"]) for models in found.values() for path in models.values()))
    if not common:
        print("No seed has the rows of every method at several learning rates, so nothing is drawn here.")
        return None
    return {name: {lr: paths.of_seeds(path, common) for lr, path in models.items()} for name, models in found.items()}


def fronts_of(rows: pd.DataFrame, found: Mapping[str, Models], titles: Mapping[Rate, str]) -> list[Line]:
    """A line of panels for each rate, against the learned reward."""
    return [
        Line("reward", {name: models[lr] for name, models in found.items()}, rows, title, stars=("theta_0",))
        for lr, title in titles.items()
    ]


def figure(by_rival: Mapping[str, Mapping[str, AtBest]], titles: Mapping[Rate, str], preset: str) -> Figure:
    """A panel for each rate and one for the best: what each rival saves of each method's tax. `by_rival`: rival -> method -> shares."""
    names = list(by_rival["ma"])
    size = style.WIDTH, style.PANEL + 0.5
    fig, axes = plt.subplots(1, len(titles) + 1, figsize=size, sharey=True, squeeze=False)
    for ax, lr in zip(axes[0], titles, strict=False):
        draw(ax, names, {rival: {name: one.at[lr] for name, one in found.items()} for rival, found in by_rival.items()})
    draw(
        axes[0, -1],
        names,
        {rival: {name: one.best for name, one in found.items()} for rival, found in by_rival.items()},
    )
    axes[0, 0].set_ylabel(LEAD, fontsize=8)
    every = [
        one for found in by_rival.values() for shares in found.values() for one in (shares.best, *shares.at.values())
    ]
    seeds = max((len(one.per_seed) for one in every if one), default=0)
    for ax, title in zip(axes[0], (*titles.values(), "each at its best,\nchosen on other seeds"), strict=True):
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
    if edge := min([reach[-1], *(CUT * longest for longest in reach[-2:-1])]):
        ax.set_xlim(-1.1 * edge, 1.1 * edge)
    ax.tick_params(labelsize=7)
    ax.locator_params(axis="x", nbins=4)


def _reach(found: Interval | None) -> float:
    """How far an interval and its seeds go from 0, or its mean where it has no ends."""
    return max(abs(end) for end in (found.low, found.high, *found.per_seed) if isfinite(end)) if found else 0.0


def highest(found: Mapping[str, Models], names: Mapping[Rate, str]) -> str:
    """How far each method gets in learned reward at any rate: what it does not reach is not compared."""
    listed = []
    for name, models in found.items():
        means = {lr: float(panels.points(path, "reward")["mean"].max()) for lr, path in models.items()}
        best = max(means, key=lambda lr: means[lr])
        listed.append(f"{style.look(name).short} {means[best]:.2f} (at {names[best]})")
    ends = "those of methods that change training end with plain distillation"
    return f"Highest learned reward on each path ({ends}), means over seeds: " + ", ".join(listed) + "."


def table(shares: Mapping[str, AtBest], rival: str, names: Mapping[Rate, str]) -> pd.DataFrame:
    """A line a method: the share of its tax that the rival saves at each rate."""
    return pd.DataFrame(
        {
            f"{style.look(rival).short} against {style.look(name).short}": {
                names[lr]: told(one) for lr, one in found.at.items()
            }
            for name, found in shares.items()
        }
    ).T


def told(found: Interval | None) -> str:
    """A share with its interval and in words."""
    return f"{panels.number(found, SAVED)}, {WORDS[found.verdict]}" if found else UNTAXED


def sentence(name: str, rival: str, found: AtBest) -> str:
    """One sentence about a rival and a method, each at its best rates."""
    return f"{style.look(rival).short} against {style.look(name).short}: {told(found.best)}"
