"""The ledger as JSON, as a Markdown table and as plain text: a claim each, with the part that its verdict hangs on."""

import json
import textwrap
from dataclasses import asdict
from pathlib import Path

from ..metrics import METRICS
from .ledger import Entry, Ledger
from .line import VERDICTS, Line

WIDTH = 100


def number(line: Line) -> str:
    """The estimate with its 95 % interval and its unit."""
    if line.missing:
        return f"needs {line.missing}"
    if line.estimate is None:
        return "cannot be compared"
    digits, unit = METRICS[line.metric].decimals, METRICS[line.metric].in_words
    text = f"{line.estimate:+.{digits}f}"
    if line.low is not None and line.per_seed:
        text += f" [{line.low:+.{digits}f}, {line.high:+.{digits}f}]"
    bound = f", expected {line.side} {line.bound:+.{digits}f}" if round(line.bound, digits) else ""
    return f"{text} {unit}{bound}"


def counts(entry: Entry) -> str:
    """How many of a claim's parts hold, fail, and so on: "3 hold, 1 undecided"."""
    words = {"holds": ("holds", "hold"), "fails": ("fails", "fail")}
    numbers = {verdict: entry.count(verdict) for verdict in VERDICTS}
    return ", ".join(f"{n} {words.get(v, (v, v))[n > 1]}" for v, n in numbers.items() if n)


def markdown(ledger: Ledger, figures: Path, root: str = "") -> str:
    """A table with links to notebooks, and to those of their figures that the folder `figures` holds; `root` leads from
    the page to the repository's root ("../").
    """
    titles = "| | claim | verdict | its parts | the part it hangs on | estimate [95 % interval] | where |"
    head = [titles, "|---" * 7 + "|"]
    return "\n".join([*head, *(_row(entry, figures, root) for entry in ledger.entries)])


def _row(entry: Entry, figures: Path, root: str) -> str:
    claim, line, where = entry.claim, entry.weakest, []
    for notebook, names in claim.where.items():
        where.append(f"[{notebook}]({root}notebooks/{notebook}.ipynb)")
        drawn = [name for name in names if (figures / f"{name}.png").is_file()]
        where += [f"[{name}]({root}figures/{name}.png)" for name in drawn]
    text = f"**{claim.name}**. {claim.statement} ({claim.paper})"
    cells = (claim.id, text, f"**{entry.verdict}**", counts(entry), line.part, number(line), ", ".join(where))
    return "| " + " | ".join(cells) + " |"


def text(ledger: Ledger) -> str:
    """Plain text of at most `WIDTH` columns."""
    blocks = [f"{ledger.preset}, {source(ledger)}: what the rows say about the paper's claims"]
    for entry in ledger.entries:
        line = entry.weakest
        body = f"{entry.claim.statement} Hangs on: {line.part}: {number(line)}"
        wrapped = textwrap.wrap(body, WIDTH, initial_indent=" " * 5, subsequent_indent=" " * 5)
        head = f"{entry.claim.id:<5}{entry.claim.name}: {entry.verdict.upper()} ({counts(entry)})"
        blocks.append("\n".join([head, *wrapped]))
    return "\n\n".join(blocks)


def source(ledger: Ledger) -> str:
    return "1 seed" if len(ledger.seeds) == 1 else f"{len(ledger.seeds)} seeds"


def as_json(ledger: Ledger) -> str:
    """All lines of all claims, a line each, so that a change shows where it is."""
    claims = []
    for entry in ledger.entries:
        claim = {key: getattr(entry.claim, key) for key in ("id", "name", "statement", "paper", "where")}
        head = json.dumps(claim | {"verdict": entry.verdict})[:-1]
        lines = ",\n".join("  " + json.dumps({"verdict": line.verdict} | asdict(line)) for line in entry.lines)
        claims.append(f'{head}, "lines": [\n{lines}\n]}}')
    top = json.dumps({"preset": ledger.preset, "seeds": ledger.seeds})[:-1]
    return f'{top}, "claims": [\n' + ",\n".join(claims) + "\n]}\n"
