"""AMA with groups of their own for embeddings and head: is it better, in models that tie them and in models that do not?"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from llm.config import AnyPreset, load_preset
from llm.config import names as presets
from llm.evidence.compare import Duel
from llm.evidence.frames import after, read_preset
from llm.evidence.metrics import MEAN_ABILITY, METRICS
from llm.methods import names

from . import gains, panels, sentences, style


def frames_of(results: Path) -> dict[str, pd.DataFrame]:
    """The rows of each algorithm; none where the folder has no rows."""
    if not any(results.glob("*.jsonl")):
        return {}
    rows = read_preset(results)
    return {rlhf: after(rows, rlhf) for rlhf in names("alignment")}


def called(preset: AnyPreset) -> dict[str, str]:
    """Names of the preset and of those that differ from it in nothing but what their head is tied to -> "tied" or "untied", tied
    first.
    """
    every = [preset, *(load_preset(name) for name in presets("presets") if name != preset.name)]
    alike = [one for one in every if _but_for_the_head(one) == _but_for_the_head(preset)]
    found = {one.name: "tied" if one.model.tied_embeddings else "untied" for one in alike}
    return dict(sorted(found.items(), key=lambda item: item[1]))


def _but_for_the_head(preset: AnyPreset) -> dict:
    return preset.model_dump(exclude={"name": True, "model": {"tied_embeddings"}})


def lines_of(found: list[Duel]) -> list[tuple[str, str, str]]:
    """(preset, algorithm, family) of the lines, in order."""
    return list(dict.fromkeys((one.preset, one.rlhf, one.family) for one in found))


def draw(axes: Mapping[str, Axes], found: list[Duel], called: Mapping[str, str]) -> None:
    """A panel for each rival, a line for each preset, algorithm and family; a hollow mark is by the gold reward."""
    lines = lines_of(found)
    for rival, ax in axes.items():
        ax.axvline(0, color=style.GREY, linewidth=0.8)
        for one in found:
            if one.rival == rival:
                height = gains.SHIFT[one.reward] - lines.index((one.preset, one.rlhf, one.family))
                gains.draw(ax, height, one.found, style.look(one.family).colour, gains.FILLED[one.reward])
        ax.locator_params(axis="x", nbins=5)
        ax.set_xlabel(f"mean ability, minus {style.look(rival).short}'s")
    names = [f"{called[preset]} {style.look(rlhf).label}: {style.look(family).short}" for preset, rlhf, family in lines]
    gains.label(next(iter(axes.values())), names)


def table(found: list[Duel], called: Mapping[str, str]) -> str:
    """A line for each preset, algorithm, family and reward, a column for each rival."""
    lines: dict[tuple[str, ...], dict[str, str]] = {}
    for one in found:
        key = called[one.preset], style.look(one.rlhf).label, style.look(one.family).short, METRICS[one.reward].words
        line = lines.setdefault(key, dict(zip(("model", "after", "method", "at equal"), key, strict=True)))
        line[f"minus {style.look(one.rival).short}"] = sentences.cell(one.found.t, MEAN_ABILITY)
        line["seeds"] = str(one.seeds)
    return f"Mean ability. {sentences.BOLD}\n\n{sentences.markdown(pd.DataFrame(lines.values()).fillna('-'))}"


def answer(found: list[Duel]) -> list[str]:
    """Whether a group of its own should be the default: only if it is above both rivals by both rewards, wherever it was tried."""
    lines = []
    for family in dict.fromkeys(one.family for one in found):
        sides = [one.found.t.verdict for one in found if one.family == family]
        wins = all(side == "above" for side in sides)
        verdict = "so it should be the default" if wins else "so the paper's grouping stays the default"
        lines.append(f"{style.look(family).short}, of {len(sides)} comparisons: {sentences.counted(sides)}; {verdict}.")
    return lines


def movement(movements: list[dict], rlhf: str) -> dict[str, str]:
    """A line of the table: the embeddings' share of the change, and which tokens moved, over seeds."""
    share = shares(movements, rlhf, "embeddings")
    used, unused, related = (
        np.array([one["rlhf"][rlhf][key] for one in movements], dtype=float)
        for key in ("used", "unused", "correlation")
    )
    return {
        "after": style.look(rlhf).label,
        "embeddings' share of the squared change": f"{min(share):.0%} to {max(share):.0%}",
        "tokens in AMA's samples moved (of their size)": f"{used.mean():.4f}",
        "all others": f"{unused.mean():.4f}",
        "others' movement / that of tokens in the samples": f"{min(unused / used):.1f} to {max(unused / used):.1f}",
        "rank correlation of movement and occurrences": f"{min(related):+.2f} to {max(related):+.2f}",
    }


def unused(moved: Mapping[str, list[dict]], called: Mapping[str, str]) -> str:
    """Whether tokens that AMA's samples do not hold move more than those that they hold where the head is tied, and there alone; ""
    without numbers. `moved`: preset -> what moved in it, seed by seed.
    """
    ratios = {
        called[name]: [one["unused"] / one["used"] for m in of_preset for one in m["rlhf"].values() if one["unused"]]
        for name, of_preset in moved.items()
    }
    ratios = {head: found for head, found in ratios.items() if found}
    if not ratios:
        return ""
    told = [f"{min(found):.1f} to {max(found):.1f} times as far in the {head} models" for head, found in ratios.items()]
    seeds = panels.seed_count(min(map(len, moved.values())))
    text = f"Tokens that AMA's samples do not hold move {panels.several(told)} as those that they hold (over algorithms and {seeds})."
    if set(ratios) != {"tied", "untied"}:
        return text
    if min(ratios["tied"]) <= 1:
        return f"{text} So even with a tied head they do not always move more."
    gone = "is gone" if max(ratios["untied"]) < 1 else "is not gone"
    return f"{text} So they move more with a tied head, and that {gone} where the head has a table of its own."


def movements(lines: list[dict[str, str]]) -> pd.DataFrame:
    """The table of `movement`s, the model first."""
    table = pd.DataFrame(lines)
    return table[["model", *(column for column in table if column != "model")]]


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
