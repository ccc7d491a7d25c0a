# %% [markdown]
# # Your own two models: seven commands to a better one
#
# You have two folders: $\theta_0$, a model after instruction tuning, and $\theta$, the same model after alignment (RLHF, DPO,
# ...). Alignment made it better at what people like and, most often, worse at something that it could do before: the
# *alignment tax*. This notebook takes two such folders to a model in between that keeps most of both. Nothing is trained
# again: the two sets of weights are averaged,
#
# $$\theta(\alpha) = (1 - \alpha)\,\theta_0 + \alpha\,\theta ,$$
#
# where $\alpha$ is the share of the aligned model. What remains is to choose $\alpha$ well, with numbers and not by taste.
#
# Here the models are tiny, and this notebook trains them first, in some seconds: two language models and a reward model of a
# made-up language. The commands themselves train nothing but AMA's ratios, in steps 4 and 5. With your own models only the names of
# the folders change. Prompts and test items are JSON lines files, one object a line:
#
# | file | a line | what is measured |
# |---|---|---|
# | prompts | `{"prompt": ...}` | reward of sampled replies |
# | choice | `{"prompt": ..., "choices": [...], "answer": ...}` | accuracy, by log-likelihood |
# | questions | `{"prompt": ..., "answers": [...]}` | F1 of the reply's words |
# | translation | `{"prompt": ..., "reference": ...}` | BLEU |
#
# Any task of the lm-evaluation-harness can be named as well, such as `arc_easy`.

# %%
import json
import os
import re
import sys
import tempfile
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from unittest.mock import patch

import pandas as pd
from IPython.display import HTML, Image, display

from drawing import sentences, tiny_models
from llm.cli import main
from llm.evidence.rows import read_rows

os.chdir(tempfile.mkdtemp())
FOUND = []  # a sentence for each step


def run(command):
    """What `alignment-tax COMMAND` does in a terminal, here without starting Python anew; of its progress the last line alone. Returns
    the command that it recommends, "" without one.
    """
    with patch.object(sys, "argv", ["alignment-tax", *command.split()]), redirect_stdout(StringIO()) as printed:
        try:
            main()
        except SystemExit as stop:
            if stop.code:
                raise RuntimeError(f"exit code {stop.code}: {printed.getvalue()}") from None
    lines = printed.getvalue().splitlines()
    progress = [line for line in lines if re.match(r"(step|model) \d+/\d+", line)]
    print("\n".join([f"$ alignment-tax {command}", *(line for line in lines if line not in progress[:-1])]))
    return next((line.removeprefix("alignment-tax ") for line in lines if line.startswith("alignment-tax average")), "")


# %% [markdown]
# ## The two models
#
# A made-up language has 24 words, each with a translation and a colour. $\theta_0$ was taught to translate, to tell
# colours, and to answer greetings. Alignment then taught it to answer greetings *politely*, and nothing else: that is what
# the reward model likes. Translation and colours were not trained on any more.

# %%
tiny_models.make_models(Path())
tiny_models.make_items(Path())
for file in ("prompts.jsonl", "train-prompts.jsonl", "colours.jsonl", "translation.jsonl"):
    print(f"{file}: {Path(file).read_text().splitlines()[0]}")

# %% [markdown]
# Prompts are in two files, without a prompt in common: what is chosen on `train-prompts.jsonl` is measured on `prompts.jsonl`, since
# whatever is judged on the prompts that it was chosen on looks better than it is.
#
# ## 1. See what alignment has cost: `tax`
#
# The two models as they are, item by item: what was lost and what was gained, the reward and the length of replies, how far the
# next tokens and the weights moved. `tax/report.html` is one page with all of it.

# %%
MODELS = "--theta-0 theta_0 --theta theta"
TASKS = "--tasks colours.jsonl,translation.jsonl --reward-model reward --prompts prompts.jsonl"
Path("tax.yaml").write_text("{tokens: 10, task_tokens: 10, batch: 150}")
run(f"tax {MODELS} {TASKS} --config tax.yaml --out tax")

# %% [markdown]
# ## 2. Measure what lies between: `front`
#
# Eleven models between $\theta_0$ and $\theta$ are mixed in memory and measured on the same items, so their differences are
# paired: an item that is hard for one is hard for all. Whatever is not on the command line stands in a YAML file, of which
# `docs/front.yaml` lists every key. The recommendation is the ratio with the **largest gain in ability among those that surely keep
# 95 % of the rise in reward** (`--keep`): the lower end of the interval of what is kept must reach that. How sure the gain is comes
# from a bootstrap that draws items again and again.

# %%
Path("front.yaml").write_text("{tokens: 10, task_tokens: 10, batch: 150}")
run(f"front {MODELS} {TASKS} --config front.yaml --alphas 0:1:0.1 --out front")

# %%
display(Image("front/front.png"))

# %% [markdown]
# How to read it: right is more reward, up is more ability. The red diamond is the aligned model, the black square the one
# before. If the path bulges to the upper right, there are models that lose little of either. `front/report.html` is this
# picture with all numbers, in one file that can be sent to someone.

# %%
rows = read_rows("front/rows.jsonl")
rows = rows[~rows["metric"].str.contains("/")]  # the tasks' own metrics; others are TASK/METRIC
rows["alpha"] = [setting.get("alpha", method) for setting, method in zip(rows["setting"], rows["method"], strict=True)]
table = rows[rows["method"] == "ma"].pivot(index="alpha", columns="metric", values=["value", "stderr"])
display(table.round(3))
advice = json.loads(Path("front/recommendation.json").read_text())
advised = advice["alpha"]
ends = table["value"].loc[[0.0, 1.0]]
change = ", ".join(f"{name} {ends[name].iloc[1] - ends[name].iloc[0]:+.2f}" for name in ends)
FOUND.append(f"From theta_0 to theta: {change}.")
FOUND.append("No ratio is recommended." if advised is None else f"Recommended is alpha = {advised:g}.")
sentences.show("\n".join(FOUND))

# %% [markdown]
# "No significant loss" would not be enough: with few prompts even a large loss is not significant. So what counts is what is *kept*,
# with its interval; where no ratio surely keeps enough, the estimate decides, and the sentence warns. And a
# ratio that was chosen because it looked best on some items looks a little better on them than it is: the last number of
# that sentence is the gain on items that the choice had not seen.
#
# ## 3. Write the model: `average`
#
# `average` reads and writes tensor by tensor, so two 70B models need no more memory than two small ones. The output is a complete
# model folder with a card that says where it came from.

# %%
ratio = advised if advised is not None and advised < 1 else 0.8
run(f"average {MODELS} --alpha {ratio:g} --out averaged")

# %% [markdown]
# The same command knows other methods (`average --help` lists them). LiNeS, for example, needs nothing but the two models: its ratio
# rises with the layer, from the one that is given to 1, so that deep layers stay $\theta$'s.

# %%
run(f"average {MODELS} --alpha {ratio:g} --method lines --out lines")

# %% [markdown]
# ## 4. A ratio for each part: `adapt`
#
# The layers near the input, in the middle and near the output need not all have the same ratio. `adapt` (the paper's AMA)
# keeps the *mean* ratio and looks for the ratios under which the aligned model's own best replies are likeliest. So it
# needs replies of $\theta$: here it samples them, scores them with the reward model and keeps the best.

# %%
ALIGNED = "--prompts train-prompts.jsonl --reward-model reward"
Path("adapt.yaml").write_text("{samples: 4, tokens: 10, keep: 300, draw: 200, batch: 10, lr: 0.2}")
run(f"adapt {MODELS} --alpha {ratio:g} {ALIGNED} --config adapt.yaml --out ratios.json")

# %%
display(Image("ratios.path.png"))
found = json.loads(Path("ratios.json").read_text())
loss = found["loss"]
sure = abs(loss["gain"]) > 2 * loss["gain_stderr"]
FOUND.append(
    f"Ratios found: {', '.join(f'{group} {alpha:.3f}' for group, alpha in found['groups'].items())}; likelihood gained on the samples that they were fitted to: "
    f"{loss['gain']:.4f} nats a token, {'more' if sure else 'not more'} than two standard errors."
)
sentences.show(FOUND[-1])

# %% [markdown]
# ## 5. Is it any better? `front` with several methods
#
# A higher likelihood of good replies is a proxy, not the aim. Whether ratios of their own help is measured in the same way as
# before, on the same items. A run goes on in its folder: MA's models are there already, and two more methods are put beside them.
#
# * AMA (`ama`), with the replies to `train-prompts.jsonl` that `adapt` has stored.
# * Regression averaging (`regmean`, RegMean), which kept most ability in what this project has measured (`docs/results.md`). It has a
#   lambda in place of a ratio: how much $\theta_0$'s inputs count in the regression; a larger one stays nearer to $\theta_0$. It needs
#   texts of both models: here $\theta_0$ writes freely, and $\theta$ replies to `train-prompts.jsonl`.

# %%
search = "adapt: {keep: 300, draw: 200, batch: 150, lr: 0.2, epochs: 10}"
Path("several.yaml").write_text(f"{{tokens: 10, task_tokens: 10, batch: 150, {search}}}")
SEVERAL = "--method ma,ama,regmean --data ratios.samples.jsonl --train-prompts train-prompts.jsonl"
recommended = run(f"front {MODELS} {TASKS} {SEVERAL} --config several.yaml --alphas 0:1:0.1 --out front")

# %%
display(Image("front/front.png"))

# %% [markdown]
# A method whose path lies higher has more ability at the same reward. In numbers: each method at its model farthest from $\theta$ that
# keeps enough of the rise in reward by the estimates (where none does, at the nearest), the mean gain in ability against $\theta$, as a
# share of each task's scale, and how much less that is than the largest one, with its 95 % interval over items.

# %%
NAMES = {"ma": "one ratio (MA)", "ama": "a ratio a part (AMA)", "regmean": "regression averaging (RegMean)"}
advice = json.loads(Path("front/recommendation.json").read_text())
there = {NAMES[name]: one for name, one in advice["by_method"].items()}
best = max(there, key=lambda name: there[name]["gain"])
table = [
    {
        "method": name,
        "rise kept": "-" if one["kept"] is None else f"{one['kept']:.1%}",
        "gain": f"{one['gain']:+.3f}",
        "less than the largest": "{value:.3f} [{low:.3f}, {high:.3f}]".format(**one["most_less_this"]),
    }
    for name, one in there.items()
]
sentences.show(sentences.markdown(pd.DataFrame(table)))
worse = [name for name, one in there.items() if one["most_less_this"]["low"] > 0]
alike = [name for name in there if name not in (best, *worse)]
told = {"better than": worse, "not told apart from": alike}
told = ", and ".join(f"{how} {' and '.join(names)}" for how, names in told.items() if names)
FOUND.append(f"Of the models in this table that of {best} gains most ability: it is {told}.")
if recommended:
    lambda_ = advice["setting"].get("strength")
    how = f"alpha = {advice['alpha']:g}" if lambda_ is None else f"lambda = {lambda_:g}"
    FOUND.append(f"Recommended of all that was tried: {NAMES[advice['method']]}, {how}.")
else:
    FOUND.append("Of all that was tried no average is recommended.")
sentences.show("\n".join(FOUND[-2:]))

# %% [markdown]
# ## 6. Write that one: `average`
#
# The command stands on the front's page and at the end of what `front` prints. Ratios that `adapt` has found by itself are written by
# `average --alphas-file ratios.json`.

# %%
if recommended:
    run(recommended.replace("--out averaged", "--out chosen"))
    display(HTML(f"<p>Files written: {', '.join(sorted(path.name for path in Path('chosen').iterdir()))}</p>"))

# %% [markdown]
# Which one to use is decided by the numbers of step 5, on *your* models and *your* items. Where they do not tell two methods
# apart, take the simpler one.

# %% [markdown]
# ## In short

# %%
sentences.show("**What was found**, on these tiny models:\n\n" + "\n".join(f"* {sentence}" for sentence in FOUND))
