# %% [markdown]
# # Averaging: what can be had back
#
# RLHF takes a model from $\theta_0$ to $\theta$: more reward, less of some abilities (the notebook on
# training shows it). *Model averaging* (MA) puts the two together, number by number:
#
# $$\theta(\alpha) = (1 - \alpha)\,\theta_0 + \alpha\,\theta .$$
#
# $\alpha$ is always the share of the model *after* RLHF, so $\alpha = 0$ is $\theta_0$ and $\alpha = 1$ is
# $\theta$. Nothing is trained. Each $\alpha$ is a model with some reward and some abilities, and all of them
# together make a path in the plane of reward and ability. A method is good if its path runs high: much
# ability at the same reward.
#
# Two questions, each answered by intervals and not by looks:
#
# 1. Is averaging better than simply stopping RLHF earlier, also when the learning rate is chosen well?
# 2. Which layers matter: the input, the middle or the output part?
#
# The notebook on ratios goes on from here: several ratios instead of one, and which ratio to take.
#
# How paths are compared: each is cut at its highest reward (going on only loses), the abilities of two paths
# are subtracted at equal reward, and the differences are averaged over all rewards that both paths reach.
# This is done seed by seed, since a seed's reward model and world are its own; the intervals (95 %, Student's
# t) are over these paired differences. With few seeds they are wide, and "undecided" then means just that.

# %%
from itertools import product

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from drawing import panels, style
from llm.config import load_preset
from llm.evidence import compare, paths
from llm.evidence.frames import abilities, rewards
from llm.evidence.metrics import METRICS, SAVED
from llm.evidence.shares import NotComparable, rises, saved

style.use()
PRESET = load_preset(style.preset())
OWN = PRESET.rsf.optimiser.lr  # RSF's learning rate where a row names none
ROWS = paths.load(style.results())
SEEDS = paths.seeds(ROWS)
SWEPT = paths.swept(ROWS)
RATES = paths.rates(SWEPT, OWN) if len(SWEPT) else []
FAIR = SWEPT if RATES else ROWS  # rows of the seeds that all rates were run on
NAMES = {lr: panels.rate(OWN if lr is None else lr) for lr in RATES or [None]}
MA, STOPPING = style.look("ma"), style.look("early-stopping")
REWARDS, ABILITIES = rewards(ROWS), abilities(ROWS)
REPORTED = (*REWARDS, *ABILITIES)
FOUND = []  # what this notebook finds: (claim, what the intervals say)

# %% [markdown]
# ## Averaging against early stopping
#
# Early stopping costs nothing either: take the model after an earlier iteration. It is the rival to beat. A
# row for each learning rate that RSF was run at; grey are RSF's iterations, blue are averages of $\theta_0$
# and the last iteration.

# %%
fig, axes = plt.subplots(
    len(NAMES), 3, figsize=(style.WIDTH, 0.75 + 1.75 * len(NAMES)), sharex="row", sharey=False, squeeze=False
)
for line, (lr, name) in zip(axes, NAMES.items(), strict=True):
    for ax, ability in zip(line, ABILITIES, strict=True):
        for method, look in (("early-stopping", STOPPING), ("ma", MA)):
            path = panels.anchored(paths.path(FAIR, method, lr), paths.theta_0(FAIR))
            panels.trade_off(ax, path, "reward", ability, look, alphas=method == "ma")
        panels.floor(ax, FAIR, ability)
    line[0].set_ylabel(f"learning rate {name}", fontsize=8)
for ax, ability in zip(axes[0], ABILITIES, strict=True):
    ax.set_title(METRICS[ability].title, fontsize=9)
for ax in axes[-1]:
    ax.set_xlabel(METRICS["reward"].label)
panels.legend(fig, axes, 2)
panels.stamp_anchored(fig, PRESET.name, len(paths.seeds(FAIR)), r"\theta_0")
panels.ratio_legend(fig, sorted(set(paths.path(FAIR, "ma")["step"])))
style.save(fig, "fig_fronts")

# %% [markdown]
# The same as numbers: the gap between the two paths at equal reward, at each learning rate. Circles compare
# at the same rate, squares compare averaging at each rate with early stopping at the rate whose path encloses
# the largest area on the first seed: who can choose the learning rate may not need averaging.

# %%
best = paths.best_rate(FAIR, "early-stopping", RATES)[0] if RATES else None


def gap(lr: float | None, rival: float | None, ability: str, reward: str, rows: pd.DataFrame = FAIR):
    """MA at one rate minus early stopping at another (or the same), at equal reward."""
    return paths.gap(paths.path(rows, "ma", lr), paths.path(rows, "early-stopping", rival), ability, reward)


fig, axes = plt.subplots(2, 3, figsize=(style.WIDTH, 2 * style.PANEL), sharex=True)
for reward, line in zip(REWARDS, axes, strict=True):
    for ability, ax in zip(ABILITIES, line, strict=True):
        ax.axhline(0, color=STOPPING.colour, linewidth=1)
        for place, lr in enumerate(NAMES):
            panels.interval_mark(ax, place - 0.14 * bool(RATES), gap(lr, lr, ability, reward), MA.colour, "_")
            if RATES:
                panels.interval_mark(ax, place + 0.14, gap(lr, best, ability, reward), "#d55e00", "_", "s")
        ax.set_xticks(range(len(NAMES)), NAMES.values(), fontsize=7)
        ax.set_xlim(-0.6, len(NAMES) - 0.4)
    line[0].set_ylabel(f"MA - early stopping,\nat equal {METRICS[reward].label}", fontsize=8)
for ax, ability in zip(axes[0], ABILITIES, strict=True):
    ax.set_title(METRICS[ability].title, fontsize=9)
axes[0, 0].plot([], [], "o-", color=MA.colour, label="at the same learning rate")
if RATES:
    axes[0, 0].plot([], [], "s-", color="#d55e00", label=f"against early stopping's best rate, {NAMES[best]}")
for ax in axes[-1]:
    ax.set_xlabel("learning rate", fontsize=8)
panels.legend(fig, axes, 2)
panels.stamp_differences(fig, PRESET.name, len(paths.seeds(FAIR)))
style.save(fig, "fig_advantage")

# %%
STANDS = {"above": "averaging is above", "below": "averaging is BELOW", "undecided": "undecided"}
for reward in REWARDS:
    print(f"MA minus early stopping at equal {METRICS[reward].label}, same learning rate:")
    for lr, name in NAMES.items():
        for ability in ABILITIES:
            found = gap(lr, lr, ability, reward)
            verdict = panels.verdict(found, STANDS)
            print(f"  {name}, {METRICS[ability].words}: {panels.number(found, ability)}, {verdict}")
if not RATES:
    print(
        "These results hold one learning rate only: run the sweep `learning-rates` to see whether this depends on it."
    )
own = {ability: gap(None, None, ability, "reward") for ability in ABILITIES}
FOUND.append((f"MA above early stopping, lr {panels.rate(OWN)}", own))

# %% [markdown]
# The fairest comparison gives each method the learning rate that suits it. At each level of the reward, from 50 to 95 %
# of RSF's rise, averaging and early stopping each take the rate that is best there on the other seeds, and are told on
# the one left out. What is told is the *share saved*: how much of the tax that early stopping pays at that reward averaging
# does not pay. Near $\theta_0$ all paths coincide and there is no tax to save, so the levels begin at half of the rise.
# This is what the ledger of claims decides by (`docs/protocol.md`).


# %%
def shares(models: dict, rows: pd.DataFrame = FAIR) -> dict[str, tuple]:
    """The share that averaging saves of early stopping's tax, by (reward, ability): text, and the interval where it is one."""
    found = {}
    for reward, ability in product(REWARDS, ABILITIES):
        try:
            one = saved(*models.values(), paths.theta_0(rows), rises(rows, reward), ability, reward)
        except NotComparable as error:
            found[reward, ability] = str(error), None
            continue
        share = one.share().outer if one.is_taxed else None
        text = panels.number(share, SAVED) if share else "early stopping's tax is not clear of 0"
        found[reward, ability] = f"{text}, at {one.levels[0]:.0%} to {one.levels[1]:.0%} of the rise", share
    return found


CHOICES = {"each at its best rates": RATES} if RATES else {}
CHOICES |= {f"both at {name}": [lr] for lr, name in NAMES.items()}
for how, among in CHOICES.items():
    told = shares({method: {lr: paths.path(FAIR, method, lr) for lr in among} for method in ("ma", "early-stopping")})
    print(f"Share of early stopping's tax that MA saves, {how}:")
    for (reward, ability), (text, share) in told.items():
        verdict = f", {panels.verdict(share, STANDS)}" if share else ""
        print(f"  {METRICS[ability].words}, equal {METRICS[reward].label}: {text}{verdict}")
    if among == RATES:
        fair = {ability: told["reward", ability][1] for ability in ABILITIES}
        FOUND.append(("MA saves early stopping's tax, best rates", fair))

# %% [markdown]
# ## Which layers? One part at a time
#
# The layers are split into three parts of equal size. Average one part only and leave everything else at
# $\theta$: at $\alpha = 1$ this is $\theta$, at $\alpha = 0$ the part is put back to what it was in
# $\theta_0$. The paper finds that the *input* part gives the abilities back and even raises the reward, while
# the other parts trade one for the other (figure 4, right). In the microcosm's models the embeddings are used
# at both ends, to read and to write, so they are shown as a part of their own.

# %%
PARTS = sorted(set(ROWS["part"].dropna()), key=["input", "middle", "output", "embeddings"].index)
PART_PATHS = {part: paths.path(ROWS, f"part-{part}") for part in PARTS}
SMALL = [part for part in PARTS if part != "embeddings"]
THETA = paths.at(PART_PATHS[SMALL[0]], 1)
shown = [(panels.anchored(PART_PATHS[part], THETA), style.look(f"part-{part}")) for part in SMALL]
fig = panels.grid(shown, ROWS, alphas=True)
mean = THETA.groupby("metric")["value"].mean()
star = {"color": style.look("theta").colour, "markersize": 10, "zorder": 5}
for ax, (reward, ability) in zip(fig.axes, product(REWARDS, ABILITIES), strict=True):
    ax.plot(mean[reward], mean[ability], "*", label=style.look("theta").label, **star)
panels.legend(fig, fig.axes, 4)
panels.stamp_anchored(fig, PRESET.name, len(SEEDS), r"\theta")
panels.ratio_legend(fig, sorted(set(PART_PATHS[SMALL[0]]["step"])))
style.save(fig, "fig04-right")

# %% [markdown]
# The same models as differences to $\theta$ with 95 % intervals, the embeddings included. Lines and intervals
# that leave a panel go on outside of it.

# %%
CHANGE = {
    (part, alpha, metric): paths.difference(paths.at(path, alpha), paths.at(path, 1), metric)
    for part, path in PART_PATHS.items()
    for alpha in sorted(set(path["step"]))
    for metric in REPORTED
}
fig, axes = plt.subplots(2, 3, figsize=(style.WIDTH, 2 * style.PANEL), sharex=True)
for ax, metric in zip(axes.flat, REPORTED, strict=False):
    ax.axhline(0, color=style.look("theta").colour, linewidth=0.8)
    for place, part in enumerate(PARTS):
        alphas = sorted(set(PART_PATHS[part]["step"]))
        found = [CHANGE[part, alpha, metric] for alpha in alphas]
        shown, shift = style.look(f"part-{part}"), 0.012 * (place - 1.5)
        mean = np.array([one.mean for one in found])
        half = np.nan_to_num([one.high - one.mean for one in found])
        ax.errorbar(
            np.array(alphas) + shift,
            mean,
            yerr=half,
            color=shown.colour,
            linestyle=shown.line,
            marker="o",
            markersize=3,
            elinewidth=0.7,
            label=shown.label,
        )
    seen = [CHANGE[part, alpha, metric] for part in SMALL for alpha in sorted(set(PART_PATHS[part]["step"]))]
    low, high = min(one.mean for one in seen), max(one.mean for one in seen)
    if low < high:
        ax.set_ylim(low - 0.5 * (high - low), high + 0.5 * (high - low))
    ax.set_title(METRICS[metric].words + ",\n" + r"difference to $\theta$", fontsize=9)
for ax in (*axes[1, :2], axes[0, 2]):
    ax.set_xlabel(r"$\alpha$ of the part")
    ax.tick_params(labelbottom=True)
handles, labels = axes[0, 0].get_legend_handles_labels()
axes[1, 2].axis("off")
axes[1, 2].legend(handles, labels, loc="center", fontsize=8)
panels.stamp_differences(fig, PRESET.name, len(SEEDS), dots=False)
style.save(fig, "fig_parts")

# %%
for part in PARTS:
    alphas = [alpha for alpha in sorted(set(PART_PATHS[part]["step"])) if alpha < 1]
    name = style.look(f"part-{part}").label
    print(f"{name}, {len(alphas)} ratios below 1, against theta with 95 % intervals:")
    for metric in REPORTED:
        told = {
            word: [f"{a:g}" for a in alphas if CHANGE[part, a, metric].verdict == word] for word in ("above", "below")
        }
        words = [f"{word} at alpha {panels.several(where)}" for word, where in told.items() if where]
        print(f"  {METRICS[metric].words}: {'; '.join(words) or 'undecided at every alpha'}")
    both = [f"{alpha:g}" for alpha in compare.both_rise(PART_PATHS[part])]
    won = f"at alpha {panels.several(both)}" if both else "at no alpha"
    print(f"  Learned reward and an ability both above theta, no ability below: {won}.")
    FOUND.append((f"{part} put back: above theta", {m: CHANGE[part, 0.0, m] for m in REPORTED}))
print("Many ratios are tried here: about one interval in forty lies above 0 by chance alone.")

# %% [markdown]
# Averaging one part only is a method of its own, with a path from $\theta$ down to the model whose part is put
# back. The same comparison as with early stopping: at equal reward, over the rewards that both paths reach, is
# it above averaging everything?

# %%
AVERAGED = paths.path(ROWS, "ma")
for part in PARTS:
    for reward in REWARDS:
        gaps = {a: paths.gap(PART_PATHS[part], AVERAGED, a, reward) for a in ABILITIES}
        words = [
            f"{METRICS[a].words} {panels.number(found, a)}, "
            + panels.verdict(found, {"above": "above", "below": "BELOW", "undecided": "undecided"})
            for a, found in gaps.items()
        ]
        print(f"{style.look(f'part-{part}').label} minus MA, at equal {METRICS[reward].label}: " + "; ".join(words))
        if reward == "reward":
            FOUND.append((f"{part} alone: above MA", gaps))

# %% [markdown]
# ## What holds and what does not
#
# Each claim with what the intervals say: *yes* where the whole interval lies above 0, *no* where it lies
# below, a question mark where it holds 0, and a dash where the claim says nothing or nothing can be compared.

# %%
YES_NO = {"above": "yes", "below": "no", "undecided": "?"}
print(
    pd.DataFrame(
        [
            {
                "claim": claim,
                **{METRICS[m].words: panels.verdict(found[m], YES_NO) if found.get(m) else "-" for m in REPORTED},
            }
            for claim, found in FOUND
        ]
    ).to_string(index=False)
)
