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
# Four questions:
#
# 1. Does AMA beat MA, and do more parts help?
# 2. Do ratios do as well that are merely unequal?
# 3. Do ratios that were tuned on one ability (AdaMerging)?
# 4. Is the ratio that the paper recommends a good one?
#
# What AMA does inside, and how far it is from the best, is told in a notebook of its own.
#
# In the figures a method's **front** are its models that no other of its models beats in both reward and
# ability (hollow marks are beaten). The area below it, above chance and to the right of $\theta_0$'s reward, is
# given as a share of the ideal: the highest reward that any of the methods reaches, at no tax. Areas are
# subtracted seed by seed, MA taken at the method's own mean ratios, so that both paths are equally coarse; bars
# are 95 % intervals over these differences, thin by Student's t, which decides, and thick by the bootstrap,
# which is too narrow with few seeds.

# %%
from itertools import product

import matplotlib.pyplot as plt
import pandas as pd

from drawing import fronts, panels, rows, sentences, style
from llm.config import load_preset
from llm.evidence import compare, paths
from llm.evidence.frames import abilities, rewards
from llm.evidence.metrics import METRICS
from llm.methods import METHODS

style.use()
PRESET = load_preset(style.preset())
FRAMES = rows.frames()
REWARDS, ABILITIES = rewards(FRAMES["rsf"]), abilities(FRAMES["rsf"])
ROWS = FRAMES["rsf"]
CORE, RATIOS = ("rsf", "core"), ("rsf", "ratios")
REPORTED = (*REWARDS, *ABILITIES)


# %% [markdown]
# ## Three parts
#
# Figure 5 of the paper, left, on RSF. In the paper the embeddings share the ratio of the input part. Here they
# are also tried as a fourth part with a ratio of its own.

# %%
AMA = ("ama", "ama-own-embeddings")
if (HEAD := "ama-own-embeddings-head") in set(ROWS["family"]):  # of models whose head is not the embeddings again
    AMA = (*AMA, HEAD)
three, compared, fig = rows.front(FRAMES, PRESET.name, {CORE: ("ma", *AMA)})
if three:
    style.save(fig, "fig05-left")
    print(sentences.report(three, compared))

# %% [markdown]
# The ratios that were found:

# %%
if three:
    for name in AMA:
        print(style.look(name).label)
        print(sentences.ratios(three[name]).round(2).to_string(index=False), end="\n\n")

# %% [markdown]
# ## More parts
#
# Figure 5 of the paper, right: with more parts the ratios can fit $\theta$'s replies more closely, and the paper
# sees AMA get slightly worse again at $K = 6$ and 9, though still better than MA. The microcosm has as many
# layers as its largest $K$: a ratio for each layer.

# %%
LAYERS = "ama" if PRESET.model.layers == 3 else f"ama-{PRESET.model.layers}"
more, compared, fig = rows.front(FRAMES, PRESET.name, {CORE: ("ma", "ama"), RATIOS: (LAYERS,)})
if more:
    style.save(fig, "fig05-right")
    print(sentences.report(more, compared))
    print()
    print(sentences.sentences(compare.contests(more, ROWS, "ama", of=(LAYERS,))))

# %% [markdown]
# ## Unequal ratios
#
# Figure 9 of the paper compares $(a, a, a)$, which is MA, with $(a, a, a - .1)$ and $(a, a - .1, a - .1)$ for the
# input, middle and output part, $a$ from .2 to .4. Its numbers may be shares of $\theta$, as its equations say, or of
# $\theta_0$, as the authors' code has it; the second reading is, in shares of $\theta$, $a$ from .6 to .8 and .1
# *more* for the later parts. Both were measured. Below: the patterns' abilities minus those of MA *at the same
# reward*, averaged over $a$.

# %%
found = rows.find(FRAMES, {CORE: ("ma",), RATIOS: METHODS["pattern"].looks})
if found:
    PATTERNS = found["rsf"]
    compared = compare.lifts(PATTERNS)
    fig = fronts.figure(fronts.both_rewards(PATTERNS, ROWS), compared, PRESET.name)
    style.save(fig, "fig09")
    print(sentences.lift_table(compared))
    print()
    print(sentences.sentences(compared))
    print()
    print("Each pattern by itself, by the learned reward:")
    unequal = pd.concat([path for name, path in PATTERNS.items() if name != "ma"])
    for (_, name), models in unequal.groupby(["setting_key", "family"]):
        (single,) = compare.lifts({"ma": PATTERNS["ma"], name: models})
        shares = ", ".join(f"{ratio:g}" for ratio in models["setting"].iloc[0]["alphas"].values())
        print(f"  ({shares}): {sentences.sides(single, 'reward')}")

# %% [markdown]
# ## Tuned on one ability: AdaMerging
#
# Figure 15 of the paper. AdaMerging finds a ratio for each layer as AMA does, but makes the right answers of *one*
# ability likely, here of reading comprehension. The paper finds that the other abilities then gain nothing.

# %%
tuned, compared, fig = rows.front(FRAMES, PRESET.name, {CORE: ("ma", "ama"), RATIOS: ("adamerging",)})
if tuned:
    style.save(fig, "fig15")
    print(sentences.report(tuned, compared))

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
    fig = fronts.figure(fronts.both_rewards(shown, ROWS), (), PRESET.name, columns=3)
    for ax, (reward, ability) in zip(fig.axes, product(REWARDS, ABILITIES), strict=True):
        for (name, path), alpha in product(shown.items(), READINGS):
            model = panels.anchored(paths.at(path, alpha), paths.of_seeds(paths.theta_0(ROWS), path["seed"]))
            panels.ring(ax, model, reward, ability, f"{alpha:g}" if name == next(iter(shown)) else "")
    return fig


whole = rows.find(FRAMES, {CORE: ("ma", *AMA)})
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
        for (name, path), alpha, metric in product(whole["rsf"].items(), READINGS, REPORTED)
    }
    fig, axes = plt.subplots(1, 5, figsize=(style.WIDTH, style.PANEL))
    for ax, metric in zip(axes, REPORTED, strict=True):
        ax.axhline(0, color=style.look("theta").colour, linewidth=0.8)
        for place, name in enumerate(whole["rsf"]):
            for column, alpha in enumerate(READINGS):
                look, where = style.look(name), column + 0.22 * (place - 1)
                panels.interval_mark(
                    ax, where, AGAINST[name, alpha, metric], look.colour, "_" if column else look.label
                )
        ax.set_xticks(range(len(READINGS)), [f"{alpha:g}" for alpha in READINGS])
        ax.set_xlim(-0.5, len(READINGS) - 0.5)
        ax.set_xlabel(r"$\alpha$")
        ax.set_title(METRICS[metric].words.replace(" ", "\n"), fontsize=8)
        ax.tick_params(labelsize=7)
    axes[0].set_ylabel(r"difference to $\theta$")
    panels.legend(fig, axes, 3)
    panels.stamp_differences(fig, PRESET.name, len(paths.seeds(whole["rsf"]["ma"])))
    style.save(fig, "fig_recommended")

# %%
if whole:
    KEPT = {"above": "rises", "below": "falls", "undecided": "does not change beyond its interval"}
    for name, alpha in product(whole["rsf"], READINGS):
        change = {metric: AGAINST[name, alpha, metric] for metric in REPORTED}
        better = [METRICS[ability].words for ability in ABILITIES if change[ability].verdict == "above"]
        rewards = [
            f"the {METRICS[reward].words} {KEPT[change[reward].verdict]} ({panels.number(change[reward], reward)})"
            for reward in REWARDS
        ]
        print(
            f"{style.look(name).label}, a share of {alpha:g} of theta: {'; '.join(rewards)}; "
            f"abilities above theta: {panels.several(better or ['none'])}."
        )
