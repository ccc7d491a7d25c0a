"""The commands that read result rows: collect them, and say what was found."""

from pathlib import Path
from typing import Annotated

import typer

from .options import Results


def collect(
    sources: Annotated[list[Path], typer.Argument(help="row files; with --check folders of them")],
    to: Annotated[Path | None, typer.Option(help="the file that gets all their rows")] = None,
    check: Annotated[
        bool, typer.Option("--check", help="write nothing; say of each folder whether its rows are whole")
    ] = False,
) -> None:
    """Check rows and put them into one file; or check that a folder's rows are whole (docs/contribute-results.md)."""
    from ..errors import UserError

    if check == (to is not None):
        given = "--check and --to" if check else "neither --to nor --check"
        raise UserError(f"collect: {given} is not allowed; allowed is one of --to FILE and --check")
    if to is not None:
        from ..evidence.rows import collect_rows

        collect_rows(sources, to)
        return
    from ..evidence.community import check as check_folder

    for found in [check_folder(folder) for folder in sources]:
        print(found)


def table(
    results: Results,
    into: Annotated[
        Path | None, typer.Option(help="put it between the marks of `table of <folder>` in this Markdown page")
    ] = None,
) -> None:
    """Print a short table of what was found."""
    from ..evidence.summary import summary
    from ..files import put_between

    found = summary(results)
    print(found)
    if into:
        put_between(into, f"table of {results.resolve().name}", f"```\n{found}\n```")


def claims(
    results: Results,
    theory: Annotated[Path, typer.Option(help="folder of the theory's tables")] = Path("results/theory"),
    to: Annotated[Path | None, typer.Option(help="write every line of every claim into this JSON file")] = None,
    into: Annotated[
        Path | None, typer.Option(help="put a table between the claims' marks in this Markdown page")
    ] = None,
    details: Annotated[
        bool, typer.Option("--details", help="print every estimate and test of every claim, too")
    ] = False,
) -> None:
    """Say which of the claims hold in the rows: the ledger of claims, a line a claim."""
    from ..evidence.claims import render
    from ..evidence.claims.ledger import ledger
    from ..files import put_between, write_text

    found = ledger(results, theory)
    if to:
        write_text(to, render.as_json(found))
    if into:
        put_between(into, "claims", render.markdown(found, into.parent / "figures"))
    print(render.text(found, details))


def span(results: Results) -> None:
    """Print whether the sweep of each mitigation spans its range, from no effect to theta_0's reward."""
    from ..evidence.coverage import spans, table

    print(table(spans(results)))
