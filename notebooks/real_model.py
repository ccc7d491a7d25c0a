# %% [markdown]
# # A model that nobody here trained
#
# The microcosm is made by us from its first word on. Is what it shows true of a model that somebody else made? The rows of
# SmolLM2-135M answer that here; with `PRESET` set to another preset whose rows are there, such as `openllama-3b`, the same is
# drawn from them.

# %%
from itertools import product

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from drawing import fronts, gains, panels, rows, sentences, style
from llm.config import load_preset
from llm.evidence import compare, paths, shares
from llm.evidence.frames import abilities, rewards
from llm.evidence.metrics import METRICS

style.use()
ASKED = load_preset(style.preset())
PRESET = load_preset("smollm2-135m-gpu") if ASKED.data == "microcosm" else ASKED
FRAMES = rows.frames(PRESET.name if ASKED.data == "microcosm" else None)
RLHF = rows.first(FRAMES)
ROWS = FRAMES[RLHF]
CORE = rows.core(RLHF)
REWARDS, ABILITIES = rewards(ROWS), abilities(ROWS)
REPORTED = (*REWARDS, *ABILITIES)
EVERY = [metric for metric in (*REPORTED, "length") if metric in set(ROWS["metric"])]
SEEDS = paths.seeds(ROWS[ROWS["rlhf"] == RLHF])
START = paths.of_seeds(paths.theta_0(ROWS), SEEDS)
FOUND = sentences.Findings()
sentences.show(rows.about(FRAMES, RLHF))

# %%
SMOLLM = """
**SmolLM2-135M-Instruct** is a chat model of 135 million parameters, trained on two trillion tokens of ordinary
text by Hugging Face; here it is $\\theta_0$ as it was published (rounded to four bits, as it was fetched).

It is aligned to be cheerful. The *gold reward* of a reply is its sentiment by VADER, a word list with rules, in
$[-1, 1]$. As everywhere in this project, training sees only a *learned reward*, a model fitted to noisy
comparisons of $\\theta_0$'s own replies. Alignment is RSF on questions, opinions and beginnings of stories.

Nothing in cheerfulness asks for what is measured besides: **PIQA** (which of two ways to do something works),
**reading** (questions on Wikipedia passages, the likeliest of eight answers, F1), and the **log-likelihood of
news text**, in nats a token: how well the model still knows its language.

Seeds differ in the prompts, the comparisons, the reward model and every sample. $\\theta_0$ and the items are the
same for all, so intervals over seeds say how much a run matters, and nothing about other models. That $\\theta_0$
was aligned by its makers already is a difference from the paper, too.
"""
if PRESET.data == "smollm2":
    sentences.show(SMOLLM)

# %% [markdown]
# ## The tax
#
# Thick: means over seeds; thin: single seeds.

# %%
STOPPING = rows.path(FRAMES, RLHF, "early-stopping")
if STOPPING is not None:
    fig = panels.trajectory(STOPPING, ROWS, EVERY, f"{RLHF.upper()} iteration")
    style.stamp(fig, PRESET.name, len(SEEDS))
    style.save(fig, "fig_real_tax")

# %%
THETA = paths.at_rate(paths.of_method(ROWS, "theta"), None)


def tax(theta, start):
    """metric -> theta minus theta_0; shown with the error over items of these very runs."""
    change = {metric: paths.difference(theta, start, metric) for metric in EVERY}
    over = "seeds" if start["seed"].nunique() > 1 else "items"
    table = [
        {
            "metric": METRICS[metric].label,
            "theta minus theta_0": sentences.cell(one, metric, over_items=True),
            "error over items": f"{paths.items_error(theta, start, metric):.{METRICS[metric].decimals}f}",
        }
        for metric, one in change.items()
    ]
    sentences.show(f"Intervals over {over}. {sentences.BOLD}\n\n{sentences.markdown(pd.DataFrame(table))}")
    return change


CHANGE = tax(THETA, START)
FOUND.say(f"From theta_0 to theta, {sentences.moved(CHANGE)}.")
# What averaging saves is asked of the ability that RLHF takes most clearly from, in standard errors over items.
ERRORS = {ability: error for ability in ABILITIES if (error := paths.items_error(THETA, START, ability)) > 0}
SAVED = min(ERRORS, key=lambda ability: CHANGE[ability].mean / ERRORS[ability], default=ABILITIES[0])

# %% [markdown]
# ## Averaging against early stopping, and AMA against both
#
# Early stopping's models and averages of $\theta_0$ and $\theta$, against the learned reward (above), which training
# saw, and the gold reward (below), which it did not, where there is one.

# %%
WHOLE = [name for name in ("early-stopping", "ma", "ama", "ama-own-embeddings") if name in set(ROWS["family"])]
found = rows.find(FRAMES, {CORE: WHOLE or ["ma"]})
if found:
    FRONTS = found[RLHF]
    fig = fronts.figure(fronts.by_reward(FRONTS, ROWS), PRESET.name)
    style.save(fig, "fig_real_fronts")

# %% [markdown]
# How far one lies above the other at equal reward, averaged over the rewards that both reach:

# %%


def pairs_of(found, frame):
    """MA against early stopping, AMA with each grouping against MA."""
    every = {"early-stopping": ["ma"], "ma": [name for name in ("ama", "ama-own-embeddings") if name in found]}
    return [
        one
        for rival, names in every.items()
        if {rival, "ma"} <= set(found)
        for one in compare.contests(found, frame, rival, names, everywhere=True)
    ]


if found and (PAIRS := pairs_of(FRONTS, ROWS)):
    fig = gains.figure(PAIRS, PRESET.name, rivals=True)
    style.save(fig, "fig_real_gaps")
    sentences.show(sentences.report(PAIRS))
    for rival in dict.fromkeys(one.against for one in PAIRS):
        FOUND.say(sentences.verdict([one for one in PAIRS if one.against == rival], "Over all rewards that both reach"))

# %% [markdown]
# As the ledger of claims counts (`docs/protocol.md`): the share of early stopping's tax that averaging does not pay, from 50 to 95 % of
# the reward's rise as far as both reach.

# %%
if found and {"early-stopping", "ma"} <= set(FRONTS):
    both = ({None: FRONTS[name]} for name in ("ma", "early-stopping"))
    try:
        one = shares.saved(*both, paths.theta_0(ROWS), shares.rises(ROWS), SAVED)
    except shares.NotComparable as error:
        sentences.show(f"No share of the tax can be told: {error}.")
    else:
        told = sentences.share(one.share().outer) if one.is_taxed else "no share that can be told"
        FOUND.say(
            f"At equal learned reward averaging saves {told} of the tax on {METRICS[SAVED].words} that early stopping pays "
            f"({panels.seed_count(len(one.seeds))})."
        )

# %% [markdown]
# ## One part only
#
# One third of the layers (or the embeddings) is averaged, or put back to $\theta_0$ at $\alpha = 0$; all else stays
# at $\theta$. Figure 4 of the paper for this model, against both rewards.

# %%
NAMES = [
    f"part-{name}" for name in ("input", "middle", "output", "embeddings") if f"part-{name}" in set(ROWS["family"])
]
AT_THETA = {"anchor": "theta", "stars": ("theta",)}
found = rows.find(FRAMES, {CORE: ("ma", *(NAMES or ["part-input"]))})
if found:
    PARTS = found[RLHF]
    alone = {name: PARTS[name] for name in NAMES}
    fig = fronts.figure(fronts.by_reward(alone, ROWS, **AT_THETA), PRESET.name, columns=3)
    style.save(fig, "fig_real_parts")

# %%


def parts_told(parts, frame, change):
    """The parts put back to theta_0, against theta: a table, and what is kept of the rise and given back of the tax."""
    put_back = {
        name: {m: paths.difference(paths.at(path, 0), paths.at(path, 1), m) for m in REPORTED}
        for name, path in parts.items()
        if name != "ma"
    }
    named = {f"{style.look(name).short} at theta_0": one for name, one in put_back.items()}
    seeds = panels.seed_count(len(paths.seeds(parts["ma"])))
    sentences.show(f"{seeds}. {sentences.changes(named, 'minus theta')}")
    rise, lost = change["reward"].mean, change[SAVED].mean
    if rise > 0 > lost:
        told = [
            f"{style.look(name).short} {1 + one['reward'].mean / rise:.0%} and {-one[SAVED].mean / lost:.0%}"
            for name, one in put_back.items()
        ]
        text = "One part put back keeps, of the learned reward's rise, and gives back, of the tax on"
        yield f"{text} {METRICS[SAVED].words}: {'; '.join(told)} ({seeds}, means)."
    if len(paths.seeds(parts["ma"])) > 1:
        contests = compare.contests(parts, frame, everywhere=True)
        yield sentences.verdict(contests, "One part alone, over all rewards that both reach")


if found:
    for sentence in parts_told(PARTS, ROWS, CHANGE):
        FOUND.say(sentence)

# %% [markdown]
# ## What ratios AMA finds
#
# For each mean ratio, AMA looks for the ratios of the groups which make the samples with the highest learned reward
# likeliest: with the embeddings in the input part, as in the paper, and with a ratio of their own.

# %%
GROUPS = {"part1": "input part", "part2": "middle part", "part3": "output part", "embeddings": "embeddings"}
AMA = [name for name in ("ama", "ama-own-embeddings") if name in set(ROWS["family"])]
found = rows.find(FRAMES, {CORE: AMA or ["ama"]})
if found:
    fig, axes = plt.subplots(1, len(GROUPS), figsize=(style.WIDTH, style.PANEL), sharey=True)
    for (group, title), ax in zip(GROUPS.items(), axes, strict=True):
        ax.plot([0, 1], [0, 1], color=style.GREY, linewidth=0.8, linestyle=":", label="all parts alike (MA)")
        for name in AMA:
            if name == "ama-own-embeddings" or group != "embeddings":
                panels.ratio_line(ax, found[RLHF][name], group, style.look(name))
        ax.set(ylabel=f"ratio of the {title}", xlabel=r"mean ratio $\alpha$")
    panels.legend(fig, axes, 3)
    panels.stamp_ratios(fig, PRESET.name, len(SEEDS))
    style.save(fig, "fig_real_ratios")

# %%
if found:
    over = {}
    for name, (group, title) in product(AMA, GROUPS.items()):
        models = found[RLHF][name].dropna(subset=["alpha"]).drop_duplicates(["alpha", "seed"])
        models = models[[bool(setting.get("alphas")) for setting in models["setting"]]]
        ratios = np.array([setting["alphas"].get(group, np.nan) for setting in models["setting"]], dtype=float)
        if len(ratios) and not np.isnan(ratios).all():
            apart = ratios - models["alpha"].to_numpy()
            over[name, title] = f"{apart.mean():+.2f} ({apart.min():+.2f} to {apart.max():+.2f})"
    table = [
        {
            "ratio minus mean ratio": style.look(name).short,
            **{title: over.get((name, title), "-") for title in GROUPS.values()},
        }
        for name in AMA
    ]
    sentences.show(sentences.markdown(pd.DataFrame(table)))

# %% [markdown]
# ## The same on a laptop
#
# Preset `smollm2-135m` is the same model, the same data and the same graph at numbers that two cores can do: fewer
# comparisons, prompts and items. It has averages that were found since: ratios that rise with the layer (LiNeS), and regression averaging
# (*RegMean* in figures and tables), with one lambda and with one that falls from layer to layer (*RegMean, by layer*). Lambda says how
# much $\theta_0$'s inputs count in the regression; a larger one stays nearer to $\theta_0$. Rows keep what every item contributed, so
# models of a seed are compared item by item: these intervals say what is more than the luck of the items, nothing about other runs. The
# last table is over runs.

# %%
BETTER = ("lines-alpha", "regmean", "regmean-layers-increasing")
CLAIMED = {
    "ma": ("early-stopping",),
    "lines-alpha": ("ma",),
    "regmean": ("ma", "lines-alpha"),
    "regmean-layers-increasing": ("ma", "lines-alpha"),
}


def small_paths(frame):
    """Of the methods that were measured on every seed."""
    families = (set(paths.of_seeds(frame, [seed])["family"]) for seed in paths.seeds(paths.of_method(frame, "theta")))
    everywhere = set.intersection(*families)
    return {name: paths.path(frame, name) for name in (*WHOLE, *BETTER) if name in everywhere}


def laptop(frame):
    """One seed of the preset for two cores: its tax, and the comparisons that its rows allow."""
    small = small_paths(frame)
    change = tax(paths.of_method(frame, "theta"), paths.theta_0(frame))
    better = [name for name in BETTER if name in small]
    compared = pairs_of(small, frame) + compare.contests(small, frame, "ma", better, everywhere=True)
    if "lines-alpha" in better:
        compared += compare.contests(small, frame, "lines-alpha", better[1:], everywhere=True)
    sentences.show(sentences.report(compared, over_items=True))
    yield f"from theta_0 to theta, over the items of this run: {sentences.moved(change)}."
    alone = {name: paths.path(frame, name) for name in ("ma", *NAMES) if name in set(frame["family"])}
    if len(alone) > 1:
        several = {name: path for name, path in alone.items() if name != "ma"}
        fig = fronts.figure(fronts.by_reward(several, frame, **AT_THETA), SMALL.name, columns=3)
        style.save(fig, "fig_real_laptop-parts")
        yield from parts_told(alone, frame, change)


def saved(frame):
    """What of a rival's tax an average does not pay at equal reward, seed by seed, as the ledger counts: a line a comparison."""
    for ours, rivals in CLAIMED.items():
        for rival, reward in product(rivals, REWARDS):
            seeds = [
                seed for seed in paths.seeds(frame) if {ours, rival} <= set(paths.of_seeds(frame, [seed])["family"])
            ]
            if not seeds:
                continue
            both = paths.of_seeds(frame, seeds)
            models = ({None: paths.path(both, name)} for name in (ours, rival))
            try:
                one = shares.saved(*models, paths.theta_0(both), shares.rises(both, reward), SAVED, reward)
            except shares.NotComparable:
                continue
            each = {
                f"seed {seed}": f"{kept / tax:.0%}" if tax > 0 else "no tax is paid"
                for seed, kept, tax in zip(one.seeds, one.kept, one.tax, strict=True)
            }
            over = one.share().outer
            whole = sentences.share(over) if np.isfinite(over.high) else f"{over.mean:.0%}, unbounded"
            whole = whole if one.is_taxed else "no tax is paid for certain"
            told = {"average": style.look(ours).short, "of the tax of": style.look(rival).short}
            yield told | {"at equal": METRICS[reward].words} | each | {"over seeds": whole}


if ASKED.data != "microcosm":
    sentences.show("Drawn where PRESET is not set or names a microcosm, beside the rows of smollm2-135m-gpu.")
else:
    SMALL = load_preset("smollm2-135m")
    LAPTOP = rows.frames(SMALL.name)["rsf"]
    fig = fronts.figure(fronts.by_reward(small_paths(LAPTOP), LAPTOP), SMALL.name, columns=2)
    style.save(fig, "fig_real_laptop")
    for seed in paths.seeds(paths.of_method(LAPTOP, "theta")):
        sentences.show(f"**Seed {seed}**")
        for sentence in laptop(paths.of_seeds(LAPTOP, [seed])):
            FOUND.say(f"On two cores ({SMALL.name}, 1 seed: {seed}): {sentence}")
    SHARES = list(saved(LAPTOP))
    told = f"The share of a rival's tax on {METRICS[SAVED].words} that an average does not pay at equal reward, from 50 to 95 % of the rise as far as both"
    sentences.show(f"{told} reach:\n\n{sentences.markdown(pd.DataFrame(SHARES).fillna('-'))}")
    of_regression = [
        f"of {line['of the tax of']}'s {line['over seeds']} ({panels.seed_count(sum(key.startswith('seed ') for key in line))})"
        for line in SHARES
        if (line["average"], line["at equal"]) == (style.look("regmean").short, METRICS["reward"].words)
    ]
    if of_regression:
        FOUND.say(
            f"On two cores ({SMALL.name}): regression averaging (RegMean) saves, of the tax on {METRICS[SAVED].words} at equal learned reward, "
            f"{'; '.join(of_regression)}."
        )

# %% [markdown]
# ## In short

# %%
FOUND.summary(PRESET.name, len(SEEDS))
