# %% [markdown]
# # The tax: what alignment does to a language model
#
# A chat model is made in three steps, and each step leaves a model behind:
#
# * $\theta_{\text{pre}}$, the **pre-trained** model, has read a lot of text and can continue it;
# * $\theta_0$, after **instruction tuning**, answers when it is asked;
# * $\theta$, after **RLHF** (reinforcement learning from human feedback), answers in the way people prefer.
#
# In the last step a *reward model* stands in for people. It was fitted to comparisons of two replies, and it
# gives every reply a number, the *learned reward*. RLHF here is **RSF**, rejection sampling fine-tuning: let
# the model write several replies to each prompt, keep the one with the highest reward, fine-tune the model on
# it, and repeat.
#
# Nothing in this asks the model to keep what else it can do. How far $\theta$ falls below $\theta_0$ on tasks
# that are not part of the reward is called the **alignment tax**. This notebook shows the tax, and how it
# depends on the learning rate; the notebook on averaging shows what can be had back.

# %%
import textwrap
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from drawing import panels, procedure, style
from llm.config import load_preset
from llm.evidence import paths
from llm.evidence.frames import abilities, rewards
from llm.evidence.metrics import METRICS
from llm.methods import Look
from llm.run import Run
from llm.stages.show import samples

style.use()
PRESET = load_preset(style.preset())
OWN = PRESET.rsf.optimiser.lr  # RSF's learning rate where a row names none
ROWS = paths.load(style.results())
SEEDS = paths.seeds(ROWS)
REWARDS, ABILITIES = rewards(ROWS), abilities(ROWS)
REPORTED = (*REWARDS, *ABILITIES)

# %% [markdown]
# ## The microcosm
#
# Everything below is measured on small models in a small world, the *microcosm*, so that the whole experiment
# runs on a laptop. It is a microcosm and no more: its numbers are not those of models with billions of
# parameters. But nothing in it is staged. A Transformer is really pre-trained, tuned, given a reward model
# that it learned from noisy comparisons, and aligned.
#
# Three abilities are tested, each with its own kind of knowledge: **question answering** about animals (the
# facts were read in pre-training; four choices), **reading comprehension** (the facts stand in the passage,
# and several people share them, so that the right one must be found) and **translation** from a little
# French. All are asked in the same chat format as everything else, and the whole reply counts: a model that
# chatters before it answers loses F1 and BLEU, and may fall below *chance*, the score of a short guess of the
# right kind.
#
# Because the world is made, the *true* reward of a reply is known too. This **gold reward** likes kindness
# and the right content and dislikes rudeness, invention, repetition and length. Training sees only the
# learned reward; where the learned reward rises and the gold reward does not, the model has learned to please
# the judge and nobody else.
#
# One sample of everything the models read:

# %%
for block in samples(Run(PRESET, SEEDS[0], Path("out")), 1).split("\n"):
    print(textwrap.fill(block, 110, subsequent_indent="      ") if block else "")

# %% [markdown]
# ## What the last step does
#
# Figure 1 of the paper: the three steps, and below them what RLHF, the last of them, changed here.

# %%
STOPPING = paths.path(ROWS, "early-stopping")
LAST = paths.at(STOPPING, STOPPING["step"].max())
CHANGE = {metric: paths.difference(LAST, paths.theta_0(ROWS), metric) for metric in (*REPORTED, "length")}
fig = procedure.figure(CHANGE, PRESET.name, len(SEEDS))
style.save(fig, "fig01")

# %% [markdown]
# ## Along the training
#
# Figure 12 of the paper: every iteration of RSF measured. Thick lines are means over seeds, thin ones single
# seeds; a seed changes the world's facts, pre-training, the reward model and RSF.

# %%
fig, axes = plt.subplots(2, 3, figsize=(style.WIDTH, 2 * style.PANEL), sharex=True)
for ax, metric in zip(axes.flat, (*REPORTED, "length"), strict=True):
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
    ax.set_xlabel(r"RSF iteration (0: $\theta_0$)")
    ax.xaxis.get_major_locator().set_params(integer=True)
style.stamp(fig, PRESET.name, len(SEEDS))
style.save(fig, "fig12")

# %%
MOVED = {"above": "rises", "below": "falls", "undecided": "may have moved either way"}
print(
    f"From theta_0 to theta, {STOPPING['step'].max():.0f} iterations at learning rate {panels.rate(OWN)}, "
    "with 95 % intervals:"
)
for metric, change in CHANGE.items():
    print(f"  {METRICS[metric].words} {panels.verdict(change, MOVED)}: {panels.number(change, metric)}")
qa = panels.points(STOPPING, "qa")["mean"]
peak = paths.difference(paths.at(STOPPING, qa.idxmax()), paths.theta_0(ROWS), "qa")
print(
    "The paper sees question answering rise before it falls. Here "
    + (
        f"it is highest after iteration {qa.idxmax():.0f}, {panels.number(peak, 'qa')} from theta_0."
        if qa.idxmax()
        else "it is highest before the first iteration, in theta_0."
    )
)

# %% [markdown]
# ## The learning rate decides how much is paid
#
# A tax seen at one learning rate may be an artefact of that rate: a slower optimiser reaches the same reward
# by smaller steps and may forget less. So RSF was run at several rates, and every iteration of each is a
# model that one could have stopped at (*early stopping*). The further a curve reaches to the right before it
# bends down, the better.

# %%
SWEPT = paths.swept(ROWS)
RATES = paths.rates(SWEPT, OWN) if len(SWEPT) else []
NAMES = {lr: panels.rate(OWN if lr is None else lr) for lr in RATES or [None]}
COLOURS = dict(zip(RATES, plt.get_cmap("viridis")(np.linspace(0, 0.85, max(len(RATES), 1))), strict=False))
if RATES:
    START = paths.theta_0(SWEPT)
    shown = [
        (panels.anchored(paths.path(SWEPT, "early-stopping", lr), START), Look(f"lr {NAMES[lr]}", COLOURS[lr]))
        for lr in RATES
    ]
    fig = panels.grid(shown, SWEPT, alphas=False)
    panels.legend(fig, fig.axes, len(RATES))
    panels.stamp_anchored(fig, PRESET.name, len(paths.seeds(SWEPT)), r"\theta_0")
    style.save(fig, "fig_rates")
else:
    print("These results hold RSF at one learning rate only: run the sweep `learning-rates` to compare rates.")

# %% [markdown]
# Which rate is best for early stopping? The one whose curve encloses the largest area in (learned reward,
# mean ability), above $\theta_0$'s reward and above chance. It is chosen on the first seed and reported on
# the others, so that the choice cannot flatter itself.

# %%
if RATES:
    best, others = paths.best_rate(SWEPT, "early-stopping", RATES)
    areas = pd.DataFrame(
        {f"lr {NAMES[lr]}": paths.areas(SWEPT, paths.path(SWEPT, "early-stopping", lr)) for lr in RATES}
    ).T
    print(areas.rename(columns=lambda seed: f"seed {seed}").round(3).to_string())
    own_best = {seed: NAMES[RATES[int(np.argmax(areas[seed].to_numpy()))]] for seed in paths.seeds(SWEPT)}
    print(f"Chosen on seed {min(own_best)}: learning rate {NAMES[best]}.")
    print(
        "Each seed for itself would choose " + panels.several([f"{lr} (seed {s})" for s, lr in own_best.items()]) + "."
    )
else:
    best, others = None, SEEDS
    print("With one learning rate there is nothing to choose; what follows is about the preset's own.")

# %% [markdown]
# ## Is a tax left at the best rate, before the reward saturates?
#
# Going on after the reward has stopped to rise only loses, and nobody has to. The fair question is what is
# lost *on the way up*. The reward is called **saturated** at the first iteration at which the learned reward
# is within a small share of its whole rise from the highest value that the run reaches; the iteration before
# it is still on the way up. That model and the last one, $\theta$, are compared with $\theta_0$ seed by seed.
#
# Two kinds of error answer two questions. *Over seeds*: would another world, another reward model, another run
# show it too, and how much of it? The intervals are of this kind. *Over items*: have these very runs lost
# something, or did the test items just fall badly? A loss may be beyond doubt in every run made and its mean
# size still be uncertain, since runs differ.

# %%
BEST_RATE = "best learning rate for early stopping"
SHOWN = {"up": ("before saturation", "#0072b2"), "end": ("last iteration", style.look("theta").colour)}


def stopped(rows: pd.DataFrame, lr: float | None) -> dict[str, pd.DataFrame]:
    """Which model -> its rows."""
    path = paths.path(rows, "early-stopping", lr)
    before = {seed: steps[0] for seed, steps in paths.saturation(path).items()}
    return {"up": paths.at(path, before), "end": paths.at(path, path["step"].max())}


def compared(rows: pd.DataFrame, lr: float | None) -> dict[tuple[str, str], object]:
    """(which model, metric) -> difference to theta_0."""
    start, models = paths.theta_0(rows), stopped(rows, lr)
    return {(name, m): paths.difference(model, start, m) for name, model in models.items() for m in REPORTED}


FAIR = SWEPT if RATES else ROWS
TAX = {lr: compared(FAIR, lr) for lr in RATES or [None]}
fig, axes = plt.subplots(2, 3, figsize=(style.WIDTH, 2 * style.PANEL), sharex=True)
for line, (name, (words, colour)) in zip(axes, SHOWN.items(), strict=True):
    for ax, ability in zip(line, ABILITIES, strict=True):
        ax.axhline(0, color=style.look("theta_0").colour, linewidth=0.8)
        if RATES:
            ax.axvspan(RATES.index(best) - 0.4, RATES.index(best) + 0.4, color="#e6e6e6", zorder=0, label=BEST_RATE)
        ax.set_xlim(-0.6, len(TAX) - 0.4)
        for place, found in enumerate(TAX.values()):
            panels.interval_mark(ax, place, found[name, ability], colour, "_")
        ax.set_xticks(range(len(TAX)), [NAMES[lr] for lr in TAX], fontsize=7)
        ax.set_title(METRICS[ability].label.split(" (")[0] if name == "up" else "", fontsize=9)
    line[0].set_ylabel(f"{words}:\ndifference to " + r"$\theta_0$")
for ax in axes[-1]:
    ax.set_xlabel("learning rate", fontsize=8)
if RATES:
    panels.legend(fig, axes, 2)
panels.stamp_differences(fig, PRESET.name, len(paths.seeds(FAIR)))
style.save(fig, "fig_tax")

# %%
MODELS = {"up": "before the reward saturates", "end": "at the end"}
before = {seed: f"{steps[0]:.0f}" for seed, steps in paths.saturation(paths.path(FAIR, "early-stopping", best)).items()}
print(f"Early stopping at learning rate {NAMES[best]}, {panels.seed_count(len(paths.seeds(FAIR)))}.")
print(f"Saturated: within {paths.SATURATED:.0%} of the learned reward's whole rise from its highest value.")
print(
    "The last iteration before the reward saturates is "
    + panels.several([f"{step} (seed {s})" for s, step in before.items()])
    + "."
)
STOPPED, FIRST = stopped(FAIR, best), paths.theta_0(FAIR)
ITEMS = {
    (name, m): TAX[best][name, m].mean / (paths.items_error(STOPPED[name], FIRST, m) or np.nan)  # no error, no number
    for name in MODELS
    for m in REPORTED
}
report = pd.DataFrame(
    [
        {
            "model": MODELS[name],
            "metric": METRICS[metric].words,
            "difference to theta_0": panels.number(found, metric),
            "/ error over seeds": f"{found.standard_errors:.1f}" if len(SEEDS) > 1 else "-",
            "/ error over items": f"{ITEMS[name, metric]:.1f}",
        }
        for (name, metric), found in TAX[best].items()
    ]
)
print(report.to_string(index=False))

# %%
HELD = paths.of_seeds(FAIR, others)
PAYS = {"below": "a tax", "above": "a gain", "undecided": "undecided"}
for name, where in MODELS.items():
    taxed = [METRICS[a].words for a in ABILITIES if TAX[best][name, a].verdict == "below"]
    clear = [METRICS[a].words for a in ABILITIES if TAX[best][name, a].standard_errors < -3]
    print(
        f"Model {where}, all seeds: {len(taxed)} of {len(ABILITIES)} abilities lie below theta_0 with "
        f"their whole 95 % interval ({panels.several(taxed or ['none'])})."
    )
    if len(SEEDS) > 1:
        print(f"  Below theta_0 by more than 3 standard errors over seeds: {panels.several(clear or ['none'])}.")
    lost = [METRICS[a].words for a in ABILITIES if ITEMS[name, a] < -3]
    print(
        f"  Of these {panels.seed_count(len(paths.seeds(FAIR)))} alone, by more than 3 standard errors over items: "
        f"{panels.several(lost or ['none'])}."
    )
    each = {a: int((TAX[best][name, a].per_seed < 0).sum()) for a in ABILITIES}
    print(
        "  Seeds on which it is below: "
        + panels.several([f"{METRICS[a].words} {count} of {len(paths.seeds(FAIR))}" for a, count in each.items()])
        + "."
    )
    if RATES and len(others) < len(paths.seeds(FAIR)):
        found = compared(HELD, best)
        words = [
            f"{METRICS[a].words} {panels.number(found[name, a], a)}, {panels.verdict(found[name, a], PAYS)}"
            for a in ABILITIES
        ]
        print(f"  On the seeds that the rate was not chosen on ({panels.several(others)}): " + "; ".join(words) + ".")
