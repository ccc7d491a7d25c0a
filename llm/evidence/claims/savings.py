"""A table of the ledger for README's first screen: the share of its rival's tax that each kind of averaging saves."""

from dataclasses import dataclass

from ..metrics import SAVED
from .ledger import Ledger
from .line import FEWEST, GOLD, Line

REGRESSION = "regression averaging"
NO_BREAK = "\N{NO-BREAK SPACE}"  # an interval stays in one line on a phone


@dataclass(frozen=True)
class Saving:
    """A row: what the claim's part compares, in plain words, and where the same was measured of a real model."""

    method: str
    rival: str
    claim: str
    part: str
    real: tuple[str, str] | None = None  # (claim, part)


def _by_text(claim: str, part: str) -> tuple[str, str]:
    return claim, f"smollm2-135m: {part}, log-likelihood of text"


MA, LINES, ADAPTIVE = "MA above early stopping", "LiNeS above MA", "RSF: AMA with K = 3 above MA"
SAVINGS = (
    Saving("one ratio (MA)", "early stopping", "P1", MA, _by_text("P1", MA)),
    Saving("LiNeS: ratios that rise with the layer", "MA", "L4", LINES, _by_text("L4", LINES)),
    *(
        Saving(name, rival, claim, f"{name} above {rival}", _by_text("P3", f"{name} above {rival}"))
        for name, claim in ((REGRESSION, "P3"), (f"{REGRESSION} by layer", "P6"))
        for rival in ("MA", "LiNeS")
    ),
    *(
        Saving(f"{REGRESSION}, after {algorithm}", "MA", "P7", f"{algorithm}: {REGRESSION} above MA")
        for algorithm in ("DPO", "PPO")
    ),
    Saving("AMA: a ratio for each of 3 parts", "MA", "C7a", ADAPTIVE, ("C7b", ADAPTIVE)),
)


def table(ledger: Ledger) -> str:
    """A Markdown table, shares in per cent with 95 % intervals over seeds; undecided ones say so, and what has no rows is empty."""
    rows = [
        "| averaging | saves, of the tax of | microcosm, by learned reward | by gold reward | SmolLM2-135M, by learned reward |",
        "|---|---|---|---|---|",
    ]
    for each in SAVINGS:
        cells = [_cell(ledger, each.claim, each.part, by) for by in ("reward", GOLD)]
        cells.append(_cell(ledger, *each.real, "reward") if each.real else "")
        rows.append(f"| {each.method} | {each.rival} | {' | '.join(cells)} |")
    return "\n".join(rows)


def _cell(ledger: Ledger, claim: str, part: str, by: str) -> str:
    line = _line(ledger, claim, part, by)
    if line is None or line.estimate is None or line.low is None or line.high is None:
        return ""
    if line.metric != SAVED:  # the difference itself, in its own unit
        return "no share: the tax is not clear of 0"
    found = f"{100 * line.estimate:.0f} %"
    if len(line.per_seed) < FEWEST:
        return f"{found} ({len(line.per_seed)} runs, undecided)"
    open_ = ", undecided" if line.verdict == "undecided" else ""
    fewer = f", {len(line.per_seed)} seeds" if len(line.per_seed) < len(ledger.seeds) else ""
    return f"{found} [{100 * line.low:.0f},{NO_BREAK}{100 * line.high:.0f}]{fewer}{open_}"


def _line(ledger: Ledger, claim: str, part: str, by: str) -> Line | None:
    entry = next(entry for entry in ledger.entries if entry.claim.id == claim)
    return next((line for line in entry.lines if (line.part, line.by) == (part, by)), None)
