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
# are subtracted at equal reward, and the differences are averaged over the rewards that both paths reach.
# This is done seed by seed, since a seed's reward model and data are its own; the intervals (95 %, Student's
# t) are over these paired differences. With few seeds they are wide. A number is **bold** where its whole interval lies
# on one side of 0; of all others nothing is known but their size.

# %%
from itertools import product

import matplotlib.pyplot as plt
import pandas as pd

from drawing import fronts, gains, panels, rows, sentences, style
from llm.config import load_preset
from llm.evidence import compare, paths
from llm.evidence.claims.book import read_book, with_taxes
from llm.evidence.frames import abilities, rewards
from llm.evidence.metrics import METRICS, SAVED
from llm.evidence.shares import NotComparable, rises, saved

style.use()
PRESET = load_preset(style.preset())
BOOK = read_book(rows.check())
FRAMES = {rlhf: with_taxes(frame, BOOK.units) for rlhf, frame in rows.frames().items()}
RLHF = rows.first(FRAMES)
ROWS = FRAMES[RLHF]
OWN = rows.learning_rate(PRESET, RLHF)  # where a row names none
REWARDS, ABILITIES = rewards(ROWS), abilities(ROWS)
REPORTED = (*REWARDS, *ABILITIES)
SWEEP = rows.core(RLHF)
MA, STOPPING = style.look("ma"), style.look("early-stopping")
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
    fig = fronts.figure(lines, PRESET.name, least=fronts.part(ROWS, 0.5))
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
# The same as numbers: the gap between the two paths at equal reward, at each learning rate. Where several rates were run,
# averaging at each rate is also compared with early stopping at the rate whose path encloses the largest area on the first
# seed: who can choose the learning rate may not need averaging.

# %%
best = paths.best_rate(SWEPT, "early-stopping", RATES)[0] if RATES else None


def gap(lr, rival, ability, reward):
    """MA at one rate minus early stopping at another (or the same), at equal reward, over all rewards that both reach."""
    pair = [PATHS[lr]["ma"], PATHS[rival]["early-stopping"]]
    common = set.intersection(*(set(path["seed"]) for path in pair))
    return paths.gap(*(paths.of_seeds(path, common) for path in pair), ability, reward, over_items=True)


def seeds_of(rates):
    """How many seeds have some learning rates."""
    return panels.seed_count(len(set.intersection(*(set(PATHS[lr]["ma"]["seed"]) for lr in rates))))


if both:
    RIVALS = {"same rate": lambda lr: lr} | ({f"best rate, {NAMES[best]}": lambda lr: best} if RATES else {})
    GAPS = {
        (against, lr, reward, ability): gap(lr, rival(lr), ability, reward)
        for (against, rival), lr, reward, ability in product(RIVALS.items(), NAMES, REWARDS, ABILITIES)
    }
    shape = len(REWARDS), len(ABILITIES)
    size = style.WIDTH, shape[0] * style.PANEL + 0.2
    fig, axes = plt.subplots(*shape, figsize=size, sharex=True, squeeze=False)
    for reward, line in zip(REWARDS, axes, strict=True):
        for ability, ax in zip(ABILITIES, line, strict=True):
            ax.axhline(0, color=STOPPING.colour, linewidth=1)
            for place, lr in enumerate(NAMES):
                for against, shift, mark in zip(RIVALS, (-0.14, 0.14), "os", strict=False):
                    panels.interval_mark(
                        ax, place + shift * (len(RIVALS) > 1), GAPS[against, lr, reward, ability], MA.colour, "_", mark
                    )
            ax.set_xticks(range(len(NAMES)), [f"{name}\n({seeds_of([lr]).split()[0]})" for lr, name in NAMES.items()])
            ax.set_xlim(-0.6, len(NAMES) - 0.4)
            ax.set_ylabel(f"{METRICS[ability].label},\nMA - early stopping")
            ax.set_title(f"at equal {METRICS[reward].words}")
    for against, mark in zip(RIVALS, "os", strict=False):
        axes[0, 0].plot([], [], f"{mark}-", color=MA.colour, label=f"against early stopping at the {against}")
    for ax in axes[-1]:
        ax.set_xlabel("learning rate (seeds)")
    panels.legend(fig, axes, 2)
    panels.stamp_differences(fig, PRESET.name, len(paths.seeds(ALL)))
    style.save(fig, "fig_advantage")

# %%
if both:
    table = [
        {
            "learning rate": NAMES[lr],
            "early stopping at": against,
            "seeds": seeds_of([lr, RIVALS[against](lr)]),
            "at equal": METRICS[reward].words,
            **{METRICS[a].label: sentences.cell(GAPS[against, lr, reward, a], a) for a in ABILITIES},
        }
        for against, lr, reward in product(RIVALS, NAMES, REWARDS)
    ]
    sentences.show(f"MA minus early stopping. {sentences.BOLD}\n\n{sentences.markdown(pd.DataFrame(table))}")
    sides = [GAPS["same rate", lr, "reward", a] for lr, a in product(NAMES, ABILITIES)]
    FOUND.say(
        f"At the same learning rate and equal learned reward, MA against early stopping over all rewards that both reach: "
        f"{sentences.counted(one.verdict for one in sides if one)}, of {len(sides)} comparisons "
        f"(learning rate{'s' * (len(NAMES) > 1)} {panels.several([f'{name} on {seeds_of([lr])}' for lr, name in NAMES.items()])}; "
        f"{len(ABILITIES)} abilities)."
    )
if both and not RATES:
    print(rows.not_measured("other learning rates", ["learning-rates"], FRAMES))

# %% [markdown]
# The fairest comparison gives each method the learning rate that suits it. At each level of the reward, from 50 to 95 %
# of the algorithm's rise, averaging and early stopping each take, where there is a choice, the rate that is best there on the
# other seeds, and are told on the one left out. What is told is the *share saved*: how much of the tax that early stopping pays at that reward averaging
# does not pay. Near $\theta_0$ all paths coincide and there is no tax to save, so the levels begin at half of the rise.
# This is what the ledger of claims decides by (`docs/protocol.md`), on all abilities together, each divided by what RSF takes of it.
# At one learning rate all seeds count that have it, at several those that have them all.


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
    table, shares = [], {}
    for (how, among), reward in product(CHOICES.items(), REWARDS):
        common = set.intersection(*(set(PATHS[lr]["ma"]["seed"]) for lr in among))
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
                "seeds": len(common),
                "at equal": METRICS[reward].words,
                **cells,
                "rewards compared": told[ABILITIES[0]][1],
            }
        )
        if reward == "reward":
            shares[how] = {a: one for a, (one, _) in told.items() if not isinstance(one, str)}, seeds_of(among)
    sentences.show(
        f"Share of early stopping's tax that MA saves. {sentences.BOLD}\n\n{sentences.markdown(pd.DataFrame(table))}"
    )
    for how, (by_ability, seeds) in shares.items():
        told = [
            f"{sentences.share(one)} ({sentences.ability_words(a)})"
            for a, one in by_ability.items()
            if one.verdict == "above"
        ]
        taxed = [sentences.ability_words(a) for a in by_ability]
        FOUND.say(
            f"Early stopping's tax at equal learned reward, {how} ({seeds}): "
            f"MA saves {'; '.join(told) or 'no share that is clear of 0'}. "
            f"A tax that is clear of 0 is paid in: {'; '.join(taxed) or 'nothing'}."
        )

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
    sentences.show(sentences.report(compared))
    FOUND.say(sentences.verdict(compared, "One part alone against averaging everything"))

# %% [markdown]
# ## In short

# %%
FOUND.summary(PRESET.name, len(SEEDS))
