"""Rows of models that others measured (`results/community/NAME`): are they whole?"""

from pathlib import Path

import pandas as pd

from ..errors import UserError
from ..methods import METHODS, names
from . import paths
from .frames import abilities, after, read_preset, rewards
from .metrics import ABILITIES, BOUNDED, METRICS, REWARDS


def check(folder: Path) -> str:
    """One sentence about a folder of rows that is whole; UserError, one sentence that names what is wrong, otherwise.

    Whole: rows of one preset, called as the folder, each as `llm.evidence.rows` has it and of a method, setting and metric that is
    known; a reward and an ability, each a number that its metric can have, with its standard error, and of the same items in all models of a
    seed; a README.md, in `community`; for every seed theta_0 and, of each algorithm and learning rate, theta; MA of each algorithm along
    several ratios; every setting measured in the same metrics on every seed of its family; the ends of each path there.
    """
    if not folder.is_dir():
        raise UserError(f"results: {folder} is no folder; it must be one of .jsonl files.")
    rows = read_preset(folder)
    name = rows["preset"].iloc[0]
    if name != folder.resolve().name:
        raise UserError(f"results: {folder} holds rows of preset = {name}; its folder must be called {name}.")
    algorithms = [one for one in names("alignment") if one in set(rows["rlhf"])]
    if not algorithms:
        raise UserError(
            f"results: {folder} has rows of no algorithm; rlhf must be one of {', '.join(names('alignment'))}."
        )
    if not rewards(rows) or not abilities(rows):
        kind = "reward" if not rewards(rows) else "ability"
        raise UserError(
            f"results: {folder} has no rows of {'a reward' if kind == 'reward' else 'an ability'}; both must be there."
        )
    if folder.resolve().parent.name == "community" and not (folder / "README.md").is_file():
        raise UserError(
            f"results: {folder} has no README.md; it must tell models, commands and the version (docs/contribute-results.md)."
        )
    _check_numbers(folder, rows)
    for rlhf in algorithms:
        _check_algorithm(folder, after(rows, rlhf), rlhf)
    seeds = rows["seed"].nunique()
    return f"{name}: {len(rows)} rows, {seeds} seed{'s' * (seeds > 1)}, {', '.join(algorithms)}; nothing is missing."


FEWEST_RATIOS = 2
ROUNDED = 1 + 1e-9  # a mean may be off in its last bit


def _check_numbers(folder: Path, rows: pd.DataFrame) -> None:
    """UserError for a value that its metric cannot have, or for one that some models have by other items than others."""
    for metric, of_metric in rows.groupby("metric"):
        values, best = of_metric["value"], METRICS[str(metric)].best if metric in BOUNDED else None
        if best is not None and not (allowed := values.between(0, best * ROUNDED)).all():
            raise UserError(
                f"results: {folder} has {metric} = {values[~allowed].iloc[0]:g}; allowed are numbers from 0 to {best:g}."
            )
        measured = of_metric[of_metric["method"] != "chance"]
        if metric in (*REWARDS, *ABILITIES) and measured["stderr"].isna().any():
            first = measured[measured["stderr"].isna()].iloc[0]
            raise UserError(
                f"results: {folder} has {metric!s} of method = {first['method']}, seed = {first['seed']} with stderr = null; "
                "rewards and abilities must have their standard error over items."
            )
        for seed, counts in measured.groupby("seed")["n"]:
            if counts.nunique() > 1:
                both = " and ".join(map(str, sorted(counts.unique())[:2]))
                raise UserError(
                    f"results: {folder} has {metric} of seed = {seed} by n = {both} items; all models must have the same items."
                )


def _check_algorithm(folder: Path, rows: pd.DataFrame, rlhf: str) -> None:
    made = rows[~rows["method"].isin(["theta_0", "chance"])]
    ends = {("theta_0", None): set(paths.theta_0(rows)["seed"])}
    for lr in [None, *sorted(made["lr"].dropna().unique())]:
        at_rate = paths.at_rate(made, lr)
        ends["theta", lr] = set(paths.of_method(at_rate, "theta")["seed"])
        for end in ("theta_0", "theta"):
            if lacking := set(at_rate["seed"]) - ends[end, lr if end == "theta" else None]:
                rate = f", lr = {lr:g}" if lr is not None else ""
                raise UserError(
                    f"results: {folder} has rows of rlhf = {rlhf}{rate}, seed = {min(lacking)}, but none of {end}; both ends must be there."
                )
        ratios = paths.of_method(at_rate, "ma")["alpha"].nunique()
        if lr is None and len(at_rate) and ratios < FEWEST_RATIOS:
            raise UserError(
                f"results: {folder} has rows of rlhf = {rlhf}, but {ratios} ratios of method ma; at least {FEWEST_RATIOS} must be "
                "there, since other methods are held against it."
            )
        for method, family in at_rate[["method", "family"]].drop_duplicates().itertuples(index=False):
            if METHODS[method].order:
                paths.path(rows, family, lr)
