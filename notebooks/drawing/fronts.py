"""Figures of fronts: every model of every method, the Pareto front of each method's, and below them the area that each
front encloses, compared with a rival's seed by seed.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from llm.evidence import paths
from llm.evidence.compare import Advantage, Contest
from llm.evidence.curves import pareto_front
from llm.evidence.frames import abilities, rewards
from llm.evidence.metrics import METRICS
from llm.evidence.shares import has_ratio

from . import panels, style

LEAST, LINE = 0.85, 0.24  # inches; height of the row of areas without, and with each, of its lines
FILLED = {"reward": True, "gold_reward": False}  # marks of the areas by each reward


@dataclass(frozen=True)
class Line:
    """A line of panels, one an ability: paths of some seeds by family, and the rows that hold their theta_0 and chance.

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

    def models(self, method: str) -> pd.DataFrame:
        """The rows of theta_0, theta (at the algorithm's own rate) or chance, of these seeds."""
        rows = self.rows[(self.rows["method"] == method) & self.rows["lr"].isna()]
        return rows[rows["seed"].isin(self.seeds)]


def both_rewards(found: Mapping[str, pd.DataFrame], rows: pd.DataFrame, **options) -> list[Line]:
    """The same paths against the learned and against the gold reward; `options` of `Line`."""
    return [Line(reward, found, rows, **options) for reward in rewards(rows)]


def named(contest: Contest) -> str:
    """The contest's family, short, with the mark before it."""
    return contest.mark + style.look(contest.family).short


def rival(contest: Contest) -> str:
    return style.look(contest.against).short


def figure(lines: Sequence[Line], compared: Sequence[Contest], preset: str, columns: int = 4) -> Figure:
    """The lines of panels, the areas below them, one legend above; `columns`: of the legend."""
    height = LEAST + LINE * len(compared) if compared else 0
    heights = [style.PANEL - 0.35] * len(lines) + [height] * bool(compared)
    measured = abilities(lines[0].rows)
    fig, axes = plt.subplots(
        len(heights),
        len(measured),
        figsize=(style.WIDTH, sum(heights) + 0.9),
        squeeze=False,
        gridspec_kw={"height_ratios": heights},
    )
    for line, across in zip(lines, axes, strict=False):
        draw_line(line, across)
    align(axes[: len(lines)])
    for line, across in zip(lines, axes, strict=False):
        for ability, ax in zip(measured, across, strict=True):
            panels.floor(ax, line.models("chance"), ability)
    for ability, ax in zip(measured, axes[0], strict=True):
        ax.set_title(METRICS[ability].title, fontsize=9)
    if compared:
        draw_contests(compared, axes[-1])
    ratios = sorted(
        {step for line in lines for path in line.paths.values() if has_ratio(path) for step in path["step"]}
    )
    legend(fig, lines, compared, columns)
    panels.stamp_anchored(
        fig, preset, len(lines[0].seeds), style.look(lines[0].anchor).short.strip("$"), bool(compared)
    )
    if ratios:
        panels.ratio_legend(fig, ratios)
    return fig


def draw_line(line: Line, axes: Iterable[Axes]) -> None:
    """One line of panels."""
    home = line.models(line.anchor)
    moved = {name: panels.anchored(path, home) for name, path in line.paths.items()}
    for ability, ax in zip(abilities(line.rows), axes, strict=True):
        for name, path in moved.items():
            draw_front(ax, path, line.reward, ability, style.look(name))
        for name in line.stars:
            draw_star(ax, line, ability, name)
        ax.set_xlabel(METRICS[line.reward].label, fontsize=8)
        ax.tick_params(labelsize=7)
    if line.title:
        axes[0].set_ylabel(line.title, fontsize=9)


def draw_front(ax: Axes, path: pd.DataFrame, reward: str, ability: str, shown: style.Look) -> None:
    """All models of a path, hollow where another of them has more of both; a thin line along the path, a thick one
    along its Pareto front.
    """
    x, y = panels.points(path, reward), panels.points(path, ability)
    where = np.column_stack([x["mean"], y["mean"]])
    front = pareto_front(where)
    ax.errorbar(*where.T, xerr=x["error"], yerr=y["error"], fmt="none", color=shown.colour, elinewidth=0.6, alpha=0.4)
    ax.plot(*where.T, color=shown.colour, linestyle=shown.line, linewidth=0.6, alpha=0.5)
    ax.plot(*front.T, color=shown.colour, linestyle=shown.line, linewidth=1.5)
    on_front = (where[:, None] == front[None]).all(axis=2).any(axis=1)
    for step, point, best in zip(x.index, where, on_front, strict=True):
        shape = style.marker(step) if has_ratio(path) else "o"
        face = shown.colour if best else "white"
        ax.plot(*point, marker=shape, color=shown.colour, markerfacecolor=face, markersize=3.8, markeredgewidth=0.8)


def draw_star(ax: Axes, line: Line, ability: str, method: str) -> None:
    """theta_0 or theta."""
    rows = line.models(method)
    if len(rows):
        mean = rows.groupby("metric")["value"].mean()
        ax.plot(mean[line.reward], mean[ability], "*", color=style.look(method).colour, markersize=9, zorder=5)


def align(axes: np.ndarray) -> None:
    """The same abilities in each column and the same rewards in each line, wide enough for all of their panels."""
    for line in axes:
        limits = np.array([ax.get_xlim() for ax in line])
        for ax in line:
            ax.set_xlim(limits[:, 0].min(), limits[:, 1].max())
    for column in axes.T:
        limits = np.array([ax.get_ylim() for ax in column])
        for ax in column:
            ax.set_ylim(limits[:, 0].min(), limits[:, 1].max())


def draw_contests(compared: Sequence[Contest], axes: Iterable[Axes]) -> None:
    """One line a method: its area minus the rival's, by the learned reward (filled) and the gold reward (hollow)."""
    drawn = list(dict.fromkeys(ability for _, ability in compared[0].found))
    by = list(dict.fromkeys(reward for reward, _ in compared[0].found))
    for ability, ax in zip(drawn, axes, strict=True):
        ax.axvline(0, color="#555555", linewidth=0.8)
        for place, contest in enumerate(compared):
            for shift, reward in zip((0.17, -0.17), by, strict=False):
                colour = style.look(contest.family).colour
                draw_advantage(ax, -place + shift, contest.found[reward, ability], colour, FILLED[reward])
        ax.set_ylim(-len(compared) + 0.4, 0.6)
        ax.set_yticks([-place for place in range(len(compared))], [named(contest) for contest in compared], fontsize=7)
        ax.tick_params(axis="x", labelsize=7)
        ax.set_xlabel(f"{compared[0].kind},\nminus {rival(compared[0])}'s", fontsize=8)
        ax.locator_params(axis="x", nbins=4)
    for ax in list(axes)[1:]:
        ax.tick_params(labelleft=False)


def draw_advantage(ax: Axes, height: float, found: Advantage | None, colour: str, filled: bool) -> None:
    """Thin: the t interval; thick: the bootstrap's; dots: single seeds."""
    if found is None:
        return
    ax.plot([found.t.low, found.t.high], [height] * 2, color=colour, linewidth=0.9)
    ax.plot([found.bootstrap.low, found.bootstrap.high], [height] * 2, color=colour, linewidth=2.6, alpha=0.5)
    ax.plot(found.t.mean, height, "o", color=colour, markerfacecolor=colour if filled else "white", markersize=4)


def legend(fig: Figure, lines: Sequence[Line], compared: Sequence[Contest], columns: int) -> None:
    """Methods, the stars, and what the marks of the areas mean, above all panels."""
    names = list(dict.fromkeys(name for line in lines for name in line.paths))
    handles = [
        plt.Line2D([], [], color=style.look(name).colour, linestyle=style.look(name).line, label=style.look(name).label)
        for name in names
    ]
    handles += [
        plt.Line2D(
            [],
            [],
            color=style.look(name).colour,
            linestyle="none",
            marker="*",
            markersize=8,
            label=style.look(name).label,
        )
        for name in dict.fromkeys(star for line in lines for star in line.stars)
    ]
    if compared:
        handles += [
            plt.Line2D(
                [],
                [],
                color="#555555",
                marker="o",
                linewidth=0.9,
                markerfacecolor="#555555" if filled else "white",
                label=f"lowest: by {METRICS[reward].label}",
            )
            for reward, filled in FILLED.items()
        ]
    fig.legend(handles=handles, loc="outside upper center", ncols=columns, fontsize=7.2)
