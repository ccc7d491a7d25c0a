# %% [markdown]
# # Three ways to align: RSF, DPO, PPO
#
# RLHF takes a language model from $\theta_0$ to $\theta$: its replies earn more reward, and some of what it
# could do before is lost, the *alignment tax*. The other notebooks tell this for one algorithm, **RSF**, which
# fine-tunes on the best of several replies to each prompt. Two more are common:
#
# * **DPO**, direct preference optimisation, needs no reward model and no replies of its own: it raises the
#   probability of the better reply of each labelled pair against that of the worse one.
# * **PPO**, proximal policy optimisation, writes replies, has them judged by the reward model, and moves along
#   the gradient of the reward, with a penalty for leaving $\theta_0$.
#
# Is the tax a matter of the algorithm? And does what was found about averaging the weights of $\theta_0$ and
# $\theta$, $\theta(\alpha) = (1 - \alpha)\,\theta_0 + \alpha\,\theta$, hold for all three?
#
# In the figures a method's **front** are its models that no other of its models beats in both reward and
# ability (hollow marks are beaten). The area below it, above chance and to the right of $\theta_0$'s reward, is
# given as a share of the ideal: the highest reward that any of the methods reaches, at no tax. Areas are
# subtracted seed by seed; bars are 95 % intervals over these differences, thin by Student's t, which decides,
# and thick by the bootstrap, which is too narrow with few seeds.

# %%
from drawing import fronts, panels, rows, sentences, style
from llm.config import load_preset
from llm.evidence import compare, paths
from llm.evidence.frames import abilities, rewards
from llm.evidence.metrics import METRICS

style.use()
PRESET = load_preset(style.preset())
FRAMES = rows.frames()
REWARDS, ABILITIES = rewards(FRAMES["rsf"]), abilities(FRAMES["rsf"])
SWEEPS = {"rsf": ("rsf", "core"), "dpo": ("dpo", "algorithms"), "ppo": ("ppo", "algorithms")}


def of_all(*families):
    """What `rows.find` needs to give these families of all three algorithms."""
    return dict.fromkeys(SWEEPS.values(), families)


# %% [markdown]
# ## Which algorithm trades best?
#
# Figure 14 of the paper. First the algorithms by themselves, every iteration a model; all begin at the same
# $\theta_0$ and are judged by the same reward model.


# %%
def against_rsf(models):
    """The three algorithms' models side by side; what they are against RSF's is printed."""
    compared = compare.contests(models, FRAMES["rsf"], "rsf")
    print(sentences.report(models, compared))
    return fronts.figure(fronts.both_rewards(models, FRAMES["rsf"], stars=("theta_0",)), compared, PRESET.name)


found = rows.find(FRAMES, of_all("early-stopping", "ma"))
if found:
    TRAINED = {rlhf: found[rlhf]["early-stopping"] for rlhf in SWEEPS}
    fig = against_rsf(TRAINED)
    style.save(fig, "fig14")

# %% [markdown]
# What each algorithm pays: its last model against $\theta_0$.

# %%
if found:
    MOVED = {"above": "rises", "below": "falls", "undecided": "may have moved either way"}
    theta_0 = paths.theta_0(FRAMES["rsf"])
    theta_0 = paths.of_seeds(theta_0, TRAINED["rsf"]["seed"])
    for rlhf in SWEEPS:
        theta = paths.at(found[rlhf]["ma"], 1)
        print(f"{rlhf.upper()}, from theta_0 to theta:")
        for metric in (*REWARDS, *ABILITIES):
            change = paths.difference(theta, theta_0, metric)
            print(f"  {METRICS[metric].words} {panels.verdict(change, MOVED)}: {panels.number(change, metric)}")

# %% [markdown]
# The same contest after averaging: each algorithm's $\theta$ averaged with $\theta_0$, at all ratios.

# %%
if found:
    fig = against_rsf({rlhf: found[rlhf]["ma"] for rlhf in SWEEPS})
    style.save(fig, "fig14-averaged")

# %% [markdown]
# And is averaging worth it for each of them, against stopping earlier?

# %%
if found:
    for rlhf in SWEEPS:
        AGAINST_STOPPING = compare.contests(found[rlhf], FRAMES[rlhf], "early-stopping", mark=f"{rlhf.upper()}, ")
        print(sentences.tables(found[rlhf], AGAINST_STOPPING))
        print()

# %% [markdown]
# ## One part at a time
#
# Figure 13 of the paper. The layers are split into an input, a middle and an output part; one part is averaged
# with $\theta_0$ and everything else stays at $\theta$ (the dark star, $\alpha = 1$), down to the part put back
# ($\alpha = 0$). The paper finds for all three algorithms that the input part gives the abilities back without
# losing reward, or even raises it. The areas compare averaging one part with averaging everything (MA).


# %%
def by_algorithm(found, families, reward, compared=(), **options):
    """A figure with a line of panels for each algorithm."""
    shown = {rlhf: {name: by_name[name] for name in families} for rlhf, by_name in found.items()}
    lines = [fronts.Line(reward, shown[rlhf], FRAMES[rlhf], rlhf.upper(), **options) for rlhf in shown]
    return fronts.figure(lines, compared, PRESET.name)


def against_ma(found, families):
    """Each algorithm's families against its own MA."""
    return {rlhf: compare.contests(found[rlhf], FRAMES[rlhf], of=families, mark=f"{rlhf.upper()}, ") for rlhf in found}


PARTS = ("part-input", "part-middle", "part-output")
AT_THETA = {"anchor": "theta", "stars": ("theta",)}
parts = rows.find(FRAMES, of_all("ma", *PARTS))
if parts:
    ONE_PART = against_ma(parts, PARTS)
    fig = by_algorithm(parts, PARTS, "reward", sum(ONE_PART.values(), []), **AT_THETA)
    style.save(fig, "fig13")

# %%
if parts:
    fig = by_algorithm(parts, PARTS, "gold_reward", **AT_THETA)
    style.save(fig, "fig13-gold")

# %% [markdown]
# At which ratios does a part alone raise the learned reward and an ability above $\theta$'s, both with their
# whole 95 % intervals, and lower no ability?

# %%
if parts:
    for rlhf in parts:
        for part in PARTS:
            both = [f"{alpha:g}" for alpha in compare.both_rise(parts[rlhf][part])]
            print(
                f"{rlhf.upper()}, {style.look(part).label}: {'at alpha ' + panels.several(both) if both else 'at no ratio'}"
            )
    print("Many ratios are tried here: about one interval in forty lies above 0 by chance alone.")
    for rlhf, compared in ONE_PART.items():
        print()
        print(sentences.tables(parts[rlhf], compared))

# %% [markdown]
# ## Adaptive averaging
#
# Figure 16 of the paper: AMA gives each of three parts a ratio of its own, with the same mean, so that $\theta$'s
# best replies stay likely. *Embeddings apart* is AMA with a fourth ratio for the embeddings, which in the paper
# share that of the input part.

# %%
ADAPTED = ("ama", "ama-own-embeddings")
adapted = rows.find(FRAMES, of_all("ma", *ADAPTED))
if adapted:
    AMA = against_ma(adapted, ADAPTED)
    fig = by_algorithm(adapted, ("ma", *ADAPTED), "reward", sum(AMA.values(), []))
    style.save(fig, "fig16")

# %%
if adapted:
    fig = by_algorithm(adapted, ("ma", *ADAPTED), "gold_reward")
    style.save(fig, "fig16-gold")

# %% [markdown]
# MA is taken here at the same mean ratios as AMA, so that both paths are equally coarse.

# %%
if adapted:
    for rlhf, compared in AMA.items():
        print(sentences.report(adapted[rlhf], compared))
        print()
