"""Figures of fronts: every model of every method in the plane of reward and ability, and the Pareto front of each method's."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from llm.evidence import paths
from llm.evidence.compare import losses
from llm.evidence.curves import pareto_front
from llm.evidence.frames import abilities, rewards
from llm.evidence.metrics import METRICS
from llm.methods import METHODS

from . import panels, style

PALE = 0.35  # opacity of a model that another one of its method beats in both
FEW = 3  # paths in a panel; of more, single seeds are a tangle


@dataclass(frozen=True)
class Line:
    """Paths of some seeds by family, drawn against one reward, and the rows that hold their theta_0 and chance.

    Seeds are moved so that their models of the method `anchor`, theta_0 or theta, lie at one point (`panels.anchored`).
    `stars` says which of the two are marked.
    """

    reward: str
    paths: Mapping[str, pd.DataFrame]
    rows: pd.DataFrame
    title: str = ""
    anchor: str = "theta_0"
    stars: tuple[str, ...] = ("theta_0", "theta")

    @property
    def seeds(self) -> list[int]:
        return paths.seeds(next(iter(self.paths.values())))

    @property
    def singles(self) -> bool:
        """Whether each seed is drawn by itself too: of two, where the paths are few."""
        return len(self.seeds) == 2 and len(self.paths) <= FEW

    def models(self, method: str) -> pd.DataFrame:
        """The rows of theta_0, theta (at the algorithm's own rate) or chance, of these seeds."""
        rows = self.rows[(self.rows["method"] == method) & self.rows["lr"].isna()]
        return rows[rows["seed"].isin(self.seeds)]


def by_reward(found: Mapping[str, pd.DataFrame], rows: pd.DataFrame, reward: str = "", **options) -> list[Line]:
    """The same paths against one reward, or against each that was measured; `options` of `Line`."""
    return [Line(one, found, rows, **options) for one in rewards(rows) if reward in ("", one)]


def part(rows: pd.DataFrame, share: float) -> dict[str, float]:
    """The least height of panels: a share of how far theta_0 and theta of `rows` lie apart in each ability."""
    return {ability: share * apart for ability, apart in losses(rows).items()}


def figure(
    lines: Sequence[Line],
    preset: str,
    shown: Sequence[str] = (),
    columns: int = 4,
    across: int = 0,
    least: Mapping[str, float] | None = None,
    ringed: str = "",
    names: Mapping[str, str] | None = None,
    note: str = "",
) -> Figure:
    """A panel for each line and ability, one legend above, the ratios' marks below.

    Args:
        shown: the abilities; by default all that were measured.
        columns: of the legend. across: panels side by side, by default as many as abilities.
        least: ability -> how high its panels are at least, in its unit; each panel then has scales of its own. None: all
            panels of an ability, and all of a reward, have the same.
        ringed: what `panels.ring` is around. names: family -> its name in the legend, by default its label. note: a line for the foot.
    """
    shown = list(shown or abilities(lines[0].rows))
    across = across or len(shown)
    cells = list(product(lines, shown))
    down = -(-len(cells) // across)
    columns = columns if across > 1 else min(columns, 2)
    rows = -(-(len(lines[0].paths) + 4) // columns)  # of the legend, with stars, pale marks and thin lines or rings
    extra = (len(lines[0].paths) > columns) + (max(0, rows - 3) if across > 1 else 0)
    width = style.COLUMN if across == 1 else style.WIDTH
    height = down * (style.PANEL - 0.15) + 0.6 + 0.14 * extra + 0.5 * (across == 1)
    size = width, min(height, style.TALLEST)
    fig, axes = plt.subplots(down, across, figsize=size, squeeze=False)
    drawn = list(zip(cells, axes.flat, strict=False))
    for (line, ability), ax in drawn:
        draw_panel(ax, line, ability)
        ax.set_title(line.title)
    for ax in axes.flat[len(cells) :]:
        ax.set_axis_off()
    align([(line.reward, ability, ax) for (line, ability), ax in drawn], least)
    for (line, ability), ax in drawn:
        panels.floor(ax, line.models("chance"), ability)
    legend(fig, lines, columns, ringed, names or {})
    ratios = sorted(
        {step for line in lines for path in line.paths.values() if has_ratio(path) for step in path["step"]}
    )
    anchors = dict.fromkeys(style.look(line.anchor).short.strip("$") for line in lines)
    note = "\n".join(filter(None, (note, strengths(lines))))
    foot = panels.stamp_anchored(fig, preset, len(lines[0].seeds), " or ".join(anchors), bool(ratios), note)
    if ratios:
        every = [path for line in lines for path in line.paths.values()]
        panels.ratio_legend(fig, ratios, foot, others=not all(map(has_ratio, every)))
    return fig


def strengths(lines: Sequence[Line]) -> str:
    """The lambdas of averages without ratios, from theta_0 to theta; in brackets those that some of their paths lack."""
    found = {
        (name, place): set(path.loc[path["family"] == name, "strength"])
        for place, line in enumerate(lines)
        for name, path in line.paths.items()
        if name in METHODS["regmean"].looks
    }
    every = set().union(*found.values())
    told = [
        f"{one:g}" if all(one in of for of in found.values()) else f"({one:g})" for one in sorted(every, reverse=True)
    ]
    names = (
        panels.several([style.look(name).short for name in dict.fromkeys(name for name, _ in found)]) if found else ""
    )
    lacking = " (in brackets: not in all panels)" * any("(" in one for one in told)
    return f"{names}, from $\\theta_0$ to $\\theta$: $\\lambda$ = {', '.join(told)}{lacking}" if found else ""


def draw_panel(ax: Axes, line: Line, ability: str) -> None:
    home = line.models(line.anchor)
    for name, path in line.paths.items():
        draw_front(ax, panels.anchored(path, home), line.reward, ability, style.look(name), line.singles)
    for name in line.stars:
        rows = line.models(name)
        if len(rows):
            mean = rows.groupby("metric")["value"].mean()
            ax.plot(mean[line.reward], mean[ability], "*", color=style.look(name).colour, markersize=8, zorder=5)
    ax.set_xlabel(METRICS[line.reward].label)
    ax.set_ylabel(METRICS[ability].label)


def draw_front(
    ax: Axes, path: pd.DataFrame, reward: str, ability: str, shown: style.Look, singles: bool = False
) -> None:
    """All models of a path, pale where another of them has more of both; a thin line along the path, a thick one along its
    Pareto front. `singles`: each seed by itself too, as a thin line without marks.
    """
    x, y = panels.points(path, reward), panels.points(path, ability)
    where = np.column_stack([x["mean"], y["mean"]])
    front = pareto_front(where)
    ax.errorbar(*where.T, xerr=x["error"], yerr=y["error"], fmt="none", color=shown.colour, elinewidth=0.6, alpha=0.4)
    seeds = paths.seeds(path) if singles else []
    for thin in [where, *(panels.plane(path[path["seed"] == seed], reward, ability) for seed in seeds)]:
        ax.plot(*thin.T, color=shown.colour, linestyle=shown.line, linewidth=0.6, alpha=0.5)
    ax.plot(*front.T, color=shown.colour, linestyle=shown.line, linewidth=1.5)
    on_front = (where[:, None] == front[None]).all(axis=2).any(axis=1)
    for step, point, best in zip(x.index, where, on_front, strict=True):
        shape = style.marker(step) if has_ratio(path) else style.NO_RATIO
        kind = {"markersize": 3.6, "markeredgewidth": 0.0, "alpha": None if best else PALE}
        ax.plot(*point, marker=shape, color=shown.colour, **kind)


def align(cells: Iterable[tuple[str, str, Axes]], least: Mapping[str, float] | None) -> None:
    """The same limits in all panels of a reward, and of an ability; or limits of their own, of a least height."""
    cells = list(cells)
    for reward in {reward for reward, _, _ in cells if least is None}:
        _together([ax for one, _, ax in cells if one == reward], "x")
    for ability in {ability for _, ability, _ in cells}:
        axes = [ax for _, one, ax in cells if one == ability]
        if least is None:
            _together(axes, "y")
        for ax in axes:
            low, high = ax.get_ylim()
            room = max((least or {}).get(ability, 0.0) - (high - low), 0.0)
            best = METRICS[ability].best if METRICS[ability].best is not None else np.inf
            over = max(high + room / 2 - max(high, 1.005 * best), 0.0)  # nothing is above the best value
            ax.set_ylim(low - room / 2 - over, high + room / 2 - over)
            ax.locator_params(axis="x", nbins=5)


def _together(axes: Sequence[Axes], which: str) -> None:
    limits = np.array([getattr(ax, f"get_{which}lim")() for ax in axes])
    for ax in axes:
        ax.set(**{f"{which}lim": (limits[:, 0].min(), limits[:, 1].max())})


def legend(fig: Figure, lines: Sequence[Line], columns: int, ringed: str, names: Mapping[str, str]) -> None:
    """Methods, the stars, and what marks without ratios, pale ones, rings and thin lines mean, above all panels."""
    handles = [
        plt.Line2D(
            [],
            [],
            color=style.look(name).colour,
            linestyle=style.look(name).line,
            label=names.get(name, style.look(name).label),
        )
        for name in dict.fromkeys(name for line in lines for name in line.paths)
    ]
    stars = {"linestyle": "none", "marker": "*", "markersize": 7}
    handles += [
        plt.Line2D([], [], color=style.look(name).colour, label=style.look(name).label, **stars)
        for name in dict.fromkeys(star for line in lines for star in line.stars)
    ]
    paths_drawn = [path for line in lines for path in line.paths.values()]
    if not any(map(has_ratio, paths_drawn)):  # else the mark stands below, beside those of ratios
        named = "an iteration" if all("early-stopping" in set(path["method"]) for path in paths_drawn) else "a model"
        handles.append(plt.Line2D([], [], color=style.GREY, linestyle="none", marker=style.NO_RATIO, label=named))
    if any(mark.get_alpha() == PALE for ax in fig.axes for mark in ax.lines):
        handles.append(Patch(color=style.GREY, alpha=PALE, label="pale: beaten in both"))  # of any mark
    if ringed:
        handles.append(plt.Line2D([], [], linestyle="none", **panels.RING, label=ringed))
    if any(line.singles for line in lines):
        handles.append(plt.Line2D([], [], color=style.INK, linewidth=0.6, alpha=0.5, label="thin: single seeds"))
    fig.legend(handles=handles, loc="outside upper center", ncols=columns)


def has_ratio(path: pd.DataFrame) -> bool:
    """Whether a path's steps are ratios."""
    return bool(path["alpha"].notna().any())
