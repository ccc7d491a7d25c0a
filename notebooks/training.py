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
# gives every reply a number, the *learned reward*. The simplest algorithm of RLHF is **RSF**, rejection sampling
# fine-tuning: let the model write several replies to each prompt, keep the one with the highest reward, fine-tune
# the model on it, and repeat. The notebook on algorithms has two more; which one is told of here stands below.
#
# Nothing in this asks the model to keep what else it can do. How far $\theta$ falls below $\theta_0$ on tasks
# that are not part of the reward is called the **alignment tax**. This notebook shows the tax, and whether it
# is another one at another learning rate; the notebook on averaging shows what can be had back.

# %%
from collections import Counter
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from drawing import fronts, panels, procedure, rows, sentences, style
from llm.config import load_preset
from llm.evidence import paths
from llm.evidence.claims import render
from llm.evidence.claims.book import Route
from llm.evidence.claims.change import Change, Model, extreme
from llm.evidence.frames import abilities, rewards
from llm.evidence.intervals import cross_chosen
from llm.evidence.metrics import METRICS
from llm.methods import Look
from llm.run import Run
from llm.stages.show import samples

style.use()
PRESET = load_preset(style.preset())
FRAMES, BOOK = rows.with_book()
RLHF = rows.first(FRAMES)  # the algorithm that is told of
ROWS = FRAMES[RLHF]
OWN = rows.learning_rate(PRESET, RLHF)  # where a row names none
REWARDS, ABILITIES = rewards(ROWS), abilities(ROWS)
REPORTED = (*REWARDS, *ABILITIES)
EVERY = [metric for metric in (*REPORTED, "length") if metric in set(ROWS["metric"])]
STOPPING = rows.path(FRAMES, RLHF, "early-stopping")
SEEDS = paths.seeds(STOPPING) if STOPPING is not None else paths.seeds(ROWS)
FOUND = sentences.Findings()
sentences.show(rows.about(FRAMES, RLHF))

# %%
MICROCOSM = """
## The microcosm

Everything below is measured on small models in a small world, the *microcosm*, so that the whole experiment
runs on a laptop. It is a microcosm and no more: its numbers are not those of models with billions of
parameters. But nothing in it is staged. A Transformer is really pre-trained, tuned, given a reward model
that it learned from noisy comparisons, and aligned.

Three abilities are tested, each with its own kind of knowledge: **question answering** about animals (the
facts were read in pre-training; {choices} choices), **reading comprehension** (the facts stand in the passage,
and several people share them, so that the right one must be found) and **translation** from a little
French. All are asked in the same chat format as everything else, and the whole reply counts: a model that
chatters before it answers loses F1 and BLEU, and may fall below *chance*, the score of a short guess of the
right kind.

Because the world is made, the *true* reward of a reply is known too. This **gold reward** likes kindness
and the right content and dislikes rudeness, invention, repetition and length. Training sees only the
learned reward, but for an algorithm whose name has the gold reward in it; where the learned reward rises and
the gold reward does not, the model has learned to please the judge and nobody else.{renewal}

One sample of everything the models read:
"""
RENEWAL = """

So that the learned reward knows the replies that are made to please it, the reward model was trained anew {rounds} times, each
time with {pairs} more comparisons, of replies of a model that was aligned by the reward model so far.
"""
if PRESET.data == "microcosm":
    renewal = RENEWAL.rstrip().format(**PRESET.renewal.model_dump()) if PRESET.renewal else ""
    sentences.show(MICROCOSM.format(choices=PRESET.world.choices, renewal=renewal))
    sentences.show(sentences.quoted(samples(Run(PRESET, SEEDS[0], Path("out")), 1)))

# %% [markdown]
# ## What the last step does
#
# Figure 1 of the paper: the three steps, and below them what RLHF, the last of them, changed here.

# %%
if STOPPING is not None:
    START = paths.of_seeds(paths.theta_0(ROWS), SEEDS)
    LAST = paths.of_seeds(paths.at_rate(paths.of_method(ROWS, "theta"), None), SEEDS)
    CHANGE = {metric: paths.difference(LAST, START, metric) for metric in EVERY}
    fig = procedure.figure(CHANGE, PRESET.name, len(SEEDS))
    style.save(fig, "fig01")
    sentences.show(sentences.changes({"from theta_0 to theta": CHANGE}))
    FOUND.say(f"{RLHF.upper()} at learning rate {panels.rate(OWN)}, from theta_0 to theta, {sentences.moved(CHANGE)}.")

# %% [markdown]
# ## Along the training
#
# Figure 12 of the paper: every iteration measured, reward to the right and ability upwards; each point is an iteration.

# %%
if STOPPING is not None:
    lines = fronts.by_reward({"early-stopping": STOPPING}, ROWS, "reward")
    fig = fronts.figure(lines, PRESET.name)
    style.save(fig, "fig12")

# %% [markdown]
# The same against the iterations, for all that was measured. Thick lines are means over seeds, thin ones single
# seeds; a seed changes everything that is random, from the data to the samples. Where runs end at different iterations, each at
# the same share of its rise, the last point is the mean of their last models, in figure 12 too.

# %%
if STOPPING is not None:
    fig = panels.trajectory(STOPPING, ROWS, EVERY, f"{RLHF.upper()} iteration")
    style.stamp(fig, PRESET.name, len(SEEDS))
    style.save(fig, "fig12-training")

# %%
if STOPPING is not None and "qa" in ABILITIES and STOPPING["step"].nunique() > 2:
    highest = panels.points(STOPPING, "qa")["mean"].idxmax()
    route = Route(RLHF, "early-stopping", rows.core(RLHF)[1])
    best = Change("", Model(route, choose=extreme("qa")), Model(route, 0.0), "qa", from_start=True)
    (line,) = best.lines(BOOK)
    side = {"holds": "above", "fails": "below"}.get(line.verdict.removesuffix(", small"), "not told apart from")
    chosen = "the other seeds" if len(line.per_seed) > 1 else "the seed itself"
    FOUND.say(
        "The paper sees question answering rise before it falls. Here its mean is highest "
        f"{f'after iteration {highest:.0f}' if highest else 'in theta_0'}. {'Even at' if side == 'below' else 'At'} its best iteration "
        f"between the first and the last, chosen on {chosen}, question answering is {side} theta_0's: {render.number(line)}."
    )

# %% [markdown]
# ## At other learning rates
#
# A tax seen at one learning rate may be an artefact of that rate: a slower optimiser reaches the same reward
# by smaller steps and may forget less. So where the algorithm was run at several rates, every iteration of each is a
# model that one could have stopped at (*early stopping*). The further a curve reaches to the right before it
# bends down, the better.

# %%
SWEPT = paths.swept(ROWS)
RATES = paths.rates(SWEPT, OWN) if len(SWEPT) else []
NAMES = {lr: panels.rate(OWN if lr is None else lr) for lr in RATES or [None]}
COLOURS = dict(zip(RATES, style.shades(len(RATES)), strict=False))
if RATES:
    found = [
        (
            panels.anchored(paths.path(SWEPT, "early-stopping", lr), paths.theta_0(SWEPT)),
            Look(f"lr {NAMES[lr]}", COLOURS[lr]),
        )
        for lr in RATES
    ]
    fig = panels.grid(found, SWEPT)
    panels.legend(fig, fig.axes, len(RATES))
    panels.stamp_anchored(fig, PRESET.name, len(paths.seeds(SWEPT)), r"\theta_0")
    style.save(fig, "fig_rates")
else:
    sentences.show(rows.not_measured("other learning rates", ["learning-rates"], FRAMES))

# %%
BEST = """
Which rate is best for early stopping? The one whose curve encloses the largest area in (learned reward,
mean ability), above $\\theta_0$'s reward and above chance. For each seed it is chosen on the other seeds, so that the choice cannot
flatter itself.
"""
BEST_PATH, TAKEN = None, {}
if RATES:
    sentences.show(BEST)
    BEST_PATH, TAKEN = paths.at_best_rates(SWEPT, "early-stopping", RATES)
    areas = pd.DataFrame(
        {f"lr {NAMES[lr]}": paths.areas(SWEPT, paths.path(SWEPT, "early-stopping", lr)) for lr in RATES}
    ).T
    sentences.show(sentences.framed(areas.rename(columns=lambda seed: f"seed {seed}"), "area", 3))
    counted = Counter(TAKEN.values())
    told = [f"{NAMES[lr]} ({panels.seed_count(counted[lr])})" for lr in RATES if lr in counted]
    FOUND.say(
        f"The learning rate at which early stopping encloses most, for each seed by the others: {panels.several(told)}."
    )

# %% [markdown]
# ## Is a tax left before the reward saturates?
#
# Going on after the reward has stopped rising only loses, and nobody has to. The fair question is what is
# lost *on the way up*. The reward is called **saturated** at the first iteration at which the learned reward
# is nearly at the highest value that the run reaches (how near stands below); the iteration before
# it is still on the way up. That model and the last one are compared with $\theta_0$, seed by seed. Where several learning
# rates were run, this is done at each rate, and once more with the rate that is best for early stopping on the other seeds.
#
# Two kinds of error answer two questions. *Over seeds*: would another seed, with all that it makes anew,
# show it too, and how much of it? The intervals are of this kind. *Over items*: have these very runs lost
# something, or did the test items just fall badly? A loss may be beyond doubt in every run made and its mean
# size still be uncertain, since runs differ.

# %%
SHOWN = {"up": "before saturation", "end": "last iteration"}
FAIR = SWEPT if RATES else ROWS
sentences.show(f"Saturated: within {paths.SATURATED:.0%} of the learned reward's whole rise from its highest value.")


def stopped(path):
    """Which model -> its rows."""
    before = {seed: steps[0] for seed, steps in paths.saturation(path).items()}
    return {"up": paths.at(path, before), "end": paths.at(path, path.groupby("seed")["step"].max().to_dict())}


def compared(path, inflation=1.0):
    """(which model, metric) -> difference to theta_0."""
    models = stopped(path)
    start = paths.of_seeds(paths.theta_0(FAIR), models["end"]["seed"])
    return {
        (name, m): paths.difference(model, start, m, inflation=inflation)
        for name, model in models.items()
        for m in REPORTED
    }


if STOPPING is not None:
    TAX = {NAMES[lr]: compared(paths.path(FAIR, "early-stopping", lr)) for lr in RATES or [None]}
    TAX |= {"best": compared(BEST_PATH, cross_chosen(len(TAKEN), True))} if RATES else {}
    fig, axes = plt.subplots(
        2, len(ABILITIES), figsize=(style.WIDTH, 2 * style.PANEL), sharex=True, sharey="col", squeeze=False
    )
    for line, name, look in zip(axes, SHOWN, ("early-stopping", "theta"), strict=True):
        for ax, ability in zip(line, ABILITIES, strict=True):
            ax.axhline(0, color=style.look("theta_0").colour, linewidth=0.8)
            ax.set_xlim(-0.6, len(TAX) - 0.4)
            for place, found in enumerate(TAX.values()):
                panels.interval_mark(ax, place, found[name, ability], style.look(look).colour, "_")
            ax.set_xticks(range(len(TAX)), list(TAX))
            ax.set_ylabel(f"{METRICS[ability].label},\nminus " + r"$\theta_0$'s")
            ax.set_title(SHOWN[name])
    for ax in axes[-1]:
        ax.set_xlabel("learning rate")
    note = "best: for each seed the rate that is best for early stopping on the other seeds" if RATES else ""
    panels.stamp_differences(fig, PRESET.name, len(paths.seeds(FAIR)), note=note)
    style.save(fig, "fig_tax")

# %%
if STOPPING is not None:
    MODELS = {"up": "before the reward saturates", "end": "at the end"}
    FAIR_PATH = BEST_PATH if RATES else paths.path(FAIR, "early-stopping")
    STOPPED, FOUND_TAX = stopped(FAIR_PATH), list(TAX.values())[-1]
    FIRST = paths.of_seeds(paths.theta_0(FAIR), FAIR_PATH["seed"])
    ITEMS = {
        (name, m): FOUND_TAX[name, m].mean
        / (paths.items_error(STOPPED[name], FIRST, m) or np.nan)  # no error, no number
        for name in MODELS
        for m in REPORTED
    }
    several = FIRST["seed"].nunique() > 1
    report = pd.DataFrame(
        [
            {
                "model": MODELS[name],
                "metric": METRICS[metric].words,
                "difference to theta_0": sentences.cell(found, metric),
                "difference / its standard error over seeds": f"{found.standard_errors:.1f}" if several else "-",
                "difference / its standard error over items": f"{ITEMS[name, metric]:.1f}",
            }
            for (name, metric), found in FOUND_TAX.items()
        ]
    )
    where = "each seed at its best learning rate by the other seeds" if RATES else f"learning rate {NAMES[None]}"
    sentences.show(f"With {where}. {sentences.BOLD}\n\n{sentences.markdown(report)}")
    for name, model in MODELS.items():
        taxed = [METRICS[a].words for a in ABILITIES if FOUND_TAX[name, a].verdict == "below"]
        lost = [METRICS[a].words for a in ABILITIES if ITEMS[name, a] < -3]
        FOUND.say(
            f"With {where} ({panels.seed_count(len(paths.seeds(FIRST)))}) the model {model} lies below theta_0 with its whole 95 % "
            f"interval in {panels.several(taxed or ['no ability'])}, and in these very runs, by more than 3 standard errors over "
            f"items, in {panels.several(lost or ['none'])}."
        )

# %% [markdown]
# ## In short

# %%
FOUND.summary(PRESET.name, len(SEEDS))
