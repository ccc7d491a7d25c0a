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
# made-up language. The commands themselves train nothing but the ratios of step 4. With your own models only the names of
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
from llm.evidence.curves import Curve, mean_gap
from llm.evidence.rows import read_rows

os.chdir(tempfile.mkdtemp())
FOUND = []  # a sentence for each step


def run(command):
    """What `alignment-tax COMMAND` does in a terminal, here without starting Python anew; of its progress the last line alone."""
    with patch.object(sys, "argv", ["alignment-tax", *command.split()]), redirect_stdout(StringIO()) as printed:
        try:
            main()
        except SystemExit as stop:
            if stop.code:
                raise RuntimeError(f"exit code {stop.code}: {printed.getvalue()}") from None
    lines = printed.getvalue().splitlines()
    progress = [line for line in lines if re.match(r"(step|model) \d+/\d+", line)]
    print("\n".join([f"$ alignment-tax {command}", *(line for line in lines if line not in progress[:-1])]))


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
    f"Ratios found: {', '.join(f'{group} {alpha:.3f}' for group, alpha in found['groups'].items())}; likelihood gained: "
    f"{loss['gain']:.4f} nats a token, {'more' if sure else 'not more'} than two standard errors."
)
sentences.show(FOUND[-1])

# %% [markdown]
# ## 5. Is it any better? `front --method ama`
#
# A higher likelihood of good replies is a proxy, not the aim. Whether ratios of their own help is measured in the same way as
# before, on the same items, with the replies to `train-prompts.jsonl` that `adapt` has stored.

# %%
AMA = "--method ama --data ratios.samples.jsonl --config front-ama.yaml"
search = "adapt: {keep: 300, draw: 200, batch: 150, lr: 0.2, epochs: 10}"
Path("front-ama.yaml").write_text(f"{{tokens: 10, task_tokens: 10, batch: 150, {search}}}")
run(f"front {MODELS} {TASKS} {AMA} --alphas 0.2:0.8:0.1 --out front-ama")

# %%
adapted = read_rows("front-ama/rows.jsonl")
adapted = adapted[~adapted["metric"].str.contains("/")]
both = pd.concat([rows[rows["method"] == "ma"], adapted[adapted["method"] == "ama"]])
both["alpha"] = [setting["alpha"] for setting in both["setting"]]
compared = both[both["alpha"].isin(both.loc[both["method"] == "ama", "alpha"])]
display(compared.pivot(index="alpha", columns=["metric", "method"], values="value").round(3))

# %% [markdown]
# At the same mean ratio the two are different compromises. The fair question is which has
# more ability *at the same reward*. So the two paths, over the same mean ratios, are compared between the rewards that
# both reach.


# %%
def curve(method, ability):
    values = compared[compared["method"] == method].pivot(index="alpha", columns="metric", values="value").sort_index()
    return Curve(values["reward"], values[ability])


gaps = {ability: mean_gap(curve("ama", ability), curve("ma", ability)) for ability in ("colours", "translation")}
told = ", ".join(f"{ability} by {gap:+.3f}" for ability, gap in gaps.items())
FOUND.append(f"At equal reward, ratios of their own change {told}, on average.")
sentences.show(FOUND[-1])

# %% [markdown]
# ## 6. Write that one: `average --alphas-file`

# %%
run(f"average {MODELS} --alphas-file ratios.json --out adapted")
display(HTML(f"<p>Files written: {', '.join(sorted(path.name for path in Path('adapted').iterdir()))}</p>"))

# %% [markdown]
# Which of the two to use is decided by the numbers of step 5, on *your* models and *your* items. Where they do not tell the
# two apart, take the simpler one.

# %% [markdown]
# ## In short

# %%
sentences.show("**What was found**, on these tiny models:\n\n" + "\n".join(f"* {sentence}" for sentence in FOUND))
