"""What the intervals of compared fronts say, as tables and sentences. Nothing here is typed in by hand."""

from collections.abc import Mapping, Sequence

import pandas as pd

from llm.evidence.compare import Advantage, Contest, at_equal_reward
from llm.evidence.intervals import Interval
from llm.evidence.metrics import METRICS, SHARE

from . import panels, style
from .fronts import named, rival

SIDES = {"above": "above", "below": "BELOW", "undecided": "undecided"}


def tables(found: Mapping[str, pd.DataFrame], compared: Sequence[Contest]) -> str:
    """A line for each method and reward: its ability minus the rival's at equal reward, and its area minus the rival's.

    `found`: family -> path, those of `compared` and of their rival among them.
    """
    gaps, areas = {}, {}
    for contest in compared:
        for reward in rewards(contest):
            key = f"{named(contest)}, {METRICS[reward].short}"
            equal = at_equal_reward(found[contest.family], found[contest.against], reward)
            gaps[key] = {METRICS[a].words: measure(gap, a) for a, gap in equal.items()}
            areas[key] = {METRICS[a].words: measure(area and area.t, SHARE) for a, area in at(contest, reward).items()}
    return (
        f"Ability minus {rival(compared[0])}'s at equal reward:\n{pd.DataFrame(gaps).T.to_string()}\n\n"
        f"Area under the front minus {rival(compared[0])}'s:\n{pd.DataFrame(areas).T.to_string()}"
    )


def rewards(contest: Contest) -> list[str]:
    """The rewards that a contest was held by."""
    return list(dict.fromkeys(reward for reward, _ in contest.found))


def at(contest: Contest, reward: str) -> dict[str, Advantage | None]:
    """ability -> advantage, by one reward."""
    return {ability: one for (by, ability), one in contest.found.items() if by == reward}


def report(found: Mapping[str, pd.DataFrame], compared: Sequence[Contest]) -> str:
    """The tables, and the sentences below them."""
    return f"{tables(found, compared)}\n\n{sentences(compared)}"


def lift_table(compared: Sequence[Contest]) -> str:
    """A line for each family and reward: what was compared, minus the rival's."""
    lines = {
        f"{plain(named(contest))}, {METRICS[reward].short}": {
            METRICS[ability].words: measure(one.t, ability) for ability, one in at(contest, reward).items()
        }
        for contest in compared
        for reward in rewards(contest)
    }
    return f"{compared[0].kind.capitalize()}, minus {rival(compared[0])}'s:\n{pd.DataFrame(lines).T.to_string()}"


def ratios(path: pd.DataFrame) -> pd.DataFrame:
    """The ratios of the groups of weights that a method found, a line for each mean ratio and seed."""
    models = path[[bool(setting.get("alphas")) for setting in path["setting"]]].drop_duplicates(["step", "seed"])
    return pd.DataFrame(
        [
            {"mean alpha": step, "seed": seed, **setting["alphas"]}
            for step, seed, setting in zip(models["step"], models["seed"], models["setting"], strict=True)
        ]
    )


def measure(found: Interval | None, metric: str) -> str:
    """A difference, its interval and what that says."""
    if found is None:
        return "not comparable"
    if len(found.per_seed) == 1:
        return f"{found.mean:+.{METRICS[metric].decimals}f}"
    return f"{panels.number(found, metric)} {SIDES[found.verdict]}"


def sentences(compared: Sequence[Contest]) -> str:
    """For each method and reward on which abilities it is above its rival, below it, or neither."""
    if any(len(area.t.per_seed) == 1 for contest in compared for area in contest.found.values() if area):
        return "One seed gives no intervals, so nothing is decided yet."
    return "\n".join(
        f"{plain(named(contest))} against {rival(contest)}, {contest.kind}, {METRICS[reward].label}: {sides(contest, reward)}."
        for contest in compared
        for reward in rewards(contest)
    )


def value(rows: pd.DataFrame, metric: str) -> str:
    """Mean of a metric and its standard error over seeds, over items with one seed; `rows` of one model a seed."""
    (found,) = style.over_seeds(rows[rows["metric"] == metric], "metric").itertuples()
    digits = METRICS[metric].decimals
    return f"{found.mean:.{digits}f} +- {found.error:.{digits}f}"


def markdown(table: pd.DataFrame) -> str:
    """A table of texts as Markdown."""
    lines = [list(table.columns), ["---"] * len(table.columns), *table.to_numpy().tolist()]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def plain(name: str) -> str:
    """A name without its mathematical typesetting."""
    return name.replace("$", "").replace("\\,", " ")


def sides(contest: Contest, reward: str) -> str:
    """above on these abilities; below on those; undecided on the rest."""
    words: dict[str, list[str]] = {}
    for ability, one in at(contest, reward).items():
        word = "not comparable" if one is None else SIDES[one.t.verdict]
        words.setdefault(word, []).append(METRICS[ability].words)
    return "; ".join(f"{word} on {panels.several(where)}" for word, where in words.items())
