"""Figure 1: the three steps that make a chat model, and what the last of them does to its reward and its abilities."""

from collections.abc import Mapping

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from llm.evidence.intervals import Interval
from llm.evidence.metrics import BOUNDED, METRICS, REWARDS

from . import panels, style
from .shapes import arrow, blank, box, label

MODELS = (
    (r"$\theta_{\mathrm{pre}}$", "pre-trained:\ncontinues text"),
    (r"$\theta_0$", "instruction-tuned:\nanswers what is asked"),
    (r"$\theta$", "aligned:\nanswers as people prefer"),
)
CHANGED = {"above": "rises", "below": "falls", "undecided": "not clear of 0"}
BAR = 0.55  # opacity of a bar
STEPS = ("instruction tuning", "RLHF")
WIDE, HIGH, FAR = 2.6, 1.05, 4.6  # a box, and from one to the next


def figure(changes: Mapping[str, Interval], preset: str, n_seeds: int) -> Figure:
    """The steps above, the changes from theta_0 to theta (rewards and abilities by metric) below."""
    fig, axes = plt.subplot_mosaic(
        [["steps", "steps"], ["rewards", "abilities"]],
        figsize=(style.WIDTH, 3.3),
        height_ratios=[0.9, 1],
        width_ratios=[1, 1.35],
    )
    draw_steps(axes["steps"])
    draw_changes(axes["rewards"], {metric: changes[metric] for metric in REWARDS if metric in changes}, "reward")
    scaled = {a: hundredths(changes[a], METRICS[a].best) for a in BOUNDED if a in changes}
    draw_changes(axes["abilities"], scaled, "abilities, of 100")
    sides = {one.verdict for one in changes.values()}
    bars = [Patch(color=style.SIDES[side], alpha=BAR, label=word) for side, word in CHANGED.items() if side in sides]
    place = 0.5, 0.16 / fig.get_figheight()
    fig.legend(handles=bars, loc="lower center", bbox_to_anchor=place, ncols=len(bars), borderaxespad=0.0)
    panels.stamp_differences(fig, preset, n_seeds, above=panels.RATIOS)
    return fig


def hundredths(change: Interval, top: float) -> Interval:
    """A change of an ability in hundredths of its highest value."""
    scale = 100 / top
    return Interval(scale * change.mean, scale * change.low, scale * change.high, scale * change.per_seed)


def draw_steps(ax: Axes) -> None:
    for place, (name, text) in enumerate(MODELS):
        x = FAR * place
        box(ax, x, 0, WIDE, HIGH, facecolor=style.BEFORE if place < 2 else style.AFTER, alpha=0.35)
        label(ax, x + WIDE / 2, 0.74 * HIGH, name, fontsize=11)
        label(ax, x + WIDE / 2, 0.31 * HIGH, text, fontsize=6.5)
    for place, text in enumerate(STEPS):
        start, end = FAR * place + WIDE, FAR * (place + 1)
        arrow(ax, (start, HIGH / 2), (end, HIGH / 2), mutation_scale=11)
        label(ax, (start + end) / 2, HIGH / 2 + 0.2, text, fontsize=7)
    label(
        ax,
        FAR + WIDE + (FAR - WIDE) / 2,
        -0.42,
        "changes the reward and, as a side effect, the abilities:\nthe alignment tax",
        fontsize=8,
    )
    blank(ax, (-0.1, 2 * FAR + WIDE + 0.1), (-0.75, HIGH + 0.1))


def draw_changes(ax: Axes, changes: Mapping[str, Interval], what: str) -> None:
    """A bar for each metric, with its 95 % interval and single seeds."""
    ax.use_sticky_edges = not any(len(change.per_seed) == 2 for change in changes.values())  # bars go on beyond 0
    for place, change in enumerate(changes.values()):
        ax.barh(-place, change.mean, height=0.55, color=style.SIDES[change.verdict], alpha=BAR)
        panels.bar(ax, change, -place, style.INK)
        if len(change.per_seed) > 1:
            ax.plot(change.per_seed, np.full(len(change.per_seed), -place), ".", color=style.INK, markersize=3)
    ax.axvline(0, color=style.INK, linewidth=0.8)
    ax.set_yticks([-place for place in range(len(changes))], [METRICS[metric].words for metric in changes])
    ax.set_ylim(-len(changes) + 0.4, 0.6)
    ax.set_xlabel(rf"{what}: $\theta$ minus $\theta_0$")
