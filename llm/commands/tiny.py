"""The command that makes a preset of the paper's small enough to be tried out."""

from pathlib import Path
from typing import Annotated

import typer


def tiny(
    preset: Annotated[
        str, typer.Argument(help="name of a preset of the paper's models in llm/presets, or a YAML file")
    ],
    data_dir: Annotated[
        Path, typer.Option(help="folder of the data sets' files, which may hold a few rows each, as tests/files does")
    ],
    to: Annotated[Path, typer.Option(help="the YAML file to write; give it to the other commands as --preset")],
) -> None:
    """Write a preset's tiny copy: the same classes and code path, random small weights made on the spot, on the processor."""
    import yaml

    from ..config import HubPreset, load_preset, names
    from ..config.tiny import tiny as made_tiny
    from ..errors import UserError
    from ..files import write_text

    large = load_preset(preset)
    if not isinstance(large, HubPreset):
        known = ", ".join(name for name in names("presets") if isinstance(load_preset(name), HubPreset))
        raise UserError(f"preset = {preset!r} is not allowed; allowed are {known} (`smoke` is the microcosm made tiny)")
    if not data_dir.is_dir():
        raise UserError(f"data_dir = {data_dir} is no folder; give one with the data sets' files")
    small = made_tiny(large, str(data_dir))
    write_text(to, f"# {large.name}, made tiny\n{yaml.safe_dump(small.model_dump(mode='json'), sort_keys=False)}")
    print(f"{small.name}: {to}")
