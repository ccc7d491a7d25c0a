# %% [markdown]
# # Three ways to align: RSF, DPO, PPO
#
# RLHF takes a language model from $\theta_0$ to $\theta$: its replies earn more reward, and some of what it
# could do before is lost, the *alignment tax*. The other notebooks tell this for one algorithm, mostly **RSF**, which
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
# Methods are compared *at equal reward*, from 50 to 95 % of the rise as far as both reach on every seed; the range stands
# beside each difference. In the figures of fronts a pale mark is a model that another one of its method beats in both
# reward and ability. Intervals (95 %, Student's t) are over seeds, paired.

# %%
from drawing import fronts, panels, rows, sentences, style
from llm.config import load_preset
from llm.evidence import compare, paths
from llm.evidence.frames import abilities, rewards

style.use()
PRESET = load_preset(style.preset())
FRAMES = rows.frames()
ALGORITHMS = ("rsf", "dpo", "ppo")
FIRST = FRAMES["rsf"]
REWARDS, ABILITIES = rewards(FIRST), abilities(FIRST)
READING = [a for a in ABILITIES if a == "reading_f1"] or list(ABILITIES[:1])
FOUND = sentences.Findings()
sentences.show(rows.about(FRAMES))


def of_all(*families):
    """What `rows.find` needs to give these families of all three algorithms."""
    return {rows.core(rlhf): families for rlhf in ALGORITHMS}


# %% [markdown]
# ## Which algorithm trades best?
#
# Figure 14 of the paper. First the algorithms by themselves, every iteration a model; all begin at the same
# $\theta_0$ and are judged by the same reward model.

# %%
STOP = """
Each algorithm's $\\theta$ is its first iteration with {share:.0%} of the rise of RSF's learned reward on validation prompts, or
its last one where none has. How much of the rise each one reaches is told below what it pays.
"""
if (until := getattr(PRESET, "until", None)) is not None:
    sentences.show(STOP.format(share=until.share))

# %%
ALONE = {"stars": ("theta_0",)}
found = rows.find(FRAMES, of_all("early-stopping", "ma"))
if found:
    TRAINED = {rlhf: found[rlhf]["early-stopping"] for rlhf in ALGORITHMS}
    fig = fronts.figure(fronts.by_reward(TRAINED, FIRST, "reward", **ALONE), PRESET.name, columns=6)
    style.save(fig, "fig14")

# %%
if found:
    compared = compare.contests(TRAINED, FIRST, "rsf")
    FOUND.weigh(compared, "fig14-gain", PRESET.name, "The algorithms by themselves")

# %%
if found and "gold_reward" in REWARDS:
    fig = fronts.figure(fronts.by_reward(TRAINED, FIRST, "gold_reward", **ALONE), PRESET.name, columns=6)
    style.save(fig, "fig14-gold")

# %% [markdown]
# What each algorithm pays: its last model against $\theta_0$.

# %%
if found:
    theta_0 = paths.of_seeds(paths.theta_0(FIRST), TRAINED["rsf"]["seed"])
    LAST = {
        rlhf.upper(): {m: paths.difference(paths.at(found[rlhf]["ma"], 1), theta_0, m) for m in (*REWARDS, *ABILITIES)}
        for rlhf in ALGORITHMS
    }
    sentences.show(sentences.changes(LAST, "theta minus theta_0"))
    FOUND.say(
        f"From theta_0 to theta ({panels.seed_count(len(paths.seeds(theta_0)))}): "
        f"{' / '.join(f'{name} {sentences.moved(change)}' for name, change in LAST.items())}."
    )
    rise = LAST["RSF"]["reward"].mean
    if rise > 0:
        reached = [f"{name}'s {change['reward'].mean / rise:.0%}" for name, change in LAST.items() if name != "RSF"]
        FOUND.say(
            f"Of the learned reward that RSF's theta gains ({panels.seed_count(len(paths.seeds(theta_0)))}, means) {panels.several(reached)}: "
            "these taxes are not told at equal reward; the comparisons at equal reward stand above."
        )

# %% [markdown]
# The same contest after averaging: each algorithm's $\theta$ averaged with $\theta_0$, at all ratios.

# %%
if found:
    AVERAGED = {rlhf: found[rlhf]["ma"] for rlhf in ALGORITHMS}
    fig = fronts.figure(fronts.by_reward(AVERAGED, FIRST, "reward", **ALONE), PRESET.name, columns=5)
    style.save(fig, "fig14-averaged")
    compared = compare.contests(AVERAGED, FIRST, "rsf")
    FOUND.tell(compared, "The algorithms, each averaged with theta_0")

# %% [markdown]
# And is averaging worth it for each of them, against stopping earlier?

# %%
if found:
    compared = [
        one
        for rlhf in ALGORITHMS
        for one in compare.contests(found[rlhf], FRAMES[rlhf], "early-stopping", mark=f" after {rlhf.upper()}")
    ]
    FOUND.tell(compared, "Averaging against stopping earlier")

# %% [markdown]
# ## One part at a time
#
# Figure 13 of the paper. The layers are split into an input, a middle and an output part; one part is averaged
# with $\theta_0$ and everything else stays at $\theta$ (the dark star, $\alpha = 1$), down to the part put back
# ($\alpha = 0$). The paper finds for all three algorithms that the input part gives the abilities back without
# losing reward, or even raises it. All panels of an ability have the same limits, so that a small tax looks small.


# %%
def lines_of(found, families, reward, **options):
    """A line for each algorithm."""
    return [
        fronts.Line(reward, {name: by_name[name] for name in families}, FRAMES[rlhf], rlhf.upper(), **options)
        for rlhf, by_name in found.items()
    ]


def against_ma(found, families, **options):
    """Each algorithm's families against its own MA."""
    return [
        one
        for rlhf in found
        for one in compare.contests(found[rlhf], FRAMES[rlhf], of=families, mark=f" after {rlhf.upper()}", **options)
    ]


PARTS = ("part-input", "part-middle", "part-output")
AT_THETA = {"anchor": "theta", "stars": ("theta",)}
parts = rows.find(FRAMES, of_all("ma", *PARTS))
if parts:
    fig = fronts.figure(lines_of(parts, PARTS, "reward", **AT_THETA), PRESET.name, READING, columns=5, across=3)
    style.save(fig, "fig13")

# %%
if parts:
    fig = fronts.figure(lines_of(parts, PARTS, "reward", **AT_THETA), PRESET.name, columns=5)
    style.save(fig, "fig13-all")

# %%
if parts and "gold_reward" in REWARDS:
    fig = fronts.figure(lines_of(parts, PARTS, "gold_reward", **AT_THETA), PRESET.name, columns=5)
    style.save(fig, "fig13-gold")

# %% [markdown]
# What averaging one part keeps more than averaging everything (MA), over all rewards that both reach; and the ratios at which a
# part alone raises the learned reward and an ability above $\theta$'s, both with their whole 95 % intervals, and lowers no
# ability.

# %%
if parts:
    compared = against_ma(parts, PARTS, everywhere=True)
    FOUND.weigh(compared, "fig13-gain", PRESET.name, "One part alone")
    rising = {
        f"{style.look(part).short} after {rlhf.upper()}": compare.both_rise(parts[rlhf][part])
        for rlhf in parts
        for part in PARTS
    }
    told = [f"{name} at alpha {panels.several([f'{a:g}' for a in where])}" for name, where in rising.items() if where]
    FOUND.say(
        f"Learned reward and an ability above theta, no ability below ({panels.seed_count(len(paths.seeds(parts['rsf']['ma'])))}): "
        f"{'; '.join(told) or 'no part at any ratio'} "
        "(many ratios are tried: about one interval in forty lies above 0 by chance)."
    )

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
    fig = fronts.figure(lines_of(adapted, ("ma", *ADAPTED), "reward"), PRESET.name, columns=3)
    style.save(fig, "fig16")

# %%
if adapted and "gold_reward" in REWARDS:
    fig = fronts.figure(lines_of(adapted, ("ma", *ADAPTED), "gold_reward"), PRESET.name, columns=3)
    style.save(fig, "fig16-gold")

# %% [markdown]
# MA is taken here at the same mean ratios as AMA, so that both paths are equally coarse.

# %%
if adapted:
    compared = against_ma(adapted, ADAPTED)
    FOUND.weigh(compared, "fig16-gain", PRESET.name, "AMA")

# %% [markdown]
# ## A ratio for each layer, and for each direction
#
# After RSF some averages are above MA ([methods](methods.ipynb)): ratios that rise with the layer (LiNeS), and regression averaging
# (*RegMean* in figures and tables) on texts that the two models write themselves, with one lambda, or with one that falls from layer to
# layer (*RegMean, by layer*). Lambda says how much $\theta_0$'s inputs count in the regression; a larger one stays nearer to
# $\theta_0$. Are they above MA after DPO and PPO, too?

# %%
BETTER = ("lines-alpha", "regmean", "regmean-layers-increasing")
sweeps = {rows.core(rlhf): ("ma",) for rlhf in ALGORITHMS}
sweeps |= {("rsf", "merging"): BETTER[:1], ("rsf", "regmean"): BETTER[1:]}
sweeps |= {(rlhf, "merging-others"): BETTER for rlhf in ALGORITHMS[1:]}
better = rows.find(FRAMES, sweeps)
if better:
    fig = fronts.figure(lines_of(better, ("ma", *BETTER), "reward"), PRESET.name, columns=3)
    style.save(fig, "fig_better_averages")

# %%
if better:
    compared = against_ma(better, BETTER)
    FOUND.weigh(compared, "fig_better_averages-gain", PRESET.name, "LiNeS and regression averaging")

# %% [markdown]
# ## With a perfect reward model
#
# A learned reward model can be fooled, and one average may fool it better than another. RSF once more, on the gold reward
# itself, so nothing is over-optimised: are the same averages above MA there, at equal gold reward?

# %%
PERFECT = "rsf-gold"
needed = {(PERFECT, "gold-reward"): ("early-stopping", "ma"), (PERFECT, "merging-gold"): BETTER}
perfect = rows.find(FRAMES, needed) if "gold_reward" in REWARDS else None
if perfect:
    line = fronts.Line("gold_reward", perfect[PERFECT], FRAMES[PERFECT], "after RSF on the gold reward")
    fig = fronts.figure([line], PRESET.name, columns=3)
    style.save(fig, "fig_perfect_reward")

# %%
if perfect:
    on_gold = compare.contests(perfect[PERFECT], FRAMES[PERFECT], of=BETTER, mark=" after RSF on gold")
    FOUND.tell(on_gold, "LiNeS and regression averaging after RSF on the gold reward")

# %% [markdown]
# ## In short

# %%
FOUND.summary(PRESET.name, len(paths.seeds(FIRST)))
