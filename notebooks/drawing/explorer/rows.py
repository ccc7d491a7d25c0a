"""The rows of every preset, thinned to what the explorer shows: names, colours, paths of models, values with standard errors.

Paths, families and metrics are those of `llm.evidence`, looks and means over seeds those of the figures (`drawing.style`).
"""

from collections.abc import Mapping
from dataclasses import replace
from math import isnan
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from llm.config import load_preset
from llm.config import names as presets
from llm.errors import UserError
from llm.evidence import paths
from llm.evidence.frames import after, read_preset, rewards
from llm.evidence.metrics import METRICS, Metric
from llm.files import read_made
from llm.methods import METHODS, Look, Method, looks, names

from .. import style
from ..sentences import plain

MEAN = "mean"  # stands for a seed: the mean over all of them
DIGITS, ERROR_DIGITS = 5, 2  # significant ones
DASHES = {"-": [], "--": [6, 3], "-.": [6, 2, 1, 2], ":": [2, 2]}
KINDS = {"model": "alignment itself", "averaging": "averaging", "training": "changed training"}
OTHERS = ", other settings"
UNSHOWN = ("chance", "reward_model")  # a floor; a number on no front
GROUPS = {"ability": "abilities", "score": "scores of their items", "other": "other"}


def everything(results: Path) -> dict[str, Any]:
    """{"metrics", "presets", "replies"}: what the page holds; UserError where a folder's rows are damaged or there are none."""
    folders = sorted({file.parent for file in results.rglob("*.jsonl")})
    if not folders:
        raise UserError(f"results: {results} holds no .jsonl file; give a folder with a folder of rows for each preset")
    found = [_preset(folder) for folder in folders]
    shown = {metric for one in found for algorithm in one["algorithms"] for metric in algorithm["metrics"]}
    return {
        "metrics": {key: _metric(metric) for key, metric in METRICS.items() if key in shown},
        "presets": sorted(found, key=lambda one: one["name"] != "microcosm"),
        "replies": [read_made(file) for file in sorted(results.rglob("replies-seed*.json"))],
    }


def _metric(metric: Metric) -> dict[str, Any]:
    return {"label": metric.label, "group": GROUPS.get(metric.kind, ""), "decimals": metric.decimals}


def _preset(folder: Path) -> dict[str, Any]:
    rows = read_preset(folder)
    name = str(rows["preset"].iloc[0])
    synthetic = name in presets("presets") and load_preset(name).data == "microcosm"
    measured = [rlhf for rlhf in names("alignment") if (rows["rlhf"] == rlhf).any()]
    return {
        "name": name,
        "synthetic": synthetic,
        "algorithms": [_algorithm(rlhf, after(rows, rlhf)) for rlhf in measured],
    }


def _algorithm(rlhf: str, rows: pd.DataFrame) -> dict[str, Any]:
    """What was measured after one algorithm: each family at each learning rate, the best first as the table of methods has them."""
    measured = set(rows["metric"])
    metrics = [*rewards(rows), *(key for key in METRICS if key in measured and METRICS[key].kind != "reward")]
    chance, models = rows[rows["method"] == "chance"], rows[~rows["method"].isin(UNSHOWN)]
    order = {name: place for place, name in enumerate(METHODS)}
    by_family = models.assign(lr=models["lr"].fillna(0.0)).groupby(["method", "family", "lr"], sort=False)
    keys = sorted(by_family.groups, key=lambda key: (order[key[0]], key[1], key[2]))
    return {
        "name": rlhf,
        "label": METHODS[rlhf].looks[rlhf].label,
        "metrics": metrics,
        "rewards": list(rewards(rows)),
        "seeds": paths.seeds(models),
        "chance": _floors(chance, metrics),
        "families": [_family(rows, family, lr or None, metrics) for _, family, lr in keys],
    }


def _floors(chance: pd.DataFrame, metrics: list[str]) -> dict[str, list]:
    """Metric -> [the mean over seeds, each seed's ...] of guessing."""
    found = {}
    for metric in metrics:
        values = chance[chance["metric"] == metric].sort_values("seed")["value"]
        if len(values):
            found[metric] = [rounded(values.mean()), *map(rounded, values)]
    return found


def _family(rows: pd.DataFrame, family: str, lr: float | None, metrics: list[str]) -> dict[str, Any]:
    path = paths.path(rows, family, lr)
    own = path[path["family"] == family]
    method = METHODS[own["method"].iloc[0]]
    look = _look(family, method)
    if "step" not in path:
        path = path.assign(step=0.0)
    single = [_model(models, metrics, method.name, seed) for (_, seed), models in path.groupby(["step", "seed"])]
    means = [_mean(models, metrics, method.name) for _, models in path.groupby("step")]
    return {
        "name": family,
        "label": plain(look.label if family in looks() else look.short),
        "colour": look.colour,
        "dash": DASHES[look.line],
        "kind": KINDS[method.kind] + (OTHERS if family not in looks() else ""),
        "lr": lr,
        "line": method.order is not None,
        "seeds": paths.seeds(path),
        "models": means + single,
    }


def _look(family: str, method: Method) -> Look:
    """As in the figures; a way of a method that no figure draws has the method's first colour and its own name."""
    try:
        return style.look(family)
    except KeyError:
        return replace(next(iter(method.looks.values())), label=f"other {family}s")


def _model(models: pd.DataFrame, metrics: list[str], method: str, seed: int) -> dict[str, Any]:
    """One model of one seed."""
    first = models.iloc[0]
    values = {
        metric: (value, error) for metric, value, error in models[["metric", "value", "stderr"]].itertuples(index=False)
    }
    found = _named(first, method, first["setting"]) | {"seed": int(seed)}
    return found | {"values": [_pair(*values.get(metric, (None, None))) for metric in metrics]}


def _mean(models: pd.DataFrame, metrics: list[str], method: str) -> dict[str, Any]:
    """The mean over seeds of the models at one step; ratios that were found differ from seed to seed, and are left out."""
    first, means = models.iloc[0], style.over_seeds(models, "metric")
    shared = {key: value for key, value in first["setting"].items() if key != "alphas"}
    values = {metric: (row["mean"], row["error"]) for metric, row in means.iterrows()}
    found = _named(first, method, shared) | {"seed": MEAN, "seeds": int(models["seed"].nunique())}
    return found | {"values": [_pair(*values.get(metric, (None, None))) for metric in metrics]}


def _named(model: pd.Series, method: str, setting: Mapping[str, Any]) -> dict[str, Any]:
    """What a model is called: its setting in words, its ratio alpha where its path is one of ratios, and where another method's
    model ends the path, that method's name.
    """
    order = METHODS[method].order
    found: dict[str, Any] = {"step": rounded(model["step"]), "setting": in_words(setting)}
    if order and order.by == ("alpha",):
        found["alpha"] = found["step"]
    if model["method"] != method:
        found["end"] = plain(style.look(model["family"]).label)
    return found


def in_words(setting: Mapping[str, Any]) -> str:
    """ "alpha 0.4, part input"; of ratios a group each "alphas: part1 0.83, part2 1"."""
    told = [f"{key} {_word(value)}" for key, value in setting.items() if key != "alphas"]
    if setting.get("alphas"):
        told.append(
            "alphas: " + ", ".join(f"{group} {ratio:.3g}" for group, ratio in sorted(setting["alphas"].items()))
        )
    return ", ".join(told)


def _word(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _pair(value: float | None, error: float | None) -> list[float | None] | None:
    """[value, standard error], rounded; None where the model has no such number."""
    return None if value is None else [rounded(value), rounded(error, ERROR_DIGITS)]


def rounded(value: float | None, digits: int = DIGITS) -> float | None:
    """To so many significant digits; None for what is not known."""
    if value is None or isnan(value):
        return None
    short = float(f"{value:.{digits}g}")
    return int(short) if short.is_integer() else float(np.format_float_positional(short, trim="-"))
