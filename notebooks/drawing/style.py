"""How every figure looks, and how it is saved: one colour a method, one marker a ratio, the same bytes for
the same input. No other file of the notebooks names a colour.

A figure is as wide as one column of a page or as two, at most `TALLEST` high, and its text has at least `LEAST` points.
Colours that a figure tells apart differ by at least `DISTANCE` in CIELAB, for people without red or green receptors too;
where methods are chosen by what was measured, so that any may meet, marks tell them apart. A hollow mark
always means the gold reward, a star theta_0 or theta; the larger ring around a mark (`panels.ring`) stands in the legend.

Figures say what they were drawn from (preset, seeds) and carry no dates. PRESET, RESULTS and FIGURES,
environment variables with the defaults microcosm, results and figures, say what to draw from and where to put
it.
"""

import os
import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.collections import Collection, LineCollection, PathCollection, PolyCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import ArrayLike

from llm.config import load_preset
from llm.files import write_text
from llm.methods import Look, looks

ROOT = Path(__file__).resolve().parents[2]
COLUMN, WIDTH = 3.3, 6.8  # inches; one column of a page, and two
TALLEST = 8.0  # inches
PANEL = 2.1  # inches; height of a panel
LEAST = 6.0  # points; the smallest text
SMALL = 6.2  # points; text beside the axes, and long legends
DISTANCE = 15  # in CIELAB

UPRIGHT = ((-0.35, -1), (0.35, -1), (0.35, 1), (-0.35, 1), (-0.35, -1))  # a bar; FLAT lies
FLAT = tuple((y, x) for x, y in UPRIGHT)
TWENTIETHS = {0.25: "d", 0.75: (4, 1, 0), 0.85: UPRIGHT, 0.95: FLAT}
# A spool: a model of a method without ratios, or at a ratio without a mark of its own.
NO_RATIO = ((-1, -1), (1, -1), (0.4, 0), (1, 1), (-1, 1), (-0.4, 0), (-1, -1))
TENTHS = ("s", "v", "^", "<", ">", "o", "p", "h", "P", "X", "D")
MARKS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p", "h", "*", "d", "8", "H", "1", "2", "3", "4", "+", "x")

# What is no method: text, axes, chance; models in drawings; and what a comparison says.
INK, GREY, FAINT, PAPER = "#222222", "#555555", "#e6e6e6", "#ffffff"
BEFORE, AFTER = "#c9ced6", "#b5475c"  # theta_0 and theta in drawings of models
VERDICTS = {
    "holds": "#0b6b5a",
    "equivalent": "#6f8fe8",
    "fails": "#b3261e",
    "undecided": "#969696",
    "not testable here": "#d4d4d4",
}
SIDES = {"above": VERDICTS["holds"], "below": VERDICTS["fails"], "undecided": VERDICTS["undecided"]}
DIVERGING, SEQUENTIAL = "RdBu", "viridis"


def use() -> None:
    """Set matplotlib up for all figures of a notebook."""
    sns.set_theme(context="paper", style="ticks", font="DejaVu Sans")
    plt.rcParams.update(
        {
            "axes.grid": True,
            "axes.labelsize": 7.5,
            "axes.linewidth": 0.7,
            "axes.spines.right": False,
            "axes.spines.top": False,
            "axes.titlesize": 8,
            "figure.constrained_layout.use": True,
            "figure.dpi": 110,
            "font.size": 7,
            "grid.alpha": 0.3,
            "grid.linewidth": 0.6,
            "legend.fontsize": 7,
            "legend.frameon": False,
            "legend.title_fontsize": 7,
            "lines.linewidth": 1.3,
            "lines.markersize": 4,
            "mathtext.fontset": "dejavusans",
            "pdf.fonttype": 42,
            "savefig.dpi": 200,
            "svg.hashsalt": "alignment-tax",
            "xtick.labelsize": 6.5,
            "xtick.major.size": 3,
            "xtick.major.width": 0.7,
            "ytick.labelsize": 6.5,
            "ytick.major.size": 3,
            "ytick.major.width": 0.7,
        }
    )


def shades(count: int) -> list[tuple[float, ...]]:
    """Colours of numbers in rising order, such as learning rates."""
    return [tuple(colour) for colour in plt.get_cmap(SEQUENTIAL)(np.linspace(0, 0.9, max(count, 1)))]


def about(name: str) -> None:
    """Draw this preset's results where PRESET names no other."""
    os.environ["PRESET"] = os.environ.get("PRESET") or name


def preset() -> str:
    """Which preset's results to draw: its name, or the path of its file."""
    return os.environ.get("PRESET") or "microcosm"


def results(name: str | None = None) -> Path:
    """Folder of the preset's result rows, or results/NAME for what no preset changes (`theory`)."""
    return (
        ROOT / "results" / name
        if name
        else ROOT / (os.environ.get("RESULTS") or "results") / load_preset(preset()).name
    )


def command(sweeps: Iterable[str], seeds: Iterable[int] = (0,), name: str = "") -> str:
    """What measures sweeps of a preset, by default the one that is drawn."""
    asked, numbers = " ".join(dict.fromkeys(sweeps)), " ".join(map(str, seeds))
    return f'make reproduce PRESET={shlex.quote(name or preset())} SEEDS="{numbers}" TARGET="{asked}"'


def figures() -> Path:
    """Folder that figures go to."""
    return ROOT / (os.environ.get("FIGURES") or "figures")


def look(family: str) -> Look:
    """The look of a family of models (`llm.methods.looks`), or of an algorithm.

    AMA with any other K looks as with 6, and with any number of samples and regulariser as AMA; regression averaging with any other
    options looks as with its defaults.
    """
    known = looks()
    if re.fullmatch(r"ama-\d+", family):
        return replace(known["ama-6"], label=f"AMA, K = {family.removeprefix('ama-')}")
    if varied := re.fullmatch(r"ama-samples-(.+)-regulariser-(.+)", family):
        return replace(known["ama"], abbreviation=f"AMA, {varied[1]} samples, regulariser {varied[2]}")
    if family not in known and family.startswith("regmean-"):
        return replace(known["regmean"], abbreviation=f"RegMean, {family.removeprefix('regmean-').replace('-', ' ')}")
    if family not in known:
        raise KeyError(f"{family!r} has no look; allowed are {', '.join(known)}")
    return known[family]


THEORY_LOOKS: Mapping[str, Look] = {
    "single": Look("one model alone", INK),
    "weights": Look("weights averaged", look("ma").colour),
    "outputs": Look("outputs averaged", look("dera").colour),
}


def marker(alpha: float) -> str | tuple:
    """The marker of a ratio in [0, 1]: one for each tenth, each quarter, and two near 1; `NO_RATIO` for others."""
    tenth = round(10 * alpha)
    if 0 <= tenth <= 10 and abs(10 * alpha - tenth) < 1e-9:
        return TENTHS[tenth]
    return TWENTIETHS.get(round(alpha, 9), NO_RATIO)


def over_seeds(frame: pd.DataFrame, by: str | list[str]) -> pd.DataFrame:
    """Mean of `value` over seeds for each `by`, in the order of `by`, its standard error `error`, and
    `seeds`.

    With a single seed the error is that over the items of the row. Two seeds give none: a spread of two numbers is no estimate.
    """
    groups = frame.groupby(by, sort=True)
    values, seeds = groups["value"], groups["seed"].nunique()
    error = np.where(seeds > 2, values.sem(), np.where(seeds == 2, np.nan, groups["stderr"].mean()))
    return pd.DataFrame({"mean": values.mean(), "error": error, "seeds": seeds})


def path(ax: Axes, x: pd.DataFrame, y: pd.DataFrame, shown: Look) -> None:
    """A path of models with error bars: x and y from `over_seeds`, in the same order."""
    ax.errorbar(
        x["mean"],
        y["mean"],
        xerr=x["error"],
        yerr=y["error"],
        color=shown.colour,
        linestyle=shown.line,
        elinewidth=0.7,
        label=shown.label,
        marker=NO_RATIO,
    )


def chance_line(ax: Axes, value: float) -> None:
    """A dotted floor: what an answer without the ability scores."""
    ax.axhline(value, color=GREY, linestyle=":", linewidth=1)
    ax.annotate("chance", (0.01, value), xycoords=("axes fraction", "data"), fontsize=SMALL, color=GREY, va="bottom")


def stamp(fig: Figure, preset: str, n_seeds: int) -> None:
    """Write into the figure what it was drawn from and what its error bars are."""
    seeds = "1 seed" if n_seeds == 1 else f"{n_seeds} seeds"
    foot(fig, f"{preset}, {seeds}; {bars(n_seeds)}")


def bars(n_seeds: int, of: str = "") -> str:
    """What the error bars of `over_seeds` are; `of`: of which number, where it is not the plotted one."""
    if n_seeds == 2:
        return "two seeds, so no error bars"
    return f"error bars: standard error{of} over {'seeds' if n_seeds > 1 else 'items'}"


def foot(fig: Figure, text: str, above: float = 0.0) -> None:
    """Small text, of one or two lines, at the foot of the figure; `above`: inches left free between it and the axes."""
    room = (0.12 * (1 + text.count("\n")) + above) / fig.get_figheight()
    fig.get_layout_engine().set(rect=(0, room, 1, 1 - room))
    fig.text(0.995, 0.005, text, ha="right", va="bottom", fontsize=SMALL, color=GREY)


def save(fig: Figure, name: str) -> None:
    """Write NAME.pdf and NAME.png into the folder of figures: no dates, and numbers rounded, so the same rows give the same
    bytes on every processor.
    """
    folder = figures()
    folder.mkdir(parents=True, exist_ok=True)
    settle(fig)
    fig.savefig(folder / f"{name}.pdf", metadata={"CreationDate": None})
    fig.savefig(folder / f"{name}.png", metadata={"Software": None})


def settle(fig: Figure) -> None:
    """Round what is drawn to `DIGITS` digits of its axes' size: a mean differs between processors in the last of sixteen."""
    for ax in fig.axes:
        limits = {"x": ax.get_xlim(), "y": ax.get_ylim()}
        places = {name: _places(ends) for name, ends in limits.items()}
        ax.set(xlim=np.round(limits["x"], places["x"]), ylim=np.round(limits["y"], places["y"]))
        for line in ax.lines:
            numbers = (np.asarray(values) for values in line.get_data(orig=False))
            line.set_data(*(_rounded(values, places[name]) for name, values in zip("xy", numbers, strict=True)))
        for patch in ax.patches:
            if isinstance(patch, Rectangle):
                x, y, width, height = patch.get_bbox().bounds
                patch.set_bounds(
                    *_rounded([x], places["x"]),
                    *_rounded([y], places["y"]),
                    *_rounded([width], places["x"]),
                    *_rounded([height], places["y"]),
                )
        for drawn in ax.collections:
            _settle_collection(drawn, places)


DIGITS = 8


def _places(ends: tuple[float, float]) -> int:
    return DIGITS - int(np.ceil(np.log10(max(abs(ends[0]), abs(ends[1]), 1e-300))))


def _rounded(values: ArrayLike, places: int) -> np.ndarray:
    numbers = np.asarray(values)
    return np.round(numbers, places) + 0.0 if np.issubdtype(numbers.dtype, np.floating) else numbers


def _settle_collection(drawn: Collection, places: Mapping[str, int]) -> None:
    """Error bars, bands and scattered points."""
    if isinstance(drawn, LineCollection | PolyCollection):
        for path in drawn.get_paths():
            path.vertices = np.column_stack(
                [_rounded(path.vertices[:, k], places[name]) for k, name in enumerate("xy")]
            )
    elif isinstance(drawn, PathCollection):
        offsets = np.asarray(drawn.get_offsets())
        drawn.set_offsets(np.column_stack([_rounded(offsets[:, k], places[name]) for k, name in enumerate("xy")]))
    if drawn.get_array() is not None:
        drawn.set_array(np.ma.round(drawn.get_array(), DIGITS))


def write(text: str, name: str) -> None:
    """Write NAME.md into the folder of figures."""
    write_text(figures() / f"{name}.md", text)
