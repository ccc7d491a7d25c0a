# %% [markdown]
# # Which claims hold?
#
# "Mitigating the Alignment Tax of RLHF" makes claims (C), the literature around it some more (L), and this project has some of
# its own (P). This notebook lists them in plain words, says for each what was compared here, and gives
# a verdict that follows from the measured rows by fixed rules, which `docs/protocol.md` explains. Nothing in it is typed
# in: the command `claims` of `python -m llm` computes the same ledger from a folder of rows, and
# `llm/evidence/claims/table.py` is the list of what is compared.
#
# **The words.** A language model before alignment is $\theta_0$, after it $\theta$. Alignment (RLHF) raises a *reward* and
# may cost abilities that nobody rewards. That cost is the *tax*. Model averaging (MA) puts the two together,
# $\theta(\alpha) = (1 - \alpha)\,\theta_0 + \alpha\,\theta$; adaptive averaging (AMA) has a ratio for each part of the
# network. RSF, DPO and PPO are three ways to align.
#
# **The numbers.** A seed is an experiment of its own, in which everything that the preset makes is made anew: reward model,
# alignment and samples, in a microcosm the world and the pre-trained model as well. Differences are taken within a seed, and
# the intervals (95 %, Student's t or Fieller's) are over seeds. Two methods are compared *at equal reward*, from 50 to 95 % of
# the reward's rise as far as both reach: the number is the *share saved*, the part of the rival's tax that the method
# avoids. What has to be chosen (a ratio, a learning rate) is chosen for each seed on the other seeds.
#
# **The verdict.** A part of a claim *holds* where the whole interval lies on the claim's side of zero, *fails* where it lies on
# the other, and either is *small* inside a margin (a tenth of the rival's tax, 2 % of the reward's rise); it is *equivalent*
# where the 90 % interval lies inside the margin, *not testable here* where a ceiling or unequal reach forbids it, and else
# *undecided*. A verdict needs at least three seeds: with two there is an interval and no verdict. A claim holds if all its parts
# hold, fails if one of them fails after Holm's correction for how many were looked at, and is *mixed* where its parts differ. Where
# gold reward, what the replies are truly worth, says something else than the learned reward, the verdict says so.

# %%
from collections import Counter

import matplotlib.pyplot as plt
import numpy as np
from IPython.display import Markdown, display

from drawing import rows, sentences, style
from llm.evidence.claims import render
from llm.evidence.claims.ledger import ledger
from llm.evidence.metrics import IN_TAXES, METRICS, SAVED

style.use()
rows.check()
LEDGER = ledger(style.results(), style.results("theory"))
FOUND = sentences.Findings()
display(Markdown(render.markdown(LEDGER, style.figures(), None)))  # docs/claims.md has its links

# %% [markdown]
# ## The claims, drawn
#
# A line a claim: the part that its verdict hangs on, moved so that **right of zero is what the claim says**, with its 95 %
# interval over seeds; small marks are the claim's other parts. To share one axis, rewards
# are divided by how far RSF raises them and abilities by what RSF takes of them; a share saved is drawn as it is: 1 is all of
# RSF's reward, all of its tax, or all of the rival's. Other numbers, such as correlations, are drawn as they are, too; the axis names them. What leaves the panel has an arrow.
# Claims that are not measured yet, and those that the theory computes exactly, are in the lists only.

# %%
EDGE = 1.5  # of the panel: beyond it there is an arrow
DRAWN = [entry for entry in LEDGER.entries if entry.weakest.estimate is not None and entry.weakest.per_seed]


def word(line):
    """The verdict of a part, as the legend has it."""
    return line.verdict.removesuffix(", small")


def forest(ax, entry, y):
    """One claim: the part that it hangs on with its interval, the others as small marks."""
    line = entry.weakest
    colour, mean = style.VERDICTS[word(line)], line.favour(line.estimate)
    for other in entry.deciding:
        if other is not line and other.estimate is not None and abs(other.favour(other.estimate)) < EDGE:
            ax.plot(
                other.favour(other.estimate),
                y,
                "|",
                color=style.VERDICTS[word(other)],
                markersize=5,
                markeredgewidth=1.2,
            )
    if line.low is not None:
        low, high = sorted(line.favour(end) for end in (line.low, line.high))
        ax.plot(np.clip([low, high], -EDGE, EDGE), [y, y], color=colour, linewidth=1.1)
        for end, shape in ((low, "<"), (high, ">")):
            if abs(end) > EDGE:
                ax.plot(np.sign(end) * EDGE, y, shape, color=colour, markersize=4, clip_on=False)
    ax.plot(np.clip(mean, -EDGE, EDGE), y, "o", color=colour, markersize=4.5)


fig, ax = plt.subplots(figsize=(style.WIDTH, 1.24 + 0.19 * len(DRAWN)))
ax.axvline(0, color=style.INK, linewidth=0.8)
for y, entry in enumerate(DRAWN):
    forest(ax, entry, y)
    ax.text(EDGE * 1.05, y, str(entry.verdict), fontsize=6.5, va="center", color=style.INK)
ax.set_yticks(range(len(DRAWN)), [f"{entry.claim.id}. {render.named(entry)}" for entry in DRAWN])
ax.set_ylim(len(DRAWN) - 0.4, -0.6)
ax.set_xlim(-EDGE, EDGE)
ax.tick_params(axis="y", length=0, pad=7)  # room for arrows at the edge
SHARED = {SAVED, IN_TAXES, *(name for name, metric in METRICS.items() if metric.kind in ("reward", "ability"))}


def unit(line):
    """What a part is drawn in where that is no unit that parts share, else ""."""
    return METRICS[line.metric].in_words if line.unit is None or line.metric not in SHARED else ""


own = {entry.claim.id: told for entry in DRAWN if (told := unit(entry.weakest))}
MIXED = [
    entry.claim.id for entry in DRAWN if len({unit(line) for line in entry.deciding if line.estimate is not None}) > 1
]
units = "in rewards of RSF and in taxes" + f" ({', '.join(own)}: see below)" * bool(own)
ax.set_xlabel(r"$\leftarrow$ against the claim    for the claim $\rightarrow$" + f"\n{units}")
seen = {word(line) for entry in DRAWN for line in entry.deciding if line.estimate is not None}
marks = [
    plt.Line2D([], [], color=colour, marker="o", label=verdict)
    for verdict, colour in style.VERDICTS.items()
    if verdict in seen
]
marks.append(plt.Line2D([], [], color=style.GREY, marker="|", linestyle="none", label="other parts"))
fig.legend(handles=marks, loc="outside upper center", ncols=len(marks))
BARS = "bars: 95 % intervals over seeds, paired" if len(LEDGER.seeds) > 1 else "no intervals"
LEFT = {}  # why -> the claims that are not drawn
for entry in LEDGER.entries:
    if entry not in DRAWN:
        why = str(entry.verdict) if entry.weakest.estimate is None else "computed exactly"
        LEFT.setdefault(why, []).append(entry.claim.id)
NOTES = [f"{', '.join(own)}: in units of their own, {', '.join(dict.fromkeys(own.values()))}"] if own else []
NOTES += [f"of {', '.join(MIXED)} some small marks are in other units than the large one"] if MIXED else []
NOTES += ["not drawn: " + "; ".join(f"{', '.join(claims)} ({why})" for why, claims in LEFT.items())] if LEFT else []
style.foot(fig, "\n".join([*NOTES, f"{LEDGER.preset}, {render.source(LEDGER)}; {BARS}"]))
style.save(fig, "fig_claims")

# %%
verdicts = Counter(str(entry.verdict) for entry in LEDGER.entries)
counts = [
    f"{count} {verdict.replace('holds', 'hold').replace('fails', 'fail') if count > 1 else verdict}"
    for verdict, count in verdicts.most_common()
]
FOUND.say(f"Of {len(LEDGER.entries)} claims: {', '.join(counts)}.")
for verdict in ("holds", "fails"):
    names = [
        f"{entry.claim.id} ({render.named(entry)})"
        for entry in LEDGER.entries
        if str(entry.verdict).startswith(verdict)
    ]
    FOUND.say(f"What {verdict}: {'; '.join(names) or 'none'}.")

# %% [markdown]
# ## Everything that was estimated
#
# All parts with their numbers, in their own units. Those with a star decide; the others are told beside them: single
# abilities, the gold reward (what the replies are truly worth, where the learned reward is what RLHF maximises), the preset's
# own learning rate alone, other presets. Where a part has no verdict it is undecided.

# %%
for entry in LEDGER.entries:
    table = sentences.parts(entry)
    sentences.show(
        f"**{entry.claim.id}. {render.named(entry)}**: {render.verdict(entry)}. {entry.claim.statement}\n\n{table}"
    )

# %% [markdown]
# ## In short

# %%
FOUND.summary(LEDGER.preset, len(LEDGER.seeds))
