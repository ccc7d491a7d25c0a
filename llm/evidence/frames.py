"""The rows of one preset as frames that paths of models are chosen from (`llm.evidence.paths`, `llm.evidence.families`).

`mean_ability` is a metric made here: the mean of the abilities that have a best value, each in units of it. A log-likelihood has none and is left out.
"""

from collections.abc import Mapping
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

from ..errors import UserError
from .rows import read_rows, setting_key

REWARDS = ("reward", "gold_reward")
ABILITIES = ("qa", "reading_f1", "bleu")  # the paper's, and the microcosm's
KNOWN = (*ABILITIES, "log_likelihood")
TOP = {"qa": 1.0, "reading_f1": 1.0, "bleu": 100.0}  # the best value
GROUPING = {"parts", "level", "embeddings", "norm", "head"}
SETTINGS = {
    "theta_0": set(),
    "chance": set(),
    "theta": {"lr"},
    "early-stopping": {"lr", "iteration"},
    "ma": {"lr", "alpha"},
    "part": {"lr", "alpha", "part"},
    "ama": {"lr", "alpha", "alphas", *GROUPING},
}
STEPS = ("iteration", "alpha", "strength", "rank", "lora_alpha")  # what tells the models of one family apart
COLUMNS = ("lr", *STEPS, "part", "parts", "level", "embeddings", "norm", "head", "targets", "interval", "offsets")


def read_preset(results: Path) -> pd.DataFrame:
    """All rows of a folder (`llm.evidence.rows`), which must be of one preset."""
    rows = read_rows(results)
    if rows["preset"].nunique() > 1:
        raise UserError(f"results: {results} holds rows of {', '.join(sorted(set(rows['preset'])))}; give one.")
    if "theta_0" not in set(rows["method"]):
        raise UserError(f"results: {results} has no rows of method theta_0; run the sweep `core` first.")
    return rows


def rewards(rows: pd.DataFrame) -> tuple[str, ...]:
    """The rewards that were measured of theta_0: a public reward model has no gold reward beside it."""
    measured = set(rows.loc[rows["method"] == "theta_0", "metric"])
    return tuple(reward for reward in REWARDS if reward in measured)


def abilities(rows: pd.DataFrame) -> tuple[str, ...]:
    """The abilities that were measured of theta_0, in the order of `KNOWN`."""
    measured = set(rows.loc[rows["method"] == "theta_0", "metric"])
    return tuple(ability for ability in KNOWN if ability in measured)


def after(rows: pd.DataFrame, rlhf: str, settings: Mapping[str, set[str]] = SETTINGS) -> pd.DataFrame:
    """The rows of one algorithm, theta_0's and chance's, with a column for each entry of the settings.

    `settings`: the methods that are taken, each with the entries that its settings may have; other experiments
    in the same folder are left out. Columns added: `COLUMNS` (None or NaN where a setting has none). Rows added:
    `mean_ability`. Raises UserError for a setting measured on some seeds or metrics of its family only.
    """
    known = np.array(
        [
            method in settings and set(setting) <= settings[method]
            for method, setting in zip(rows["method"], rows["setting"], strict=True)
        ]
    )
    rows = rows[known & rows["rlhf"].isin(["none", rlhf]) & (rows["split"] == "test")].reset_index(drop=True)
    for name in COLUMNS:
        rows[name] = [_entries(setting).get(name) for setting in rows["setting"]]
    rows["lr"] = rows["lr"].astype(float)
    _check_complete(rows)
    return pd.concat([rows, _mean_abilities(rows)], ignore_index=True)


def _entries(setting: Mapping) -> Mapping:
    """A setting; of a pattern, which has ratios only, also the first part's as `alpha` and what the others add to it."""
    if "alphas" not in setting or "alpha" in setting:
        return setting
    ratios = [ratio for _, ratio in sorted(setting["alphas"].items())]
    return {**setting, "alpha": ratios[0], "offsets": " ".join(f"{ratio - ratios[0]:g}" for ratio in ratios)}


def _check_complete(rows: pd.DataFrame) -> None:
    """Every setting of a family is there for each of the family's seeds and each reward and ability that the preset has
    (AMA's ratios may differ).
    """
    metrics = set(rows["metric"]) & {*REWARDS, *KNOWN}
    families = ["method", "lr", *(name for name in COLUMNS if name not in ("lr", *STEPS))]
    for family, models in rows[rows["method"] != "chance"].groupby(families, dropna=False):
        wanted = set(product(set(models["seed"]), metrics))
        for steps, group in models.groupby(list(STEPS), dropna=False):
            missing = sorted(wanted - set(zip(group["seed"], group["metric"], strict=True)))
            if missing:
                given = zip((*families[1:], *STEPS), (*family[1:], *steps), strict=True)
                setting = {name: value for name, value in given if pd.notna(value)}
                raise UserError(
                    f"results: no row for method = {family[0]}, setting = {setting_key(setting)}, "
                    f"seed = {missing[0][0]}, metric = {missing[0][1]}; every seed needs the same rows."
                )


def _mean_abilities(rows: pd.DataFrame) -> pd.DataFrame:
    abilities = rows[rows["metric"].isin(TOP)]
    top = abilities["metric"].map(TOP)
    scaled = abilities.assign(value=abilities["value"] / top, squared=(abilities["stderr"] / top) ** 2)
    groups = scaled.groupby(["method", "setting_key", "seed"], sort=False)
    first = groups.first().reset_index()
    mean, error = groups["value"].mean(), np.sqrt(groups["squared"].sum(min_count=1)) / groups.size()
    return first.assign(metric="mean_ability", value=mean.to_numpy(), stderr=error.to_numpy(), items=None).drop(
        columns="squared"
    )[rows.columns]
