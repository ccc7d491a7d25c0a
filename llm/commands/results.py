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

        print(f"{collect_rows(sources, to)} rows, wrote {to}")
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
        put_between(into, {f"table of {results.resolve().name}": f"```\n{found}\n```"})


def claims(
    results: Annotated[list[Path], typer.Argument(help="folders of result rows, one a preset")],
    theory: Annotated[
        Path | None, typer.Option(help="folder of the theory's tables; default: theory beside the first folder")
    ] = None,
    to: Annotated[
        Path | None, typer.Option(help="write every line of every claim of one folder into this JSON file")
    ] = None,
    into: Annotated[
        Path | None,
        typer.Option(
            help="put the verdicts, a column a folder, between the marks of `claims` in this Markdown page, and what averages of the "
            "first folder save between those of `savings`, if it has them; with --details a table of each folder's claims between "
            "the marks of `claims of <preset>`"
        ),
    ] = None,
    details: Annotated[bool, typer.Option("--details", help="every estimate and test of every claim, too")] = False,
) -> None:
    """Say which of the claims hold in the rows: the ledger of claims, a line a claim."""
    from ..errors import UserError
    from ..evidence.claims import render, savings
    from ..evidence.claims.ledger import ledger
    from ..files import marks, put_between, read_text, write_text

    if to and len(results) > 1:
        raise UserError(f"claims: --to with {len(results)} folders is not allowed; allowed is one folder")
    if theory is not None and not theory.is_dir():
        raise UserError(f"theory is {str(theory)!r}, which is no folder; give that of the theory's tables")
    tables = theory or results[0].resolve().parent / "theory"
    found = [ledger(folder, tables) for folder in results]
    if into and details:
        root = "" if (into.parent / "figures").is_dir() else "../"  # a page of the repository's, or of its docs
        figures = into.parent / root / "figures"
        put_between(into, {f"claims of {one.preset}": render.markdown(one, figures, root) for one in found})
    elif into:
        has_savings = marks("savings")[0] in read_text(into)
        put_between(
            into, {"claims": render.brief(found)} | ({"savings": savings.table(found[0])} if has_savings else {})
        )
    if to:
        write_text(to, render.as_json(found[0]))
    for one in found:
        print(render.text(one, details))


def span(results: Results) -> None:
    """Print whether the sweep of each mitigation spans its range, from no effect to theta_0's reward."""
    from ..evidence.coverage import spans, table

    print(table(spans(results)))
