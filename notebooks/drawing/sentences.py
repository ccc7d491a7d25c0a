"""What the intervals of compared fronts say, as tables and sentences. Nothing here is typed in by hand."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

import panels
import pareto
import style
from llm.evidence import paths
from llm.evidence.fronts import Interval

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
            key = f"{contest.name}, {panels.SHORT[reward]}"
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


def report(found: Mapping[str, pd.DataFrame], compared: Sequence[pareto.Contest]) -> str:
    """The tables, and the sentences below them."""
    return f"{tables(found, compared)}\n\n{sentences(compared)}"


def lift_table(compared: Sequence[pareto.Contest]) -> str:
    """A line for each family and reward: what was compared, minus the rival's."""
    lines = {
        f"{plain(contest.name)}, {panels.SHORT[reward]}": {
            panels.WORDS[ability]: measure(contest.found[reward, ability].t, ability) for ability in paths.ABILITIES
        }
        for contest in compared
        for reward in paths.REWARDS
    }
    return f"{compared[0].kind.capitalize()}, minus {compared[0].rival}'s:\n{pd.DataFrame(lines).T.to_string()}"


def ratios(path: pd.DataFrame) -> pd.DataFrame:
    """The ratios of the groups of weights that a method found, a line for each mean ratio and seed."""
    models = path[[bool(setting.get("alphas")) for setting in path["setting"]]].drop_duplicates(["step", "seed"])
    return pd.DataFrame(
        [
            {"mean alpha": step, "seed": seed, **setting["alphas"]}
            for step, seed, setting in zip(models["step"], models["seed"], models["setting"], strict=True)
        ]
    )


def patterns(models: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The unequal patterns of three ratios by what differs from the first one: the last alone, or both others; and whether
    it is less or more. As paths along the first ratio.
    """
    first, second, third = np.array([list(setting["alphas"].values()) for setting in models["setting"]]).T
    models = models.assign(step=first)
    kinds = {
        "pattern-output-less": (first == second) & (third < first),
        "pattern-rest-less": (second == third) & (second < first),
        "pattern-output-more": (first == second) & (third > first),
        "pattern-rest-more": (second == third) & (second > first),
    }
    return {name: models[kind].sort_values(["step", "seed"]) for name, kind in kinds.items() if kind.any()}


def measure(found: Interval | None, metric: str) -> str:
    """A difference, its interval and what that says."""
    if found is None:
        return "not comparable"
    if len(found.per_seed) == 1:
        return f"{found.mean:+.{panels.DIGITS[metric]}f}"
    return f"{panels.number(found, metric)} {SIDES[found.verdict]}"


def sentences(compared: Sequence[pareto.Contest]) -> str:
    """For each method and reward on which abilities it is above its rival, below it, or neither."""
    if any(len(area.t.per_seed) == 1 for contest in compared for area in contest.found.values() if area):
        return "One seed gives no intervals, so nothing is decided yet."
    return "\n".join(
        f"{plain(contest.name)} against {contest.rival}, {contest.kind}, {style.METRICS[reward]}: {sides(contest, reward)}."
        for contest in compared
        for reward in paths.REWARDS
    )


def value(rows: pd.DataFrame, metric: str) -> str:
    """Mean of a metric and its standard error over seeds, over items with one seed; `rows` of one model a seed."""
    (found,) = style.over_seeds(rows[rows["metric"] == metric], "metric").itertuples()
    digits = panels.DIGITS[metric]
    return f"{found.mean:.{digits}f} +- {found.error:.{digits}f}"


def markdown(table: pd.DataFrame) -> str:
    """A table of texts as Markdown."""
    lines = [list(table.columns), ["---"] * len(table.columns), *table.to_numpy().tolist()]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def plain(name: str) -> str:
    """A name without its mathematical typesetting."""
    return name.replace("$", "").replace("\\,", " ")


def sides(contest: pareto.Contest, reward: str) -> str:
    """above on these abilities; below on those; undecided on the rest."""
    told = {}
    for ability in paths.ABILITIES:
        area = contest.found[reward, ability]
        word = "not comparable" if area is None else SIDES[area.t.verdict]
        told.setdefault(word, []).append(panels.WORDS[ability])
    return "; ".join(f"{word} on {panels.several(where)}" for word, where in told.items())


def both_rise(path: pd.DataFrame) -> list[float]:
    """The ratios below 1 at which the learned reward and an ability are above those of theta, the path's end, with their
    whole 95 % intervals, and no ability is below.
    """
    theta, found = paths.at(path, 1), []
    for alpha in sorted(set(path["step"]) - {1.0}):
        model = paths.at(path, alpha)
        change = {metric: paths.difference(model, theta, metric).verdict for metric in ("reward", *paths.ABILITIES)}
        abilities = [change[ability] for ability in paths.ABILITIES]
        if change["reward"] == "above" and "above" in abilities and "below" not in abilities:
            found.append(float(alpha))
    return found
