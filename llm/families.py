"""Families of models in result rows: everything that one entry of a sweep measures goes by one name.

A family is a method and, where a method is measured in several ways, the way: "ma", "part-input", "ama" (three parts, the
embeddings with the first), "ama-own-embeddings", "ama-6", "lora-mlp-attention", "oracle-gold_reward".
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from pydantic import JsonValue

from llm.errors import UserError
from llm.results import setting_key

GROUPING = ("parts", "level", "embeddings", "norm", "head")
STRENGTH = {"lr", "strength"}
RATIOS = {"lr", "alpha", "alphas", *GROUPING}
SETTINGS = {  # what may identify a model of each method; rows of other settings are other experiments
    "theta_0": set(),
    "chance": set(),
    "theta": {"lr"},
    "early-stopping": {"lr", "iteration"},
    "ma": {"lr", "alpha"},
    "part": {"lr", "alpha", "part"},
    "ama": RATIOS,
    "adamerging": RATIOS,
    "oracle": RATIOS | {"chosen_by"},
    "pattern": RATIOS - {"alpha"},
    "distilled": {"lr"},
    "l1": STRENGTH,
    "l2": STRENGTH,
    "kd": STRENGTH,
    "er": STRENGTH,
    "kl": STRENGTH,
    "sma": STRENGTH | {"interval"},
    "lora": {"lr", "rank", "targets", "lora_alpha"},
}
COLUMNS = (
    "lr", "iteration", "alpha", "part", "chosen_by", "strength", "interval", "rank", "targets", "lora_alpha", *GROUPING,
    "pattern",
)  # fmt: skip
CORE = ("theta", "early-stopping", "ma", "part-", "ama", "ama-own-embeddings")  # measured together, of each algorithm


def family(method: str, setting: Mapping[str, JsonValue]) -> str:
    """The name of a row's family."""
    if method == "part":
        return f"part-{setting['part']}"
    if method == "oracle":
        return f"oracle-{setting['chosen_by']}"
    if method == "lora":
        return f"lora-{setting['targets'].replace('+', '-')}"
    if method == "ama":
        parts = "" if setting["parts"] == 3 else f"-{setting['parts']}"
        return f"ama{parts}" + ("" if setting["embeddings"] == "first" else f"-{setting['embeddings']}-embeddings")
    return method


def known(method: str, setting: Mapping[str, JsonValue]) -> bool:
    """Whether a row belongs to a family at all."""
    return method in SETTINGS and set(setting) <= SETTINGS[method]


def with_columns(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with `family` and a column for each of `COLUMNS`, None or NaN where a setting has none.

    `pattern` is the list of a pattern's ratios as text, for example "0.2 0.2 0.1".
    """
    columns = {name: [setting.get(name) for setting in rows["setting"]] for name in COLUMNS}
    columns["lr"] = np.array(columns["lr"], dtype=float)
    both = list(zip(rows["method"], rows["setting"], strict=True))
    columns["pattern"] = [
        " ".join(f"{ratio:g}" for ratio in setting["alphas"].values()) if method == "pattern" else None
        for method, setting in both
    ]
    return rows.assign(**columns, family=[family(*one) for one in both])


def check_complete(rows: pd.DataFrame, metrics: tuple[str, ...]) -> None:
    """Every setting is there for each seed of its sweep and each metric (AMA's ratios may differ); else UserError.

    The families of `CORE` are one sweep at a learning rate; every other family is taken alone. theta_0 is needed for
    every seed.
    """
    models = rows[rows["method"] != "chance"]
    at_other_rate = models["lr"].notna()
    for _, sweep in models.groupby([models["family"].map(_sweep), at_other_rate]):
        start = (sweep["method"] == "theta_0").all()
        wanted = {(seed, metric) for seed in set((rows if start else sweep)["seed"]) for metric in metrics}
        for key, group in sweep.groupby(["method", *COLUMNS], dropna=False):
            missing = sorted(wanted - set(zip(group["seed"], group["metric"], strict=True)))
            if missing:
                setting = {name: value for name, value in zip(COLUMNS, key[1:], strict=True) if pd.notna(value)}
                raise UserError(
                    f"results: no row for method = {key[0]}, setting = {setting_key(setting)}, "
                    f"seed = {missing[0][0]}, metric = {missing[0][1]}; every seed needs the same rows."
                )


def _sweep(family: str) -> str:
    return "core" if family in CORE or family.startswith("part-") else family
