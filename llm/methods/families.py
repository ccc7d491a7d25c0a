"""How rows of one method are told apart: the name of a row's family by its setting, and looks of families that differ by a number."""

from collections.abc import Callable, Mapping
from typing import Any

from ..grouping import sorted_labels
from .method import Look, Option

REGRESSION = {  # what an entry may vary of regression averaging beside its strength (`llm.averaging.whole.regmean`)
    "samples": Option(least=1, whole=True, needed=False),
    "kind": Option(words=("free", "chat"), numbers=False, needed=False),
    "inputs": Option(words=("own", "merged", "differences"), numbers=False, needed=False),
    "positions": Option(words=("all", "reply"), numbers=False, needed=False),
    "ridge": Option(least=0, above=True, needed=False),
    "shrinkage": Option(least=0, most=1, needed=False),
    "rows": Option(words=("counts", "ratio"), numbers=False, needed=False),
    "layers": Option(words=("equal", "increasing"), numbers=False, needed=False),
}


def by_entry(key: str, prefix: str = "", suffix: str = "") -> Callable[[Mapping[str, Any]], str]:
    """Families that are told apart by one entry of the setting."""
    prefix = prefix or {"targets": "lora", "chosen_by": "oracle"}.get(key, key)
    return lambda setting: f"{prefix}-{str(setting[key]).replace('+', '-')}{suffix}"


def by_projection(name: str) -> Callable[[Mapping[str, Any]], str]:
    """Families of projections by the layers and the general text that they are made of, where these are not the usual ones."""

    def family(setting: Mapping[str, Any]) -> str:
        others = ["attention"] * (setting.get("targets") == "mlp+attention")
        return "-".join([name, *others, *(["documents"] * (setting["reference"] == "documents"))])

    return family


def part_family(setting: Mapping[str, Any]) -> str:
    """One part alone, and whether the embeddings have its ratio: "part-input", "part-input-embeddings-first"."""
    others = ["embeddings", setting["embeddings"]] if "embeddings" in setting else []
    return "-".join(["part", setting["part"], *others])


def ama_family(setting: Mapping[str, Any]) -> str:
    """AMA by what differs from the paper's: "ama-own-embeddings", "ama-6", "ama-samples-50-regulariser-0.001"."""
    own = [place for place in ("embeddings", "norm", "head") if setting[place] == "own"]
    parts = [] if setting["parts"] == 3 else [str(setting["parts"])]
    varied = [f"{key}-{setting[key]:g}" for key in ("samples", "regulariser") if key in setting]
    return "-".join(["ama", *parts, *(["own", *own] if own else []), *varied])


def by_what_is_given(name: str, *keys: str) -> Callable[[Mapping[str, Any]], str]:
    """Families that are told apart by numbers that older rows lack: "ama-published", "ama-published-eps-0.2"."""
    return lambda setting: "-".join([name, *(f"{key}-{setting[key]:g}" for key in keys if key in setting)])


def regmean_family(setting: Mapping[str, Any]) -> str:
    """Regression averaging by what differs from its defaults: "regmean", "regmean-samples-50", "regmean-inputs-merged"."""
    given = {key: setting[key] for key in REGRESSION if key in setting}
    varied = [
        f"{key}-{value:g}" if isinstance(value, int | float) else f"{key}-{value}" for key, value in given.items()
    ]
    return "-".join(["regmean", *varied])


def pattern_family(setting: Mapping[str, Any]) -> str:
    """Unequal ratios by what differs from the first one, the last alone or all the rest, and whether it is less or more."""
    first, *others, last = [setting["alphas"][label] for label in sorted_labels(setting["alphas"])]
    if first == last or not (set(others) <= {first} or set(others) <= {last}):
        return "pattern"
    return f"pattern-{'output' if set(others) <= {first} else 'rest'}-{'less' if last < first else 'more'}"


def by_number(name: str, key: str, *others: str) -> Callable[[Mapping[str, Any]], str]:
    """Families that are told apart by a number of the setting, and by others where they are varied: "trim-0.3"."""

    def named(setting: Mapping[str, Any]) -> str:
        value = setting[key]
        first = value if isinstance(value, str) else f"{value:g}"
        return by_what_is_given(f"{name}-{first}", *others)(setting)

    return named


def shades(
    name: str, label: str, unit: str, colours: Mapping[Any, str], line: str = "-", other: str = "", short: str = ""
) -> dict[str, Look]:
    """Looks of the families of `by_number`: value -> colour; with `other`, (value, that option's) -> colour. short: for `label` in legends."""
    found = {}
    for value, colour in colours.items():
        numbers = list(value) if other else [value]
        told = ", ".join(f"{one} {number}" for one, number in zip(unit.split(", "), numbers, strict=True))
        key = f"-{other}-".join(map(str, numbers))
        words = [f"{text}, {told}" if unit else f"{text} {value}" for text in (label, short) if text]
        found[f"{name}-{key}"] = Look(words[0], colour, line, *words[1:])
    return found
