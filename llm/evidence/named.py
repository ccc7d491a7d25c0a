"""Families of models by name, for those who put many of them side by side.

A family is what one entry of a sweep measures: its method and, where a method is measured in several ways, the way:
"ma", "part-input", "ama" (three parts, the embeddings with the first), "ama-own-embeddings", "ama-6", "ama-samples-50-regulariser-0.001",
"lora-mlp-attention", "oracle-gold_reward".
"""

from collections.abc import Mapping

import pandas as pd
from pydantic import JsonValue

from ..errors import UserError
from .families import FAMILIES, TRAINED, strengths
from .frames import SETTINGS, after
from .paths import path

NAMED = {**FAMILIES, "ama": SETTINGS["ama"] | {"samples", "regulariser"}, "oracle": SETTINGS["ama"] | {"chosen_by"}}
NO_PATH = ("distilled", "pattern", "theta_0", "theta", "chance")


def family(method: str, setting: Mapping[str, JsonValue]) -> str:
    """The name of a row's family."""
    if method == "part":
        return f"part-{setting['part']}"
    if method == "oracle":
        return f"oracle-{setting['chosen_by']}"
    if method == "lora":
        return f"lora-{setting['targets'].replace('+', '-')}"
    if method == "ama":
        own = [place for place in ("embeddings", "norm", "head") if setting[place] == "own"]
        parts = [] if setting["parts"] == 3 else [str(setting["parts"])]
        varied = [f"{key}-{setting[key]:g}" for key in ("samples", "regulariser") if key in setting]
        return "-".join(["ama", *parts, *(["own", *own] if own else []), *varied])
    return method


def with_families(rows: pd.DataFrame, rlhf: str) -> pd.DataFrame:
    """The rows of one algorithm, of all methods (`llm.evidence.frames.after`), with a column `family`, and `samples` and
    `regulariser` of AMA where a sweep varies them.

    In a model of three layers a ratio for each layer is AMA with three parts, measured twice: the first rows count.
    """
    chosen = after(rows, rlhf, NAMED)
    varied = {key: [setting.get(key) for setting in chosen["setting"]] for key in ("samples", "regulariser")}
    names = [family(*row) for row in zip(chosen["method"], chosen["setting"], strict=True)]
    chosen = chosen.assign(**varied, family=names)
    again = chosen["family"].eq("ama") & chosen.duplicated(["family", "lr", "alpha", "seed", "metric"])
    return chosen[~again]


def of_family(rows: pd.DataFrame, name: str) -> pd.DataFrame:
    """The path of a family at the preset's own learning rate, or the bare rows of one without a path (`NO_PATH`).

    `rows` from `with_families`. Raises UserError where there are none.
    """
    chosen = rows[(rows["family"] == name) & rows["lr"].isna()]
    if chosen.empty:
        raise UserError(f"results: no rows of {name} at the preset's own learning rate.")
    method = chosen["method"].iloc[0]
    if method in NO_PATH:
        return chosen
    return (strengths if method in TRAINED else path)(rows, method, family=name)
