"""What every figure is held to: its size on a page, its smallest text, and colours that everybody can tell apart."""

from itertools import combinations

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import to_hex, to_rgb

from drawing import style

# Linear RGB as seen without green, or without red, receptors (Machado, Oliveira, Fernandes 2009, severity 1).
VISION = {
    "full": np.eye(3),
    "deuteranopia": np.array([[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]]),
    "protanopia": np.array([[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]]),
}
XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def lab(colour, vision):
    """CIELAB (D65) of a colour as someone sees it."""
    rgb = np.array(to_rgb(colour))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    x, y, z = XYZ @ np.clip(VISION[vision] @ linear, 0, 1) / [0.9505, 1.0, 1.089]
    fx, fy, fz = (np.cbrt(t) if t > 0.008856 else 7.787 * t + 16 / 116 for t in (x, y, z))
    return np.array([116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)])


def apart(first, second):
    """The distance of two colours in CIELAB, for whom it is least."""
    return min(np.linalg.norm(lab(first, vision) - lab(second, vision)) for vision in VISION)


def fits(fig, name):
    """As wide as one column or two, no higher than a page, nothing sticks out, text of at least six points."""
    fig.draw_without_rendering()
    box, (width, height) = fig.get_tightbbox(), fig.get_size_inches()
    outside = (-box.x0, -box.y0, box.x1 - width, box.y1 - height)
    assert max(outside) < 0.02, f"{name}: left, bottom, right, top stick out by {outside} inches"
    assert width in (3.3, 6.8), f"{name} is {width} inches wide"
    assert height <= 8, f"{name} is {height} inches high"
    texts = [text for text in fig.findobj(plt.Text) if text.get_text() and text.get_visible()]
    smallest = min(texts, key=plt.Text.get_fontsize)
    assert smallest.get_fontsize() >= 6, f"{name}: {smallest.get_text()!r} has {smallest.get_fontsize()} points"


def told_apart(fig, name):
    """Whatever a legend tells apart by colour alone: of the same mark, the same line, and another colour."""
    legends = [*fig.legends, *(ax.get_legend() for ax in fig.axes if ax.get_legend())]
    for legend in legends:
        kinds = {}
        for handle in legend.legend_handles:
            if hasattr(handle, "get_marker"):
                key = str(handle.get_marker())
                kinds.setdefault(key, set()).add(to_hex(handle.get_color()))
        for colours in kinds.values():
            for first, second in combinations(sorted(colours), 2):
                assert apart(first, second) > style.DISTANCE, (
                    f"{name}: {first} and {second}, {apart(first, second):.1f}"
                )
