# %% [markdown]
# # Larger models, and what stands in for them here
#
# The paper repeats its main comparison on models that other people aligned: Zephyr-7B-beta (Mistral-7B, aligned
# by DPO) and Zephyr-7B-Gemma, each averaged with its own model before alignment. Replies were judged by PairRM, a
# model that compares two replies, and by GPT-4: the *win rate* is how often the judge prefers a model's reply to
# that of a fixed rival.
#
# These models are too large for a laptop. This notebook gives the paper's own numbers, marked as such, and beside
# them a counterpart in models that are not: **DPO, and the win rate of a model's replies against $\theta_0$'s replies to
# the same prompts, judged by the gold reward** (the table says how; with a preset of the paper's own models the judge is PairRM, as
# there). In another preset it is a counterpart, not a reproduction: other models, other tasks, another judge. $\alpha$ is the share of
# the aligned model.

# %%
from itertools import product

import pandas as pd

from drawing import fronts, panels, rows, sentences, style
from llm.config import HubPreset, load_preset
from llm.evidence import compare, paths
from llm.evidence.frames import abilities
from llm.evidence.metrics import METRICS

style.use()
PRESET = load_preset(style.preset())
FRAMES = rows.frames()
DPO = FRAMES["dpo"]
ALGORITHMS = ("dpo", "algorithms")
FOUND = sentences.Findings()
sentences.show(rows.about(FRAMES))

# %% [markdown]
# ## The paper's table 1
#
# Copied from the paper, not measured here.

# %%
PAPER = pd.DataFrame(
    [
        ("Zephyr-7B-beta", "8.10", "37.47", "66.34", "36.55"),
        ("Zephyr-7B-beta, AMA", "9.32", "38.93", "66.55", "37.23"),
        ("Zephyr-7B-Gemma", "11.3", "41.15", "66.3", "38.09"),
        ("Zephyr-7B-Gemma, AMA", "11.5", "42.45", "66.4", "38.71"),
    ],
    columns=["model", "win rate, GPT-4 (%)", "reading (F1, %)", "commonsense (%)", "French to English (BLEU)"],
)
sentences.show(f"The paper's values:\n\n{sentences.markdown(PAPER)}")

# %% [markdown]
# ## Its counterpart here
#
# $\theta$ after DPO, then MA and AMA at the ratio that the paper recommends, in both readings: its .2 may be the
# share of $\theta$ or that of $\theta_0$, which is .8 of $\theta$ here. *Embeddings apart* is AMA with a ratio of
# its own for the embeddings.

# %%
AMA = ("ama", "ama-own-embeddings")
READINGS = (0.8, 0.2)
found = rows.find(FRAMES, {ALGORITHMS: ("ma", *AMA)})
if found:
    WHOLE = found["dpo"]
    JUDGE = rows.judge(WHOLE)
    MODELS = {"theta_0": paths.at(WHOLE["ma"], 0), "theta, after DPO": paths.at(WHOLE["ma"], 1)}
    MODELS |= {
        f"{sentences.plain(style.look(name).short)}, alpha {alpha:g}": paths.at(WHOLE[name], alpha)
        for alpha, name in product(READINGS, WHOLE)
    }
    COLUMNS = (JUDGE, *abilities(DPO))
    TABLE = pd.DataFrame(
        [
            {"model": name, **{METRICS[m].label: sentences.value(models, m) for m in COLUMNS}}
            for name, models in MODELS.items()
        ]
    )
    seeds = panels.seed_count(len(paths.seeds(WHOLE["ma"])))
    over = "seeds" if len(paths.seeds(WHOLE["ma"])) > 1 else "items"
    NOTE = f"{PRESET.name}, DPO, {seeds}; value +- standard error over {over}; {METRICS[JUDGE].words}: {rows.meaning(JUDGE, PRESET)}"
    sentences.show(f"{NOTE}\n\n{sentences.markdown(TABLE)}")
    TEXT = (
        f"# Table 1 of the paper, and its counterpart\n\nThe paper's values, copied, not measured here:\n\n{sentences.markdown(PAPER)}\n"
        f"{'The same, measured' if isinstance(PRESET, HubPreset) else 'The counterpart, not a reproduction'} ({NOTE}):\n\n{sentences.markdown(TABLE)}"
    )
    style.write(TEXT, "table1")

# %% [markdown]
# What the paper's table says is that AMA beats $\theta$ in every column. Here, as differences to $\theta$ with
# 95 % intervals:

# %%
if found:
    theta = MODELS["theta, after DPO"]
    change = {
        name: {metric: paths.difference(models, theta, metric) for metric in COLUMNS}
        for name, models in list(MODELS.items())[2:]
    }
    sentences.show(sentences.changes(change, "minus theta"))
    every = [name for name, one in change.items() if all(c.verdict == "above" for c in one.values())]
    FOUND.say(
        f"Above theta in every column, with the whole 95 % interval ({seeds}): {panels.several(every or ['no average'])}, "
        f"of {len(change)} averages."
    )

# %% [markdown]
# ## Figure 6: parts, and AMA against MA
#
# Above: one part averaged, everything else at $\theta$. Below: AMA against MA at the same mean ratios. In the
# paper the judge is PairRM, and averaging the input part raises the win rate and the abilities together. Abilities are drawn
# at the scale of what RSF takes of them, since DPO may take next to nothing.

# %%
PARTS = ("part-input", "part-middle", "part-output")
found = rows.find(FRAMES, {ALGORITHMS: ("ma", *PARTS, *AMA)})
if found:
    SHOWN = found["dpo"]
    JUDGE = rows.judge(SHOWN)
    at_amas = SHOWN["ma"][SHOWN["ma"]["step"].isin(SHOWN["ama"]["step"])]  # the ratios that AMA has, too
    averaged = {"ma": at_amas, **{name: SHOWN[name] for name in AMA}}
    lines = [
        fronts.Line(JUDGE, {name: SHOWN[name] for name in PARTS}, DPO, "one part", "theta", ("theta",)),
        fronts.Line(JUDGE, averaged, DPO, "all parts"),
    ]
    scale = fronts.part(FRAMES["rsf"] if len(FRAMES["rsf"].query("rlhf == 'rsf'")) else DPO, 1.0)
    OF = f"{PRESET.name}'s DPO" + ("" if isinstance(PRESET, HubPreset) else ", a counterpart of Zephyr")
    fig = fronts.figure(lines, OF, least=scale)
    style.save(fig, "fig06")

# %%
if found:
    compared = compare.contests(SHOWN, DPO, everywhere=True)
    FOUND.weigh(compared, "fig06-gain", f"{PRESET.name}'s DPO", "After DPO, over all rewards that both reach")

# %% [markdown]
# ## In short

# %%
FOUND.summary(PRESET.name, len(paths.seeds(DPO)))
