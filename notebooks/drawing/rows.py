"""Which rows are there. A cell takes the paths that it draws from `find`; where rows are missing, `find` says which sweep
they come from, and the cell draws nothing.
"""

from collections.abc import Iterable, Mapping

import pandas as pd
from matplotlib.figure import Figure

from llm.evidence import paths
from llm.evidence.compare import Contest, contests
from llm.evidence.frames import after, read_preset
from llm.methods import names

from . import fronts, panels, style

MEANS = {
    "win_rate": "share of prompts to which the reply has more gold reward than theta_0's, equal ones counted half",
    "gold_reward": "mean over the prompts; these rows hold no win rates",
}
Paths = dict[str, dict[str, pd.DataFrame]]  # algorithm -> family -> path


def frames() -> dict[str, pd.DataFrame]:
    """The rows of each algorithm (`llm.evidence.frames.after`); of one that was not measured only theta_0 and chance."""
    rows = read_preset(style.results())
    return {rlhf: after(rows, rlhf) for rlhf in names("alignment")}


def find(frames: Mapping[str, pd.DataFrame], needs: Mapping[tuple[str, str], Iterable[str]]) -> Paths | None:
    """The paths of the families that are needed, of those seeds that have them all.

    Args:
        needs: (algorithm, sweep) -> families (`llm.methods.family`).
    Returns:
        algorithm -> family -> path; None, after a sentence that says what is missing, where any of them has no rows or
        no seed has them all.
    """
    needs = {key: list(families) for key, families in needs.items()}
    there = {rlhf: set(rows.loc[rows["lr"].isna(), "family"]) for rlhf, rows in frames.items()}
    lacking = {
        (rlhf, sweep): absent
        for (rlhf, sweep), families in needs.items()
        if (absent := [name for name in families if name not in there[rlhf]])
    }
    if lacking:
        wanted = [f"`{sweep}` ({rlhf.upper()}: {', '.join(absent)})" for (rlhf, sweep), absent in lacking.items()]
        sweeps = " ".join(dict.fromkeys(sweep for _, sweep in lacking))
        print(
            f'Not measured yet, so nothing is drawn here: {panels.several(wanted)}. To measure: make reproduce TARGET="{sweeps}"'
        )
        return None
    found: Paths = {rlhf: {} for rlhf, _ in needs}
    for (rlhf, _), families in needs.items():
        found[rlhf] |= {name: paths.path(frames[rlhf], name) for name in families}
    common = set.intersection(*(set(path["seed"]) for by_name in found.values() for path in by_name.values()))
    if not common:
        sweeps = panels.several(sorted({f"`{sweep}`" for _, sweep in needs}))
        print(f"No seed has the rows of all of {sweeps}, so nothing is drawn here.")
        return None
    return {
        rlhf: {name: paths.of_seeds(path, common) for name, path in by_name.items()} for rlhf, by_name in found.items()
    }


def front(
    frames: Mapping[str, pd.DataFrame], preset: str, needs: Mapping[tuple[str, str], Iterable[str]], columns: int = 4
) -> tuple[dict[str, pd.DataFrame], list[Contest], Figure] | tuple[None, None, None]:
    """The paths of one algorithm's families that are needed, MA among them, their contests with MA, and the figure of their
    fronts against both rewards; three times None, after a sentence, where rows are missing.
    """
    found = find(frames, needs)
    if found is None:
        return None, None, None
    ((rlhf, by_name),) = found.items()
    compared = contests(by_name, frames[rlhf])
    return by_name, compared, fronts.figure(fronts.both_rewards(by_name, frames[rlhf]), compared, preset, columns)


def judge(found: Mapping[str, pd.DataFrame]) -> str:
    """The metric that stands in for a judge's win rate: `win_rate` if all models of the paths have it, else the gold reward."""
    for path in found.values():
        models = {metric: set(zip(rows["seed"], rows["step"], strict=True)) for metric, rows in path.groupby("metric")}
        if models.get("win_rate") != models["gold_reward"]:
            return "gold_reward"
    return "win_rate"
