"""Panels, marks and sentences that the notebooks on RSF share: reward against ability, differences with
their 95 % intervals.
"""

import math
from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from llm.evidence import paths
from llm.evidence.compare import Gain
from llm.evidence.frames import abilities, rewards
from llm.evidence.intervals import Interval
from llm.evidence.metrics import BOUNDED, METRICS
from llm.methods import Look

from . import style

ROOM = 0.6  # a floor is drawn where it lies at most this part of the panel's height outside of it


def points(path: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Mean, error and number of seeds at each step of a path; where seeds end at different steps, their last models stand together at
    the last one, and a step that some seed lacks is left out.
    """
    chosen = path[["step", "seed", "value", "stderr"]][path["metric"] == metric]
    ends = chosen.groupby("seed")["step"].transform("max")
    if ends.nunique() > 1:
        chosen = chosen.assign(step=chosen["step"].where(chosen["step"] < ends, ends.max()))
        chosen = chosen[chosen.groupby("step")["seed"].transform("nunique") == chosen["seed"].nunique()]
    return style.over_seeds(chosen, "step")


def anchored(path: pd.DataFrame, anchor: pd.DataFrame) -> pd.DataFrame:
    """A path with each seed moved so that its `anchor` (one model a seed) lies at the anchors' mean.

    What is left of the spread over seeds is that of the differences to the anchor, which is what matters:
    seeds differ in how well theta_0 answers and in where their learned reward has its zero.
    """
    at_home = anchor.set_index(["seed", "metric"])["value"]
    mean = anchor.groupby("metric")["value"].mean()
    keys = pd.MultiIndex.from_frame(path[["seed", "metric"]])
    moved = path["value"].to_numpy() - at_home.reindex(keys).to_numpy()
    return path.assign(value=moved + mean.reindex(path["metric"]).to_numpy())


def plane(path: pd.DataFrame, reward: str, ability: str) -> np.ndarray:
    """The models of a path as points (models, 2) of reward and ability, in the path's order, means over seeds."""
    return np.column_stack([points(path, metric)["mean"] for metric in (reward, ability)])


def grid(paths: Sequence[tuple[pd.DataFrame, Look]], rows: pd.DataFrame) -> Figure:
    """The rewards (down) against the abilities (across) of the rows, the same paths in each panel."""
    shape = len(rewards(rows)), len(abilities(rows))
    size = style.WIDTH, shape[0] * style.PANEL + 0.3
    fig, axes = plt.subplots(*shape, figsize=size, sharex="row", sharey="col", squeeze=False)
    for reward, line in zip(rewards(rows), axes, strict=True):
        for ability, ax in zip(abilities(rows), line, strict=True):
            for path, shown in paths:
                style.path(ax, points(path, reward), points(path, ability), shown)
            ax.set(xlabel=METRICS[reward].label, ylabel=METRICS[ability].label)
    for ability, column in zip(abilities(rows), axes.T, strict=True):
        for ax in column:
            floor(ax, rows, ability)
    return fig


def along(ax: Axes, path: pd.DataFrame, metric: str, what: str) -> None:
    """A metric along a path: its mean with error bars, single seeds as thin lines; `what` the path's steps are."""
    mean, seeds, colour = points(path, metric), set(path["seed"]), style.look("early-stopping").colour
    for seed in seeds if len(seeds) > 1 else ():
        single = points(path[path["seed"] == seed], metric)
        ax.plot(single.index, single["mean"], color=colour, linewidth=0.6, alpha=0.45)
    ax.errorbar(mean.index, mean["mean"], yerr=mean["error"], color=colour, marker="o", elinewidth=0.8)
    ax.set(xlabel=what + r" (0: $\theta_0$)", ylabel=METRICS[metric].label)
    ax.xaxis.get_major_locator().set_params(integer=True)


def small(count: int) -> tuple[Figure, np.ndarray]:
    """A figure with some panels in rows of three, the rest of the last row empty; its panels, (count,)."""
    across = min(count, 3)
    down = -(-count // across)
    fig, axes = plt.subplots(down, across, figsize=(style.WIDTH, down * style.PANEL + 0.3), squeeze=False)
    for ax in axes.flat[count:]:
        ax.set_axis_off()
    return fig, axes.flat[:count]


def trajectory(path: pd.DataFrame, rows: pd.DataFrame, metrics: list[str], what: str) -> Figure:
    """Metrics along a path, a panel each, with an ability's chance floor."""
    fig, axes = small(len(metrics))
    for ax, metric in zip(axes, metrics, strict=True):
        along(ax, path, metric, what)
        if METRICS[metric].kind == "ability":
            floor(ax, rows, metric)
    return fig


def floor(ax: Axes, rows: pd.DataFrame, ability: str) -> None:
    """The chance floor: a line where it is in or near the panel's range, else its value beside the panel, where no data lie."""
    chance = float(rows.loc[(rows["method"] == "chance") & (rows["metric"] == ability), "value"].mean())
    low, high = ax.get_ylim()
    room, edge = ROOM * (high - low), 0.04 * (high - low)
    if low - room < chance < high + room:
        style.chance_line(ax, chance)
        ax.set_ylim(min(low, chance - edge), max(high, chance + edge))
        return
    ax.annotate(
        f"chance {chance:.{METRICS[ability].decimals - 1}f}, {'below' if chance < low else 'above'}",
        (1.015, 0.0),
        xycoords="axes fraction",
        rotation="vertical",
        va="bottom",
        fontsize=style.SMALL,
        color=style.GREY,
    )


def legend(fig: Figure, axes: np.ndarray, columns: int) -> None:
    """One legend above all panels, of the first panel's entries."""
    handles, labels = np.ravel(axes)[0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside upper center", ncols=columns)


RATIOS = 0.2  # inches; height of the legend of ratios
RING = {"marker": "o", "color": style.INK, "markerfacecolor": "none", "markersize": 9, "markeredgewidth": 1}


def ratio_legend(fig: Figure, alphas: Sequence[float], foot: int, others: bool = False) -> None:
    """Which marker is which ratio, above the lines of the figure's foot, which leaves `RATIOS` for it; `others`: there are models without."""
    wide = fig.get_figwidth() > style.COLUMN
    blank = plt.Line2D([], [], linestyle="none", label=r"$\alpha$:")
    shapes = [
        plt.Line2D([], [], color=style.GREY, linestyle="none", marker=style.marker(a), label=f"{a:g}") for a in alphas
    ]
    if others:
        shapes.append(plt.Line2D([], [], color=style.GREY, linestyle="none", marker=style.NO_RATIO, label="no ratio"))
    fig.legend(
        handles=[blank, *shapes],
        loc="lower center",
        bbox_to_anchor=(0.5, (0.02 + 0.12 * foot) / fig.get_figheight()),
        ncols=1 + len(shapes) if wide else 6,
        columnspacing=0.8,
        handletextpad=0.0,
        borderpad=0.0,
        borderaxespad=0.0,
        fontsize=style.SMALL,
    )


def bar(ax: Axes, found: Interval, place: float, colour: str, upright: bool = False, width: float = 1.1) -> None:
    """A 95 % interval. Student's of two seeds is twelve standard errors on either side, so it does not stretch the panel."""
    ends, places = [found.low, found.high], [place, place]
    x, y = (places, ends) if upright else (ends, places)
    if len(found.per_seed) == 2:
        ax.add_collection(LineCollection([np.column_stack([x, y])], colors=colour, linewidths=width), autolim=False)
    else:
        ax.plot(x, y, color=colour, linewidth=width)


def interval_mark(ax: Axes, x: float, found: Interval | None, colour: str, label: str) -> None:
    """A difference at `x`: its mean with the 95 % interval, and the seeds as small dots."""
    if found is None:
        return
    if not math.isnan(found.low):
        bar(ax, found, x, colour, upright=True)
    ax.plot(x, found.mean, "o", color=colour, label=label)
    if len(found.per_seed) > 1:
        ax.plot([x] * len(found.per_seed), found.per_seed, ".", color=colour, markersize=3, alpha=0.6)


NARROW = 5  # panels side by side, in which titles of two words take a line each


def title(metric: str, across: int) -> str:
    """The heading of one of several panels side by side."""
    one = METRICS[metric]
    words, unit = one.words, f"\n({one.unit})" if one.unit else ""
    return (words.replace(" ", "\n", 1) if across >= NARROW else words) + unit


def half_widths(found: Sequence[Interval]) -> np.ndarray:
    """Of intervals along a line; 0, that is no bars, where there is none, and for two seeds, whose bars would hide the line."""
    return np.nan_to_num([0.0 if len(one.per_seed) == 2 else one.high - one.mean for one in found])


def change_line(ax: Axes, path: pd.DataFrame, metric: str, shown: Look, shape: str, filled: bool) -> None:
    """A metric along a path minus that of theta, the path's end, with 95 % intervals; abilities in hundredths of their top."""
    scale = 100 / METRICS[metric].best if metric in BOUNDED else 1.0
    steps = sorted(set(path["step"]))
    found = [paths.difference(paths.at(path, step), paths.at(path, 1), metric) for step in steps]
    mean = scale * np.array([one.mean for one in found])
    half = scale * half_widths(found)
    face = shown.colour if filled else style.PAPER
    ax.errorbar(
        steps,
        mean,
        yerr=half,
        color=shown.colour,
        linestyle=shown.line,
        marker=shape,
        markersize=3,
        markerfacecolor=face,
        elinewidth=0.6,
        linewidth=1,
        label=f"{shown.short}, {METRICS[metric].short}",
    )


def ratio_line(ax: Axes, path: pd.DataFrame, group: str, shown: Look) -> None:
    """The ratio that a method found for a group of weights, against the mean ratio: seeds as dots, their mean as a line."""
    models = path[path["alpha"].notna()].drop_duplicates(["alpha", "seed"])
    models = models.assign(ratio=[setting.get("alphas", {}).get(group, np.nan) for setting in models["setting"]])
    mean = models.groupby("alpha")["ratio"].mean()
    ax.plot(mean.index, mean, color=shown.colour, linestyle=shown.line, marker="o", markersize=3.5, label=shown.label)
    ax.plot(models["alpha"], models["ratio"], ".", color=shown.colour, markersize=3, alpha=0.6)
    ax.set(xlim=(0, 1), ylim=(-0.03, 1.03))


def gain_line(ax: Axes, x: Sequence[float], found: Sequence[Gain | None], place: int, shown: Look, label: str) -> None:
    """Gains with their t intervals against a number on a logarithmic axis; lines at other places lie beside it, with other marks."""
    kept = [(number, one.t) for number, one in zip(x, found, strict=True) if one is not None]
    shifted = [number * 1.07 ** (place - 1) for number, _ in kept]
    mean = [one.mean for _, one in kept]
    half = half_widths([one for _, one in kept])
    line = ("-", "--", ":", "-.")[place % 4]
    ax.errorbar(
        shifted,
        mean,
        yerr=half,
        color=shown.colour,
        linestyle=line,
        marker=style.MARKS[place],
        elinewidth=0.8,
        label=label,
    )


def ring(ax: Axes, model: pd.DataFrame, reward: str, ability: str, text: str, over: bool = False) -> None:
    """A ring around a model, of one row a seed and metric, with a text where a front leaves room: below on its flat left,
    to the left and below on its steep right, where beside the panel stands the chance floor; `over`: above it, of a second front.
    """
    mean = model.groupby("metric")["value"].mean()
    ax.plot(mean[reward], mean[ability], **RING)
    low, high = ax.get_xlim()
    flat = mean[reward] < low + 0.6 * (high - low)
    below = {"xytext": (0, -13), "ha": "center"} if flat else {"xytext": (-6, -3), "ha": "right", "va": "top"}
    above = {"xytext": (0, 6) if flat else (5, 12), "ha": "center"}  # there over both rings, which lie close
    place = above if over else below
    ax.annotate(text, (mean[reward], mean[ability]), textcoords="offset points", **place)


def seed_count(count: int) -> str:
    return "1 seed" if count == 1 else f"{count} seeds"


def stamp_anchored(fig: Figure, preset: str, n_seeds: int, anchor: str, ratios: bool = False, note: str = "") -> int:
    """Write into a figure of `anchored` paths what it was drawn from, and how many lines that takes; `ratios`: room is left for
    `ratio_legend`; `note`: lines before.
    """
    of = f" of the difference to ${anchor}$".replace(" or ", "$ or $") if n_seeds > 1 else ""
    rows = 1 if fig.get_figwidth() > style.COLUMN else 2
    told = f"{preset}, {seed_count(n_seeds)}; {style.bars(n_seeds, of)}"
    told = f"{note}\n{told if rows == 1 else told.replace('; ', f';{chr(10)}')}".lstrip("\n")
    style.foot(fig, told, RATIOS * rows * ratios)
    return 1 + told.count("\n")


def stamp_differences(
    fig: Figure,
    preset: str,
    n_seeds: int,
    dots: bool = True,
    note: str = "",
    above: float = 0.0,
    least: int = 0,
    items: bool = True,
) -> None:
    """Write into a figure of differences what it was drawn from; `dots`: single seeds are shown; `note`: a line before; `above`: inches
    left free (`style.foot`); `least`: the fewest seeds, where lines have different numbers and name their own; `items`: whether one seed's
    bars are intervals over items, as those of `paths.difference`, or it has none.
    """
    if n_seeds == 2 and not dots:
        style.foot(fig, f"{preset}, {style.bars(n_seeds)}")
        return
    if not n_seeds:
        style.foot(fig, f"{note}\n{preset}, compared on 0 seeds".lstrip("\n"), above)
        return
    over = over_seeds(n_seeds, dots) if n_seeds > 1 else "items, paired where rows keep them"
    bars = f"; bars: 95 % intervals over {over}" if n_seeds > 1 or items else ", so no intervals"
    counted = f"{least} to {seed_count(n_seeds)}, as named" if 0 < least < n_seeds else seed_count(n_seeds)
    style.foot(fig, f"{note}\n{preset}, {counted}{bars}".lstrip("\n"), above)


def over_seeds(n_seeds: int, dots: bool = True) -> str:
    """What bars are intervals over, with several seeds."""
    wide = "; bars of two seeds are wider than the panels" if n_seeds == 2 else ""
    return f"seeds, paired{'; small dots: single seeds' if dots else ''}{wide}"


def stamp_ratios(fig: Figure, preset: str, n_seeds: int) -> None:
    """Write into a figure of `ratio_line`s what it was drawn from."""
    style.foot(fig, f"{preset}, {seed_count(n_seeds)}" + ("; lines: means; dots: single seeds" if n_seeds > 1 else ""))


def number(found: Interval | None, metric: str) -> str:
    """The difference and its interval as text, in the metric's own unit."""
    if found is None:
        return "on some seed one of the paths never rises in reward, so no comparison"
    digits = METRICS[metric].decimals
    if math.isnan(found.low):
        return f"{found.mean:+.{digits}f} (one seed: no interval)"
    return f"{found.mean:+.{digits}f} [{found.low:+.{digits}f}, {found.high:+.{digits}f}]"


def rate(lr: float) -> str:
    """A learning rate as short as it can be said: 2.5e-4; NaN is unknown."""
    return "unknown" if np.isnan(lr) else np.format_float_scientific(lr, trim="-", exp_digits=1)


def several(items: Sequence[object]) -> str:
    """a, b and c."""
    words = [str(item) for item in items]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
