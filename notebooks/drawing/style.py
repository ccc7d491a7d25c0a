"""How every figure looks, and how it is saved: one colour a method, one marker a ratio, the same bytes for
the same input.

Figures say what they were drawn from (preset, seeds) and carry no dates. PRESET, RESULTS and FIGURES,
environment variables with the defaults microcosm, results and figures, say what to draw from and where to put
it.
"""

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from llm.config import load_preset
from llm.files import write_text
from llm.methods import Look, looks

ROOT = Path(__file__).resolve().parents[2]
WIDTH = 7.0  # inches; a page's text width
PANEL = 2.6  # inches; height of a panel


QUARTERS = {0.25: "d", 0.75: (4, 1, 0)}
TENTHS = ("s", "v", "^", "<", ">", "o", "p", "h", "P", "X", "D")


def use() -> None:
    """Set matplotlib up for all figures of a notebook."""
    sns.set_theme(context="paper", style="ticks", font="DejaVu Sans")
    plt.rcParams.update(
        {
            "axes.grid": True,
            "axes.spines.right": False,
            "axes.spines.top": False,
            "figure.constrained_layout.use": True,
            "figure.dpi": 110,
            "grid.alpha": 0.3,
            "legend.frameon": False,
            "lines.linewidth": 1.3,
            "lines.markersize": 4.5,
            "mathtext.fontset": "dejavusans",
            "pdf.fonttype": 42,
            "savefig.dpi": 200,
            "svg.hashsalt": "alignment-tax",
        }
    )


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
    "single": Look("one model alone", "#000000"),
    "weights": Look("weights averaged", look("ma").colour),
    "outputs": Look("outputs averaged", look("ama").colour),
}


def marker(alpha: float) -> str | tuple[int, int, int]:
    """The marker of a ratio in [0, 1]: one for each tenth and each quarter, a dot for others."""
    tenth = round(10 * alpha)
    if 0 <= tenth <= 10 and abs(10 * alpha - tenth) < 1e-9:
        return TENTHS[tenth]
    return QUARTERS.get(round(alpha, 9), ".")


def over_seeds(frame: pd.DataFrame, by: str | list[str]) -> pd.DataFrame:
    """Mean of `value` over seeds for each `by`, in the order of `by`, its standard error `error`, and
    `seeds`.

    With a single seed the error is that over the items of the row.
    """
    groups = frame.groupby(by, sort=True)
    values, seeds = groups["value"], groups["seed"].nunique()
    error = np.where(seeds > 1, values.sem(), groups["stderr"].mean())
    return pd.DataFrame({"mean": values.mean(), "error": error, "seeds": seeds})


def path(
    ax: Axes,
    x: pd.DataFrame,
    y: pd.DataFrame,
    shown: Look,
    alphas: Iterable[float] | None = None,
    label: str | None = None,
) -> None:
    """A path of models with error bars: x and y from `over_seeds`, in the same order; `alphas` choose the
    markers.
    """
    text = shown.label if label is None else label
    ax.errorbar(
        x["mean"],
        y["mean"],
        xerr=x["error"],
        yerr=y["error"],
        color=shown.colour,
        linestyle=shown.line,
        elinewidth=0.7,
        label="_" if alphas is not None else text,
        marker=None if alphas is not None else "o",
    )
    if alphas is not None:
        for horizontal, vertical, alpha in zip(x["mean"], y["mean"], alphas, strict=True):
            ax.plot(horizontal, vertical, color=shown.colour, marker=marker(alpha), linestyle="none")
        ax.plot([], [], color=shown.colour, linestyle=shown.line, label=text)


def chance_line(ax: Axes, value: float, label: str = "chance") -> None:
    """A dotted floor: what an answer without the ability scores."""
    ax.axhline(value, color="#555555", linestyle=":", linewidth=1)
    ax.annotate(label, (0.01, value), xycoords=("axes fraction", "data"), fontsize=7, color="#555555", va="bottom")


def stamp(fig: Figure, preset: str, n_seeds: int) -> None:
    """Write into the figure what it was drawn from and what its error bars are."""
    bars = "standard error over seeds" if n_seeds > 1 else "standard error over items"
    seeds = "1 seed" if n_seeds == 1 else f"{n_seeds} seeds"
    foot(fig, f"{preset}, {seeds}; error bars: {bars}")


def foot(fig: Figure, text: str) -> None:
    """Small text, of one or two lines, at the foot of the figure."""
    room = max(0.035, 0.12 * (1 + text.count("\n")) / fig.get_figheight())
    fig.get_layout_engine().set(rect=(0, room, 1, 1 - room))
    fig.text(0.995, 0.005, text, ha="right", va="bottom", fontsize=6.5, color="#555555")


def save(fig: Figure, name: str) -> None:
    """Write NAME.pdf and NAME.png into the folder of figures: no dates, so the same figure gives the same
    bytes.
    """
    folder = figures()
    folder.mkdir(parents=True, exist_ok=True)
    fig.savefig(folder / f"{name}.pdf", metadata={"CreationDate": None})
    fig.savefig(folder / f"{name}.png", metadata={"Software": None})


def write(text: str, name: str) -> None:
    """Write NAME.md into the folder of figures."""
    write_text(figures() / f"{name}.md", text)
