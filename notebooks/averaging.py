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
# How paths are compared: each is cut at its highest reward (going on only loses), and the abilities of two paths
# are subtracted at equal reward, seed by seed, since a seed's reward model and data are its own; intervals (95 %) are over
# seeds. With few seeds they are wide. A number is **bold** where its whole interval lies on one side of 0; the others may be 0:
# the data do not decide their sign.

# %%
from itertools import product

import matplotlib.pyplot as plt
import pandas as pd

from drawing import fronts, gains, panels, rates, rows, sentences, style
from llm.config import load_preset
from llm.evidence import compare, paths
from llm.evidence.frames import abilities, rewards
from llm.evidence.metrics import METRICS, SAVED
from llm.evidence.shares import NotComparable, rises, saved

style.use()
PRESET = load_preset(style.preset())
FRAMES, BOOK = rows.with_book()
RLHF = rows.first(FRAMES)
ROWS = FRAMES[RLHF]
OWN = rows.learning_rate(PRESET, RLHF)  # where a row names none
REWARDS, ABILITIES = rewards(ROWS), abilities(ROWS)
REPORTED = (*REWARDS, *ABILITIES)
SWEEP = rows.core(RLHF)
FOUND = sentences.Findings()
SEEDS = paths.seeds(ROWS[ROWS["rlhf"] == RLHF])
sentences.show(rows.about(FRAMES, RLHF))

# %% [markdown]
# ## Averaging against early stopping
#
# Early stopping costs nothing either: take the model after an earlier iteration. It is the rival to beat. A
# row for each learning rate that was measured, on the seeds that all of them have; averages are those of $\theta_0$ and $\theta$.

# %%
both = rows.find(FRAMES, {SWEEP: ("ma", "early-stopping")})
ALL = paths.of_seeds(ROWS, paths.seeds(both[RLHF]["ma"])) if both else ROWS
SWEPT = paths.swept(ALL)
RATES = paths.rates(SWEPT, OWN) if len(SWEPT) else []
NAMES = {lr: panels.rate(OWN if lr is None else lr) for lr in RATES or [None]}
if both:
    # Each rate on all seeds that it was run on; where rates meet, on those that they share.
    PATHS = {lr: {name: paths.path(ALL, name, lr) for name in ("early-stopping", "ma")} for lr in NAMES}
    SHARED = set.intersection(*(set(by_name["ma"]["seed"]) for by_name in PATHS.values()))
    lines = [
        fronts.Line(
            "reward",
            {name: paths.of_seeds(path, SHARED) for name, path in PATHS[lr].items()},
            ALL,
            f"learning rate {name}",
            stars=("theta_0",),
        )
        for lr, name in NAMES.items()
    ]
    fig = fronts.figure(lines, PRESET.name)
    style.save(fig, "fig_fronts")

# %% [markdown]
# The preset's own learning rate by itself, on all seeds, in one row, and for narrow screens in one column.

# %%
if both:
    fig = fronts.figure(fronts.by_reward(PATHS[None], ALL, "reward"), PRESET.name)
    style.save(fig, "fig_front")
    fig = fronts.figure(fronts.by_reward(PATHS[None], ALL, "reward"), PRESET.name, columns=2, across=1)
    style.save(fig, "fig_front-narrow")

# %% [markdown]
# As a number: the *share saved*, the part of early stopping's tax that averaging avoids, at equal reward, over 50 to
# 95 % of the algorithm's rise. Near $\theta_0$ all paths coincide and there is no tax to save. Who can choose the learning rate may
# not need averaging, so the fairest comparison gives each method the rate that suits it. At each level of the reward, each method uses
# the rate that is best there on the *other* seeds, and is measured on the seed left out. This is what the ledger of claims decides by
# (`docs/protocol.md`), on all abilities together, each divided by what RSF takes of it. A row of one rate uses all seeds that have it;
# the first row only the seeds that have all rates.


# %%
def share(models, ability, reward):
    """The share that averaging saves of early stopping's tax: the interval where it is one, else why not; and the rewards."""
    try:
        one = saved(*models.values(), paths.theta_0(ALL), rises(ALL, reward), ability, reward)
    except NotComparable as error:
        return str(error), ""
    levels = f"{one.levels[0]:.0%} to {one.levels[1]:.0%}"
    return (one.share().outer, levels) if one.is_taxed else ("the tax is not clear of 0", levels)


if both:
    CHOICES = {"each at its best rates": RATES} if RATES else {}
    CHOICES |= {f"both at {name}": [lr] for lr, name in NAMES.items()}
    table, SHARES = [], {}
    for (choice, among), reward in product(CHOICES.items(), REWARDS):
        common = set.intersection(*(set(PATHS[lr]["ma"]["seed"]) for lr in among))
        how = f"{choice} ({panels.seed_count(len(common))})"
        models = {
            method: {lr: paths.of_seeds(PATHS[lr][method], common) for lr in among}
            for method in ("ma", "early-stopping")
        }
        told = {metric: share(models, metric, reward) for metric in (BOOK.overall, *ABILITIES)}
        cells = {
            sentences.ability_words(a): one if isinstance(one, str) else sentences.cell(one, SAVED)
            for a, (one, _) in told.items()
        }
        table.append(
            {
                "learning rate": how,
                "at equal": METRICS[reward].words,
                **cells,
                "rewards compared": told[ABILITIES[0]][1],
            }
        )
        found = {(reward, a): None if isinstance(one, str) else one for a, (one, _) in told.items()}
        SHARES[how] = SHARES.get(how, {}) | found
    fig = rates.saved(SHARES, PRESET.name)
    style.save(fig, "fig_advantage")
    sentences.show(
        f"Share of early stopping's tax that MA saves. {sentences.BOLD}\n\n{sentences.markdown(pd.DataFrame(table))}"
    )
    for how, of_choice in SHARES.items():
        by_ability = {a: one for (reward, a), one in of_choice.items() if reward == "reward" and one}
        told = [
            f"{sentences.share(one)} ({sentences.ability_words(a)})"
            for a, one in by_ability.items()
            if one.verdict == "above"
        ]
        taxed = [sentences.ability_words(a) for a in by_ability]
        FOUND.say(
            f"Early stopping's tax at equal learned reward, {how}: "
            f"MA saves {'; '.join(told) or 'no share that is clear of 0'}. "
            f"A tax that is clear of 0 is paid in: {'; '.join(taxed) or 'nothing'}."
        )

if both and not RATES:
    sentences.show(rows.not_measured("other learning rates", ["learning-rates"], FRAMES))

# %% [markdown]
# ## Calibration
#
# Does the model still know how sure it may be? The calibration error and the Brier score of the choices in question answering, lower
# is better, along averaging: minus those of $\theta$.

# %%
CALIBRATION = [metric for metric in ("qa_ece", "qa_brier") if metric in set(ROWS["metric"])]
if both and CALIBRATION:
    path = both[RLHF]["ma"]
    ratios = {f"{alpha:g}": paths.at(path, alpha) for alpha in sorted(set(path["step"]) - {1.0})}
    theta = paths.at(path, 1)
    change = {a: {m: paths.difference(model, theta, m) for m in CALIBRATION} for a, model in ratios.items()}
    sentences.show(sentences.changes(change, "alpha, minus theta"))
    for metric in CALIBRATION:
        sides = [by_metric[metric].verdict for by_metric in change.values()]
        FOUND.say(f"{METRICS[metric].words} of averages against theta: {sentences.counted(sides)}.")

# %% [markdown]
# ## Which layers? One part at a time
#
# The layers are split into three parts, as equal as they go. Average one part only and leave everything else at
# $\theta$: at $\alpha = 1$ this is $\theta$, at $\alpha = 0$ the part is put back to what it was in
# $\theta_0$. The paper finds that the *input* part gives the abilities back and even raises the reward, while
# the other parts trade one for the other (figure 4, right: one ability). Where the embeddings are used at both ends, to read
# and to write, they are a part of their own.

# %%
EVERY = [
    f"part-{part}" for part in ("input", "middle", "output", "embeddings") if f"part-{part}" in set(ROWS["family"])
]
SMALL = [name for name in EVERY if name != "part-embeddings"]
parts = rows.find(FRAMES, {SWEEP: ("ma", *(EVERY or ["part-input"]))})
AT_THETA = {"anchor": "theta", "stars": ("theta",)}
if parts:
    PARTS = parts[RLHF]
    SHOWN = {name: PARTS[name] for name in SMALL}
    lines = fronts.by_reward(SHOWN, ROWS, "reward", **AT_THETA)
    fig = fronts.figure(
        lines, PRESET.name, shown=[a for a in ABILITIES if a == "reading_f1"] or ABILITIES[:1], columns=2
    )
    style.save(fig, "fig04-right")

# %% [markdown]
# All abilities, against both rewards:

# %%
if parts:
    fig = fronts.figure(fronts.by_reward(SHOWN, ROWS, **AT_THETA), PRESET.name)
    style.save(fig, "fig04-all")

# %% [markdown]
# The parts put back, as differences to $\theta$ with 95 % intervals, the embeddings included.

# %%
if parts:
    CHANGE = {
        (name, alpha): {
            m: paths.difference(paths.at(PARTS[name], alpha), paths.at(PARTS[name], 1), m) for m in REPORTED
        }
        for name in EVERY
        for alpha in sorted(set(PARTS[name]["step"]) - {1.0})
    }
    fig, axes = plt.subplots(1, len(REPORTED), figsize=(style.WIDTH, 1.05 + 0.26 * len(EVERY)), sharey=True)
    for ax, metric in zip(axes, REPORTED, strict=True):
        ax.axvline(0, color=style.look("theta").colour, linewidth=0.8)
        for place, name in enumerate(EVERY):
            gains.draw(ax, -place, compare.Gain(CHANGE[name, 0.0][metric]), style.look(name).colour, True)
        ax.set_xlabel(panels.title(metric, len(axes)))
        ax.locator_params(axis="x", nbins=3)
    gains.label(axes[0], [style.look(name).short + r" at $\theta_0$" for name in EVERY])
    axes[0].set_title(r"difference to $\theta$", loc="left")
    panels.stamp_differences(fig, PRESET.name, len(paths.seeds(PARTS["ma"])))
    style.save(fig, "fig_parts")

# %%
if parts:
    sentences.show(
        sentences.changes(
            {
                f"{style.look(name).short}, alpha {alpha:g}": change
                for (name, alpha), change in CHANGE.items()
                if alpha in (0.0, 0.4, 0.8)
            },
            "minus theta",
        )
    )
    lifted = {name: compare.both_rise(PARTS[name]) for name in EVERY}
    told = [
        f"{style.look(name).label} at alpha {panels.several([f'{a:g}' for a in where])}"
        for name, where in lifted.items()
        if where
    ]
    count = sum(len(set(PARTS[name]["step"])) - 1 for name in EVERY)
    FOUND.say(
        f"Learned reward and an ability both above theta, no ability below: {'; '.join(told) or 'with no part alone'} "
        f"({count} models were tried, and about one interval in forty lies above 0 by chance)."
    )

# %% [markdown]
# Averaging one part only is a method of its own, with a path from $\theta$ down to the model whose part is put
# back. At equal reward, is it above averaging everything?

# %%
if parts:
    compared = compare.contests(PARTS, ROWS, everywhere=True)
    FOUND.tell(compared, "One part alone against averaging everything")

# %% [markdown]
# ## In short

# %%
FOUND.summary(PRESET.name, len(SEEDS))
