# %% [markdown]
# # More than one ratio
#
# RLHF takes a language model from $\theta_0$ to $\theta$: more reward, less of some abilities, which is the
# *alignment tax*. Averaging the weights, $\theta(\alpha) = (1 - \alpha)\,\theta_0 + \alpha\,\theta$, makes all
# compromises between the two (MA; the notebook on averaging). $\alpha$ is always the share of the model *after*
# RLHF. Nothing forces all layers to share one ratio, and the paper's own method does not:
#
# **Adaptive model averaging (AMA)** splits the layers into $K$ parts, gives part $k$ a ratio $\alpha_k$, keeps
# the mean of the ratios at $\alpha$, and takes those ratios under which $\theta$'s best replies are likeliest.
# Nothing is trained but $K$ numbers.
#
# Five questions:
#
# 1. Does AMA beat MA, and do more parts help?
# 2. What should the embeddings get, which AMA ties to the input part?
# 3. Is the likelihood of good replies a good stand-in for the reward itself?
# 4. Do ratios that are merely unequal, or that were tuned on one ability (AdaMerging), do as well?
# 5. Is the ratio that the paper recommends a good one?
#
# In the figures a method's **front** are its models that no other of its models beats in both reward and
# ability (hollow marks are beaten). The area below it, above chance and to the right of $\theta_0$'s reward, is
# given as a share of the ideal: the highest reward that any of the methods reaches, at no tax. Areas are
# subtracted seed by seed, MA taken at the method's own mean ratios, so that both paths are equally coarse; bars
# are 95 % intervals over these differences, thin by Student's t, which decides, and thick by the bootstrap,
# which is too narrow with few seeds.

# %%
from itertools import product

import available
import findings
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import panels
import pareto
import style

from llm import paths
from llm.config import load_preset

style.use()
PRESET = load_preset(style.preset())
FRAMES = available.frames()
ROWS = FRAMES["rsf"]
CORE, RATIOS = ("rsf", "core"), ("rsf", "ratios")
TOLD = (*paths.REWARDS, *paths.ABILITIES)


def fronts(needs, rival="ma", columns=4):
    """The paths that are needed, their contests with MA, and the figure; (None, None, None) where rows are missing."""
    found = available.find(FRAMES, needs)
    if not found:
        return None, None, None
    compared = pareto.contests(found["rsf"], ROWS, rival)
    return found["rsf"], compared, pareto.figure(pareto.both_rewards(found["rsf"], ROWS), compared, PRESET.name, columns)


# %% [markdown]
# ## Three parts
#
# Figure 5 of the paper, left, on RSF. In the paper the embeddings share the ratio of the input part. Here they
# are also tried as a fourth part with a ratio of its own.

# %%
AMA = ("ama", "ama-own-embeddings")
if (HEAD := "ama-own-embeddings-head") in set(ROWS["family"]):  # of models whose head is not the embeddings again
    AMA = (*AMA, HEAD)
three, compared, fig = fronts({CORE: ("ma", *AMA)})
if three:
    style.save(fig, "fig05-left")
    print(findings.tables(three, compared))
    print()
    print(findings.sentences(compared))

# %% [markdown]
# The ratios that were found:

# %%
if three:
    for name in AMA:
        print(style.look(name).label)
        print(findings.ratios(three[name]).round(2).to_string(index=False), end="\n\n")

# %% [markdown]
# ## More parts
#
# Figure 5 of the paper, right: with more parts the ratios can fit $\theta$'s replies more closely, and the paper
# sees AMA get slightly worse again at $K = 6$ and 9, though still better than MA. The microcosm has as many
# layers as its largest $K$: a ratio for each layer.

# %%
LAYERS = f"ama-{PRESET.model.layers}"
more, compared, fig = fronts({CORE: ("ma", "ama"), RATIOS: (LAYERS,)})
if more:
    style.save(fig, "fig05-right")
    print(findings.tables(more, compared))
    print()
    print(findings.sentences(compared))
    print()
    print(findings.sentences(pareto.contests(more, ROWS, "ama", of=(LAYERS,))))

# %% [markdown]
# ## The embeddings
#
# In the microcosm's models the embeddings are used at both ends, to read and to write. Left and middle: average
# them alone and leave everything else at $\theta$; the input part is shown beside them. Right: the ratio that AMA
# gives them, tied to the input part or apart.

# %%
SHAPES = dict(zip(TOLD, "ooos^", strict=True))
TITLES = {
    "reward,\nminus $\\theta$'s": " of the part",
    "abilities (of 100),\nminus $\\theta$'s": " of the part",
    "the embeddings' ratio\nthat AMA finds": ", the mean ratio",
}
found = available.find(FRAMES, {CORE: ("part-embeddings", "part-input", *AMA)})
if found:
    EMBEDDINGS = found["rsf"]
    fig, axes = plt.subplots(1, 3, figsize=(style.WIDTH, style.PANEL + 0.5))
    for name in ("part-embeddings", "part-input"):
        for metric in TOLD:
            ax, shape = axes[int(metric in paths.ABILITIES)], SHAPES[metric]
            panels.change_line(ax, EMBEDDINGS[name], metric, style.look(name), shape, metric != "gold_reward")
    for name in AMA:
        panels.ratio_line(axes[2], EMBEDDINGS[name], "part1" if name == "ama" else "embeddings", style.look(name))
    for ax, (title, mean) in zip(axes, TITLES.items(), strict=True):
        ax.set_title(title, fontsize=8.5)
        ax.set_xlabel(r"$\alpha$" + mean, fontsize=8)
        ax.tick_params(labelsize=7)
        ax.legend(fontsize=5.8, loc="upper center", bbox_to_anchor=(0.5, -0.24), ncols=1 if ax is axes[2] else 2, columnspacing=0.8)
    panels.stamp_differences(fig, PRESET.name, len(paths.seeds(EMBEDDINGS["ama"])), dots=False)
    style.save(fig, "fig_embeddings")

# %%
if found:
    path = EMBEDDINGS["part-embeddings"]
    for metric in TOLD:
        change = paths.difference(paths.at(path, 0), paths.at(path, 1), metric)
        MOVED = {"above": "rises", "below": "falls", "undecided": "may move either way"}
        print(f"With theta_0's embeddings in theta the {panels.WORDS[metric]} {MOVED[change.verdict]}: {panels.number(change, metric)}")

# %% [markdown]
# ## The proxy and the oracle
#
# AMA maximises the likelihood of good replies because the reward cannot be differentiated through the replies.
# In the microcosm it can be asked directly: the **oracle** tries all ratios on a lattice with the same mean and
# takes those with the highest reward on training prompts, learned or gold. What AMA has less than the oracle is
# the price of the proxy; what the oracle by the learned reward has less *gold* reward than the oracle by the
# gold reward is the price of a learned judge.

# %%
ORACLES = ("oracle-reward", "oracle-gold_reward")
oracle, compared, fig = fronts({CORE: ("ma", "ama"), RATIOS: ORACLES})
if oracle:
    style.save(fig, "fig_oracle")
    print(findings.tables(oracle, compared))
    print()
    print(findings.sentences(compared))
    print()
    print(findings.sentences(pareto.contests(oracle, ROWS, "oracle-reward", of=("ama",))))

# %%
if oracle:
    CHOSEN = ("ama", *ORACLES)
    fig, axes = plt.subplots(1, 3, figsize=(style.WIDTH, style.PANEL), sharey=True)
    for ax, (group, part) in zip(axes, (("part1", "input"), ("part2", "middle"), ("part3", "output")), strict=True):
        for name in CHOSEN:
            panels.ratio_line(ax, oracle[name], group, style.look(name))
        ax.plot([0, 1], [0, 1], ":", color="#555555", linewidth=1, label="all parts alike (MA)")
        ax.set_title(f"ratio of the {part} part", fontsize=9)
        ax.set_xlabel(r"$\alpha$, the mean ratio")
    panels.legend(fig, axes, 4)
    panels.stamp_ratios(fig, PRESET.name, len(paths.seeds(oracle["ama"])))
    style.save(fig, "fig_oracle-ratios")
    for alpha in sorted(set(oracle["ama"]["alpha"].dropna())):
        for reward, best in zip(paths.REWARDS, ORACLES, strict=True):
            cost = paths.difference(paths.at(oracle["ama"], alpha), paths.at(oracle[best], alpha), reward)
            print(f"alpha {alpha:g}, {panels.WORDS[reward]} on test prompts: AMA minus its oracle {panels.number(cost, reward)}")

# %% [markdown]
# ## Unequal ratios
#
# Figure 9 of the paper compares $(a, a, a)$, which is MA, with $(a, a, a - .1)$ and $(a, a - .1, a - .1)$ for the
# input, middle and output part, $a$ from .2 to .4. Its numbers may be shares of $\theta$, as its equations say, or of
# $\theta_0$, as the authors' code has it; the second reading is, in shares of $\theta$, $a$ from .6 to .8 and .1
# *more* for the later parts. Both were measured. Below: the patterns' abilities minus those of MA *at the same
# reward*, averaged over $a$.

# %%
found = available.find(FRAMES, {CORE: ("ma",), RATIOS: ("pattern",)})
if found:
    PATTERNS = {"ma": found["rsf"]["ma"], **findings.patterns(found["rsf"]["pattern"])}
    compared = pareto.lifts(PATTERNS)
    fig = pareto.figure(pareto.both_rewards(PATTERNS, ROWS), compared, PRESET.name)
    style.save(fig, "fig09")
    print(findings.lift_table(compared))
    print()
    print(findings.sentences(compared))
    print()
    print("Each pattern by itself, by the learned reward:")
    for _, models in found["rsf"]["pattern"].groupby("setting_key"):
        for single in pareto.lifts({"ma": PATTERNS["ma"], **findings.patterns(models)}):
            shares = ", ".join(f"{ratio:g}" for ratio in models["setting"].iloc[0]["alphas"].values())
            print(f"  ({shares}): {findings.sides(single, 'reward')}")

# %% [markdown]
# ## Tuned on one ability: AdaMerging
#
# Figure 15 of the paper. AdaMerging finds a ratio for each layer as AMA does, but makes the right answers of *one*
# ability likely, here of reading comprehension. The paper finds that the other abilities then gain nothing.

# %%
tuned, compared, fig = fronts({CORE: ("ma", "ama"), RATIOS: ("adamerging",)})
if tuned:
    style.save(fig, "fig15")
    print(findings.tables(tuned, compared))
    print()
    print(findings.sentences(compared))

# %% [markdown]
# ## The recommended ratio
#
# The paper recommends one ratio, 0.2, as lowering the tax without lowering the reward. By its equations that
# is a share of 0.2 of $\theta$; the authors' code counts the other way round, which makes it a share of 0.8.
# Both are ringed on MA (figure 10 of the paper) and on AMA (figure 11).

# %%
READINGS = (0.8, 0.2)


def ringed(shown):
    """A figure of fronts with a ring around the models of both readings."""
    fig = pareto.figure(pareto.both_rewards(shown, ROWS), (), PRESET.name, columns=3)
    for ax, (reward, ability) in zip(fig.axes, product(paths.REWARDS, paths.ABILITIES), strict=True):
        for (name, path), alpha in product(shown.items(), READINGS):
            model = panels.anchored(paths.at(path, alpha), available.alike(paths.theta_0(ROWS), path))
            panels.ring(ax, model, reward, ability, f"{alpha:g}" if name == next(iter(shown)) else "")
    return fig


whole = available.find(FRAMES, {CORE: ("ma", *AMA)})
if whole:
    fig = ringed({"ma": whole["rsf"]["ma"]})
    style.save(fig, "fig10")

# %%
if whole:
    fig = ringed({name: whole["rsf"][name] for name in AMA})
    style.save(fig, "fig11")

# %% [markdown]
# The same models as differences to $\theta$, with 95 % intervals:

# %%
if whole:
    AGAINST = {
        (name, alpha, metric): paths.difference(paths.at(path, alpha), paths.at(path, 1), metric)
        for (name, path), alpha, metric in product(whole["rsf"].items(), READINGS, TOLD)
    }
    fig, axes = plt.subplots(1, 5, figsize=(style.WIDTH, style.PANEL))
    for ax, metric in zip(axes, TOLD, strict=True):
        ax.axhline(0, color=style.look("theta").colour, linewidth=0.8)
        for place, name in enumerate(whole["rsf"]):
            for column, alpha in enumerate(READINGS):
                look, where = style.look(name), column + 0.22 * (place - 1)
                panels.interval_mark(ax, where, AGAINST[name, alpha, metric], look.colour, "_" if column else look.label)
        ax.set_xticks(range(len(READINGS)), [f"{alpha:g}" for alpha in READINGS])
        ax.set_xlim(-0.5, len(READINGS) - 0.5)
        ax.set_xlabel(r"$\alpha$")
        ax.set_title(panels.WORDS[metric].replace(" ", "\n"), fontsize=8)
        ax.tick_params(labelsize=7)
    axes[0].set_ylabel(r"difference to $\theta$")
    panels.legend(fig, axes, 3)
    panels.stamp_differences(fig, PRESET.name, len(paths.seeds(whole["rsf"]["ma"])))
    style.save(fig, "fig_recommended")

# %%
if whole:
    KEPT = {"above": "rises", "below": "falls", "undecided": "does not change beyond its interval"}
    for name, alpha in product(whole["rsf"], READINGS):
        change = {metric: AGAINST[name, alpha, metric] for metric in TOLD}
        better = [panels.WORDS[ability] for ability in paths.ABILITIES if change[ability].verdict == "above"]
        rewards = [
            f"the {panels.WORDS[reward]} {KEPT[change[reward].verdict]} ({panels.number(change[reward], reward)})"
            for reward in paths.REWARDS
        ]
        print(
            f"{style.look(name).label}, a share of {alpha:g} of theta: {'; '.join(rewards)}; "
            f"abilities above theta: {panels.several(better or ['none'])}."
        )
