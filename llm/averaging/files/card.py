"""What lies in an averaged folder beside the model: README.md (the model card) and averaging.json, the whole report.

The card is written here and not by huggingface_hub's ModelCard, which the light install has not, and which would need
the same text.
"""

import json
from dataclasses import asdict
from pathlib import Path

from ...models.folder import ModelFolder
from .report import Report

CITATION = """@article{lin2024mitigating,
  title   = {Mitigating the Alignment Tax of {RLHF}},
  author  = {Lin, Yong and Lin, Hangyu and Xiong, Wei and Diao, Shizhe and Liu, Jianmeng and Zhang, Jipeng and
             Pan, Rui and Wang, Haoxiang and Hu, Wenbin and Zhang, Hanning and Dong, Hanze and Pi, Renjie and
             Zhao, Han and Jiang, Nan and Ji, Heng and Yao, Yuan and Zhang, Tong},
  journal = {arXiv preprint arXiv:2309.06256},
  year    = {2024}
}"""


def write_card(folder: Path, report: Report, sources: dict[str, ModelFolder]) -> None:
    """Write README.md and averaging.json into `folder`. Sources, "theta_0", "theta" .., are named by their folders' names alone."""
    names = {key: source.path.resolve().name for key, source in sources.items()}
    content = asdict(report)
    content["tensors"] = {
        name: {"group": label, "ratio": ratio, "shape": list(shape)}
        for name, (label, ratio, shape) in report.tensors.items()
    }
    (folder / "averaging.json").write_text(json.dumps({"sources": names} | content, indent=1) + "\n", "utf-8")
    (folder / "README.md").write_text(_card(report, names, folder, sources), "utf-8", "backslashreplace")


def _card(report: Report, names: dict[str, str], folder: Path, sources: dict[str, ModelFolder]) -> str:
    is_adapter, name = report.kind == "adapter", folder.name
    covered = [f"| {label} | {ratio:g} | {count} | {values:,} |" for label, ratio, count, values in report.coverage()]
    hashes = [f"| {key} | {file} | `{h}` |" for key, files in report.hashes.items() for file, h in files.items()]
    task = (
        "SequenceClassification"
        if "SequenceClass" in str(sources["theta_0"].config.get("architectures"))
        else "CausalLM"
    )
    options = "".join(f", {key} {value}" for key, value in report.options.items())
    third = f" Tensors of {names['theta_pre']} (theta_pre) are used too." if "theta_pre" in names else ""
    load = "PeftModel.from_pretrained(base, " if is_adapter else f"AutoModelFor{task}.from_pretrained("
    lora = f"This is a LoRA adapter on {names['theta_0']}, its B multiplied by alpha.\n" if is_adapter else ""
    return f"""\
---
library_name: {"peft" if is_adapter else "transformers"}
tags: [model-averaging, alignment-tax]
---
# {name}

The weighted average of two models: {names["theta_0"]} (theta_0, before RLHF) and {names["theta"]}
(theta, after RLHF), merged by the method {report.method}{options}: each weight is
{report.formula},
in theta's type and within one unit in its last place of the exact value; alpha is theta's share. The licences
of all sources apply.{third}
{lora}
| group | alpha | tensors | values |
|---|---|---|---|
{_lines(covered)}

The ratio of every single tensor is in averaging.json.
{_lines(f"* {note}" for note in report.notes)}

```python
model = {load}"{name}")
```

| files of | name | SHA-256 |
|---|---|---|
{_lines(hashes)}

## Citation
Averaging against the alignment tax, and its ratios per part of the network, come from:
```bibtex
{CITATION}
```
"""


_lines = "\n".join
