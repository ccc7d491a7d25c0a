"""What lies in an averaged folder beside the model: README.md (the model card) and averaging.json, the whole report.

The card is written here and not by huggingface_hub's ModelCard, which the light install has not, and which would need
the same text.
"""

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path

from ... import version
from ...models.cache import hub_id, model_name, shown_name
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


@dataclass(frozen=True)
class Origin:
    """How a model was made: the command, with absolute paths by their names alone, and the recipe that it read."""

    command: str = ""
    recipe: str = ""


def write_card(folder: Path, report: Report, sources: dict[str, ModelFolder], origin: Origin) -> None:
    """Write README.md and averaging.json into `folder`. Sources, "theta_0", "theta" .., are named as `models.cache.shown_name` has it."""
    names = {key: shown_name(source.path) for key, source in sources.items()}
    content = asdict(report)
    content["tensors"] = {
        name: {"group": label, "ratio": ratio, "shape": list(shape)}
        for name, (label, ratio, shape) in report.tensors.items()
    }
    made = {"version": version(), "command": origin.command}
    (folder / "averaging.json").write_text(json.dumps({"sources": names} | made | content, indent=1) + "\n", "utf-8")
    card = _card(report, names, folder, sources, origin)
    (folder / "README.md").write_text(card, "utf-8", "backslashreplace")


def _card(report: Report, names: dict[str, str], folder: Path, sources: dict[str, ModelFolder], origin: Origin) -> str:
    theta_0, theta = sources["theta_0"], sources["theta"]
    covered = [f"| {label} | {ratio:g} | {count} | {values:,} |" for label, ratio, count, values in report.coverage()]
    hashes = [f"| {key} | {file} | `{h}` |" for key, files in report.hashes.items() for file, h in files.items()]
    is_adapter = report.kind == "adapter"
    options = "".join(f", {key} {value}" for key, value in report.options.items())
    third = f" Tensors of {names['theta_pre']} (theta_pre) are used too." if "theta_pre" in names else ""
    lora = f"This is a LoRA adapter on {names['theta_0']}, its B multiplied by alpha.\n" if is_adapter else ""
    licences = {key: _licence(source.path) for key, source in sources.items()}
    alone = {key: model_name(source.path) for key, source in sources.items()}
    return f"""\
---
{_front_matter(alone, licences, is_adapter)}---
# {folder.name}

The weighted average of two models: {names["theta_0"]} (theta_0, before RLHF) and {_theta(report, names)}
(theta, after RLHF), merged by the method {report.method}{options}: each weight is
{report.formula},
in {report.dtype or "theta's type"} and within one unit in its last place of the exact value; alpha is theta's share. The licences
of all sources apply ({", ".join(f"{key}: {' '.join(found.values()) or 'not stated'}" for key, found in licences.items())}).{third}
{lora}
| group | alpha | tensors | values |
|---|---|---|---|
{_lines(covered)}

{report.rounded}. The ratio of every single tensor is in averaging.json.
{_lines(f"* {note}" for note in report.notes)}

```python
{_loading(report, names, folder, theta_0, theta)}
```

Made by alignment-tax {version()}{":" if origin.command else "."}
{_fenced(origin.command)}{_fenced(origin.recipe, "yaml")}
| files of | name | SHA-256 |
|---|---|---|
{_lines(hashes)}

## Citation
Averaging against the alignment tax, and its ratios per part of the network, come from:
```bibtex
{CITATION}
```
"""


def _theta(report: Report, names: dict[str, str]) -> str:
    """theta's name, or of what models it is the mean."""
    soup = report.details.get("soup")
    if not isinstance(soup, dict):
        return names["theta"]
    return f"the mean of {' and '.join(f'{names[key]} (share {share:.4g})' for key, share in soup.items())}"


def _front_matter(names: dict[str, str], licences: dict[str, dict[str, str]], is_adapter: bool) -> str:
    """What the hub reads of the card (its "model card metadata"). Two licences that are "other" are the same by their name only."""
    first, *others = licences.values()
    same = {"license": "other", "license_name": f"licences-of-{'both' if len(licences) == 2 else 'all'}-sources"}
    if all(other == first for other in others) and first != {"license": "other"}:
        same = first
    lines = {
        "library_name": "peft" if is_adapter else "transformers",
        "base_model": list(dict.fromkeys(names.values())),
        "base_model_relation": "merge",
        "tags": ["merge", "model-averaging", "alignment-tax"],
        **same,
    }
    return "".join(f"{key}: {json.dumps(value)}\n" for key, value in lines.items())  # JSON is YAML


def _loading(report: Report, names: dict[str, str], folder: Path, theta_0: ModelFolder, theta: ModelFolder) -> str:
    """The lines of Python that load the model."""
    kinds = f"{theta.config.get('task_type')} {(theta_0 if theta.is_adapter else theta).config.get('architectures')}"
    kind = "SequenceClassification" if "SEQ_CLS" in kinds or "SequenceClass" in kinds else "CausalLM"
    if report.kind != "adapter":
        return f'model = AutoModelFor{kind}.from_pretrained("{folder.name}")'
    labels = ", num_labels=1" if "SEQ_CLS" in kinds else ""
    found = hub_id(theta_0.path)
    name, _, revision = found.partition("@") if found else (names["theta_0"], "", "")
    of = f', revision="{revision}"' if revision else ""
    base = f'base = AutoModelFor{kind}.from_pretrained("{name}"{of}{labels})'
    return f'{base}\nmodel = PeftModel.from_pretrained(base, "{folder.name}")'


def _licence(folder: Path) -> dict[str, str]:
    """What a model's own card states as "license", and as "license_name" of one that the hub does not list; {} where it states none."""
    card = folder / "README.md"
    text = card.read_text("utf-8", "replace") if card.is_file() else ""
    head = text.removeprefix("\ufeff").split("---\n", 2)
    if len(head) < 3 or head[0].strip():
        return {}
    found = re.findall(r"^(license|license_name):[ \t]*[\"']?([\w.+-][\w.+ -]*)", head[1], re.MULTILINE)
    return {key: value.strip() for key, value in sorted(found)}


def _fenced(text: str, kind: str = "") -> str:
    return f"```{kind}\n{text.rstrip()}\n```\n" if text else ""


_lines = "\n".join
