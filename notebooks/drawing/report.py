"""The report as a PDF: `docs/report.typ`, typeset by typst, with facts from the ledger, the figures' folder and the rows.

Typst is one package without system libraries, and typesets formulas, tables that break over pages and a bibliography by itself.
"""

import argparse
import json
import re
from collections import Counter
from dataclasses import fields
from pathlib import Path
from typing import Any

import yaml

from llm.errors import UserError, told_in_a_sentence
from llm.evidence.claims import render
from llm.evidence.claims.ledger import Entry
from llm.evidence.claims.line import Line
from llm.evidence.claims.table import CLAIMS
from llm.evidence.metrics import METRICS, SAVED
from llm.files import parse_json, read_text, written
from llm.methods import METHODS

from .sentences import plain

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "docs" / "report.typ"
SUMMARISED = ("microcosm", "smollm2-135m-gpu")
AFTER = {"holds": ("holds", "hold"), "fails": ("fails", "fail"), "mixed": ("is mixed", "are mixed")}
VERSION = re.compile(r'"version":"([^"]*)"')
METHOD = re.compile(r'"method":"([^"]*)"')


def facts(root: Path = ROOT) -> dict[str, Any]:
    """Everything that the report tells in numbers: the ledger in words, tables, versions and methods of the rows."""
    citation = yaml.safe_load(read_text(root / "CITATION.cff"))
    ledger = parse_json((root / "results" / "claims.json").read_bytes())
    rows = "".join(file.read_text() for file in sorted((root / "results").rglob("*.jsonl")))
    measured = set(METHOD.findall(rows))
    return {
        "title": citation["title"],
        "authors": [author["name"] for author in citation["authors"]],
        "version": citation["version"],
        "date": str(citation.get("date-released", "unreleased")),
        "claims": [_claim(claim) for claim in ledger["claims"]],
        "verdicts": _counted(claim["verdict"] for claim in ledger["claims"]),
        "seeds": {"microcosm": len(ledger["seeds"]), "smollm": _seeds(root, "smollm2-135m-gpu")},
        "tables": _tables(read_text(root / "figures" / "table1.md")),
        "summaries": [_summary(read_text(root / "docs" / "results.md"), name) for name in SUMMARISED],
        "methods": [
            {"label": plain(next(iter(method.looks.values())).label), "source": method.reference}
            for name, method in METHODS.items()
            if name in measured and method.kind != "model"
        ],
        "versions": ", ".join(sorted(set(VERSION.findall(rows)))),
    }


def _seeds(root: Path, preset: str) -> int:
    return len(list((root / "results" / preset).glob("core-seed*.jsonl")))


def _counted(verdicts) -> str:
    """ "2 hold, 1 is mixed" """
    return ", ".join(f"{n} {AFTER.get(word, (word, word))[n > 1]}" for word, n in Counter(verdicts).items())


def _claim(found: dict[str, Any]) -> dict[str, Any]:
    """A claim in words; UserError where the file's verdict is not the one that today's rules give."""
    claims = {claim.id: claim for claim in CLAIMS}
    lines = tuple(_line(line) for line in found["lines"])
    if (
        found["id"] not in claims
        or (entry := Entry(claims[found["id"]], found["preset"], lines)).verdict != found["verdict"]
    ):
        raise UserError(
            f"claims.json: {found['id']} is not as today's rules have it; make it anew by `alignment-tax claims results/microcosm --to`"
        )
    word, _, more = render.verdict(entry).partition(";")
    return {
        "id": found["id"],
        "name": render.named(entry),
        "statement": entry.claim.statement,
        "verdict": word,
        "more": f";{more}" if more else "",
        "counts": render.counts(entry),
        "part": render.title(entry.weakest),
        "estimate": typeset(render.number(entry.weakest)),
        "lines": [_told(line) for line in lines],
    }


def _line(found: dict[str, Any]) -> Line:
    known = {field.name for field in fields(Line)}
    return Line(
        **{key: tuple(value) if isinstance(value, list) else value for key, value in found.items() if key in known}
    )


def _told(line: Line) -> dict[str, Any]:
    """A line's estimate with its interval, a share of a tax in per cent, others in their own unit."""
    told = {"part": line.part, "by": line.by, "verdict": line.verdict, "deciding": line.deciding}
    if line.estimate is None or line.low is None or line.high is None:
        return told | {"estimate": typeset(render.number(line))}
    metric, values = METRICS[line.metric], (line.estimate, line.low, line.high)
    if line.metric == SAVED:
        estimate, *ends = (f"{round(100 * value)}" for value in values)
        return told | {"estimate": typeset(f"{estimate} % [{', '.join(ends)}] {metric.in_words}")}
    estimate, *ends = (f"{value:+.{metric.decimals}f}" for value in values)
    return told | {"estimate": typeset(f"{estimate} [{', '.join(ends)}] {metric.in_words}")}


def typeset(text: str) -> str:
    """With a minus sign, and one for plus or minus, in the place of what stands for them in plain text."""
    text = text.replace("+-", "\N{PLUS-MINUS SIGN}")
    return re.sub(r"(?<![\w-])-(?=\d)", "\N{MINUS SIGN}", text)


def _tables(page: str) -> list[dict[str, Any]]:
    """The Markdown tables of a page, each with the paragraph above it."""
    found, note = [], ""
    for block in page.split("\n\n"):
        if block.startswith("|"):
            rows = [
                [typeset(cell.strip()) for cell in line.strip("|").split("|")] for line in block.strip().splitlines()
            ]
            found.append({"note": note, "rows": [rows[0], *rows[2:]]})
        note = typeset(block.strip().rstrip(":"))
    return found


def _summary(page: str, name: str) -> str:
    """The text between the marks of a preset's table."""
    found = re.search(rf"<!-- table of {re.escape(name)} -->\n```\n(.*?)\n```", page, re.DOTALL)
    if found is None:
        raise UserError(
            f"docs/results.md has no table of {name}; put it there by `alignment-tax table results/{name} --into docs/results.md`"
        )
    return found[1]


@told_in_a_sentence
def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m drawing.report", description=__doc__)
    parser.add_argument("--to", type=Path, required=True, help="the PDF to write")
    asked = parser.parse_args()
    import typst

    with written(asked.to) as aside:
        typst.compile(
            SOURCE, output=aside, root=ROOT, sys_inputs={"facts": json.dumps(facts())}, ignore_system_fonts=True
        )
    print(f"The report: {asked.to}")


if __name__ == "__main__":
    main()
