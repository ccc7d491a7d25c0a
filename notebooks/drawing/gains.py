"""Figures of what methods keep more than a rival at equal reward: a line a method, and beside it the rewards that were compared."""

from collections.abc import Iterable, Sequence

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from llm.evidence.compare import Contest, Gain
from llm.evidence.metrics import METRICS

from . import panels, style

ROW = 0.24  # inches; height of a method's line
FILLED = {"reward": True, "gold_reward": False}  # a hollow mark is by the gold reward
SHIFT = {"reward": 0.17, "gold_reward": -0.17}
RANGE = "rewards compared\n(share of the rise)"


def named(contest: Contest) -> str:
    """The contest's family, short, with the mark after it."""
    return style.look(contest.family).short + contest.mark


def rival(contest: Contest) -> str:
    return style.look(contest.against).short


def rewards_of(compared: Sequence[Contest]) -> list[str]:
    """The rewards that contests were held by."""
    return list(dict.fromkeys(reward for contest in compared for reward, _ in contest.found))


def abilities_of(compared: Sequence[Contest]) -> list[str]:
    return list(dict.fromkeys(ability for contest in compared for _, ability in contest.found))


def seeds_of(compared: Sequence[Contest]) -> int:
    """How many seeds contests rest on."""
    return max((len(g.t.per_seed) for contest in compared for g in contest.found.values() if g), default=0)


def figure(compared: Sequence[Contest], preset: str, rivals: bool = False) -> Figure:
    """A panel an ability, and one of the rewards at which both are; a line a contest. rivals: lines name theirs."""
    drawn, by, seeds = abilities_of(compared), rewards_of(compared), seeds_of(compared)
    has_range = not seeds or any(gain and gain.levels for contest in compared for gain in contest.found.values())
    fig, axes = plt.subplots(
        1, len(drawn) + has_range, figsize=(style.WIDTH, 1.25 + ROW * len(compared)), squeeze=False, sharey=True
    )
    for ability, ax in zip(drawn, axes[0], strict=False):
        ax.axvline(0, color=style.GREY, linewidth=0.8)
        for place, contest in enumerate(compared):
            for reward in by:
                colour = style.look(contest.family).colour
                draw(ax, SHIFT[reward] - place, contest.found[reward, ability], colour, FILLED[reward])
        title = panels.title(ability, len(axes[0]))
        ax.set_xlabel(f"{title},\nminus {several_rivals(compared)}'s")
        wide = len(axes[0]) < panels.NARROW
        ax.xaxis.set_major_locator(MaxNLocator(4 if wide else 2, steps=[1, 2, 3, 4, 5, 10]))  # 2.5 takes a digit more
    if has_range:
        if not seeds:
            axes[0, -1].axvline(0.5, color=style.GREY, linewidth=0.8)  # where a comparison would begin
        axes[0, -1].set(xlabel=RANGE, xlim=(0.48, 0.97))
    for place, contest in enumerate(compared):
        for reward in by:
            if has_range and ranged(contest, reward):
                ranges(axes[0, -1], SHIFT[reward] - place, contest, reward)
            elif not any(contest.found[reward, ability] for ability in drawn):
                too_few(axes[0, -1 if has_range else 0], SHIFT[reward] - place, reward)
    label(axes[0, 0], [f"{named(one)} - {rival(one)}" if rivals else named(one) for one in compared])
    legend(fig, [reward for reward in by if any(one.found[reward, a] for one in compared for a in drawn)])
    lacking = any(not any(one.found[reward, a] for a in drawn) for one in compared for reward in by)
    few = "too few: the two have too few rewards in common to be compared" if lacking else ""
    panels.stamp_differences(fig, preset, seeds, note=few, items=False)
    return fig


def several_rivals(compared: Sequence[Contest]) -> str:
    names = list(dict.fromkeys(rival(contest) for contest in compared))
    return names[0] if len(names) == 1 else "its rival"


def label(ax: Axes, names: Sequence[str]) -> None:
    """Names from top to bottom, one a line."""
    ax.set_yticks([-place for place in range(len(names))], names)
    ax.set_ylim(-len(names) + 0.4, 0.6)


def draw(ax: Axes, height: float, found: Gain | None, colour: str, filled: bool) -> None:
    """A difference with its 95 % interval and single seeds; nothing where there is none."""
    if found is None:
        return
    one = found.t
    panels.bar(ax, one, height, colour, width=1.0)
    if len(one.per_seed) > 1:
        ax.plot(one.per_seed, [height] * len(one.per_seed), ".", color=colour, markersize=2, alpha=0.6)
    face = colour if filled else style.PAPER
    ax.plot(one.mean, height, "o", color=colour, markerfacecolor=face, markersize=3.8)


def ranged(contest: Contest, reward: str) -> list[tuple[float, float]]:
    """The ranges of a reward that abilities were compared over."""
    return [gain.levels for (by, _), gain in contest.found.items() if by == reward and gain and gain.levels]


def ranges(ax: Axes, height: float, contest: Contest, reward: str) -> None:
    """The widest range of rewards that any ability was compared over."""
    levels = ranged(contest, reward)
    colour = style.look(contest.family).colour
    ends = [min(low for low, _ in levels), max(high for _, high in levels)]
    face = colour if FILLED[reward] else style.PAPER
    ax.plot(ends, [height] * 2, color=colour, marker="o", markersize=3, markerfacecolor=face, linewidth=1.0)


def too_few(ax: Axes, height: float, reward: str) -> None:
    """In place of what cannot be compared, at the left of a panel: why."""
    kind = {"fontsize": style.LEAST, "color": style.GREY, "va": "center", "transform": ax.get_yaxis_transform()}
    ax.text(0.02, height, f"{METRICS[reward].short}: too few", **kind)


def legend(fig: Figure, by: Iterable[str]) -> None:
    """Filled by the learned reward, hollow by the gold reward."""
    marks = [
        plt.Line2D(
            [],
            [],
            color=style.GREY,
            marker="o",
            markersize=3.8,
            linewidth=1.0,
            markerfacecolor=style.GREY if FILLED[reward] else style.PAPER,
            label=f"at equal {METRICS[reward].words}",
        )
        for reward in by
    ]
    fig.legend(handles=marks, loc="outside upper center", ncols=len(marks))
