"""What the intervals of compared fronts say, as tables and sentences. Nothing here is typed in by hand."""

from collections.abc import Mapping, Sequence

import pandas as pd
import panels
import pareto
import style

from llm import paths
from llm.fronts import Interval

SIDES = {"above": "above", "below": "BELOW", "undecided": "undecided"}


def at_equal_reward(
    found: Mapping[str, pd.DataFrame], name: str, rival: str, reward: str
) -> dict[str, Interval | None]:
    """ability -> the path's ability minus its rival's at equal reward, over the rewards that both reach; None where there
    are none. Where both run along a ratio the rival is taken at the path's own ratios.
    """
    against = pareto.as_coarse(found[rival], found[name])
    return {
        ability: paths.gap(paths.curves(found[name], ability, reward), paths.curves(against, ability, reward))
        for ability in paths.ABILITIES
    }


def tables(found: Mapping[str, pd.DataFrame], compared: Sequence[pareto.Contest]) -> str:
    """A line for each method and reward: its ability minus the rival's at equal reward, and its area minus the rival's.

    `found`: family -> path, those of `compared` and of their rival among them.
    """
    gaps, areas = {}, {}
    for contest in compared:
        for reward in paths.REWARDS:
            key = f"{contest.name}, {style.METRICS[reward].split()[0]}"
            found_gaps = at_equal_reward(found, contest.family, contest.against, reward)
            gaps[key] = {panels.WORDS[a]: measure(found_gaps[a], a) for a in paths.ABILITIES}
            areas[key] = {
                panels.WORDS[a]: measure(area and area.t, "area")
                for a in paths.ABILITIES
                for area in [contest.found[reward, a]]
            }
    return (
        f"Ability minus {compared[0].rival}'s at equal reward:\n{pd.DataFrame(gaps).T.to_string()}\n\n"
        f"Area under the front minus {compared[0].rival}'s:\n{pd.DataFrame(areas).T.to_string()}"
    )


def measure(found: Interval | None, metric: str) -> str:
    """A difference, its interval and what that says."""
    if found is None:
        return "not comparable"
    if len(found.per_seed) == 1:
        return f"{found.mean:+.{panels.DIGITS[metric]}f}"
    return f"{panels.number(found, metric)} {SIDES[found.verdict]}"


def sentences(compared: Sequence[pareto.Contest]) -> str:
    """For each method and reward on which abilities its area is above its rival's, below it, or neither."""
    if any(len(area.t.per_seed) == 1 for contest in compared for area in contest.found.values() if area):
        return "One seed gives no intervals, so nothing is decided yet."
    return "\n".join(
        f"{contest.name} against {contest.rival}, area by the {style.METRICS[reward]}: {sides(contest, reward)}."
        for contest in compared
        for reward in paths.REWARDS
    )


def sides(contest: pareto.Contest, reward: str) -> str:
    """above on these abilities; below on those; undecided on the rest."""
    told = {}
    for ability in paths.ABILITIES:
        area = contest.found[reward, ability]
        word = "not comparable" if area is None else SIDES[area.t.verdict]
        told.setdefault(word, []).append(panels.WORDS[ability])
    return "; ".join(f"{word} on {panels.several(where)}" for word, where in told.items())
