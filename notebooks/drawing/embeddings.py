"""AMA with groups of their own for embeddings and head: is it better, in models that tie them and in models that do not?"""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes

from llm.evidence.compare import Duel
from llm.evidence.frames import after, read_preset
from llm.evidence.metrics import METRICS, SHARE
from llm.methods import names

from . import fronts, panels, style


def frames_of(results: Path) -> dict[str, pd.DataFrame]:
    """The rows of each algorithm; none where the folder has no rows."""
    if not any(results.glob("*.jsonl")):
        return {}
    rows = read_preset(results)
    return {rlhf: after(rows, rlhf) for rlhf in names("alignment")}


def lines_of(found: list[Duel]) -> list[tuple[str, str, str]]:
    """(preset, algorithm, family) of the lines, in order."""
    return list(dict.fromkeys((one.preset, one.rlhf, one.family) for one in found))


def draw(axes: Mapping[str, Axes], found: list[Duel], called: Mapping[str, str]) -> None:
    """A panel for each rival, a line for each preset, algorithm and family; filled: by the learned reward, hollow: by gold."""
    lines = lines_of(found)
    for rival, ax in axes.items():
        ax.axvline(0, color="#555555", linewidth=0.8)
        for one in found:
            if one.rival == rival:
                shift = 0.17 if one.reward == "reward" else -0.17
                height = shift - lines.index((one.preset, one.rlhf, one.family))
                fronts.draw_advantage(ax, height, one.found, style.look(one.family).colour, fronts.FILLED[one.reward])
        labels = [
            f"{called[preset]} {style.look(rlhf).label}: {style.look(family).short}" for preset, rlhf, family in lines
        ]
        ax.set_yticks([-place for place in range(len(lines))], labels, fontsize=7)
        ax.set_ylim(-len(lines) + 0.4, 0.6)
        ax.tick_params(axis="x", labelsize=7)
        ax.locator_params(axis="x", nbins=5)
        ax.set_title(f"area under the front,\nminus {style.look(rival).short}'s", fontsize=9)


def sentence(one: Duel, called: Mapping[str, str]) -> str:
    side = panels.verdict(one.found.t, {"above": "above", "below": "BELOW", "undecided": "not distinguishable from"})
    return (
        f"{called[one.preset]} {style.look(one.rlhf).label}, {METRICS[one.reward].words}: {style.look(one.family).short} {side} "
        f"{style.look(one.rival).short}, {panels.number(one.found.t, SHARE)} of the ideal area, {panels.seed_count(one.seeds)}"
    )


def answer(found: list[Duel]) -> str:
    """Whether a group of its own should be the default: only if it is above both rivals by both rewards, wherever it was tried."""
    lines = []
    for family in dict.fromkeys(one.family for one in found):
        sides = [one.found.t.verdict for one in found if one.family == family]
        wins = all(side == "above" for side in sides)
        verdict = "so it should be the default" if wins else "so the paper's grouping stays the default"
        counted = ", ".join(
            f"{sides.count(side)} {word}"
            for side, word in (("above", "above"), ("below", "below"), ("undecided", "undecided"))
        )
        lines.append(f"{style.look(family).short}: of {len(sides)} comparisons {counted}; {verdict}.")
    return "\n".join(lines)


def groups(movements: list[dict], rlhf: str) -> pd.DataFrame:
    """How far each group moved, (seeds, groups), relative to its size."""
    return pd.DataFrame(
        [
            {group: one["relative"] for group, one in m["rlhf"][rlhf]["groups"].items()}
            for m in movements
            if rlhf in m["rlhf"]
        ]
    )


def shares(movements: list[dict], rlhf: str, group: str) -> list[float]:
    """A group's share of the squared change, a number a seed."""
    return [
        m["rlhf"][rlhf]["groups"][group]["share"]
        for m in movements
        if rlhf in m["rlhf"] and group in m["rlhf"][rlhf]["groups"]
    ]
