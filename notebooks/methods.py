# %% [markdown]
# # Every way to pay less tax, on one plane
#
# RLHF takes a model from $\theta_0$ to $\theta$: the reward of its replies rises, and some of what it could do before is
# lost, the *alignment tax*. Many methods promise more of the one for less of the other: averages of $\theta_0$ and
# $\theta$ of many kinds, other models at decoding, other ways to train. Here they stand on one plane.
#
# * To the right: the share of the learned reward's rise that is kept, counted in each seed's own rise.
# * Upwards: less tax. 1 is what $\theta$ pays on the same seeds, all abilities that pay any together, each in units of its own tax.
#
# A method is a path of models, along a ratio or a strength, and is taken as straight between them; where it reaches a
# reward several times, its best model there counts. All but the section *Why* is told at the preset's own learning rate of training
# (where others were run, the ledger of claims and the notebook on mitigations have them), and by the learned reward, which training saw.
#
# Some names: *RegMean* is regression averaging, whose lambda says how much $\theta_0$'s inputs count in the regression (a larger one
# stays nearer to $\theta_0$); *RegMean, by layer* has a lambda that falls from layer to layer. A method that is *on-policy* acts
# within every iteration of training.

# %%
from drawing import panels, plane, rows, sentences, style
from llm.config import load_preset
from llm.evidence import reference
from llm.evidence.claims import render
from llm.evidence.claims.association import by_model
from llm.evidence.costs import GROUPS
from llm.evidence.metrics import IN_TAXES, METRICS
from llm.methods import looks, names

style.use()
PRESET = load_preset(style.preset())
_, BOOK = rows.with_book()
FINDINGS = sentences.Findings()
RLHF = next(rlhf for rlhf in names("alignment") if rlhf in BOOK.rows)
FRONTS = reference.fronts(BOOK, RLHF) if IN_TAXES in BOOK.units else {}
if FRONTS:
    sentences.show(f"{PRESET.name}, {RLHF.upper()}: {len(FRONTS)} families of models, {plane.counts(FRONTS.values())}")
else:
    told = "no ability that has a highest value (a log-likelihood has none) pays a tax that is clear of 0"
    sentences.show(f"{PRESET.name}, {RLHF.upper()}: {told}, or no reward is gained, so nothing is drawn here.")

# %% [markdown]
# Methods that the preset could measure and that have no rows yet, and settings of the others that have none. (Where a source's own
# setting is among them, what stands below of its method is about other settings.)

# %%
lacking = reference.unmeasured(BOOK, RLHF, PRESET)
sentences.show(plane.missing(lacking, BOOK.seeds))

# %% [markdown]
# ## The best of each group
#
# The best family of each group of methods: for each seed the one that pays least at 90 % of the rise on the *other* seeds, so that
# the choice cannot flatter itself; the legend names the one that most seeds take. Groups none of whose families gets that far are told where they end. Early
# stopping needs no second model and no method; MA is the plain average. A front that lies higher is better. Bars, at 90 % of the
# rise, are those of each front by itself (Fieller's 95 %, of a ratio of means over seeds, wider where there was a choice: `docs/protocol.md`);
# methods are compared seed by seed in the table below.

# %%
CHOSEN = reference.leaders(plane.drawn(FRONTS))
if FRONTS:
    fig = plane.main(FRONTS, CHOSEN, PRESET.name)
    style.save(fig, "fig_methods")

# %%
if CHOSEN:
    told = [f"{GROUPS[group]}: {plane.names(leader)}" for group, leader in CHOSEN.items()]
    FINDINGS.say(f"The best of each group, for each seed by the other seeds: {sentences.plain('; '.join(told))}.")
    if few := [plane.names(leader) for leader in CHOSEN.values() if leader not in plane.settled(CHOSEN)]:
        FINDINGS.say(f"Measured on too few seeds to be drawn above yet: {sentences.plain(', '.join(few))}.")

# %% [markdown]
# ## Every method

# %%
if FRONTS:
    fig = plane.groups(FRONTS, PRESET.name)
    style.save(fig, "fig_methods_groups")
    sentences.show(plane.unseen(FRONTS))
    if same := plane.twins(FRONTS):
        sentences.show(f"The same models (of the same tax at every reward), one line on the other: {'; '.join(same)}.")
    FINDINGS.say(plane.cheaper(FRONTS))

# %% [markdown]
# ## What it saves and what it costs
#
# The share of early stopping's tax that is not paid at 80, 90 and 95 % of the rise (1: all of it, below 0: more is paid), with
# 95 % intervals over seeds (Fieller's, of a ratio of means: `docs/protocol.md`), without a correction for how many there are; what is
# claimed, and decides itself by fewer comparisons, stands in the ledger. A dash: the method does not get there on every seed, or early stopping
# pays no tax there that is clear of 0. "models": how many the path has; one with few lies lower than it could. Training and data are
# what a method takes beyond the run of RLHF, memory is that of using the model; they follow from the methods' definitions.

# %%
TABLE = reference.table(BOOK, RLHF) if FRONTS else []
NAMED = [line for line in TABLE if line.family in looks()]
sentences.show(plane.shares(NAMED, FRONTS))
if NAMED and max(line.seeds for line in NAMED) > 1:
    FINDINGS.say(plane.verdict(NAMED))
elif NAMED:
    FINDINGS.say(sentences.ONE_SEED)

# %% [markdown]
# Against early stopping many methods save a part. Between two of them the ledger judges; of regression averaging against every other way
# after training (P13: each rival at the best of its settings, chosen on the other seeds), and of LiNeS against AMA (P14), it says:

# %%
for CLAIM in ("P13", "P14"):
    ENTRY = sentences.entry_of(BOOK, CLAIM)
    if ENTRY.weakest.estimate is not None:
        sentences.show(f"**{CLAIM}, {ENTRY.claim.name}**: {render.verdict(ENTRY)}\n\n{sentences.parts(ENTRY)}")
        FINDINGS.say(f"{CLAIM} ({ENTRY.claim.name}): {render.verdict(ENTRY)} ({render.counts(ENTRY)}).")

# %% [markdown]
# What regression averaging does *not* do: it protects what the samples are like that it is made of, $\theta_0$'s own texts. In the replies
# to the prompts of alignment it gave back no more of what RLHF took than one ratio does at the same reward, and what $\theta_0$'s texts do not
# touch has nothing that holds it (measured on single seeds: `docs/log.md`, "Regression averaging on the two models' own samples").

# %% [markdown]
# The same for families that vary a number of their method's own (samples, regulariser, ridge):

# %%
sentences.show(plane.shares([line for line in TABLE if line.family not in looks()], FRONTS))

# %% [markdown]
# What the methods are, and where they come from:

# %%
if NAMED:
    sentences.show(plane.sources(NAMED))

# %% [markdown]
# After other algorithms:

# %%
for rlhf in [one for one in names("alignment") if FRONTS and one in BOOK.rows and one != RLHF]:
    lines = [line for line in reference.table(BOOK, rlhf) if line.family in looks()]
    if lines:
        sentences.show(f"**{style.look(rlhf).label}**\n\n{plane.shares(lines, reference.fronts(BOOK, rlhf))}")

# %% [markdown]
# ## Why: what goes with the tax
#
# A model that says other things than $\theta_0$, or whose weights are far from $\theta_0$'s, should pay more. Does either
# number rank the models of *all* methods by their tax? Spearman's rank correlation in each seed, mean over seeds with its 95 %
# interval; 1: the tax always rises with it.

# %%
FOUND = reference.associations(BOOK, RLHF)
if FRONTS and FOUND:
    models = by_model(BOOK, reference.PREDICTORS).xs(RLHF, level="rlhf")
    start = BOOK.ground.query("method == 'theta_0' and metric == @IN_TAXES").set_index("seed")["value"]
    models["tax"] = models.index.get_level_values("seed").map(start) - models[IN_TAXES]
    fig = plane.why(models, reference.PREDICTORS, PRESET.name)
    style.save(fig, "fig_methods_why")
    thetas = models[models.index.get_level_values("method") == "theta"].index.unique("setting_key")
    if len(thetas) > 1:
        sentences.show(
            f"Models of all {len(thetas)} learning rates that were measured count here, not those of the preset's own alone: so there are "
            f"{len(thetas)} stars of theta."
        )
    sentences.show(plane.ranked(FOUND))
    every = [one for one in FOUND if one.group not in GROUPS]
    told = [
        f"{METRICS[one.predictor].words} {plane.correlation(one.found)}, {panels.seed_count(len(one.found.per_seed))}"
        for one in every
    ]
    FINDINGS.say(f"Rank correlation with the tax over all models: {'; '.join(told)}.")
elif FRONTS:
    words = " and ".join(METRICS[one].words for one in reference.PREDICTORS)
    command = style.command(["core"], BOOK.seeds)
    sentences.show(
        f"Not measured yet: {words} of each model, which rows made by this version have. To measure: {command}"
    )

# %% [markdown]
# ## In short

# %%
FINDINGS.summary(PRESET.name, len(BOOK.seeds))
