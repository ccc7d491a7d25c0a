"""The rows of one preset as frames that paths of models are chosen from (`llm.evidence.paths`).

A frame has a column for each entry of the rows' settings and a column `family`: what one entry of a sweep measures, its method
and, where a method is measured in several ways, the way ("ma", "part-input", "ama-own-embeddings", "lora-mlp-attention"; see
`llm.methods`). `mean_ability` is a metric made here: the mean of the abilities that have a best value, each in units of it. A
log-likelihood has none and is left out.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

from ..data.benchmarks import BENCHMARKS
from ..errors import UserError
from ..grouping import sorted_labels
from ..methods import METHODS, family, known, names
from .metrics import ABILITIES, BOUNDED, MEAN_ABILITY, METRICS, REWARDS, SCORES
from .rows import read_rows, setting_key

OF_EVERY_MODEL = ("forward_kl", "reverse_kl", "distinct_n", "self_bleu")
LARGEST = 1e100  # sums and squares of what is larger may be infinite


def read_preset(results: Path) -> pd.DataFrame:
    """All rows of a folder (`llm.evidence.rows`), which must be of one preset, and of methods and settings that are known."""
    rows = read_rows(results)
    if rows["preset"].nunique() > 1:
        raise UserError(f"results: {results} holds rows of {', '.join(sorted(set(rows['preset'])))}; give one.")
    if "theta_0" not in set(rows["method"]):
        raise UserError(f"results: {results} has no rows of method theta_0; run the sweep `core` first.")
    check_known(rows)
    for key in ("value", "stderr"):
        if (largest := rows[key].abs().max()) > LARGEST:
            raise UserError(f"results: {results} has {key} = {largest:g}; allowed are numbers up to {LARGEST:g}.")
    return rows


def check_known(rows: pd.DataFrame) -> None:
    """UserError that names a metric, a method, or one key or value of a setting, that no table knows (`METRICS`, `BENCHMARKS`,
    `METHODS`). A metric may have further numbers of its task behind a slash, such as the `qa/brier` of `front`.
    """
    names = known_metrics()
    for metric in sorted(one for one in set(rows["metric"]) if one.partition("/")[0] not in names):
        raise UserError(
            f"results: metric = {metric} is an unknown name; allowed are {', '.join(sorted(names))}, and one of these with /NAME."
        )
    for _, row in rows.drop_duplicates(["method", "setting_key"]).sort_values(["method", "setting_key"]).iterrows():
        method = known(row["method"], "results: method")
        for key, value in sorted(row["setting"].items()):
            if key not in method.setting:
                raise UserError(
                    f"results: method = {method.name} has a setting {key}, which is unknown; "
                    f"allowed are {', '.join(sorted(method.setting)) or 'none'}."
                )
            option, values = method.option(key), list(value.values()) if isinstance(value, dict) else [value]
            if not all(map(option.holds, values)) or (key == "alphas") != isinstance(value, dict):
                of = " of the groups" if key == "alphas" else ""
                raise UserError(
                    f"results: method = {method.name} has a setting {key} = {value!r:.80}; allowed are {option.allowed}{of}."
                )


def known_metrics() -> set[str]:
    """What a row's metric may be: one of `METRICS`, or a number of a task of lm-eval."""
    further = (name for benchmark in BENCHMARKS.values() for name in benchmark.further.values())
    return {*METRICS, *BENCHMARKS, *further}


def first_of(algorithms: Collection[str]) -> str:
    """The algorithm that is told of where it is one: RSF if it was measured, else the first that was."""
    return next((rlhf for rlhf in names("alignment") if rlhf in algorithms), "rsf")


def rewards(rows: pd.DataFrame) -> tuple[str, ...]:
    """The rewards that were measured: a public reward model has no gold reward beside it."""
    return _measured(rows, REWARDS)


def abilities(rows: pd.DataFrame) -> tuple[str, ...]:
    """The abilities that were measured, in the order of `METRICS`."""
    return _measured(rows, ABILITIES)


def _measured(rows: pd.DataFrame, metrics: Sequence[str]) -> tuple[str, ...]:
    there = set(rows["metric"].unique())
    return tuple(metric for metric in metrics if metric in there)


def after(rows: pd.DataFrame, rlhf: str, methods: Iterable[str] = ()) -> pd.DataFrame:
    """The rows of one algorithm, theta_0's and chance's, with columns for the entries of the settings and for the family.

    `methods`: those that are taken; all where none is given. Rows added: `mean_ability`. In a model of three layers a ratio
    for each layer is AMA with three parts, measured twice: the first rows count. Raises UserError for a setting measured on
    some seeds or metrics of its family only.
    """
    chosen = rows["method"].isin(list(methods)) if methods else rows["method"] != "reward_model"
    rows = rows[chosen & rows["rlhf"].isin(["none", rlhf]) & (rows["split"] == "test")].reset_index(drop=True)
    rows = pd.concat([rows, _of_settings(rows)], axis=1)
    _check_complete(rows)
    rows = pd.concat([rows, _mean_abilities(rows)], ignore_index=True)
    again = rows["family"].eq("ama") & rows.duplicated(["family", "lr", "alpha", "seed", "metric"])
    return rows[~again]


def _of_settings(rows: pd.DataFrame) -> pd.DataFrame:
    """Columns for the entries of the settings and for the family, found once for each setting of a method."""
    by = ["method", "setting_key"]
    models = rows.drop_duplicates(by)
    entries = [_entries(setting) for setting in models["setting"]]
    made = pd.DataFrame({name: [entry.get(name) for entry in entries] for name in columns()})
    made["lr"] = made["lr"].astype(float)
    made["family"] = [
        _family(method, setting) for method, setting in zip(models["method"], models["setting"], strict=True)
    ]
    return made.take(rows.groupby(by, sort=False).ngroup().to_numpy()).set_axis(rows.index)


def columns() -> list[str]:
    """The entries of settings that have a column: all but "alphas"; and "offsets", what is added to a pattern's first ratio."""
    keys = {key: None for method in METHODS.values() for key in sorted(method.setting)}
    return [*(key for key in keys if key != "alphas"), "offsets"]


def steps() -> list[str]:
    """The columns that tell the models of one family apart."""
    return list(dict.fromkeys(key for method in METHODS.values() if method.order for key in method.order.by))


def _entries(setting: Mapping) -> Mapping:
    """A setting; of a pattern, which has ratios only, also the first part's as `alpha` and what the others add to it."""
    if "alphas" not in setting or "alpha" in setting:
        return setting
    ratios = [setting["alphas"][label] for label in sorted_labels(setting["alphas"])]
    return {**setting, "alpha": ratios[0], "offsets": " ".join(f"{ratio - ratios[0]:g}" for ratio in ratios)}


def _family(method: str, setting: Mapping) -> str:
    try:
        return family(method, setting)
    except KeyError as error:
        raise UserError(
            f"results: method = {method}, setting = {setting_key(setting)} has no {error}; it must have one."
        ) from None


def _check_complete(rows: pd.DataFrame) -> None:
    """Every setting of a family is there for each of the family's seeds and each reward and ability that the preset has
    (AMA's ratios may differ; a run of alignment may stop an iteration earlier on one seed than on another), and for what else was
    measured of theta_0 of that seed: older seeds have less.
    """
    metrics = {*rewards(rows), *abilities(rows)}
    of_start = rows[(rows["method"] == "theta_0") & rows["metric"].isin([*SCORES, *OF_EVERY_MODEL])]
    further = set(zip(of_start["seed"], of_start["metric"], strict=True))
    models = rows[rows["method"] != "chance"]
    # what is a step of one method may tell families of another apart (`keep`), as their names do
    families = ["family", "method", *(name for name in columns() if name not in steps())]
    places: dict[int, dict[int, list[int]]] = {}  # family -> setting -> its rows: frames of each would take seconds
    numbers = (models.groupby(by, dropna=False).ngroup().tolist() for by in (families, steps()))
    for place, (number, step) in enumerate(zip(*numbers, strict=True)):
        places.setdefault(number, {}).setdefault(step, []).append(place)
    method, seed, metric, iteration = (models[name].tolist() for name in ("method", "seed", "metric", "iteration"))
    for _, by_step in sorted(places.items()):
        every = [place for group in by_step.values() for place in group]
        seeds = {seed[place] for place in every}
        wanted = set(product(seeds, metrics)) | {one for one in further if one[0] in seeds}
        last: dict[int, float] = {}
        if method[every[0]] == "early-stopping":
            for place in every:
                last[seed[place]] = max(last.get(seed[place], 0), iteration[place])
        for _, group in sorted(by_step.items()):
            ended = {one for one, end in last.items() if end < iteration[group[0]]}
            measured = {(seed[place], metric[place]) for place in group}
            if missing := sorted({one for one in wanted if one[0] not in ended} - measured):
                given = models.iloc[group[0]][[*families[2:], *steps()]]
                setting = {str(name): value for name, value in given.items() if pd.notna(value)}
                raise UserError(
                    f"results: no row for method = {method[group[0]]}, setting = {setting_key(setting)}, "
                    f"seed = {missing[0][0]}, metric = {missing[0][1]}; every seed needs the same rows."
                )


def _mean_abilities(rows: pd.DataFrame) -> pd.DataFrame:
    of_range = rows[rows["metric"].isin(BOUNDED)]
    if of_range.empty:
        raise UserError(f"results: there are no rows of an ability; some of {', '.join(BOUNDED)} must be measured.")
    best = of_range["metric"].map({ability: METRICS[ability].best for ability in BOUNDED})
    scaled = of_range.assign(value=of_range["value"] / best, squared=(of_range["stderr"] / best) ** 2)
    groups = scaled.groupby(["method", "setting_key", "seed"], sort=False)
    first = groups.first().reset_index()
    mean, error = groups["value"].mean(), np.sqrt(groups["squared"].sum(min_count=1)) / groups.size()
    made = first.assign(metric=MEAN_ABILITY, value=mean.to_numpy(), stderr=error.to_numpy(), items=None)
    return made[rows.columns]
