"""Every method on one plane: reward kept against tax paid; and what goes with the tax."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from llm.evidence.costs import GROUPS, compared, cost_of
from llm.evidence.intervals import Interval
from llm.evidence.metrics import METRICS, SAVED
from llm.evidence.reference import CHOSEN_AT, EQUAL, GRID, LEVELS, Association, Front, Leader, Line, place_of
from llm.methods import METHODS, looks

from . import panels, sentences, style

KEPT, PAID = "share of the reward's rise kept", "share of the tax paid"
MOST = 1.1  # of theta's tax; what pays more leaves the panel
BOTH = ("early-stopping", "ma")  # what all are held against
LEAST_SEEDS = 3  # for a bar: with two, Student's interval is twelve standard errors on either side
LARGE = 9.0  # points; of the figure that README shows, on telephones too
FROM = 0.2  # of the rise: to the left of it hardly any tax is paid


def drawn(found: Mapping[str, Front]) -> dict[str, Front]:
    """The families that have a look of their own; others, which vary a number of theirs, stand in the table alone."""
    return {name: front for name, front in found.items() if name in looks()}


def settled(chosen: Mapping[str, Leader]) -> list[Leader]:
    """The leaders on enough seeds for an interval; all where none has."""
    return [one for one in chosen.values() if len(one.front.seeds) >= LEAST_SEEDS] or [*chosen.values()]


def names(leader: Leader) -> str:
    """The families that a leader is made of, and how many seeds took each."""
    return ", ".join(f"{style.look(name).short} ({panels.seed_count(count)})" for name, count in leader.taken.items())


def mostly(leader: Leader) -> str:
    """The family that most seeds took: "LiNeS (6 seeds)", or "LiNeS (4 of 6 seeds)" where others took another."""
    name, count = next(iter(leader.taken.items()))
    of = f"{count} of " if len(leader.taken) > 1 else ""
    return f"{style.look(name).short} ({of}{panels.seed_count(len(leader.front.seeds))})"


def main(found: Mapping[str, Front], chosen: Mapping[str, Leader], preset: str) -> Figure:
    """The best family of each group (`settled`) with its interval, beside early stopping and MA."""
    fig, ax = plt.subplots(figsize=(style.WIDTH, 4.2))
    both = [found[name] for name in BOTH if name in found]
    drawn_with = [
        (front, f"{style.look(front.family).short} ({panels.seed_count(len(front.seeds))})") for front in both
    ]
    drawn_with += [(leader.front, mostly(leader)) for leader in settled(chosen)]
    shown = [front for front, _ in drawn_with]
    for mark, (front, name) in zip(style.MARKS, drawn_with, strict=False):
        line(ax, front, front.family, mark, name)
    bars(ax, shown)
    frame(ax, shown)
    ax.set_xlabel(KEPT, fontsize=LARGE)
    ax.set_ylabel(PAID + r" (1: as $\theta$ does)", fontsize=LARGE)
    ax.tick_params(labelsize=LARGE - 1)
    ax.plot(1, 0, "+", color=style.INK, markersize=9, markeredgewidth=1.4, label="all reward, no tax")
    fig.legend(
        *ax.get_legend_handles_labels(), loc="outside upper center", ncols=3, fontsize=LARGE - 1, columnspacing=1.2
    )
    chosen_on = "; the best of each group: for each seed, by the other seeds" if several(found) else ""
    barred = max((len(front.seeds) for front in shown), default=0) >= LEAST_SEEDS
    bars_are = (
        f"bars: 95 % over seeds at {CHOSEN_AT}, moved apart"
        if barred
        else f"means over seeds; bars from {LEAST_SEEDS} seeds on"
    )
    style.foot(fig, f"{preset}, {counts(shown)}; {bars_are}{chosen_on}")
    return fig


def groups(found: Mapping[str, Front], preset: str) -> Figure:
    """A panel for each group with all its families that are `seen`, means over seeds; early stopping and MA in each."""
    found = drawn(found)
    members = {group: [name for name in seen(found) if found[name].group == group] for group in GROUPS}
    members = {group: names for group, names in members.items() if set(names) - set(BOTH)}
    members = dict(sorted(members.items(), key=lambda item: len(item[1])))  # long legends side by side
    both = [name for name in BOTH if name in found]
    rows = max(1, -(-len(members) // 2))
    size = style.WIDTH, min(rows * 1.85 + 0.3, style.TALLEST)
    fig, axes = plt.subplots(rows, 2, figsize=size, squeeze=False, sharex=True, sharey=True)
    for (group, names), ax in zip(members.items(), axes.flat, strict=False):
        for mark, name in zip(style.MARKS, [*both, *(name for name in names if name not in BOTH)], strict=False):
            line(ax, found[name], name, mark, ("_" if name in BOTH else "") + style.look(name).short)
        ax.set_title(GROUPS[group])
        ax.legend(
            loc="upper left", bbox_to_anchor=(1.0, 1.04), fontsize=style.SMALL, labelspacing=0.2, handlelength=1.8
        )
    for ax in axes.flat[len(members) :]:
        ax.set_axis_off()
    frame(axes[0, 0], list(found.values()))
    in_each = [plt.Line2D([], [], color=style.look(n).colour, marker=m, label=style.look(n).short, markersize=3)
               for m, n in zip(style.MARKS, both, strict=False)]  # fmt: skip
    fig.legend(handles=in_each, loc="outside upper center", ncols=2)
    for ax in axes.flat[max(len(members) - 2, 0) : len(members)]:
        ax.set_xlabel(KEPT)
        ax.tick_params(labelbottom=True)
    for ax in axes[:, 0]:
        ax.set_ylabel(PAID)
    hide = "where two families are the same models, one line hides the other\n" if twins(found) else ""
    told = f"{preset}, {counts(found.values())}; lines: means over seeds, as far as all of a method's seeds get"
    style.foot(fig, hide + told)
    return fig


def seen(found: Mapping[str, Front]) -> list[str]:
    """The families that have a line within the limits of `frame`, over more than a tenth of the rise."""
    low, high = limits(list(found.values()))
    means = {name: front.band[0][GRID >= FROM] for name, front in found.items()}
    return [name for name, mean in means.items() if ((mean > low) & (mean < high)).sum() > 10]


def unseen(found: Mapping[str, Front]) -> str:
    """One sentence: the families that have a look and no line."""
    found = drawn(found)
    names = [style.look(name).short for name in found if name not in seen(found)]
    why = "it would be no longer than a tenth of the rise, or outside of the panels"
    return sentences.plain(f"Without a line ({why}): {'; '.join(names)}.") if names else "Every family has a line."


def twins(found: Mapping[str, Front]) -> list[str]:
    """The families that pay the same everywhere on the same seeds, so that one's line hides the other's: "A and B (1 seed)"."""
    alike: dict[tuple, list[Front]] = {}
    for front in (found[name] for name in seen(drawn(found))):
        alike.setdefault((front.seeds, np.nan_to_num(front.tax, nan=np.inf).tobytes()), []).append(front)
    return [
        f"{panels.several([style.look(one.family).short for one in same])} ({panels.seed_count(len(same[0].seeds))})"
        for same in alike.values()
        if len(same) > 1
    ]


def cheaper(found: Mapping[str, Front]) -> str:
    """One sentence: the families that pay less of theta's tax than MA does at `CHOSEN_AT` of the rise, by means over seeds."""
    place = place_of(CHOSEN_AT)
    paid = {name: front.band[0][place] for name, front in drawn(found).items()}
    there = {name: share for name, share in paid.items() if np.isfinite(share) and name not in BOTH}
    less = [name for name in sorted(there, key=there.__getitem__) if there[name] < paid.get("ma", -np.inf)]
    most = max(len(front.seeds) for front in found.values())
    fewer = {name: f" ({panels.seed_count(n)})" for name in less if (n := len(found[name].seeds)) < most}
    named = "; ".join(f"{style.look(name).short} {there[name]:.2f}{fewer.get(name, '')}" for name in less)
    of_ma = f"MA, {paid['ma']:.2f}" if np.isfinite(paid.get("ma", np.nan)) else "MA, which does not get there"
    return sentences.plain(
        f"At {CHOSEN_AT:.0%} of the rise {len(less)} of {len(there)} families pay a smaller share of theta's tax than {of_ma} (means over each "
        f"one's own seeds, without a test): {named or 'none'}."
    )


def line(ax: Axes, front: Front, name: str, mark: str, label: str) -> None:
    """A front: the share of theta's tax. Marks at every tenth tell families of near colours apart."""
    look = style.look(name)
    kind = {"marker": mark, "markersize": 3, "markevery": 10, "linewidth": 1.1, "zorder": 3}
    ax.plot(GRID, front.band[0], color=look.colour, linestyle=look.line, label=label, **kind)


def bars(ax: Axes, fronts: Sequence[Front]) -> None:
    """The interval of each front with enough seeds where leaders are chosen, side by side; bands would lie on each other."""
    settled = [front for front in fronts if len(front.seeds) >= LEAST_SEEDS]
    for place, front in enumerate(settled):
        _, low, high = front.band
        at = place_of(CHOSEN_AT)
        x = GRID[at] + 0.005 * (place - (len(settled) - 1) / 2)
        ax.plot([x, x], [low[at], high[at]], color=style.look(front.family).colour, linewidth=0.9, zorder=2)


def frame(ax: Axes, fronts: Sequence[Front]) -> None:
    """From a fifth of the rise to where the fronts end; no tax above, so that a better front is a higher one."""
    means = [front.band[0] for front in fronts]
    right = max((GRID[np.isfinite(mean)].max() for mean in means if np.isfinite(mean).any()), default=1.0)
    ax.set(xlim=(FROM, max(right, 1.0) + 0.02), ylim=limits(fronts)[::-1])
    ax.axhline(0, color=style.GREY, linewidth=0.8)


def limits(fronts: Sequence[Front]) -> tuple[float, float]:
    """The least and the largest share of the tax that panels show."""
    means = [front.band[0] for front in fronts]
    told = np.concatenate([mean[(GRID >= FROM) & np.isfinite(mean)] for mean in means] or [np.ones(1)])
    low, high = (min(0.0, told.min()), max(1.0, told.max())) if told.size else (0.0, 1.0)
    return max(low, -0.3) - 0.12, min(high, MOST) + 0.05


def several(found: Mapping[str, Front]) -> bool:
    return max(len(front.seeds) for front in found.values()) > 1


def counts(fronts: Iterable[Front]) -> str:
    """How many seeds the fronts have: "5 seeds", or "3 to 12 seeds"."""
    return span([len(front.seeds) for front in fronts])


def span(found: Sequence[int]) -> str:
    least, most = min(found), max(found)
    return panels.seed_count(most) if least == most else f"{least} to {panels.seed_count(most)}"


UNTAXED = "early stopping has no models here, or pays no tax that is clear of 0 over these seeds"
INSTEAD = "In its place stands the share of theta's tax that each method pays (1: all of it), means over seeds without intervals."


def shares(lines: Sequence[Line], fronts: Mapping[str, Front]) -> str:
    """The table: a line a family, its share of early stopping's tax saved at each level, and its cost. Where no family has a share,
    the share of theta's tax that it pays, from its front.
    """
    table = {}
    any_saved = any(found for one in lines for found in one.saved)
    for one in lines:
        cost = cost_of(one.method, one.family)
        if any_saved:
            saved = {f"at {level:.0%}": told(found) for level, found in zip(LEVELS, one.saved, strict=True)}
        else:
            mean, _, _ = fronts[one.family].band
            paid = {level: mean[np.searchsorted(GRID, level - 1e-9)] for level in LEVELS}
            saved = {
                f"paid at {level:.0%}": f"{share:.2f}" if np.isfinite(share) else "-" for level, share in paid.items()
            }
        extra = {
            "seeds": one.seeds,
            "models": one.models,
            **saved,
            "training": cost.training,
            "data": cost.data,
            "memory": cost.memory,
        }
        table[named(one.family)] = extra
    told_first = "" if any_saved else f"No share is told at any of these levels, since {UNTAXED}. {INSTEAD}\n\n"
    return told_first + as_table(table, "method") if table else "None has rows."


def sources(lines: Sequence[Line]) -> str:
    """The table of methods: what their families are called here, and where they come from."""
    there = {one.family for one in lines}
    return sentences.markdown(
        pd.DataFrame(
            {
                "called here": sentences.plain(
                    "; ".join(look.short for name, look in method.looks.items() if name in there)
                ),
                "source": method.reference,
            }
            for method in (METHODS[name] for name in dict.fromkeys(one.method for one in lines))
        )
    )


def named(family: str) -> str:
    """A family's short name, or itself where it varies a number that has no words."""
    try:
        return style.look(family).short
    except KeyError:
        return family


def as_table(lines: Mapping[str, Mapping[str, object]], first: str) -> str:
    """Markdown: a line for each name, the cells that one has not as dashes."""
    return sentences.markdown(
        pd.DataFrame([{first: sentences.plain(name), **line} for name, line in lines.items()]).fillna("-")
    )


def told(found: Interval | None) -> str:
    return sentences.cell(found, SAVED)


def verdict(lines: Sequence[Line], level: float = 0.9) -> str:
    """One sentence: which methods save a share of early stopping's tax that is clear of 0 at a level of the rise."""
    place = LEVELS.index(level)
    there = {style.look(one.family).short: one.saved[place] for one in lines if one.saved[place] is not None}
    if not there:
        return f"At {level:.0%} of the rise no method's share of early stopping's tax is told: {UNTAXED}."
    best = [name for name, found in there.items() if found and found.verdict == "above"]
    worse = [name for name, found in there.items() if found and found.verdict == "below"]
    text = (
        f"At {level:.0%} of the rise {len(there)} methods can be compared with early stopping. Without a correction for their number, "
        f"these save a share of its tax that is clear of 0: {'; '.join(best) or 'none'}."
    )
    return sentences.plain(text + (f" These pay more than it: {'; '.join(worse)}." if worse else ""))


def why(models: pd.DataFrame, predictors: Sequence[str], preset: str) -> Figure:
    """A panel a predictor: each model's tax against it, means over seeds, a shape and a colour for each group."""
    fig, axes = plt.subplots(1, len(predictors), figsize=(style.WIDTH, style.PANEL + 0.6), sharey=True)
    shapes = dict(zip(GROUPS, "osD^vPX", strict=True))
    colours = dict(zip(GROUPS, style.shades(len(GROUPS)), strict=True))
    theta = style.look("theta")
    models = models[models.index.get_level_values("method").isin([*compared(), "theta"])].drop(
        EQUAL, level="family", errors="ignore"
    )
    groups = models.groupby(["family", "method", "setting_key"])
    start, counted = groups.mean(), groups.size()
    for predictor, ax in zip(predictors, axes, strict=True):
        for method, found in start.groupby("method"):
            group = cost_of(method).group if method in compared() else ""
            shape, colour = shapes.get(group, "*"), colours.get(group, theta.colour)
            size = 7 if shape == "*" else 3
            ax.plot(found[predictor], found["tax"], shape, color=colour, markersize=size, alpha=0.8, markeredgewidth=0)
        ax.set_xlabel(METRICS[predictor].label.replace("theta_0", r"$\theta_0$"))
        ax.axhline(0, color=style.GREY, linewidth=0.8)
    axes[0].set_ylabel(PAID)
    marks = [
        plt.Line2D([], [], color=colours[group], marker=shape, linestyle="none", markersize=4, label=GROUPS[group])
        for group, shape in shapes.items()
        if group in {cost_of(m).group for m in models.index.get_level_values("method") if m in compared()}
    ]
    marks.append(plt.Line2D([], [], color=theta.colour, marker="*", linestyle="none", markersize=7, label=theta.label))
    fig.legend(handles=marks, loc="outside upper center", ncols=2)
    style.foot(fig, f"{preset}, {span(counted)} a point; a point a model, its mean over the seeds that have it")
    return fig


def ranked(found: Sequence[Association]) -> str:
    """The table of rank correlations: a line a group, a column a predictor."""
    table: dict[str, dict[str, object]] = {}
    for one in found:
        counted = {"seeds": len(one.found.per_seed), "models a seed": f"{one.models:.0f}"}
        line = table.setdefault(GROUPS.get(one.group, "all models"), counted)
        line[METRICS[one.predictor].words] = correlation(one.found)
    return f"Bold, from {LEAST_SEEDS} seeds on: the whole 95 % interval lies on one side of 0.\n\n{as_table(table, 'group')}"


def correlation(found: Interval) -> str:
    """A rank correlation with its interval; never bold below `LEAST_SEEDS`."""
    text = told(possible(found))
    return text if len(found.per_seed) >= LEAST_SEEDS else text.strip("*")


def possible(found: Interval) -> Interval:
    """The part of an interval in which a correlation can lie."""
    return replace(found, low=max(found.low, -1.0), high=min(found.high, 1.0))


def missing(lacking: Mapping[str, Sequence[str]], seeds: Sequence[int]) -> str:
    """One sentence about methods, and families of them, that have no rows, and the command that measures them on some seeds."""
    if not lacking:
        return "None: every method and setting has rows."
    known = looks()
    named = [
        f"`{sweep}` ({'; '.join(known[one].label if one in known else one for one in absent)})"
        for sweep, absent in lacking.items()
    ]
    return f"Not measured yet: {panels.several(named)}. To measure: {style.command(lacking, seeds)}"
