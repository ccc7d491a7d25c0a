# %% [markdown]
# # Which claims hold?
#
# "Mitigating the Alignment Tax of RLHF" makes about a dozen claims (C), the literature around it some more (L), and this
# project found two of its own (P). This notebook lists them in plain words, says for each what was compared here, and gives
# a verdict that follows from the measured rows by fixed rules, which `docs/protocol.md` explains. Nothing in it is typed
# in: `python -m llm claims results/microcosm` computes the same ledger, and `llm/evidence/claims/table.py` is the list of what
# is compared.
#
# **The words.** A language model before alignment is $\theta_0$, after it $\theta$. Alignment (RLHF) raises a *reward* and
# costs abilities: question answering, reading comprehension, translation. That cost is the *tax*. Model averaging (MA) puts
# the two together, $\theta(\alpha) = (1 - \alpha)\,\theta_0 + \alpha\,\theta$; adaptive averaging (AMA) has a ratio for each
# part of the network. RSF, DPO and PPO are three ways to align.
#
# **The numbers.** A seed is a whole experiment of its own: a world, a pre-trained model, a reward model, an alignment.
# Differences are taken within a seed, and the intervals (95 %, Student's t or Fieller's) are over seeds. Two methods are
# compared *at equal reward*, from 50 to 95 % of the reward's rise as far as both reach: the number is the *share saved*, how
# much of the tax that the rival pays the method does not pay. What has to be chosen (a ratio, a learning rate) is chosen for
# each seed on the other seeds.
#
# **The verdict.** A part of a claim *holds* where the whole interval lies on the claim's side of zero, *fails* where it lies on
# the other, and either is *small* inside a margin (a tenth of the rival's tax, 2 % of the reward's rise); it is *equivalent*
# where the 90 % interval lies inside the margin, *not testable here* where a ceiling or unequal reach forbids it, and else
# *undecided*. A claim holds if all its parts hold, fails if one of them fails after Holm's correction for how many were
# looked at, and is *mixed* where its parts differ. Where gold reward, what the replies are truly worth, says something else
# than the learned reward, the verdict says so.

# %%
import matplotlib.pyplot as plt
import numpy as np
from IPython.display import Markdown, display

from drawing import style
from llm.evidence.claims import render
from llm.evidence.claims.ledger import ledger

style.use()
LEDGER = ledger(style.results(), style.results("theory"))
display(Markdown(render.markdown(LEDGER, style.figures(), "../")))

# %% [markdown]
# ## The parts, drawn
#
# Each line is a part that decides, moved so that **right of zero is what the claim says**. To share one axis, rewards
# are divided by how far RSF raises them and abilities by what RSF takes of them; a share saved is drawn as it is: 1 is all of
# RSF's reward, all of its tax, or all of the rival's. Small dots are single seeds; a line that leaves the panel has an arrow.
# Parts that are not measured yet, and those that the theory computes exactly, are in the lists only.

# %%
COLOURS = {"holds": "#009e73", "equivalent": "#0072b2", "fails": "#d55e00", "undecided": "#7f7f7f"}
COLOURS["not testable here"] = "#c9c9c9"
EDGE = 1.5  # of the panel: beyond it there is an arrow
DRAWN = [
    (entry, [line for line in entry.deciding if line.estimate is not None and line.per_seed])
    for entry in LEDGER.entries
]
DRAWN = [(entry, lines) for entry, lines in DRAWN if lines]


def forest(ax, line, y):
    """One part: estimate, interval and single seeds, as far towards the claim's side as they lie."""
    colour, mean = COLOURS[line.verdict.removesuffix(", small")], line.favour(line.estimate)
    seeds = np.array([line.favour(value) for value in line.per_seed])
    seen = seeds[np.abs(seeds) < EDGE]
    ax.plot(seen, np.full(len(seen), y), ".", color=colour, markersize=3, alpha=0.6)
    if line.low is not None:
        low, high = sorted(line.favour(end) for end in (line.low, line.high))
        ax.plot(np.clip([low, high], -EDGE, EDGE), [y, y], color=colour, linewidth=1.1)
        for end, shape in ((low, "<"), (high, ">")):
            if abs(end) > EDGE:
                ax.plot(np.sign(end) * EDGE, y, shape, color=colour, markersize=4, clip_on=False)
    ax.plot(np.clip(mean, -EDGE, EDGE), y, "o", color=colour, markersize=4.5)


rows = [len(lines) for _, lines in DRAWN]
fig, axes = plt.subplots(
    len(DRAWN),
    1,
    figsize=(style.WIDTH, 0.9 + 0.17 * sum(rows) + 0.12 * len(rows)),
    sharex=True,
    squeeze=False,
    gridspec_kw={"height_ratios": [count + 0.6 for count in rows]},
)
for ax, (entry, lines) in zip(axes[:, 0], DRAWN, strict=True):
    ax.axvline(0, color="#000000", linewidth=0.8)
    for y, line in enumerate(lines):
        forest(ax, line, y)
    ax.set_yticks(range(len(lines)), [line.part for line in lines], fontsize=6)
    ax.set_ylim(len(lines) - 0.4, -0.6)
    ax.set_xlim(-EDGE, EDGE)
    ax.tick_params(axis="y", length=0)
    ax.set_title(f"{entry.claim.id}. {entry.claim.name}: {entry.verdict}", fontsize=7.5, loc="left", pad=2)
AXIS = r"$\leftarrow$ against the claim    for the claim $\rightarrow$" + "\nin rewards of RSF and in taxes"
axes[-1, 0].set_xlabel(AXIS, fontsize=8)
marks = [plt.Line2D([], [], color=colour, marker="o", label=verdict) for verdict, colour in COLOURS.items()]
fig.legend(handles=marks, loc="outside upper center", ncols=len(marks), fontsize=8)
BARS = "bars: 95 % intervals over seeds, paired" if len(LEDGER.seeds) > 1 else "no intervals"
style.foot(fig, f"{LEDGER.preset}, {render.source(LEDGER)}; {BARS}")
inch = 1 / fig.get_figheight()
fig.get_layout_engine().set(rect=(0, 0.15 * inch, 1, 1 - 0.15 * inch))
style.save(fig, "fig_claims")

# %% [markdown]
# ## Everything that was estimated
#
# All lines with their numbers, in their own units. Those with a star decide; the others are told beside them: single
# abilities, the gold reward (what the replies are truly worth, where the learned reward is what RLHF maximises), the preset's
# own learning rate alone, other presets.

# %%
print(render.text(LEDGER, details=True))
