# %% [markdown]
# # Inside adaptive averaging
#
# RLHF takes a language model from $\theta_0$ to $\theta$: more reward, less of some abilities. *Adaptive model
# averaging* (AMA) averages the two with a ratio for each part of the network: part $k$ becomes
# $(1 - \alpha_k)\,\theta_0 + \alpha_k\,\theta$, the mean of the ratios is held at $\alpha$, and those ratios are
# taken under which $\theta$'s best replies are likeliest. The notebook on ratios shows what that is worth. This one
# asks where it could be better:
#
# 1. What should the embeddings get, which AMA ties to the input part?
# 2. Is the likelihood of good replies a good stand-in for the reward itself?
# 3. How many replies does it take, and does a regulariser help?
#
# The last two were measured on every seed of the first, smaller world only, so its rows are drawn here unless `PRESET` says another.
#
# Methods are compared *at equal reward*, from 50 to 95 % of the rise as far as both reach on every seed; the range stands
# beside each difference. In the figures of fronts a pale mark is a model that another one of its method beats in both
# reward and ability. Intervals (95 %, Student's t) are over seeds, paired.

# %%
from itertools import product

import matplotlib.pyplot as plt
import pandas as pd

from drawing import fronts, panels, rows, sentences, style
from llm.config import load_preset
from llm.evidence import compare, paths
from llm.evidence.frames import abilities, rewards
from llm.evidence.metrics import BOUNDED, METRICS

style.use()
style.about("microcosm-1")  # numbers of samples, and the oracle on every seed, were measured there
PRESET = load_preset(style.preset())
FRAMES = rows.frames()
RLHF = rows.first(FRAMES)
ROWS = FRAMES[RLHF]
REWARDS, ABILITIES = rewards(ROWS), abilities(ROWS)
CORE, RATIOS = rows.core(RLHF), (RLHF, "ratios")
REPORTED = (*REWARDS, *ABILITIES)
AMA = ("ama", "ama-own-embeddings")
FOUND = sentences.Findings()
sentences.show(rows.about(FRAMES, RLHF))

# %% [markdown]
# ## The embeddings
#
# Where the head is tied to them, the embeddings are used at both ends, to read and to write. Left and middle: average
# them alone and leave everything else at $\theta$; the input part is shown beside them. Right: the ratio that AMA
# gives them, tied to the input part or apart. Hollow marks are the gold reward.

# %%
SHAPES = dict.fromkeys(REWARDS, "o") | dict(zip(ABILITIES, "os^D", strict=False))
TITLES = {
    "reward, minus $\\theta$'s": " of the part",
    "abilities (of 100), minus $\\theta$'s": " of the part",
    "ratio of the embeddings": ", the mean ratio",
}
found = rows.find(FRAMES, {CORE: ("part-embeddings", "part-input", *AMA)})
if found:
    EMBEDDINGS = found[RLHF]
    fig, axes = plt.subplots(1, 3, figsize=(style.WIDTH, style.PANEL + 0.9))
    for name in ("part-embeddings", "part-input"):
        for metric in (
            *REWARDS,
            *(one for one in ABILITIES if one in BOUNDED),
        ):  # a log-likelihood has another scale: see the table
            ax, shape = axes[int(metric in ABILITIES)], SHAPES[metric]
            panels.change_line(ax, EMBEDDINGS[name], metric, style.look(name), shape, metric != "gold_reward")
    for name in AMA:
        panels.ratio_line(axes[2], EMBEDDINGS[name], "part1" if name == "ama" else "embeddings", style.look(name))
    for ax, (title, mean) in zip(axes, TITLES.items(), strict=True):
        ax.set_ylabel(title)
        ax.set_xlabel(r"$\alpha$" + mean)
        ax.legend(fontsize=style.SMALL, loc="upper center", bbox_to_anchor=(0.45, -0.24), ncols=1)
    panels.stamp_differences(fig, PRESET.name, len(paths.seeds(EMBEDDINGS["ama"])), dots=False)
    style.save(fig, "fig_embeddings")

# %%
if found:
    path = EMBEDDINGS["part-embeddings"]
    change = {m: paths.difference(paths.at(path, 0), paths.at(path, 1), m) for m in REPORTED}
    sentences.show(sentences.changes({"theta_0's embeddings in theta": change}, "minus theta"))
    FOUND.say(f"With theta_0's embeddings put into theta, {sentences.moved(change)}.")

# %% [markdown]
# ## The proxy and the oracle
#
# AMA maximises the likelihood of good replies because the reward cannot be differentiated through the replies.
# Where replies are cheap it can be asked directly: the **oracle** tries all ratios on a lattice with the same mean and
# takes those with the highest reward on training prompts, learned or gold. What AMA has less than the oracle is
# the price of the proxy; what the oracle by the learned reward has less *gold* reward than the oracle by the
# gold reward is the price of a learned judge.

# %%
ORACLES = ("oracle-reward", "oracle-gold_reward")
oracle, compared = rows.front(FRAMES, {CORE: ("ma", "ama"), RATIOS: ORACLES})
if oracle:
    fig = fronts.figure(fronts.by_reward(oracle, ROWS), PRESET.name)
    style.save(fig, "fig_oracle")

# %%
if oracle:
    FOUND.weigh(compared, "fig_oracle-gain", PRESET.name, "AMA and the oracles")
    FOUND.say(sentences.verdict(compare.contests(oracle, ROWS, "oracle-reward", of=("ama",)), "AMA against its oracle"))

# %%
if oracle:
    CHOSEN = ("ama", *ORACLES)
    fig, axes = plt.subplots(1, 3, figsize=(style.WIDTH, style.PANEL), sharey=True)
    for ax, (group, part) in zip(axes, (("part1", "input"), ("part2", "middle"), ("part3", "output")), strict=True):
        for name in CHOSEN:
            panels.ratio_line(ax, oracle[name], group, style.look(name))
        ax.plot([0, 1], [0, 1], ":", color=style.GREY, linewidth=1, label="all parts alike (MA)")
        ax.set_ylabel(f"ratio of the {part} part")
        ax.set_xlabel(r"$\alpha$, the mean ratio")
    panels.legend(fig, axes, 4)
    panels.stamp_ratios(fig, PRESET.name, len(paths.seeds(oracle["ama"])))
    style.save(fig, "fig_oracle-ratios")
    ratios = sorted(set.intersection(*(set(oracle[name]["alpha"].dropna()) for name in CHOSEN)))
    LESS = {
        reward: [paths.difference(paths.at(oracle["ama"], a), paths.at(oracle[best], a), reward) for a in ratios]
        for reward, best in zip(REWARDS, ORACLES, strict=False)
    }
    table = pd.DataFrame({"alpha": [f"{alpha:g}" for alpha in ratios]})
    for reward, found in LESS.items():
        table[METRICS[reward].words] = [sentences.cell(one, reward) for one in found]
    told = "AMA minus the oracle by the same reward, on test prompts."
    sentences.show(f"{told} {sentences.BOLD}\n\n{sentences.markdown(table)}")
    seeds = len(paths.seeds(oracle["ama"]))
    if ratios and seeds > 1:
        sides = [
            f"{METRICS[reward].words} {min(one.mean for one in found):+.2f} to {max(one.mean for one in found):+.2f} "
            f"({sentences.counted(one.verdict for one in found)})"
            for reward, found in LESS.items()
        ]
        FOUND.say(
            f"AMA minus the oracle by the same reward, at the same mean ratio, over {len(ratios)} ratios ({panels.seed_count(seeds)}): "
            f"{'; '.join(sides)}."
        )

# %% [markdown]
# ## Samples and a regulariser
#
# How many samples does the proxy need, and does the regulariser help, which in the authors' code pulls the ratios
# toward their mean, in the middle of the network most? What AMA keeps more than MA at equal learned reward for each number of
# samples and each coefficient:

# %%
VARIED = sorted(name for name in set(ROWS["family"]) if name.startswith("ama-samples"))
sampled = rows.find(FRAMES, {CORE: ("ma",), (RLHF, "ama-samples"): VARIED or ("ama-samples",)})
if sampled:
    compared = compare.contests(sampled[RLHF], ROWS)
    numbers = {name: sampled[RLHF][name][["samples", "regulariser"]].dropna().iloc[0] for name in VARIED}
    fig, axes = plt.subplots(1, len(ABILITIES), figsize=(style.WIDTH, style.PANEL + 0.3), squeeze=False)
    for ability, ax in zip(ABILITIES, axes[0], strict=True):
        ax.axhline(0, color=style.look("ma").colour, linewidth=0.8)
        for place, regulariser in enumerate(sorted({number["regulariser"] for number in numbers.values()})):
            line = [one for one in compared if numbers[one.family]["regulariser"] == regulariser]
            line.sort(key=lambda one: numbers[one.family]["samples"])
            counts = [numbers[one.family]["samples"] for one in line]
            gained = [one.found["reward", ability] for one in line]
            panels.gain_line(ax, counts, gained, place, style.look("ama"), f"AMA, regulariser {regulariser:g}")
        ax.set_xscale("log")
        counts = sorted({number["samples"] for number in numbers.values()})
        ax.set_xticks(counts, [f"{count:g}" for count in counts])
        ax.minorticks_off()
        ax.set(xlabel="samples", ylabel=f"{METRICS[ability].label},\nminus MA's")
    panels.legend(fig, axes, 3)
    panels.stamp_differences(fig, PRESET.name, len(paths.seeds(sampled[RLHF]["ma"])), dots=False)
    style.save(fig, "fig_samples")

# %%
if sampled:
    table = [
        {
            "samples": f"{numbers[one.family]['samples']:g}",
            "regulariser": f"{numbers[one.family]['regulariser']:g}",
            "at equal": METRICS[reward].words,
            **{METRICS[a].label: sentences.cell(gain and gain.t, a) for a, gain in sentences.at(one, reward).items()},
        }
        for one, reward in product(compared, REWARDS)
    ]
    sentences.show(f"AMA minus MA. {sentences.BOLD}\n\n{sentences.markdown(pd.DataFrame(table))}")
    sides = [gain.t.verdict for one in compared for gain in sentences.at(one, "reward").values() if gain]
    seeds = len(paths.seeds(sampled[RLHF]["ma"]))
    tried = f"{len(VARIED)} combinations of a number of samples and a regulariser ({panels.seed_count(seeds)})"
    words = sentences.counted(sides) if seeds > 1 else sentences.ONE_SEED
    FOUND.say(f"AMA against MA at equal learned reward, {tried}: {words}.")
    means = {a: [one.found["reward", a].t.mean for one in compared if one.found["reward", a]] for a in ABILITIES}
    spread = [
        f"{METRICS[a].words} {min(of):+.{METRICS[a].decimals}f} to {max(of):+.{METRICS[a].decimals}f}"
        for a, of in means.items()
        if of
    ]
    if spread and seeds > 1:
        FOUND.say(f"AMA minus MA, from the least to the most of these combinations: {'; '.join(spread)}.")

# %% [markdown]
# ## In short

# %%
FOUND.summary(PRESET.name, len(paths.seeds(ROWS[ROWS["rlhf"] == RLHF])))
