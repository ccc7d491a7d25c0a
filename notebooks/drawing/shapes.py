"""Boxes, arrows and words that the drawings are made of."""

from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from .style import INK, PAPER


def label(ax: Axes, x: float, y: float, text: str, **kind) -> None:
    """Text around (x, y)."""
    ax.text(x, y, text, **{"ha": "center", "va": "center", "fontsize": 8, "color": INK, "zorder": 4, **kind})


def box(ax: Axes, x: float, y: float, width: float, height: float, **kind) -> None:
    """A rounded box with its lower left corner at (x, y)."""
    look = {"facecolor": PAPER, "edgecolor": INK, "linewidth": 0.7, "zorder": 2, **kind}
    ax.add_patch(FancyBboxPatch((x, y), width, height, boxstyle="round,pad=0,rounding_size=0.06", **look))


def arrow(ax: Axes, start: tuple[float, float], end: tuple[float, float], **kind) -> None:
    """An arrow between two points."""
    look = {"color": INK, "linewidth": 0.8, "mutation_scale": 8, "shrinkA": 1, "shrinkB": 1, "zorder": 3, **kind}
    ax.add_patch(FancyArrowPatch(start, end, arrowstyle="-|>", **look))


def blank(ax: Axes, x: tuple[float, float], y: tuple[float, float]) -> None:
    """No axes, only the drawing within these limits."""
    ax.set(xlim=x, ylim=y, aspect="equal")
    ax.axis("off")
