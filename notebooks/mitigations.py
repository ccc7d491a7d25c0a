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
# nothing. Replay alone has no such beginning: with ever more old data it is no $\theta_0$, and its path begins with its strongest
# model. A method is good if its path runs high.
#
# How they are compared: at each level of the reward, from 50 to 95 % of RSF's rise (after PPO, of PPO's own) as far as both methods
# reach on every seed, the ability of the rival (MA) is subtracted. So no method counts as beaten at rewards that it never reached;
# each difference comes with its range of rewards. Differences are taken seed by seed, and the
# intervals (95 %, Student's t) are over the seeds. Beside single abilities stand all of them together, each divided by what RSF
# takes of it: by all together the ledger of claims decides, too, as a share of the rival's tax.

# %%
import pandas as pd

from drawing import fronts, panels, rates, rows, sentences, style
from llm.config import load_preset
from llm.evidence import compare, paths
from llm.evidence.frames import abilities, rewards
from llm.evidence.metrics import METRICS
from llm.methods import METHODS

style.use()
PRESET = load_preset(style.preset())
FRAMES, BOOK = rows.with_book()
RSF = FRAMES["rsf"]
REWARDS, ABILITIES = rewards(RSF), abilities(RSF)
REPORTED = (*REWARDS, *ABILITIES)
CORE, MITIGATIONS = ("rsf", "core"), ("rsf", "mitigations")
FOUND = sentences.Findings()
sentences.show(rows.about(FRAMES))

# %% [markdown]
# ## Without old data
#
# Figure 3 of the paper. L1, L2, KD, LoRA and SMA are trained as in the paper, in *distillation style*: RSF runs
# until its reward is stable, and $\theta_0$ is then fine-tuned on all the replies that RSF chose on its way,
# with the method's extra term. Pale marks are models that another one of the same method beats in both.

# %%
TRAINED = ("l1", "l2", "kd", "lora-mlp", "lora-mlp-attention", "sma")
found = rows.find(FRAMES, {CORE: ("ma", "early-stopping"), MITIGATIONS: (*TRAINED, "distilled")})
if found:
    WITHOUT = {name: path for name, path in found["rsf"].items() if name != "distilled"}
    fig = fronts.figure(fronts.by_reward(WITHOUT, RSF, "reward"), PRESET.name)
    style.save(fig, "fig03")

# %% [markdown]
# What each keeps more than MA at equal reward, and over which rewards; by the gold reward (hollow), which nobody sees in
# practice, too.

# %%
if found:
    AGAINST_MA = compare.contests(WITHOUT, RSF, overall=BOOK.overall)
    FOUND.weigh(AGAINST_MA, "fig03-gain", PRESET.name, "Without old data")

# %%
if found and "gold_reward" in REWARDS:
    fig = fronts.figure(fronts.by_reward(WITHOUT, RSF, "gold_reward"), PRESET.name)
    style.save(fig, "fig03-gold")

# %% [markdown]
# Distillation itself is not free: it imitates the earlier, worse replies as well. What plain distillation, with
# no penalty, keeps of the rise of RSF's learned reward, and what it has lost of each ability:

# %%
if found:
    plain = found["rsf"]["distilled"]
    theta_0 = paths.of_seeds(paths.theta_0(RSF), plain["seed"])
    theta = paths.at(found["rsf"]["ma"], 1)
    LAST = {
        name: {m: paths.difference(model, theta_0, m) for m in REPORTED}
        for name, model in (("distilled", plain), ("theta", theta))
    }
    sentences.show(sentences.changes(LAST, "minus theta_0"))
    kept = LAST["distilled"]["reward"].mean / LAST["theta"]["reward"].mean
    FOUND.say(
        f"Plain distillation ({panels.seed_count(len(paths.seeds(plain)))}) keeps {kept:.0%} of the learned reward's rise; "
        f"from theta_0, {sentences.moved(LAST['distilled'])}."
    )

# %% [markdown]
# ## With old data: experience replay
#
# Figure 7 of the paper. If the data of pre-training are at hand, they can be mixed into the alignment; the strength is how
# many documents of pre-training there are for each reply. In the paper averaging, which needs no data, is still the
# better one for question answering and translation, but not for reading comprehension.

# %%
replay, compared = rows.front(FRAMES, {CORE: ("ma",), MITIGATIONS: ("er",)}, BOOK.overall)
if replay:
    fig = fronts.figure(fronts.by_reward(replay, RSF, "reward"), PRESET.name)
    style.save(fig, "fig07")
    FOUND.tell(compared, "With old data")

# %% [markdown]
# Where replay's models cover too few rewards to be compared over a range of them, a single model still can be: what MA keeps more
# than the strongest replay at that model's reward. The ledger of claims decides by question answering and translation; reading
# comprehension, where the paper finds replay better, is told seed by seed as well.

# %%
if replay:
    compared = [compare.at_reward_of("er", 1.0, replay, RSF, ABILITIES)]
    FOUND.weigh(compared, "fig07-gain", PRESET.name, "At the reward of the strongest replay")
    if gain := compared[0].found.get(("reward", "reading_f1")):
        model = paths.at(replay["er"], 1.0)
        found = dict(zip(paths.seeds(model), paths.values(model, paths.seeds(model), "reading_f1"), strict=True))
        each = [
            f"{of_replay:.2f} ({of_replay + more:.2f})"
            for of_replay, more in zip(found.values(), gain.t.per_seed, strict=True)
        ]
        FOUND.say(
            f"{METRICS['reading_f1'].label} after the strongest replay, in brackets that of MA at the same learned reward, on seed "
            f"{panels.several(list(found))}: {', '.join(each)}."
        )

# %% [markdown]
# ## In every iteration
#
# Above, a penalised model imitates replies that RSF chose from other models; in the first world (`microcosm-1`) it ends where
# hardly any tax is paid. So here the same methods act in every iteration of RSF, which then samples from what they make:
# their paths end in RSF's own $\theta$. Figures and tables call such a method *on-policy*. A moving average that resets RSF is
# *elastic reset*.

# %%
ON_POLICY = tuple(f"{name}-on-policy" for name in (*TRAINED, "er"))
within, compared = rows.front(
    FRAMES, {CORE: ("ma", "early-stopping"), ("rsf", "mitigations-on-policy"): ON_POLICY}, BOOK.overall
)
if within:
    fig = fronts.figure(fronts.by_reward(within, RSF, "reward"), PRESET.name, columns=3)
    style.save(fig, "fig_on_policy")

# %%
if within:
    FOUND.weigh(compared, "fig_on_policy-gain", PRESET.name, "In every iteration")

# %% [markdown]
# ## PPO and its KL penalty
#
# Figure 8 of the paper. PPO, another algorithm of RLHF, has a brake of its own: every reply's reward is
# lowered by $\eta\,\log(\pi_\theta/\pi_{\theta_0})$, so that a stronger $\eta$ keeps the model nearer to
# $\theta_0$. Each $\eta$ is a whole run of PPO. MA averages $\theta_0$ with the PPO model of the preset's own
# $\eta$.

# %%
penalty, compared = rows.front(
    FRAMES, {("ppo", "algorithms"): ("ma", "early-stopping"), ("ppo", "kl-penalty"): ("kl",)}, BOOK.overall
)
if penalty:
    fig = fronts.figure(fronts.by_reward(penalty, FRAMES["ppo"], "reward"), PRESET.name)
    style.save(fig, "fig08")

# %%
if penalty:
    FOUND.weigh(compared, "fig08-gain", PRESET.name, f"After PPO (MA and early stopping with eta = {PRESET.ppo.eta:g})")

# %% [markdown]
# ## The strengths
#
# Every model above, with the strength that gave it: means over seeds. What each of them has lost is not judged here; the
# comparisons above do that at equal reward.

# %%
found = rows.find(FRAMES, {MITIGATIONS: (*TRAINED, "er")})
if found:
    for name, path in found["rsf"].items():
        told = path[path["family"] == name]
        by = list(METHODS[told["method"].iloc[0]].order.by)
        table = told.pivot_table(index=by, columns="metric", values="value")[list(REPORTED)]
        table.index = [
            ", ".join(f"{one:g}" for one in (key if isinstance(key, tuple) else (key,))) for key in table.index
        ]
        named = table.rename(columns={key: metric.words for key, metric in METRICS.items()})
        sentences.show(f"**{style.look(name).label}**\n\n{sentences.framed(named, ', '.join(by), 3)}")

# %% [markdown]
# ## At other learning rates
#
# A rival deserves the learning rate that suits it. RSF itself is run at several, with early stopping and MA after
# each; the methods of the distillation style are trained at the lowest and the highest of them, where that was measured, on the
# samples that RSF chose at the preset's own rate (so only the student's rate differs), at fewer strengths.

# %%
COMPARED = ("ma", "early-stopping", *TRAINED, "er")
at_rates = rates.find(RSF, COMPARED, PRESET, FRAMES)
if at_rates:
    NAMES = {lr: "lr " + panels.rate(lr or PRESET.distil.optimiser.lr) for lr in at_rates["ma"]}
    fig = fronts.figure(rates.fronts_of(RSF, at_rates, NAMES), PRESET.name, least=fronts.part(RSF, 0.05))
    style.save(fig, "fig_mitigation_rates")

# %% [markdown]
# What MA, and early stopping, save of the tax that each method pays (to the right of 0): the share of it that is not
# paid at equal learned reward, over 50 to 95 % of RSF's rise as far as both reach, all abilities together, each
# divided by what RSF took of it. That is how the ledger of claims counts (`docs/protocol.md`). In the last column each
# has its best rate at each level of the reward, chosen on the other seeds, so that the choice cannot flatter itself.
# Where a method pays no tax that is clear of 0, or the two have too few rewards in common, there is nothing to save.

# %%
if at_rates:
    SHARES = {rival: compare.leads(at_rates, RSF, BOOK.overall, rival) for rival in rates.RIVALS}
    fig = rates.figure(SHARES, {lr: f"both at {name}" for lr, name in NAMES.items()}, PRESET.name)
    style.save(fig, "fig_mitigation_leads")

# %%
if at_rates:
    table = pd.concat([rates.table(found, rival, NAMES) for rival, found in SHARES.items()])
    sentences.show(f"Share of the method's tax that is saved. {sentences.BOLD}\n\n{sentences.markdown(table)}")
    sentences.show(rates.highest(at_rates, NAMES))
    FOUND.say(rates.verdict(SHARES))

# %% [markdown]
# ## In short

# %%
FOUND.summary(PRESET.name, len(paths.seeds(RSF)))
