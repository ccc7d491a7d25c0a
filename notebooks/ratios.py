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
# Methods are compared *at equal reward*, from 50 to 95 % of RSF's rise as far as both reach on every seed, MA taken at the
# method's own mean ratios, so that both paths are equally coarse. In the figures of fronts a pale mark is a model that another
# one of its method beats in both reward and ability. Intervals (95 %, Student's t) are over seeds, paired.

# %%
from dataclasses import replace
from itertools import product

import matplotlib.pyplot as plt

from drawing import fronts, panels, rows, sentences, style
from llm.config import load_preset
from llm.evidence import compare, paths
from llm.evidence.claims import render
from llm.evidence.frames import abilities, rewards
from llm.evidence.metrics import METRICS
from llm.grouping import PART_NAMES
from llm.methods import METHODS

style.use()
PRESET = load_preset(style.preset())
FRAMES, BOOK = rows.with_book()
RLHF = rows.first(FRAMES)
ROWS = FRAMES[RLHF]
REWARDS, ABILITIES = rewards(ROWS), abilities(ROWS)
CORE, RATIOS = rows.core(RLHF), (RLHF, "ratios")
REPORTED = (*REWARDS, *ABILITIES)
READING = [a for a in ABILITIES if a == "reading_f1"] or list(ABILITIES[:1])
FOUND = sentences.Findings()
sentences.show(rows.about(FRAMES, RLHF))


# %% [markdown]
# ## Three parts
#
# Figure 5 of the paper, left: RSF and DPO. In the paper the embeddings share the ratio of the input part. Here they
# are also tried as a part with a ratio of its own.

# %%
AMA = tuple(
    name for name in ("ama", "ama-own-embeddings", "ama-own-embeddings-head") if name in set(ROWS["family"])
) or ("ama",)
ALIGNED = [rlhf for rlhf in ("rsf", "dpo") if rlhf == RLHF or "ama" in set(FRAMES[rlhf]["family"])]
both = rows.find(FRAMES, {rows.core(rlhf): ("ma", *AMA) for rlhf in ALIGNED})
if both:
    lines = [fronts.Line("reward", both[rlhf], FRAMES[rlhf], style.look(rlhf).label) for rlhf in ALIGNED]
    fig = fronts.figure(lines, PRESET.name, READING, columns=3, across=len(ALIGNED))
    style.save(fig, "fig05-left")

# %%
three, compared = rows.front(FRAMES, {CORE: ("ma", *AMA)})
if three:
    FOUND.weigh(compared, "fig05-gain", PRESET.name, "AMA with three parts")

# %% [markdown]
# The ratios that were found, means over seeds:

# %%
if three:
    for name in AMA:
        found = (
            sentences.ratios(three[name]).groupby("mean alpha").mean().drop(columns="seed").rename(columns=PART_NAMES)
        )
        sentences.show(f"**{style.look(name).label}**\n\n{sentences.framed(found, 'mean ratio', 2)}")

# %% [markdown]
# ## As the published code has it
#
# The code that the paper's authors published does not search ratios as the paper writes them: it adapts matrices alone, and leaves the
# embeddings and the norms at $\theta_0$. (The paper's numbers may have come from other code.) Does that alone make a difference, without
# any ratio that is found? The table holds MA against their AMA, MA against itself with embeddings and norms at $\theta_0$, and these two
# against one another; none of it decides a claim.

# %%
ENTRY = sentences.entry_of(BOOK, "C7a")
PUBLISHED = tuple(
    line
    for line in ENTRY.lines
    if line.estimate is not None and any(words in line.part for words in ("published", "norms at theta_0"))
)
if PUBLISHED:
    sentences.show(sentences.parts(replace(ENTRY, lines=PUBLISHED)))
    told = [
        f"{line.part.removeprefix('RSF: ')}: {render.number(line)} ({line.verdict})"
        for line in PUBLISHED
        if line.by == "reward" and line.part.count(":") == 1
    ]
    FOUND.say(f"The published code's AMA. {'; '.join(told)}.")

# %% [markdown]
# ## More parts
#
# Figure 5 of the paper, right: with more parts the ratios can fit $\theta$'s replies more closely, and the paper
# sees AMA get slightly worse again at $K = 6$ and 9, though still better than MA. A model has at most as many parts as layers;
# the sweep has the two ends, three parts and a ratio for each layer.

# %%
MORE = sorted(
    (name for name in set(ROWS["family"]) if name.removeprefix("ama-").isdigit()), key=lambda name: int(name[4:])
)
LAYERS = (f"ama-{PRESET.model.layers}",) if PRESET.model and PRESET.model.layers > 3 else ("ama",)
PAPERS = "the paper has K = 3, 6 and 9"
MOST = f"{PAPERS};\nK = {LAYERS[0][4:]}, a ratio for each layer, is the most that this model allows"
WHY = MOST if LAYERS[0] in MORE else PAPERS
more, compared = rows.front(FRAMES, {CORE: ("ma", "ama"), RATIOS: MORE or LAYERS})
if more:
    named = {name: f"AMA, K = {name.partition('-')[2] or 3}" for name in more if name != "ma"}
    fig = fronts.figure(fronts.by_reward(more, ROWS, "reward"), PRESET.name, READING, columns=2, names=named, note=WHY)
    style.save(fig, "fig05-right")

# %%
if more:
    FOUND.weigh(compared, "fig05-right-gain", PRESET.name, "AMA with more parts")
    FOUND.say(sentences.verdict(compare.contests(more, ROWS, "ama", of=MORE), "More parts against three"))

# %% [markdown]
# ## Unequal ratios
#
# Figure 9 of the paper compares $(a, a, a)$, which is MA, with $(a, a, a - .1)$ and $(a, a - .1, a - .1)$ for the
# input, middle and output part, $a$ from .2 to .4. Its numbers may be shares of $\theta$, as its equations say, or of
# $\theta_0$, as the authors' code has it; the second reading is, in shares of $\theta$, $a$ from .6 to .8 and .1
# *more* for the later parts. The sweep has both. Three ratios $a$ reach few rewards, and small ones lie below half of the rise,
# where hardly any tax is paid: what cannot be compared, as in the ledger of claims, has too few rewards in common.

# %%
unequal, compared = rows.front(FRAMES, {CORE: ("ma",), RATIOS: METHODS["pattern"].looks})
if unequal:
    fig = fronts.figure(fronts.by_reward(unequal, ROWS, "reward"), PRESET.name)
    style.save(fig, "fig09")
    FOUND.tell(compared, "Unequal ratios")

# %% [markdown]
# ## Tuned on one ability: AdaMerging
#
# Figure 15 of the paper. AdaMerging finds a ratio for each layer as AMA does, but makes the right answers of *one*
# ability likely, here of reading comprehension. The paper finds that the other abilities then gain nothing.

# %%
tuned, compared = rows.front(FRAMES, {CORE: ("ma", "ama"), RATIOS: ("adamerging",)})
if tuned:
    two = [ability for ability in ABILITIES if ability in ("reading_f1", "qa")]
    fig = fronts.figure(fronts.by_reward(tuned, ROWS, "reward"), PRESET.name, two or ABILITIES)
    style.save(fig, "fig15")

# %%
if tuned:
    FOUND.weigh(compared, "fig15-gain", PRESET.name, "Tuned on one ability, and AMA")

# %% [markdown]
# ## The recommended ratio
#
# The paper recommends one ratio, 0.2, as lowering the tax without lowering the reward. By its equations that
# is a share of 0.2 of $\theta$; the authors' code counts the other way round, which makes it a share of 0.8.
# Both are ringed on MA (figure 10 of the paper) and on AMA (figure 11).

# %%
READINGS = (0.8, 0.2)


def ringed(found, shown):
    """A figure of fronts with a ring around the models of both readings."""
    told = rf"ring: $\alpha$ = {panels.several([f'{alpha:g}' for alpha in READINGS])}"
    fig = fronts.figure(fronts.by_reward(found, ROWS, "reward"), PRESET.name, shown, columns=3, ringed=told)
    for ax, ability in zip(fig.axes, shown, strict=True):
        for (place, path), alpha in product(enumerate(found.values()), READINGS):
            model = panels.anchored(paths.at(path, alpha), paths.of_seeds(paths.theta_0(ROWS), path["seed"]))
            panels.ring(ax, model, "reward", ability, f"{alpha:g}", over=place % 2 == 1)
    return fig


whole = rows.find(FRAMES, {CORE: ("ma", *AMA)})
if whole:
    fig = ringed({"ma": whole[RLHF]["ma"]}, ABILITIES)
    style.save(fig, "fig10")

# %%
if whole:
    fig = ringed({name: whole[RLHF][name] for name in AMA}, ABILITIES)
    style.save(fig, "fig11")

# %% [markdown]
# The same models as differences to $\theta$, with 95 % intervals:

# %%
if whole:
    AGAINST = {
        (name, alpha, metric): paths.difference(paths.at(path, alpha), paths.at(path, 1), metric)
        for (name, path), alpha, metric in product(whole[RLHF].items(), READINGS, REPORTED)
    }
    fig, axes = plt.subplots(1, len(REPORTED), figsize=(style.WIDTH, style.PANEL))
    for ax, metric in zip(axes, REPORTED, strict=True):
        ax.axhline(0, color=style.look("theta").colour, linewidth=0.8)
        for place, name in enumerate(whole[RLHF]):
            for column, alpha in enumerate(READINGS):
                look, where = style.look(name), column + 0.22 * (place - 1)
                panels.interval_mark(
                    ax, where, AGAINST[name, alpha, metric], look.colour, "_" if column else look.label
                )
        ax.set_xticks(range(len(READINGS)), [f"{alpha:g}" for alpha in READINGS])
        ax.set_xlim(-0.5, len(READINGS) - 0.5)
        ax.set_xlabel(r"$\alpha$")
        ax.set_ylabel(METRICS[metric].title)
    axes[0].set_title(r"difference to $\theta$", loc="left")
    panels.legend(fig, axes, 4)
    panels.stamp_differences(fig, PRESET.name, len(paths.seeds(whole[RLHF]["ma"])))
    style.save(fig, "fig_recommended")

# %%
if whole:
    change = {
        (name, alpha): {metric: AGAINST[name, alpha, metric] for metric in REPORTED}
        for name, alpha in product(whole[RLHF], READINGS)
    }
    sentences.show(
        sentences.changes(
            {f"{style.look(name).short}, alpha {alpha:g}": one for (name, alpha), one in change.items()}, "minus theta"
        )
    )
    for alpha in READINGS:
        told = [
            f"{sentences.plain(style.look(name).short)} {sentences.moved(change[name, alpha])}" for name in whole[RLHF]
        ]
        FOUND.say(f"A share of {alpha:g} of theta, against theta: {' / '.join(told)}.")

# %% [markdown]
# Without lowering the reward? The ledger of claims asks no more than that nearly all of its rise is kept. C8a reads 0.2 as a share of
# $\theta$, C8b as one of $\theta_0$.

# %%
for claim in ("C8a", "C8b"):
    if told := sentences.judged(BOOK, claim):
        FOUND.say(told)

# %% [markdown]
# ## In short

# %%
FOUND.summary(PRESET.name, len(paths.seeds(ROWS[ROWS["rlhf"] == RLHF])))
