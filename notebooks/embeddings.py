# %% [markdown]
# # A ratio of their own for the embeddings
#
# The paper's AMA cuts the layers of a model into parts and gives each its own ratio $\alpha$ (the share of
# $\theta$); the token embeddings go with the first part. But alignment may do to the embeddings something else
# than to the layers beside them. This notebook, which goes beyond the paper, asks what it does to them, and whether
# averaging gains by giving them a ratio of their own, in models whose head is *tied* to the embeddings (the same
# table is read and written with) and in models with an *untied* head, which can have a ratio of its own as well. Both are of
# the first world, presets `microcosm-1` and `microcosm-1-untied`, where `PRESET` does not name another.

# %%
import matplotlib.pyplot as plt

from drawing import embeddings, gains, panels, sentences, style
from llm.config import load_preset
from llm.evidence import compare
from llm.stages.movement import read_movements

style.use()
style.about("microcosm-1")  # the world that has a sister whose head is its own
CALLED = embeddings.called(load_preset(style.preset()))
FOLDERS = {name: style.results().parent / name for name in CALLED}
FRAMES = {name: embeddings.frames_of(folder) for name, folder in FOLDERS.items()}
MOVED = {name: read_movements(folder) for name, folder in FOLDERS.items()}
for name, frames in FRAMES.items():
    if not frames:
        sentences.show(f"Not measured yet: preset {name}. To measure: {style.command(['all'], name=name)}")
if len(CALLED) == 1:
    sentences.show(f"No preset differs from {next(iter(CALLED))} in its head alone, so this is about one model.")
FOUND = sentences.Findings()

# %% [markdown]
# ## What alignment does to them
#
# How far each group of weights moved, $\Vert\theta-\theta_0\Vert\,/\,\Vert\theta_0\Vert$; dots are seeds.

# %%
SHOWN = {name: moved for name, moved in MOVED.items() if moved}
if SHOWN:
    fig, axes = plt.subplots(1, len(SHOWN), figsize=(style.WIDTH, style.PANEL + 0.2), sharey=True, squeeze=False)
    for ax, (name, moved) in zip(axes[0], SHOWN.items(), strict=True):
        for rlhf in moved[0]["rlhf"]:
            table = embeddings.groups(moved, rlhf)
            order = [
                "embeddings",
                *(g for g in table if g.startswith("layer")),
                *(g for g in ("norm", "head") if g in table),
            ]
            colour = style.look(rlhf).colour
            ax.plot(range(len(order)), table[order].mean(), color=colour, label=style.look(rlhf).label, marker="o")
            for _, seed in table.iterrows():
                ax.plot(range(len(order)), seed[order], ".", color=colour, markersize=3, alpha=0.6)
        ax.set_xticks(range(len(order)), [g.removeprefix("layer") for g in order], rotation=30)
        ax.set_title(f"{name} ({CALLED[name]}), {panels.seed_count(len(moved))}")
    axes[0, 0].set_ylabel(r"movement (of $\theta_0$'s norm)")
    panels.legend(fig, axes, 3)
    style.foot(fig, f"{', '.join(SHOWN)}; lines: means over seeds; dots: single seeds; numbers: layers")
    style.save(fig, "fig_movement")
for name in [name for name in CALLED if name not in SHOWN]:
    sentences.show(
        f"Not measured yet: how far alignment moved the weights of {name}. To measure: {style.command(['all'], name=name)}"
    )

# %%
table = [
    embeddings.movement(moved, rlhf) | {"model": CALLED[name]}
    for name, moved in SHOWN.items()
    for rlhf in moved[0]["rlhf"]
]
if table:
    sentences.show(sentences.markdown(embeddings.movements(table)))
    for name, moved in SHOWN.items():
        shares = [share for rlhf in moved[0]["rlhf"] for share in embeddings.shares(moved, rlhf, "embeddings")]
        FOUND.say(
            f"Alignment moves the embeddings: in the {CALLED[name]} models they make {min(shares):.0%} to {max(shares):.0%} of the "
            f"squared change, over algorithms and {panels.seed_count(len(moved))}."
        )
    first = next(iter(SHOWN.values()))[0]
    for rlhf, one in first["rlhf"].items():
        words = " ".join(token for token, *_ in one["tokens"][:16])
        sentences.show(f"Moved most, seed {first['seed']}, {style.look(rlhf).label}: {words}")

# %% [markdown]
# Where the table is tied, each step of training pushes down the scores of all words that are *not* written, and with
# them the embeddings by which the same words are read. Words that the aligned model's replies never use can therefore move
# more than the words that it says. That is a way for alignment to touch abilities that its samples never mention. If this
# is the reason, it must be gone where the head has a table of its own: then a word that is not written is pushed down in the
# head alone, and of the embeddings only those of words that are read (in prompts or replies) get any gradient.

# %%
if told := embeddings.unused(SHOWN, CALLED):
    FOUND.say(told)

# %% [markdown]
# ## Does a ratio of their own pay?
#
# The mean ability of AMA with groups of their own at equal reward, minus that of MA, and minus that of the paper's AMA, at
# the same mean ratios, from 50 to 95 % of the rise as far as both reach on every seed.

# %%
DUELS = [one for name, frames in FRAMES.items() for one in compare.duels(frames, name)]
if DUELS:
    lines = len(embeddings.lines_of(DUELS))
    fig, axes = plt.subplots(1, 2, figsize=(style.WIDTH, 1.1 + gains.ROW * lines), sharey=True)
    embeddings.draw(dict(zip(("ma", "ama"), axes, strict=True)), DUELS, CALLED)
    gains.legend(fig, dict.fromkeys(one.reward for one in DUELS))
    seeds = sorted({one.seeds for one in DUELS})
    counted = " to ".join([*map(str, seeds[:-1][:1]), panels.seed_count(seeds[-1])])
    drawn_from = ", ".join(name for name, frames in FRAMES.items() if frames)
    bars = f"; bars: 95 % intervals over {panels.over_seeds(seeds[0])}" if seeds[-1] > 1 else ", so no intervals"
    style.foot(fig, f"{drawn_from}; {counted}{bars}")
    style.save(fig, "fig_apart")

# %%
if DUELS:
    sentences.show(embeddings.table(DUELS, CALLED))
    for sentence in embeddings.answer(DUELS):
        FOUND.say(sentence)

# %% [markdown]
# ## In short

# %%
FOUND.summary(
    " and ".join(name for name, frames in FRAMES.items() if frames) or style.preset(),
    max((one.seeds for one in DUELS), default=0),
)
