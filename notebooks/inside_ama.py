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
# In the figures a method's **front** are its models that no other of its models beats in both reward and
# ability (hollow marks are beaten). The area below it, above chance and to the right of $\theta_0$'s reward, is
# given as a share of the ideal: the highest reward that any of the methods reaches, at no tax. Areas are
# subtracted seed by seed; bars are 95 % intervals over these differences, thin by Student's t, which decides, and
# thick by the bootstrap, which is too narrow with few seeds.

# %%
from itertools import product

import matplotlib.pyplot as plt

from drawing import panels, rows, sentences, style
from llm.config import load_preset
from llm.evidence import compare, paths
from llm.evidence.frames import abilities, rewards
from llm.evidence.metrics import METRICS

style.use()
PRESET = load_preset(style.preset())
FRAMES = rows.frames()
REWARDS, ABILITIES = rewards(FRAMES["rsf"]), abilities(FRAMES["rsf"])
ROWS = FRAMES["rsf"]
CORE, RATIOS = ("rsf", "core"), ("rsf", "ratios")
REPORTED = (*REWARDS, *ABILITIES)
AMA = ("ama", "ama-own-embeddings")

# %% [markdown]
# ## The embeddings
#
# In the microcosm's models the embeddings are used at both ends, to read and to write. Left and middle: average
# them alone and leave everything else at $\theta$; the input part is shown beside them. Right: the ratio that AMA
# gives them, tied to the input part or apart.

# %%
SHAPES = dict(zip(REPORTED, "ooos^", strict=True))
TITLES = {
    "reward,\nminus $\\theta$'s": " of the part",
    "abilities (of 100),\nminus $\\theta$'s": " of the part",
    "the embeddings' ratio\nthat AMA finds": ", the mean ratio",
}
found = rows.find(FRAMES, {CORE: ("part-embeddings", "part-input", *AMA)})
if found:
    EMBEDDINGS = found["rsf"]
    fig, axes = plt.subplots(1, 3, figsize=(style.WIDTH, style.PANEL + 0.5))
    for name in ("part-embeddings", "part-input"):
        for metric in REPORTED:
            ax, shape = axes[int(metric in ABILITIES)], SHAPES[metric]
            panels.change_line(ax, EMBEDDINGS[name], metric, style.look(name), shape, metric != "gold_reward")
    for name in AMA:
        panels.ratio_line(axes[2], EMBEDDINGS[name], "part1" if name == "ama" else "embeddings", style.look(name))
    for ax, (title, mean) in zip(axes, TITLES.items(), strict=True):
        ax.set_title(title, fontsize=8.5)
        ax.set_xlabel(r"$\alpha$" + mean, fontsize=8)
        ax.tick_params(labelsize=7)
        ax.legend(
            fontsize=5.8,
            loc="upper center",
            bbox_to_anchor=(0.5, -0.24),
            ncols=1 if ax is axes[2] else 2,
            columnspacing=0.8,
        )
    panels.stamp_differences(fig, PRESET.name, len(paths.seeds(EMBEDDINGS["ama"])), dots=False)
    style.save(fig, "fig_embeddings")

# %%
if found:
    path = EMBEDDINGS["part-embeddings"]
    for metric in REPORTED:
        change = paths.difference(paths.at(path, 0), paths.at(path, 1), metric)
        MOVED = {"above": "rises", "below": "falls", "undecided": "may move either way"}
        print(
            f"With theta_0's embeddings in theta the {METRICS[metric].words} {MOVED[change.verdict]}: {panels.number(change, metric)}"
        )

# %% [markdown]
# ## The proxy and the oracle
#
# AMA maximises the likelihood of good replies because the reward cannot be differentiated through the replies.
# In the microcosm it can be asked directly: the **oracle** tries all ratios on a lattice with the same mean and
# takes those with the highest reward on training prompts, learned or gold. What AMA has less than the oracle is
# the price of the proxy; what the oracle by the learned reward has less *gold* reward than the oracle by the
# gold reward is the price of a learned judge.

# %%
ORACLES = ("oracle-reward", "oracle-gold_reward")
oracle, compared, fig = rows.front(FRAMES, PRESET.name, {CORE: ("ma", "ama"), RATIOS: ORACLES})
if oracle:
    style.save(fig, "fig_oracle")
    print(sentences.report(oracle, compared))
    print()
    print(sentences.sentences(compare.contests(oracle, ROWS, "oracle-reward", of=("ama",))))

# %%
if oracle:
    CHOSEN = ("ama", *ORACLES)
    fig, axes = plt.subplots(1, 3, figsize=(style.WIDTH, style.PANEL), sharey=True)
    for ax, (group, part) in zip(axes, (("part1", "input"), ("part2", "middle"), ("part3", "output")), strict=True):
        for name in CHOSEN:
            panels.ratio_line(ax, oracle[name], group, style.look(name))
        ax.plot([0, 1], [0, 1], ":", color="#555555", linewidth=1, label="all parts alike (MA)")
        ax.set_title(f"ratio of the {part} part", fontsize=9)
        ax.set_xlabel(r"$\alpha$, the mean ratio")
    panels.legend(fig, axes, 4)
    panels.stamp_ratios(fig, PRESET.name, len(paths.seeds(oracle["ama"])))
    style.save(fig, "fig_oracle-ratios")
    for alpha in sorted(set(oracle["ama"]["alpha"].dropna())):
        for reward, best in zip(REWARDS, ORACLES, strict=True):
            cost = paths.difference(paths.at(oracle["ama"], alpha), paths.at(oracle[best], alpha), reward)
            print(
                f"alpha {alpha:g}, {METRICS[reward].words} on test prompts: AMA minus its oracle {panels.number(cost, reward)}"
            )

# %% [markdown]
# How many samples does the proxy need, and does the regulariser help, which in the authors' code pulls the ratios
# toward their mean, in the middle of the network most? The area of AMA minus MA's for each number of samples and
# each coefficient:

# %%
VARIED = sorted(name for name in set(ROWS["family"]) if name.startswith("ama-samples"))
sampled = rows.find(FRAMES, {CORE: ("ma",), ("rsf", "ama-samples"): VARIED or ("ama-samples",)})
if sampled:
    compared = compare.contests(sampled["rsf"], ROWS)
    numbers = {name: sampled["rsf"][name][["samples", "regulariser"]].dropna().iloc[0] for name in VARIED}
    fig, axes = plt.subplots(2, 3, figsize=(style.WIDTH, 2 * style.PANEL), sharex=True)
    for (reward, ability), ax in zip(product(REWARDS, ABILITIES), axes.flat, strict=True):
        ax.axhline(0, color=style.look("ma").colour, linewidth=0.8)
        for place, regulariser in enumerate(sorted({number["regulariser"] for number in numbers.values()})):
            line = [one for one in compared if numbers[one.family]["regulariser"] == regulariser]
            line.sort(key=lambda one: numbers[one.family]["samples"])
            panels.advantage_line(
                ax,
                [numbers[one.family]["samples"] for one in line],
                [one.found[reward, ability] for one in line],
                place,
                f"regulariser {regulariser:g}",
            )
        ax.set_xscale("log")
        counts = sorted({number["samples"] for number in numbers.values()})
        ax.set_xticks(counts, [f"{count:g}" for count in counts])
        ax.minorticks_off()
    for ability, ax in zip(ABILITIES, axes[0], strict=True):
        ax.set_title(METRICS[ability].title, fontsize=9)
    for reward, ax in zip(REWARDS, axes[:, 0], strict=True):
        ax.set_ylabel(f"area minus MA's,\n{METRICS[reward].label}", fontsize=8)
    for ax in axes[1]:
        ax.set_xlabel("samples")
    panels.legend(fig, axes, 3)
    panels.stamp_differences(fig, PRESET.name, len(paths.seeds(sampled["rsf"]["ma"])), dots=False)
    style.save(fig, "fig_samples")
    print(sentences.sentences(compared))
