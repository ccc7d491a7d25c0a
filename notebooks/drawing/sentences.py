"""What compared methods say, as tables and sentences in Markdown. Nothing here is typed in by hand."""

import textwrap
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import IPython.display
import numpy as np
import pandas as pd

from llm.evidence.claims import render
from llm.evidence.claims.book import Book
from llm.evidence.claims.ledger import Entry, make_ledger
from llm.evidence.claims.table import CLAIMS
from llm.evidence.compare import Contest, Gain
from llm.evidence.intervals import Interval
from llm.evidence.metrics import IN_TAXES, MEAN_ABILITY, METRICS

from . import panels, style
from .gains import figure, named, rewards_of, rival, seeds_of, several_rivals

ONE_SEED = "One seed gives no intervals, so nothing is decided yet."
BOLD = "Bold: the whole 95 % interval lies on one side of 0."


class Findings:
    """What a notebook finds: a sentence for each section, and all of them once more at its end."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def say(self, sentence: str) -> None:
        """Show the verdict of a section and keep it for the end."""
        self.told.append(sentence)
        show(sentence)

    def weigh(self, compared: Sequence[Contest], saved_as: str, preset: str, about: str) -> None:
        """Draw contests, save the figure, show their table, and say what follows `about` them."""
        style.save(figure(compared, preset), saved_as)
        self.tell(compared, about)

    def tell(self, compared: Sequence[Contest], about: str) -> None:
        """Show the table of contests, and say what follows `about` them."""
        show(report(compared))
        self.say(verdict(compared, about))

    def summary(self, preset: str, seeds: int) -> None:
        """Show all verdicts, and what they rest on."""
        lines = [f"* {sentence}" for sentence in self.told] or ["* Nothing is measured yet."]
        others = " where a line names no others" * (seeds > 1)
        show(f"**What was found** ({preset}, {panels.seed_count(seeds)}{others}):\n\n" + "\n".join(lines))


def show(text: str) -> None:
    """Show Markdown in a notebook."""
    IPython.display.display(IPython.display.Markdown(text))


def report(compared: Sequence[Contest], over_items: bool = False) -> str:
    """A table: a line a method and reward, the gain in each ability, and the rewards that were compared."""
    lines = []
    for contest in compared:
        for reward in rewards_of([contest]):
            gains = at(contest, reward)
            ranges = sorted({gain.levels for gain in gains.values() if gain and gain.levels})
            told = {"method": plain(named(contest)), "minus": rival(contest), "at equal": METRICS[reward].words}
            told |= {METRICS[a].label: cell(gain and gain.t, a, over_items) for a, gain in gains.items()}
            if any(gain and gain.levels for one in compared for gain in one.found.values()):
                told["rewards compared"] = f"{ranges[0][0]:.0%} to {ranges[-1][1]:.0%}" if ranges else "too few"
            lines.append(told)
    return f"{BOLD}\n\n{markdown(pd.DataFrame(lines))}"


def cell(found: Interval | None, metric: str, over_items: bool = False) -> str:
    """A difference and its interval, bold where it is clear of 0; of one seed none, unless it is `over_items`."""
    if found is None:
        return "-"
    if np.isnan(found.low) or (len(found.per_seed) == 1 and not over_items):
        return f"{found.mean:+.{METRICS[metric].decimals}f}"
    text = panels.number(found, metric)
    return text if found.verdict == "undecided" else f"**{text}**"


def at(contest: Contest, reward: str) -> dict[str, Gain | None]:
    """ability -> gain, by one reward."""
    return {ability: one for (by, ability), one in contest.found.items() if by == reward}


def verdict(compared: Sequence[Contest], what: str) -> str:
    """In a few sentences about `what`: on how many seeds which methods keep more than their rival, which less, and how much is not
    clear of 0. Two seeds may lie close together by luck, so what they decide is told with its size.
    """
    if any(gain and len(gain.t.per_seed) == 1 for contest in compared for gain in contest.found.values()):
        return ONE_SEED
    if not seeds_of(compared):
        return f"{what}: too few rewards in common to be compared."
    told = [f"At equal {METRICS[reward].words}: {_sides(compared, reward)}" for reward in rewards_of(compared)]
    luck = " Intervals of two seeds may be narrow by luck." * (seeds_of(compared) == 2)
    return f"{what} ({panels.seed_count(seeds_of(compared))}).{luck} {' '.join(told)}"


def _sides(compared: Sequence[Contest], reward: str) -> str:
    sides: dict[str, list[str]] = {"above": [], "below": [], "undecided": [], "none": []}
    for contest in compared:
        by_side: dict[str, list[str]] = {}
        for ability, gain in at(contest, reward).items():
            by_side.setdefault(gain.t.verdict if gain else "none", []).append(ability_words(ability, gain))
        for side, where in by_side.items():
            sides[side] += [f"{plain(named(contest))} ({', '.join(where)})"] if side in ("above", "below") else where
    against = plain(several_rivals(compared))
    words = [f"above {against}: {'; '.join(sides['above']) or 'nothing'}."]
    words += [f"Below {against}: {'; '.join(sides['below'])}."] if sides["below"] else []
    every = sum(len(at(contest, reward)) for contest in compared)
    words += [f"Not clear of 0: {len(sides['undecided'])} of {every} differences."] if sides["undecided"] else []
    words += [f"Too few rewards in common: {len(sides['none'])} of {every}."] if sides["none"] else []
    return " ".join(words)


def ability_words(ability: str, gain: Gain | None = None) -> str:
    """An ability, or all of them together; of two seeds with the size of the difference."""
    words = "all abilities together" if ability in (IN_TAXES, MEAN_ABILITY) else METRICS[ability].words
    size = f", {panels.number(gain.t, ability)} {METRICS[ability].unit}".rstrip() if gain else ""
    return words + size * bool(gain and len(gain.t.per_seed) == 2)


def share(found: Interval) -> str:
    """A share with its interval: "32 % [28, 37]"."""
    ends = "" if np.isnan(found.low) else f" [{100 * found.low:.0f}, {100 * found.high:.0f}]"
    return f"{100 * found.mean:.0f} %{ends}"


def ratios(path: pd.DataFrame) -> pd.DataFrame:
    """The ratios of the groups of weights that a method found, a line for each mean ratio and seed."""
    models = path[[bool(setting.get("alphas")) for setting in path["setting"]]].drop_duplicates(["step", "seed"])
    return pd.DataFrame(
        [
            {"mean alpha": step, "seed": seed, **setting["alphas"]}
            for step, seed, setting in zip(models["step"], models["seed"], models["setting"], strict=True)
        ]
    )


def changes(found: Mapping[str, Mapping[str, Interval]], first: str = "model") -> str:
    """A table of differences: a line for each name, a column for each metric."""
    lines = [
        {first: plain(name), **{METRICS[metric].label: cell(one, metric) for metric, one in by_metric.items()}}
        for name, by_metric in found.items()
    ]
    return f"{BOLD}\n\n{markdown(pd.DataFrame(lines).fillna('-'))}"


def moved(change: Mapping[str, Interval]) -> str:
    """Metrics by side: "up: learned reward; down: translation; not clear of 0: reading comprehension"."""
    sides = {"above": "up", "below": "down", "undecided": "not clear of 0"}
    found = {
        word: [METRICS[m].words for m, one in change.items() if one.verdict == side] for side, word in sides.items()
    }
    return "; ".join(f"{word}: {', '.join(where)}" for word, where in found.items() if where)


def counted(sides: Iterable[str]) -> str:
    """ "2 above, 1 below, 3 not clear of 0" """
    found = list(sides)
    words = {"above": "above", "below": "below", "undecided": "not clear of 0"}
    return ", ".join(f"{found.count(side)} {word}" for side, word in words.items() if side in found)


def value(rows: pd.DataFrame, metric: str) -> str:
    """Mean of a metric and its standard error over seeds, over items with one seed; `rows` of one model a seed."""
    (found,) = style.over_seeds(rows[rows["metric"] == metric], "metric").itertuples()
    digits = METRICS[metric].decimals
    return f"{found.mean:.{digits}f} +- {found.error:.{digits}f}"


def markdown(table: pd.DataFrame) -> str:
    """A table of texts as Markdown."""
    lines = [list(table.columns), ["---"] * len(table.columns), *table.astype(str).to_numpy().tolist()]
    return "".join(
        "| " + " | ".join(str(cell).replace("*", "\\*") if cell == "*" else str(cell) for cell in line) + " |\n"
        for line in lines
    )


def parts(entry: Entry) -> str:
    """The parts of a claim as a table: those that decide with a star, the verdict blank where nothing is decided. Parts that are not
    measured share a line where they need the same.
    """
    missing = Counter((line.missing, line.deciding) for line in entry.lines if line.missing)
    lines = [
        {
            "": "*" if line.deciding else "",
            "part": render.title(line),
            "verdict": line.verdict.replace("undecided", ""),
            "estimate [95 % interval]": render.number(line),
            "tests": "; ".join(filter(None, (render.tests(line), line.note))),
        }
        for line in entry.lines
        if not line.missing
    ]
    lines += [
        {
            "": "*" if deciding else "",
            "part": f"{count} part{'s' * (count > 1)}",
            "verdict": "not measured",
            "estimate [95 % interval]": f"needs {need}",
            "tests": "",
        }
        for (need, deciding), count in missing.items()
    ]
    return markdown(pd.DataFrame(lines))


def entry_of(book: Book, name: str) -> Entry:
    """A claim by its id, as the ledger has it of these rows."""
    (entry,) = make_ledger(book, [claim for claim in CLAIMS if claim.id == name]).entries
    return entry


def judged(book: Book, name: str) -> str:
    """What the ledger says of a claim: its verdict, and the parts that decide with their numbers; "" where none is measured."""
    entry = entry_of(book, name)
    if entry.weakest.estimate is None:
        return ""
    told = [f"{render.title(line)}: {render.number(line)} ({line.verdict})" for line in entry.deciding]
    return f"{name} ({entry.claim.name}): {render.verdict(entry)}. {'; '.join(told)}."


def framed(table: pd.DataFrame, index: str, decimals: int) -> str:
    """A table of numbers as Markdown, its index as first column."""
    rounded = table.map(lambda value: "-" if pd.isna(value) else f"{value:.{decimals}f}")
    rounded.insert(0, index, [str(name) for name in table.index])
    return markdown(rounded)


def quoted(text: str) -> str:
    """Text that is shown as it is, its lines broken."""
    lines = [textwrap.fill(line, 100, subsequent_indent="    ") if line else "" for line in text.split("\n")]
    return "```text\n" + "\n".join(lines) + "\n```"


def plain(name: str) -> str:
    """A name without its mathematical typesetting."""
    return name.replace("$", "").replace("\\,", " ").replace("\\theta", "theta")
