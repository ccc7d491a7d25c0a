"""Which rows are there. A cell takes the paths that it draws from `find`; where rows are missing, `find` says which sweep
they come from, and the cell draws nothing.
"""

import math
from collections.abc import Iterable, Mapping
from pathlib import Path

import pandas as pd

from llm.config import AnyPreset, HubPreset, load_preset
from llm.errors import UserError
from llm.evidence import paths
from llm.evidence.claims.book import Book, book_and_frames
from llm.evidence.compare import Contest, contests
from llm.evidence.frames import abilities, after, first_of, read_preset, rewards
from llm.evidence.metrics import METRICS
from llm.methods import names

from . import panels, sentences, style

Paths = dict[str, dict[str, pd.DataFrame]]  # algorithm -> family -> path
MEANS = {
    "gold_reward": "mean over the prompts; these rows hold no win rates",
    "reward": "mean over the prompts; these rows hold no other judge",
}


def frames(name: str | None = None) -> dict[str, pd.DataFrame]:
    """The rows of each algorithm (`llm.evidence.frames.after`); of one that was not measured only theta_0 and chance. Of the
    preset that is drawn, or the committed ones of another by its name.

    Raises NoRows, which says how to make them, where the preset has none.
    """
    rows = read_preset(check(name))
    return {rlhf: after(rows, rlhf) for rlhf in names("alignment")}


def with_book() -> tuple[dict[str, pd.DataFrame], Book]:
    """`frames` of the preset that is drawn, with the taxes of each model, and the ledger's book of the same rows."""
    book, found = book_and_frames(read_preset(check()), names("alignment"))
    return found, book


def check(name: str | None = None) -> Path:
    """The folder of a preset's rows; NoRows where it has none."""
    folder = style.results(name)
    if not any(folder.glob("*.jsonl")):
        told = (
            f"results: preset = {folder.name} has no rows yet. To measure: {style.command(['core'], name=name or '')}"
        )
        raise NoRows(told)
    return folder


class NoRows(UserError):
    """A preset without rows; a notebook shows the sentence alone."""

    def _render_traceback_(self) -> list[str]:
        return [f"error: {self}"]


def first(frames: Mapping[str, pd.DataFrame]) -> str:
    """The algorithm that a notebook about one of them tells of: RSF where it was measured, else the first that was."""
    return first_of({rlhf for rlhf, rows in frames.items() if (rows["rlhf"] == rlhf).any()})


def path(frames: Mapping[str, pd.DataFrame], rlhf: str, family: str) -> pd.DataFrame | None:
    """The path of a family, on all seeds that have it; None, after a sentence, where it has no rows."""
    found = find(frames, {core(rlhf): [family]})
    return found and found[rlhf][family]


def core(rlhf: str) -> tuple[str, str]:
    """The algorithm, and the sweep that measures early stopping and averaging after it."""
    return rlhf, "core" if rlhf == "rsf" else "algorithms"


def learning_rate(preset: AnyPreset, rlhf: str) -> float:
    """The algorithm's own, which rows that name none were made at; NaN of a theta that others have aligned."""
    section = getattr(preset, rlhf.split("-")[0])
    return float(getattr(section, "descent", section).optimiser.lr) if section else math.nan


def about(frames: Mapping[str, pd.DataFrame], one: str = "") -> str:
    """What is drawn from: the preset, its algorithms with their seeds, the `one` that is told of, its rewards and abilities."""
    measured = {rlhf: of_rlhf for rlhf, rows in frames.items() if len(of_rlhf := rows[rows["rlhf"] == rlhf])}
    seeds = [
        f"{style.look(rlhf).label} ({panels.seed_count(len(set(rows['seed'])))})" for rlhf, rows in measured.items()
    ]
    every = next(iter(frames.values()))
    told = [METRICS[metric].label for metric in (*rewards(every), *abilities(every))]
    of = f"; told of here: {style.look(one).label}" if one in measured and len(measured) > 1 else ""
    few = (
        " Of two seeds most intervals are wide, and a few are narrow by luck." if "(2 seeds)" in "".join(seeds) else ""
    )
    return f"**Drawn from preset `{every['preset'].iloc[0]}`**: {panels.several(seeds or ['no algorithm'])}{of}; measured: {', '.join(told)}.{few}"


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
        sentences.show(not_measured(panels.several(wanted), [sweep for _, sweep in lacking], frames))
        return None
    found: Paths = {rlhf: {} for rlhf, _ in needs}
    for (rlhf, _), families in needs.items():
        found[rlhf] |= {name: paths.path(frames[rlhf], name) for name in families}
    common = set.intersection(*(set(path["seed"]) for by_name in found.values() for path in by_name.values()))
    if not common:
        sweeps = panels.several(sorted({f"`{sweep}`" for _, sweep in needs}))
        sentences.show(f"No seed has the rows of all of {sweeps}, so nothing is drawn here.")
        return None
    return {
        rlhf: {name: paths.of_seeds(path, common) for name, path in by_name.items()} for rlhf, by_name in found.items()
    }


def not_measured(what: str, sweeps: Iterable[str], frames: Mapping[str, pd.DataFrame]) -> str:
    """One sentence about rows that are not there, and the command that measures them."""
    seeds = sorted({int(seed) for rows in frames.values() for seed in set(rows["seed"])})
    drawn = next(iter(frames.values()))["preset"].iloc[0]
    name = "" if drawn == load_preset(style.preset()).name else drawn
    return f"Not measured yet, so nothing is drawn here: {what}. To measure: {style.command(sweeps, seeds, name)}"


def front(
    frames: Mapping[str, pd.DataFrame], needs: Mapping[tuple[str, str], Iterable[str]], overall: str = ""
) -> tuple[dict[str, pd.DataFrame], list[Contest]] | tuple[None, None]:
    """The paths of one algorithm's families that are needed, MA among them, and their contests with MA (`contests`); twice None,
    after a sentence, where rows are missing.
    """
    found = find(frames, needs)
    if found is None:
        return None, None
    ((rlhf, by_name),) = found.items()
    return by_name, contests(by_name, frames[rlhf], overall=overall)


def meaning(metric: str, preset: AnyPreset) -> str:
    """What a number of `judge` is in a preset's rows (`llm.evaluation`)."""
    if metric != "win_rate":
        return MEANS[metric]
    if not isinstance(preset, HubPreset):
        return "share of prompts to which the reply has more gold reward than theta_0's, equal ones counted half"
    rival = "GPT-4 Turbo's" if preset.evaluate.evaluation == "authors" else "theta_0's"
    return f"share of AlpacaEval's instructions to which PairRM prefers the reply to {rival}"


def judge(found: Mapping[str, pd.DataFrame]) -> str:
    """The metric that stands in for a judge's win rate: `win_rate` if all models of the paths have it, else the gold reward."""
    measured = set.intersection(*(set(path["metric"]) for path in found.values()))
    if "gold_reward" not in measured:
        return "win_rate" if "win_rate" in measured else "reward"
    for path in found.values():
        models = {metric: set(zip(rows["seed"], rows["step"], strict=True)) for metric, rows in path.groupby("metric")}
        if models.get("win_rate") != models["gold_reward"]:
            return "gold_reward"
    return "win_rate"
