# %% [markdown]
# # Two drawings: averaging one part, and adaptive averaging
#
# RLHF takes a language model from $\theta_0$ (instruction-tuned) to $\theta$: its replies earn more reward,
# and some of what it could do before is lost. That loss is the *alignment tax*. Averaging the two models'
# weights gives a third model,
#
# $$\theta(\alpha) = (1 - \alpha)\,\theta_0 + \alpha\,\theta, \qquad 0 \le \alpha \le 1,$$
#
# where $\alpha$, here and everywhere, is the share of the model *after* RLHF: $\alpha = 0$ is $\theta_0$ and
# $\alpha = 1$ is $\theta$.
#
# Nothing forces all layers to share one ratio. A Transformer is a stack of layers, split here into $K$
# contiguous parts; with $K = 3$ they are called the input, the middle and the output part. The drawings below
# show the two ways in which the parts are told apart. They hold no measurements.

# %%
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb

from drawing import style
from drawing.shapes import arrow, blank, box, label
from drawing.style import AFTER, BEFORE, INK, PAPER

style.use()
PARTS = ("input", "middle", "output")
LAYERS = 2  # drawn in each part
STEP, LAYER = 0.34, 0.28  # from one layer to the next, and the height of one
BETWEEN = 0.38  # parts


def blend(alpha: float) -> str:
    """The colour of an average: alpha of theta's red, the rest of theta_0's grey."""
    return to_hex((1 - alpha) * np.array(to_rgb(BEFORE)) + alpha * np.array(to_rgb(AFTER)))


def bottom(part: int) -> float:
    """Height at which the layers of part 0, 1 or 2 begin; 3 is the head."""
    return part * (STEP * LAYERS + BETWEEN)


def middle(part: int) -> float:
    """Height of a part's middle."""
    return bottom(part) + (STEP * (LAYERS - 1) + LAYER) / 2


def end_of_stack(ax: Axes, x: float, y: float, width: float, share: float, name: str) -> None:
    """The embeddings or the head."""
    box(ax, x, y, width, LAYER, facecolor=blend(share))
    label(ax, x + width / 2, y + LAYER / 2, name, fontsize=6.5, color=PAPER if share > 0.7 else INK)


def stack(ax: Axes, x: float, width: float, shares: list[float], embeddings: float, head: float) -> None:
    """A model from its embeddings up to its head, each part coloured by its share of theta."""
    centre, below, top = x + width / 2, -BETWEEN - STEP, STEP * LAYERS - STEP + LAYER
    end_of_stack(ax, x, below, width, embeddings, "embeddings")
    end_of_stack(ax, x, bottom(3), width, head, "head")
    arrow(ax, (centre, below + LAYER), (centre, 0))
    for part, share in enumerate(shares):
        for layer in range(LAYERS):
            box(ax, x, bottom(part) + STEP * layer, width, LAYER, facecolor=blend(share))
        arrow(ax, (centre, bottom(part) + top), (centre, bottom(part + 1)))


def frame(ax: Axes, x: float, width: float, part: int) -> None:
    """A frame in the part's colour around its layers in the model at x."""
    height = STEP * (LAYERS - 1) + LAYER + 0.2
    colour = style.look(f"part-{PARTS[part]}").colour
    box(ax, x - 0.12, bottom(part) - 0.1, width + 0.24, height, edgecolor=colour, linewidth=1.7, zorder=1)


# %% [markdown]
# ## One part at a time
#
# To learn what each part contributes, average one part and leave the other two at $\theta$ (figure 4 of the
# paper, left). If the tax sits in the layers near the input, the first of these three models recovers most of
# what was lost, at little cost in reward. Red is $\theta$, and paler red its average with $\theta_0$.

# %%
fig, ax = plt.subplots(figsize=(style.WIDTH, 3.2))
for column, name in enumerate(PARTS):
    x = 2.95 * column
    stack(ax, x, 1.1, [0.5 if part == column else 1.0 for part in range(3)], embeddings=1.0, head=1.0)
    frame(ax, x, 1.1, column)
    label(ax, x + 0.55, -1.05, f"{name} part averaged", fontsize=9)
    for part in range(3):
        theta_0, theta = rf"\theta_0^{{[{part + 1}]}}", rf"\theta^{{[{part + 1}]}}"
        text = rf"$(1-\alpha)\,{theta_0} + \alpha\,{theta}$" if part == column else f"${theta}$"
        label(ax, x + 1.28, middle(part), text, ha="left", fontsize=7)
for row, (share, text) in enumerate(((0.5, "average"), (1.0, r"$\theta$"))):
    box(ax, 9.0, bottom(2) + 0.36 * row, 0.3, 0.22, facecolor=blend(share))
    label(ax, 9.42, bottom(2) + 0.11 + 0.36 * row, text, ha="left")
blank(ax, (-0.3, 10.2), (-1.25, 3.6))
style.save(fig, "fig04-left")

# %% [markdown]
# ## Adaptive model averaging (AMA)
#
# AMA gives part $k$ a ratio $\alpha_k$ of its own and asks for the ratios that keep the most reward while the
# *mean* ratio, and with it how much of $\theta$ is used overall, stays fixed:
#
# $$\theta^{[k]}(K) = (1 - \alpha_k)\,\theta_0^{[k]} + \alpha_k\,\theta^{[k]}, \qquad
# \alpha_k \in [0, 1], \qquad \frac1K \sum_{k=1}^{K} \alpha_k = \alpha .$$
#
# The reward of a model cannot be differentiated through its samples. So replies $a \sim \pi_\theta(\cdot \mid
# x)$ are drawn from $\theta$, the best by reward are kept, and the ratios are those under which the averaged
# model makes these replies most likely:
#
# $$\max_{\alpha_1, \dots, \alpha_K} \ \frac{1}{|D_\theta|}
# \sum_{(x, a) \in D_\theta} \log \pi_{\theta(K)}(a \mid x).$$
#
# $K$ numbers are learned, nothing else. The embeddings go with the first part, and the head gets the mean
# ratio, in the paper and in the drawing.

# %%
fig, ax = plt.subplots(figsize=(style.WIDTH, 4.0))
SHARES = [0.85, 0.15, 0.5]
WIDTH, LEFT, CENTRE, RIGHT = 1.2, 0.0, 3.3, 6.6
FIRST, SECOND = (LEFT + WIDTH + CENTRE) / 2, (CENTRE + WIDTH + RIGHT) / 2  # between the models
stack(ax, LEFT, WIDTH, [0.0] * 3, embeddings=0.0, head=0.0)
stack(ax, CENTRE, WIDTH, SHARES, embeddings=SHARES[0], head=float(np.mean(SHARES)))
stack(ax, RIGHT, WIDTH, [1.0] * 3, embeddings=1.0, head=1.0)
for part, name in enumerate(PARTS):
    colour, height = style.look(f"part-{name}").colour, middle(part)
    for x in (LEFT, CENTRE, RIGHT):
        frame(ax, x, WIDTH, part)
    arrow(ax, (LEFT + WIDTH + 0.15, height), (CENTRE - 0.15, height), color=colour, linewidth=1.4)
    arrow(ax, (RIGHT - 0.15, height), (CENTRE + WIDTH + 0.15, height), color=colour, linewidth=1.4)
    label(ax, FIRST, height + 0.2, rf"$1-\alpha_{part + 1}$", fontsize=9)
    label(ax, SECOND, height + 0.2, rf"$\alpha_{part + 1}$", fontsize=9)
    label(ax, LEFT - 0.3, height, f"{name} part\n$k={part + 1}$", ha="right")
head = bottom(3) + LAYER / 2
arrow(ax, (LEFT + WIDTH + 0.05, head), (CENTRE - 0.05, head))
arrow(ax, (RIGHT - 0.05, head), (CENTRE + WIDTH + 0.05, head))
label(ax, FIRST, head + 0.2, r"$1-\alpha$", fontsize=9)
label(ax, SECOND, head + 0.24, r"$\alpha=\frac{1}{3}(\alpha_1+\alpha_2+\alpha_3)$", fontsize=9)
for x, text in (
    (LEFT, r"$\theta_0$, before RLHF"),
    (CENTRE, r"$\theta(K)$, averaged"),
    (RIGHT, r"$\theta$, after RLHF"),
):
    label(ax, x + WIDTH / 2, head + 0.5, text, fontsize=9.5)
y = -1.45
box(ax, RIGHT - 0.45, y - 0.32, 2.1, 0.64)
label(ax, RIGHT + WIDTH / 2, y, "replies $a\\sim\\pi_\\theta$ of the\nhighest reward: $D_\\theta$", fontsize=7.5)
box(ax, CENTRE - 0.75, y - 0.32, 2.7, 0.64)
label(ax, CENTRE + WIDTH / 2, y + 0.15, r"choose $\alpha_1, \alpha_2, \alpha_3$ to maximise", fontsize=7.5)
label(ax, CENTRE + WIDTH / 2, y - 0.12, r"$\sum_{D_\theta}\,\log\pi_{\theta(K)}(a\,|\,x)$", fontsize=7.5)
side = RIGHT + WIDTH + 0.75  # what theta writes leaves its head
ax.plot([RIGHT + WIDTH, side, side], [head, head, y], color=INK, linewidth=0.8)
arrow(ax, (side, y), (RIGHT + 1.65, y))
arrow(ax, (RIGHT - 0.45, y), (CENTRE + 1.95, y))
for x, corner in ((FIRST, CENTRE - 0.55), (SECOND, CENTRE + WIDTH + 0.55)):  # the choice sets the ratios
    arrow(ax, (corner, y + 0.32), (x, middle(0) - 0.12), linestyle=":")
label(ax, FIRST - 0.1, -0.62, "sets the\nratios", fontsize=7)
blank(ax, (-1.5, 8.75), (-1.85, 3.95))
style.save(fig, "fig02")

# %% [markdown]
# ## In short
#
# Solid arrows carry weights and text, dotted ones the choice of the ratios. The shades in the middle column only illustrate
# that the ratios differ; which ratios AMA finds, and what they are worth, is measured in the notebook on ratios.
