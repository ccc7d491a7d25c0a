"""How every figure looks, and how it is saved: one colour a method, one marker a ratio, the same bytes for
the same input.

Figures say what they were drawn from (preset, seeds) and carry no dates. PRESET, RESULTS and FIGURES,
environment variables with the defaults microcosm, results and figures, say what to draw from and where to put
it.
"""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

ROOT = Path(__file__).resolve().parent.parent
WIDTH = 7.0  # inches; a page's text width
PANEL = 2.6  # inches; height of a panel


@dataclass(frozen=True)
class Look:
    """Name, colour and line of a method."""

    label: str
    colour: str
    line: str = "-"


LOOKS: Mapping[str, Look] = {
    "theta_0": Look(r"$\theta_0$ (before RLHF)", "#000000"),
    "theta": Look(r"$\theta$ (after RLHF)", "#7a0019"),
    "early-stopping": Look("early stopping", "#7f7f7f"),
    "ma": Look("model averaging (MA)", "#0072b2"),
    "part-input": Look("input part only", "#009e73"),
    "part-middle": Look("middle part only", "#e69f00"),
    "part-output": Look("output part only", "#56b4e9"),
    "part-embeddings": Look("embeddings only", "#4b2e83", ":"),
    "ama": Look("adaptive averaging (AMA)", "#d55e00"),
    "ama-own-embeddings": Look("AMA, embeddings apart", "#dd8fbe"),
    "l1": Look("L1 penalty", "#332288", "--"),
    "l2": Look("L2 penalty", "#6fc7b5", "--"),
    "kd": Look("knowledge distillation", "#117733", "--"),
    "lora": Look("LoRA", "#999933", "--"),
    "sma": Look("stochastic moving averaging", "#4a2c12", "--"),
    "er": Look("experience replay", "#882255", "--"),
    "kl": Look("KL reward penalty", "#e39be3", "--"),
    "adamerging": Look("AdaMerging", "#cdb843", "--"),
}
THEORY_LOOKS: Mapping[str, Look] = {
    "single": Look("one model alone", "#000000"),
    "weights": Look("weights averaged", LOOKS["ma"].colour),
    "outputs": Look("outputs averaged", LOOKS["ama"].colour),
}
TENTHS = ("s", "v", "^", "<", ">", "o", "p", "h", "P", "X", "D")
METRICS = {
    "reward": "learned reward",
    "gold_reward": "gold reward",
    "qa": "question answering (accuracy)",
    "reading_f1": "reading comprehension (F1)",
    "bleu": "translation (BLEU)",
    "length": "length of a reply (tokens)",
}


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
    """Which preset's results to draw."""
    return os.environ.get("PRESET") or "microcosm"


def results(name: str | None = None) -> Path:
    """Folder of the preset's result rows, or results/NAME for what no preset changes (`theory`)."""
    return ROOT / "results" / name if name else ROOT / (os.environ.get("RESULTS") or "results") / preset()


def figures() -> Path:
    """Folder that figures go to."""
    return ROOT / (os.environ.get("FIGURES") or "figures")


def look(method: str, setting: Mapping | None = None) -> Look:
    """The look of a row's method; a part and AMA's grouping of the embeddings, in `setting`, have looks of
    their own.
    """
    setting = setting or {}
    if method == "part":
        method = f"part-{setting['part']}"
    if method == "ama" and setting.get("embeddings") == "own":
        method = "ama-own-embeddings"
    if method not in LOOKS:
        raise KeyError(f"method = {method!r} has no look; allowed are {', '.join(LOOKS)}")
    return LOOKS[method]


def marker(alpha: float) -> str:
    """The marker of a ratio in [0, 1]: one for each tenth, a dot for others."""
    tenth = round(10 * alpha)
    return TENTHS[tenth] if 0 <= tenth <= 10 and abs(10 * alpha - tenth) < 1e-9 else "."


def over_seeds(frame: pd.DataFrame, by: str | list[str]) -> pd.DataFrame:
    """Mean of `value` over seeds for each `by`, in the order of `by`, its standard error `error`, and
    `seeds`.

    With a single seed the error is that over the items of the row.
    """
    groups = frame.groupby(by, sort=True)
    out = groups.agg(
        mean=("value", "mean"), spread=("value", "sem"), items=("stderr", "mean"), seeds=("seed", "nunique")
    )
    return out.assign(error=np.where(out["seeds"] > 1, out["spread"], out["items"]))[
        ["mean", "error", "seeds"]
    ]


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
        x["mean"], y["mean"], xerr=x["error"], yerr=y["error"], color=shown.colour, linestyle=shown.line,
        elinewidth=0.7, label="_" if alphas is not None else text, marker=None if alphas is not None else "o",
    )  # fmt: skip
    if alphas is not None:
        for horizontal, vertical, alpha in zip(x["mean"], y["mean"], alphas, strict=True):
            ax.plot(horizontal, vertical, color=shown.colour, marker=marker(alpha), linestyle="none")
        ax.plot([], [], color=shown.colour, linestyle=shown.line, label=text)


def chance_line(ax: Axes, value: float, label: str = "chance") -> None:
    """A dotted floor: what an answer without the ability scores."""
    ax.axhline(value, color="#555555", linestyle=":", linewidth=1)
    ax.annotate(
        label, (0.01, value), xycoords=("axes fraction", "data"), fontsize=7, color="#555555", va="bottom"
    )


def stamp(fig: Figure, preset: str, n_seeds: int) -> None:
    """Write into the figure what it was drawn from and what its error bars are."""
    bars = "standard error over seeds" if n_seeds > 1 else "standard error over items"
    seeds = "1 seed" if n_seeds == 1 else f"{n_seeds} seeds"
    foot(fig, f"{preset}, {seeds}; error bars: {bars}")


def foot(fig: Figure, text: str) -> None:
    """A small line of text at the foot of the figure."""
    fig.get_layout_engine().set(rect=(0, 0.035, 1, 0.965))
    fig.text(0.995, 0.005, text, ha="right", va="bottom", fontsize=6.5, color="#555555")


def save(fig: Figure, name: str) -> None:
    """Write NAME.pdf and NAME.png into the folder of figures: no dates, so the same figure gives the same
    bytes.
    """
    folder = figures()
    folder.mkdir(parents=True, exist_ok=True)
    fig.savefig(folder / f"{name}.pdf", metadata={"CreationDate": None})
    fig.savefig(folder / f"{name}.png", metadata={"Software": None})
