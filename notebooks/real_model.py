# %% [markdown]
# # A model that nobody here trained
#
# The microcosm is made by us from its first word on. Is what it shows true of a model that somebody else made?
# **SmolLM2-135M-Instruct** is a chat model of 135 million parameters, trained on two trillion tokens of ordinary
# text by Hugging Face; here it is $\theta_0$ as it was published (rounded to four bits, as it was fetched).
#
# It is aligned to be cheerful. The *gold reward* of a reply is its sentiment by VADER, a word list with rules, in
# $[-1, 1]$. As everywhere in this project, training sees only a *learned reward*, a model fitted to noisy
# comparisons of $\theta_0$'s own replies. Alignment is RSF on questions, opinions and beginnings of stories.
#
# Nothing in cheerfulness asks for what is measured besides: **PIQA** (which of two ways to do something works),
# **reading** (questions on Wikipedia passages, the likeliest of eight answers, F1), and the **log-likelihood of
# news text**, in nats a token: how well the model still knows its language.
#
# Seeds differ in the prompts, the comparisons, the reward model and every sample. $\theta_0$ and the items are the
# same for all, so intervals over seeds say how much a run matters, and nothing about other models. That $\theta_0$
# was aligned by its makers already is a difference from the paper, too.
#
# (With `PRESET` set to another preset whose rows are there, such as `openllama-3b`, the same is drawn from them.)

# %%
from itertools import product

import matplotlib.pyplot as plt
import numpy as np

from drawing import panels, style
from llm.config import load_preset
from llm.evidence import paths
from llm.evidence.frames import abilities, after, read_preset, rewards
from llm.evidence.metrics import METRICS
from llm.methods import names

style.use()
ASKED = load_preset(style.preset())
PRESET = load_preset("smollm2-135m-gpu") if ASKED.data == "microcosm" else ASKED
MEASURED = read_preset(style.results(PRESET.name) if ASKED.data == "microcosm" else style.results())
RLHF = next(rlhf for rlhf in names("alignment") if rlhf in set(MEASURED["rlhf"]))
ROWS = after(MEASURED, RLHF, paths.CORE)
SEEDS = paths.seeds(ROWS)
REWARDS, ABILITIES = rewards(ROWS), abilities(ROWS)
REPORTED = (*REWARDS, *ABILITIES)
START = paths.theta_0(ROWS)
STOPPING, MA = paths.path(ROWS, "early-stopping"), paths.path(ROWS, "ma")
print(f"{PRESET.name}, {RLHF.upper()}, {panels.seed_count(len(SEEDS))}, {STOPPING['step'].max():.0f} iterations")

# %% [markdown]
# ## The tax
#
# Thick: means over seeds; thin: single seeds.

# %%
fig, axes = plt.subplots(2, 3, figsize=(style.WIDTH, 2 * style.PANEL), sharex=True)
for ax in axes.flat[len(REPORTED) + 1 :]:
    ax.set_axis_off()
for ax, metric in zip(axes.flat, (*REPORTED, "length"), strict=False):
    mean = panels.points(STOPPING, metric)
    shown = style.look("theta")
    for seed in SEEDS if len(SEEDS) > 1 else ():
        single = panels.points(STOPPING[STOPPING["seed"] == seed], metric)
        ax.plot(single.index, single["mean"], color=shown.colour, linewidth=0.6, alpha=0.45)
    ax.errorbar(mean.index, mean["mean"], yerr=mean["error"], color=shown.colour, marker="o", elinewidth=0.8)
    ax.set_title(METRICS[metric].label, fontsize=9)
    if metric in ABILITIES:
        panels.floor(ax, ROWS, metric)
for ax in axes[-1]:
    ax.set_xlabel(RLHF.upper() + r" iteration (0: $\theta_0$)")
    ax.xaxis.get_major_locator().set_params(integer=True)
style.stamp(fig, PRESET.name, len(SEEDS))
style.save(fig, "fig_real_tax")

# %%
THETA = paths.at(STOPPING, STOPPING["step"].max())
MOVED = {"above": "rises", "below": "falls", "undecided": "may have moved either way"}


def print_changes(theta, start):
    """Print how far every metric moved from theta_0 to theta."""
    over = "seeds" if start["seed"].nunique() > 1 else "items"
    print(
        f"From theta_0 to theta, with 95 % intervals over {over}; in brackets the standard error over items of these very runs:"
    )
    for metric in (*REPORTED, "length"):
        change, error = paths.difference(theta, start, metric), paths.items_error(theta, start, metric)
        print(
            f"  {METRICS[metric].words} {panels.verdict(change, MOVED)}: {panels.number(change, metric)} "
            f"({error:.{METRICS[metric].decimals}f})"
        )


print_changes(THETA, START)

# %% [markdown]
# ## Averaging against early stopping, and AMA against both
#
# Early stopping's models and averages of $\theta_0$ and $\theta$, against the learned reward (above), which training
# saw, and the gold reward (below), which it did not.


# %%
def fronts_of(rows):
    """Every path of models from theta_0 to theta, by the name of its look."""
    return {name: paths.path(rows, name) for name in ("early-stopping", "ma", "ama", "ama-own-embeddings")}


def draw_fronts(fronts, anchor):
    """Every ability (across) against every reward (down), for the named paths of models; figure and axes."""
    size = style.WIDTH, 0.4 + len(REWARDS) * style.PANEL
    fig, axes = plt.subplots(len(REWARDS), len(ABILITIES), figsize=size, sharex="row", sharey="col", squeeze=False)
    for reward, line in zip(REWARDS, axes, strict=True):
        for ability, ax in zip(ABILITIES, line, strict=True):
            for name, path in fronts.items():
                panels.trade_off(ax, panels.anchored(path, anchor), reward, ability, style.look(name))
            ax.set_xlabel(METRICS[reward].label)
    for ability, ax in zip(ABILITIES, axes[0], strict=True):
        ax.set_title(METRICS[ability].title, fontsize=9)
    return fig, axes


FRONTS = fronts_of(ROWS)
fig, axes = draw_fronts(FRONTS, START)
panels.legend(fig, axes, 2)
panels.stamp_anchored(fig, PRESET.name, len(SEEDS), r"\theta_0")
style.save(fig, "fig_real_fronts")

# %% [markdown]
# How far one lies above the other at equal reward, averaged over the rewards that both reach:

# %%
PAIRS = {  # what is said of two fronts -> their names; the first gives the look
    "MA - early stopping": ("ma", "early-stopping"),
    "AMA - MA": ("ama", "ma"),
    "AMA, embeddings apart - MA": ("ama-own-embeddings", "ma"),
}


def gaps_of(fronts):
    """(pair, reward, ability) -> how far the first front of the pair lies above the second."""
    return {
        (pair, reward, ability): paths.gap(fronts[first], fronts[second], ability, reward, over_items=True)
        for (pair, (first, second)), reward, ability in product(PAIRS.items(), REWARDS, ABILITIES)
    }


GAPS = gaps_of(FRONTS)
fig, axes = plt.subplots(1, len(ABILITIES), figsize=(style.WIDTH, style.PANEL + 0.2))
for ability, ax in zip(ABILITIES, axes, strict=True):
    ax.axhline(0, color="#000000", linewidth=0.8)
    for place, (pair, (name, _)) in enumerate(PAIRS.items()):
        for reward, offset, shape in zip(REWARDS, (-0.12, 0.12), "os", strict=False):
            shown = style.look(name)
            panels.interval_mark(ax, place + offset, GAPS[pair, reward, ability], shown.colour, "_", shape)
    ax.set_xticks(range(len(PAIRS)), ["MA -\nearly stopping", "AMA -\nMA", "AMA, emb.\napart - MA"], fontsize=7)
    ax.set_xlim(-0.5, len(PAIRS) - 0.5)
    ax.set_title(METRICS[ability].title, fontsize=9)
for reward, shape in zip(REWARDS, "os", strict=False):
    axes[0].plot([], [], shape, color="#555555", label=f"at equal {METRICS[reward].words}")
panels.legend(fig, axes, 2)
panels.stamp_differences(fig, PRESET.name, len(SEEDS), items=panels.keeps_items(ROWS))
style.save(fig, "fig_real_gaps")

# %%
SIDES = {"above": "above", "below": "BELOW", "undecided": "not distinguishable from"}


def print_gaps(gaps):
    for (pair, reward, ability), found in gaps.items():
        first, second = pair.rsplit(" - ", 1)
        print(
            f"At equal {METRICS[reward].words}, {METRICS[ability].words}: {first} {panels.verdict(found, SIDES)} {second}, "
            f"{panels.number(found, ability)}"
        )


print_gaps(GAPS)
# What averaging saves is asked of the ability that RLHF takes most clearly from, in standard errors over items.
SAVED = min(ABILITIES, key=lambda a: paths.difference(THETA, START, a).mean / paths.items_error(THETA, START, a))
tax = -paths.difference(THETA, START, SAVED).mean
gap = GAPS["MA - early stopping", "reward", SAVED]
if tax > 0 and gap:
    print(
        f"Of the tax on {METRICS[SAVED].words}, {tax:.{METRICS[SAVED].decimals}f}, averaging saves {gap.mean / tax:.0%} more than early "
        "stopping does, on the way up (mean over the rewards that both reach)."
    )

# %% [markdown]
# ## One part only
#
# One third of the layers (or the embeddings) is averaged, or put back to $\theta_0$ at $\alpha = 0$; all else stays
# at $\theta$. Figure 4 of the paper for this model, against both rewards; MA goes on to $\theta_0$ beyond the left edge.


# %%
def parts_of(rows):
    """The path of each part that is averaged alone, by the name of its look."""
    return {f"part-{name}": paths.path(rows, f"part-{name}") for name in ("input", "middle", "output", "embeddings")}


def draw_parts(parts, ma, theta):
    """Single parts and MA, from theta on, as wide as the parts reach."""
    fig, axes = draw_fronts({"ma": ma, **parts}, theta)
    for reward, line in zip(REWARDS, axes, strict=True):
        reached = [panels.points(panels.anchored(path, theta), reward)["mean"] for path in parts.values()]
        low, high = min(map(min, reached)), max(map(max, reached))
        line[0].set_xlim(low - 0.15 * (high - low), high + 0.1 * (high - low))
    panels.legend(fig, axes, 3)
    return fig


PARTS = parts_of(ROWS)
PART_SEEDS = set.intersection(*(set(path["seed"]) for path in PARTS.values()))
START_OF, THETA_OF, MA_OF = (paths.of_seeds(rows, PART_SEEDS) for rows in (START, THETA, MA))
fig = draw_parts(PARTS, MA_OF, THETA_OF)
panels.stamp_anchored(fig, PRESET.name, len(PART_SEEDS), r"\theta")
style.save(fig, "fig_real_parts")


# %%
def print_parts(parts, start, theta, ma):
    """Print what it does to put each part alone back to theta_0, and how its path compares with MA's."""
    print(f"Change from theta, mean over {panels.seed_count(theta['seed'].nunique())}:")
    rise, tax = (paths.difference(theta, start, metric).mean for metric in ("reward", SAVED))
    for name, path in parts.items():
        change = {metric: paths.difference(paths.at(path, 0), theta, metric).mean for metric in REPORTED}
        told = [f"{METRICS[metric].words} {change[metric]:+.{METRICS[metric].decimals}f}" for metric in REPORTED]
        print(f"  {style.look(name).short} at theta_0: {', '.join(told)}")
        if rise > 0 > tax:
            print(
                f"    that is {1 + change['reward'] / rise:.0%} of the learned reward's rise kept, {-change[SAVED] / tax:.0%} of the tax "
                f"on {METRICS[SAVED].words} given back"
            )
    for name, path in parts.items():
        over = paths.gap(path, ma, SAVED, over_items=True)
        print(
            f"  {style.look(name).short} - MA at equal learned reward, {METRICS[SAVED].words}: {panels.number(over, SAVED)}"
        )


print_parts(PARTS, START_OF, THETA_OF, MA_OF)
if lacking := sorted(set(SEEDS) - PART_SEEDS):
    print(
        f"Not measured with single parts: seed {panels.several(lacking)}. So all of this is of {panels.seed_count(len(PART_SEEDS))}."
    )

# %% [markdown]
# ## What ratios AMA finds
#
# For each mean ratio, AMA looks for the ratios of the groups which make the samples with the highest learned reward
# likeliest. Above with the embeddings in the input part, as in the paper; below with a ratio of their own.

# %%
AMA = {name: FRONTS[name] for name in ("ama", "ama-own-embeddings")}
GROUPS = ("part1", "part2", "part3", "embeddings")
TITLES = ("input part", "middle part", "output part", "embeddings")
fig, axes = plt.subplots(1, 4, figsize=(style.WIDTH, 0.9 * style.PANEL), sharey=True)
for group, title, ax in zip(GROUPS, TITLES, axes, strict=True):
    ax.plot([0, 1], [0, 1], color="#999999", linewidth=0.8, linestyle=":")
    for name, path in AMA.items():
        if name == "ama-own-embeddings" or group != "embeddings":
            panels.ratio_line(ax, path, group, style.look(name))
    ax.set_title(title, fontsize=9)
    ax.set_xlabel(r"mean ratio $\alpha$", fontsize=8)
axes[0].set_ylabel("ratio found")
panels.legend(fig, axes, 2)
panels.stamp_ratios(fig, PRESET.name, len(SEEDS))
style.save(fig, "fig_real_ratios")

# %%
for name, path in AMA.items():
    models = path[path["alpha"].notna()].drop_duplicates(["alpha", "seed"])
    for group, title in zip(GROUPS, TITLES, strict=True):
        ratios = np.array([setting["alphas"].get(group, np.nan) for setting in models["setting"]])
        if not np.isnan(ratios).all():
            over = ratios - models["alpha"].to_numpy()
            print(
                f"{style.look(name).short}, {title}: ratio - mean ratio from {over.min():+.2f} to {over.max():+.2f}, mean {over.mean():+.2f}"
            )

# %% [markdown]
# ## The same on a laptop
#
# Preset `smollm2-135m` is the same model, the same data and the same graph at numbers that two cores can do: fewer
# comparisons, prompts and items, and one seed. Its rows keep what every item contributed, so its models are compared
# item by item. The intervals are over items: they say what is more than the luck of the items, nothing about other runs.

# %%
SMALL = load_preset("smollm2-135m")
LAPTOP = after(read_preset(style.results(SMALL.name)), RLHF, paths.CORE) if ASKED.data == "microcosm" else ROWS.head(0)
if LAPTOP.empty:
    print("Drawn beside the rows of smollm2-135m-gpu alone, that is, where PRESET is not set.")
else:
    SMALL_FRONTS, SMALL_PARTS = fronts_of(LAPTOP), parts_of(LAPTOP)
    SMALL_START, SMALL_THETA = paths.theta_0(LAPTOP), paths.of_method(LAPTOP, "theta")
    fig, axes = draw_fronts(SMALL_FRONTS, SMALL_START)
    panels.legend(fig, axes, 2)
    panels.stamp_anchored(fig, SMALL.name, 1, r"\theta_0")
    style.save(fig, "fig_real_laptop")
    fig = draw_parts(SMALL_PARTS, SMALL_FRONTS["ma"], SMALL_THETA)
    panels.stamp_anchored(fig, SMALL.name, 1, r"\theta")
    style.save(fig, "fig_real_laptop-parts")
    print_changes(SMALL_THETA, SMALL_START)
    print_gaps(gaps_of(SMALL_FRONTS))
    print_parts(SMALL_PARTS, SMALL_START, SMALL_THETA, SMALL_FRONTS["ma"])
