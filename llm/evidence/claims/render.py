"""The ledger as JSON, as Markdown tables and as plain text: a claim each, with the part that its verdict hangs on."""

import json
import textwrap
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from ..equivalence import VERDICTS
from ..metrics import METRICS, REWARDS
from ..power import MOST
from .ledger import Entry, Ledger
from .line import Line

WIDTH = 110


def number(line: Line) -> str:
    """The estimate with its 95 % interval, its unit, the range of rewards that was compared, and over how many seeds."""
    if line.missing:
        return f"needs {line.missing}"
    if line.estimate is None:
        return line.untestable or "cannot be compared"
    digits, unit = METRICS[line.metric].decimals, METRICS[line.metric].in_words
    text = f"{line.estimate:+.{digits}f}"
    if line.low is not None and line.per_seed:
        text += f" [{line.low:+.{digits}f}, {line.high:+.{digits}f}]"
    bound = f", expected {line.side} {line.bound:+.{digits}f}" if round(line.bound, digits) else ""
    levels = f", at {line.levels[0]:.0%} to {line.levels[1]:.0%} of the reward's rise" if line.levels else ""
    count = len(line.per_seed)
    seeds = f", {count} seed{'s' * (count > 1)}" if count else ""
    return f"{text} {unit}{bound}{levels}{seeds}{f'; {line.untestable}' if line.untestable else ''}"


def tests(line: Line) -> str:
    """The margin, the 90 % interval, p-values, and the seeds that an undecided line needs."""
    if line.inner is None:
        return ""
    digits = METRICS[line.metric].decimals
    told = [f"90 % [{line.inner[0]:+.{digits}f}, {line.inner[1]:+.{digits}f}]"] if line.per_seed else []
    if line.margin is not None:
        told.append(f"margin {line.margin:.{max(digits, 2)}f}")
    told += [f"squared error x {line.inflation:.2f} for the choice"] if line.inflation > 1 else []
    told += [] if line.p is None or not line.per_seed else [f"p {line.p:.2g}"]
    told += [] if line.sign_flip is None else [f"p by signs {line.sign_flip:.2g}"]
    return ", ".join([*told, *([needs(line)] if line.verdict == "undecided" else [])])


def needs(line: Line) -> str:
    """How many seeds would decide an undecided line with a chance of 80 %; "" where none can be told, from one seed."""
    if len(line.per_seed) < 2:
        return ""
    return f"80 % power needs {_seeds(line)}"


def _seeds(line: Line) -> str:
    return f"{line.seeds_needed or f'more than {MOST}'} seeds"


def title(line: Line) -> str:
    """The part, and by which reward."""
    return f"{line.part}{f', by {METRICS[line.by].words}' if line.by in REWARDS else ''}"


def counts(entry: Entry, small: bool = True) -> str:
    """How many of a claim's parts hold, fail, and so on: "3 hold, 1 undecided"; small ones apart or not."""
    numbers: Counter[str] = Counter()
    for word in VERDICTS:
        numbers[word if small else word.removesuffix(", small")] += entry.count(word)
    return ", ".join(f"{n} {_plural(word) if n > 1 else word.replace(', ', ' ')}" for word, n in numbers.items() if n)


def _plural(word: str) -> str:
    return word.replace("holds", "hold").replace("fails", "fail").replace(", ", " ")


def verdict(entry: Entry) -> str:
    """A claim's verdict; where gold reward says something else, that too; the seeds that an undecided one needs."""
    text = str(entry.verdict)
    if entry.otherwise:
        text += f"; by gold reward {entry.otherwise}"
    if entry.weakest.verdict == "undecided" and (wanted := needs(entry.weakest)):
        text += f"; {wanted}"
    return text


def named(entry: Entry) -> str:
    """A claim's name, with the preset that it is judged on where it says something about places in a network."""
    return entry.claim.name + (f" ({entry.preset})" if entry.claim.local else "")


def brief(ledgers: Sequence[Ledger]) -> str:
    """A Markdown table of names and verdicts, a column a ledger; a claim about a preset of its own stands in the first alone."""
    titles = [f"{ledger.preset}, {source(ledger)}" for ledger in ledgers]
    rows = [f"| | claim | {' | '.join(titles)} |", "|---" * (2 + len(titles)) + "|"]
    for entries in zip(*(ledger.entries for ledger in ledgers), strict=True):
        claim = entries[0].claim
        name = f"{claim.name}{f' ({claim.preset})' if claim.preset else ''}"
        shown = entries[:1] if claim.preset else entries
        cells = [*(_verdict_and_counts(entry) for entry in shown), *[""] * (len(entries) - len(shown))]
        rows.append(f"| {claim.id} | {name} | {' | '.join(cells)} |")
    return "\n".join(rows)


def _verdict_and_counts(entry: Entry) -> str:
    by_gold = f", by gold reward {entry.otherwise}" if entry.otherwise else ""
    parts = f" ({counts(entry, small=False)})" if len(entry.deciding) > 1 else ""
    return f"**{entry.verdict}**{by_gold}{parts}"


def markdown(ledger: Ledger, figures: Path, root: str | None = "") -> str:
    """A table with links to notebooks, and to those of their figures that the folder `figures` holds; `root` leads from
    the page to the repository's root ("../"), None: with their names alone.
    """
    titles = "| | claim | verdict | its parts | the part it hangs on | estimate [95 % interval] | where |"
    head = [titles, "|---" * 7 + "|"]
    return "\n".join([*head, *(_row(entry, figures, root) for entry in ledger.entries)])


def _row(entry: Entry, figures: Path, root: str | None) -> str:
    claim, line, where = entry.claim, entry.weakest, dict[str, str]()
    for notebook, names in claim.where.items():
        where[notebook] = f"notebooks/{notebook}.ipynb"
        where |= {name: f"figures/{name}.png" for name in names if (figures / f"{name}.png").is_file()}
    places = where if root is None else [f"[{name}]({root}{file})" for name, file in where.items()]
    source = f" ({claim.paper})" if claim.paper else ""
    text = f"**{named(entry)}**. {claim.statement}{source}"
    word, _, more = verdict(entry).partition(";")
    bold = f"**{word}**{f';{more}' if more else ''}"
    cells = (claim.id, text, bold, counts(entry), title(line), number(line), ", ".join(places))
    return "| " + " | ".join(cells) + " |"


def text(ledger: Ledger, details: bool = False) -> str:
    """Plain text of at most `WIDTH` columns: a line a claim; with `details` each claim with its lines after that."""
    head = f"{ledger.preset}, {source(ledger)}: what the rows say about the claims"
    lines = [head, "", *(_line(entry) for entry in ledger.entries)]
    if details:
        return "\n".join([*lines, *(f"\n{_block(entry)}" for entry in ledger.entries)])
    return "\n".join([*lines, "", "Estimates, intervals and what each verdict hangs on: --details"])


def _line(entry: Entry) -> str:
    """The verdict of a claim, the seeds that it needs, what gold reward says, and the counts of several parts."""
    told = [str(entry.verdict)]
    if entry.weakest.verdict == "undecided" and needs(entry.weakest):
        told.append(f"needs {_seeds(entry.weakest)}")
    if entry.otherwise:
        told.append(f"by gold {entry.otherwise}")
    parts = f": {counts(entry, small=False)}" if len(entry.deciding) > 1 else ""
    start = f"{entry.claim.id:<5}{entry.claim.name:<37} "
    return start + textwrap.shorten("; ".join(told) + parts, WIDTH - len(start), placeholder=" ...")


def _block(entry: Entry) -> str:
    lines = [f"{entry.claim.id}. {named(entry)}: {verdict(entry)} ({counts(entry)})"]
    lines += textwrap.wrap(entry.claim.statement, WIDTH, initial_indent=" " * 5, subsequent_indent=" " * 5)
    for line in entry.lines:
        body = "; ".join(filter(None, (f"{title(line)}: {number(line)}", tests(line), line.note)))
        mark = f"   {'*' if line.deciding else ' '} {line.verdict:<18}"
        lines += textwrap.wrap(body, WIDTH, initial_indent=mark, subsequent_indent=" " * len(mark))
    return "\n".join(lines)


def source(ledger: Ledger) -> str:
    """How many seeds the claims rest on: "8 seeds", or "up to 8 seeds" where a part that decides has fewer."""
    most = len(ledger.seeds)
    fewer = any(len(line.per_seed) < most for entry in ledger.entries for line in entry.deciding if line.per_seed)
    return f"{'up to ' * fewer}{most} seed{'s' * (most > 1)}"


def as_json(ledger: Ledger) -> str:
    """All lines of all claims, a line each, so that a change shows where it is."""
    claims = []
    for entry in ledger.entries:
        claim = {key: getattr(entry.claim, key) for key in ("id", "name", "statement", "paper", "where")}
        found = {"preset": entry.preset, "verdict": entry.verdict, "by_gold_reward": entry.by_gold}
        head = json.dumps(claim | found | {"seeds_needed": entry.seeds_needed})[:-1]
        lines = ",\n".join("  " + json.dumps(_fields(line)) for line in entry.lines)
        claims.append(f'{head}, "lines": [\n{lines}\n]}}')
    top = json.dumps({"preset": ledger.preset, "seeds": ledger.seeds})[:-1]
    return f'{top}, "claims": [\n' + ",\n".join(claims) + "\n]}\n"


def _fields(line: Line) -> dict:
    return {"verdict": line.verdict, "seeds_needed": line.seeds_needed} | asdict(line)
