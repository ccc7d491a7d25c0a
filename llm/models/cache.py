"""Models of the hub in the cache on this machine, found without the hub's library, which the light install has not."""

import os
import re
from collections.abc import Mapping
from pathlib import Path

from ..errors import UserError

_ID = re.compile(r"(?P<name>[\w.-]+/[\w.-]+)(@(?P<revision>[\w./-]+))?")


def local_model(given: str | Path, option: str) -> Path:
    """The folder of a model: a folder as it is, a hub id (ORG/NAME or ORG/NAME@REVISION) in the cache, revision main by default.

    option: what gave it, for messages. What is neither a folder nor a hub id is returned as it is, for `read_folder` to refuse.
    Raises UserError for an id that is not in the cache, with the command that fetches it.
    """
    path, match = Path(given), _ID.fullmatch(str(given))
    if path.exists() or not match or path.is_absolute() or str(given).startswith("."):
        return path
    name, revision = match["name"], match["revision"] or "main"
    home = home_of(name)
    found = home / "snapshots" / _commit(home, revision)
    if found.is_dir():
        return found
    option_of = f" --revision {revision}" if match["revision"] else ""
    raise UserError(
        f"{option} is {str(given)!r}, which is no folder and not in the cache of models; if it is a model of the hub, "
        f"`hf download {name}{option_of}` puts it there."
    )


def findable(folder: Path) -> str:
    """What `local_model` finds a model's folder by: its `hub_id` where it is in the cache, else the path."""
    name = hub_id(folder)
    try:
        return name if name and local_model(name, "").resolve() == folder.resolve() else str(folder)
    except UserError:  # it lies in another cache
        return str(folder)


def home_of(name: str) -> Path:
    """Where the hub's library keeps a model ORG/NAME, whether it is there or not."""
    return cache_folder(os.environ) / f"models--{name.replace('/', '--')}"


def cache_folder(environment: Mapping[str, str]) -> Path:
    """Where the hub's library keeps models, by the variables that it reads."""
    for variable, below in (
        ("HF_HUB_CACHE", ""),
        ("HUGGINGFACE_HUB_CACHE", ""),
        ("HF_HOME", "hub"),
        ("XDG_CACHE_HOME", "huggingface/hub"),
    ):
        if environment.get(variable):
            return Path(environment[variable]).expanduser() / below
    return Path.home() / ".cache" / "huggingface" / "hub"


def shown_name(folder: Path) -> str:
    """What a model is called on pages and cards: its `hub_id`; or as it was given where that is a relative path, else its `model_name`,
    so that no page has the folders above it.
    """
    as_given = not folder.is_absolute() and folder.name not in ("", "..")
    return hub_id(folder) or (str(folder) if as_given else model_name(folder))


def hub_id(folder: Path) -> str:
    """ORG/NAME of a folder of the hub's cache (models--ORG--NAME/snapshots/COMMIT), with @REVISION, or @COMMIT where no revision is that
    commit, unless it is main's; "" of any other.
    """
    path, name = folder.resolve(), model_name(folder)
    if "/" not in name:
        return ""
    home = path.parents[1]
    if _commit(home, "main") == path.name:
        return name
    revisions = sorted(
        file.relative_to(home / "refs").as_posix() for file in (home / "refs").rglob("*") if file.is_file()
    )
    return f"{name}@{next((one for one in revisions if _commit(home, one) == path.name), path.name)}"


def _commit(home: Path, revision: str) -> str:
    """What a branch or tag stands for in a model's folder of the cache; of a commit itself."""
    reference = home / "refs" / revision
    return reference.read_text("utf-8").strip() if reference.is_file() else revision


def model_name(folder: Path) -> str:
    """What a model is called wherever it is looked at from: ORG/NAME in the hub's cache, whatever the revision, else its folder's name."""
    path = folder.resolve()
    home = path.parents[min(1, len(path.parents) - 1)].name
    if home.startswith("models--") and path.parent.name == "snapshots":
        return home.removeprefix("models--").replace("--", "/", 1)
    return path.name
