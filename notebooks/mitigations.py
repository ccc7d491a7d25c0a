# %% [markdown]
# # Other ways to pay less tax
#
# RLHF takes a language model from $\theta_0$ to $\theta$: its replies earn more reward, and some of what it
# could do before is lost. That loss is the *alignment tax*. The notebook on averaging shows one remedy, which
# needs no training: average the weights of the two models (MA), with $\alpha$ as the share of $\theta$. This
# notebook sets it against remedies that change the training itself:
#
# | method | what it does |
# |---|---|
# | early stopping | takes an earlier iteration of RLHF |
# | L1, L2 penalty | adds $\lambda\,\Vert\theta-\theta_0\Vert_1$ or $\lambda\,\Vert\theta-\theta_0\Vert_2^2$ to the loss |
# | knowledge distillation (KD) | adds $\lambda\,\Vert\pi_\theta-\pi_{\theta_0}\Vert_2^2$: what the model says must not change much |
# | LoRA | trains small matrices beside the weights, of a given rank and scale |
# | stochastic moving averaging (SMA) | resets the weights to a moving average of themselves again and again |
# | experience replay (ER) | mixes old data, of pre-training, into the new |
# | KL reward penalty | takes $\eta\,\log(\pi_\theta/\pi_{\theta_0})$ off the reward (PPO) |
#
# Each has a strength, and each strength gives a model: reward to the right, ability upwards. So a method is a
# path again, from $\theta_0$, where it is infinitely strong, to the model of plain training, where it does
# nothing. A method is good if its path runs high.
#
# How they are compared: the **front** of a method are its models that no other of its models beats in both
# reward and ability. The area below it, above chance and to the right of $\theta_0$'s reward, is given as a
# share of the ideal (1: the highest reward that any of the methods reaches, at no tax). Areas are subtracted
# seed by seed, and the intervals (95 %) are over these differences. With few seeds Student's t is the honest
# one (thin bars); the bootstrap over seeds (thick bars) is then too narrow.

# %%
import pandas as pd

from drawing import fronts, panels, rates, rows, sentences, style
from llm.config import load_preset
from llm.evidence import compare, paths
from llm.evidence.claims.book import read_book, with_taxes
from llm.evidence.frames import abilities, rewards
from llm.evidence.metrics import METRICS
from llm.methods import METHODS

style.use()
PRESET = load_preset(style.preset())
FRAMES = rows.frames()
REWARDS, ABILITIES = rewards(FRAMES["rsf"]), abilities(FRAMES["rsf"])
RSF = FRAMES["rsf"]
CORE, MITIGATIONS = ("rsf", "core"), ("rsf", "mitigations")

# %% [markdown]
# ## Without old data
#
# Figure 3 of the paper. L1, L2, KD, LoRA and SMA are trained as in the paper, in *distillation style*: RSF runs
# until its reward is stable, and $\theta_0$ is then fine-tuned on all the replies that RSF chose on its way,
# with the method's extra term. Hollow marks are models that another one of the same method beats in both.
# Above: the learned reward, which training sees. Below it: the gold reward, which nobody sees in practice.

# %%
TRAINED = ("l1", "l2", "kd", "lora-mlp", "lora-mlp-attention", "sma")
found = rows.find(FRAMES, {CORE: ("ma", "early-stopping"), MITIGATIONS: (*TRAINED, "distilled")})
if found:
    WITHOUT = {name: path for name, path in found["rsf"].items() if name != "distilled"}
    AGAINST_MA = compare.contests(WITHOUT, RSF)
    fig = fronts.figure(fronts.both_rewards(WITHOUT, RSF), AGAINST_MA, PRESET.name)
    style.save(fig, "fig03")

# %%
if found:
    print(sentences.report(WITHOUT, AGAINST_MA))

# %% [markdown]
# Distillation itself is not free: it imitates the earlier, worse replies as well. What plain distillation, with
# no penalty, keeps of the rise of RSF's learned reward, and what it has lost of each ability:

# %%
if found:
    plain = found["rsf"]["distilled"]
    theta_0 = paths.theta_0(RSF)
    theta_0 = paths.of_seeds(theta_0, plain["seed"])
    theta = paths.at(found["rsf"]["ma"], 1)
    for metric in (*REWARDS, *ABILITIES):
        distilled, full = (paths.difference(model, theta_0, metric) for model in (plain, theta))
        print(
            f"{METRICS[metric].words}, minus theta_0's: distilled {panels.number(distilled, metric)}, "
            f"theta {panels.number(full, metric)}"
        )

# %% [markdown]
# ## With old data: experience replay
#
# Figure 7 of the paper. If the data of pre-training are at hand, they can be mixed into the alignment: here up
# to four documents of pre-training for each reply. In the paper averaging, which needs no data, is still the
# better one for question answering and translation, but not for reading comprehension.

# %%
replay, compared, fig = rows.front(FRAMES, PRESET.name, {CORE: ("ma",), MITIGATIONS: ("er",)}, columns=3)
if replay:
    style.save(fig, "fig07")
    print(sentences.report(replay, compared))

# %% [markdown]
# ## PPO and its KL penalty
#
# Figure 8 of the paper. PPO, another algorithm of RLHF, has a brake of its own: every reply's reward is
# lowered by $\eta\,\log(\pi_\theta/\pi_{\theta_0})$, so that a stronger $\eta$ keeps the model nearer to
# $\theta_0$. Each $\eta$ is a whole run of PPO. MA averages $\theta_0$ with the PPO model of the preset's own
# $\eta$.

# %%
NEEDED = {("ppo", "algorithms"): ("ma", "early-stopping"), ("ppo", "kl-penalty"): ("kl",)}
penalty, compared, fig = rows.front(FRAMES, PRESET.name, NEEDED, columns=3)
if penalty:
    style.save(fig, "fig08")
    print(f"MA and early stopping: PPO with eta = {PRESET.ppo.eta:g}.")
    print(sentences.report(penalty, compared))

# %% [markdown]
# ## The strengths
#
# Every model above, with the strength that gave it: means over seeds.

# %%
found = rows.find(FRAMES, {MITIGATIONS: (*TRAINED, "er")})
if found:
    for name, path in found["rsf"].items():
        told = path[path["family"] == name]
        by = list(METHODS[told["method"].iloc[0]].order.by)
        table = told.pivot_table(index=by, columns="metric", values="value")[[*REWARDS, *ABILITIES]]
        print(style.look(name).label)
        print(
            table.rename(columns={key: metric.words for key, metric in METRICS.items()}).round(3).to_string(),
            end="\n\n",
        )

# %% [markdown]
# ## At other learning rates
#
# A rival deserves the learning rate that suits it. RSF itself was run at three, with early stopping and MA after
# each; the methods of the distillation style were trained at the same three, on the samples that RSF chose at the
# preset's own rate (so only the student's rate differs), at fewer strengths.

# %%
COMPARED = ("ma", "early-stopping", *TRAINED, "er")
BOOK = read_book(style.results())
TAXED = with_taxes(RSF, BOOK.units)
at_rates = rates.find(TAXED, COMPARED, PRESET)
if at_rates:
    NAMES = {lr: "lr " + panels.rate(lr or PRESET.distil.optimiser.lr) for lr in at_rates["ma"]}
    fig = fronts.figure(rates.fronts_of(RSF, at_rates, NAMES), [], PRESET.name)
    style.save(fig, "fig_mitigation_rates")

# %% [markdown]
# What MA, and early stopping, save of the tax that each method pays (to the right of 0): the share of it that is not
# paid at equal learned reward, over 50 to 95 % of RSF's rise as far as both reach, all abilities together, each
# divided by what RSF took of it. That is how the ledger of claims counts (`docs/protocol.md`). In the last column each
# has its best rate at each level of the reward, chosen on the other seeds, so that the choice cannot flatter itself.
# Where a method pays no tax that is clear of 0, or the two have too few rewards in common, there is nothing to draw: methods of
# the distillation style end at three quarters of RSF's rise, where hardly any tax is paid.

# %%
if at_rates:
    SHARES = {rival: compare.leads(at_rates, TAXED, BOOK.overall, rival) for rival in rates.RIVALS}
    fig = rates.figure(SHARES, {lr: f"both at {name}" for lr, name in NAMES.items()}, PRESET.name)
    style.save(fig, "fig_mitigation_leads")

# %%
if at_rates:
    print("Share of the method's tax that is saved, both at the same rate:")
    print(pd.concat([rates.table(found, rival, NAMES) for rival, found in SHARES.items()]).to_string())
    print("Each at its best:")
    for rival, found in SHARES.items():
        for name, one in found.items():
            print("  " + rates.sentence(name, rival, one) + ".")
    print()
    print(rates.highest(at_rates, NAMES))
