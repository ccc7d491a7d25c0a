"""Where data sets are, and their rows: read through `datasets` from a local folder or from the hub."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...errors import UserError, first_line


@dataclass(frozen=True)
class DataSet:
    """A data set of JSON files: its folder below a data_dir, its id on the hub, and the columns that are read."""

    folder: str
    hub: str
    columns: tuple[str, ...]


@dataclass(frozen=True)
class Place:
    """Where to read from.

    data_dir: a folder with one folder a data set, its files named as on the hub; None: the hub.
    cache: where `datasets` keeps what it has converted; None: its own place (HF_HOME).
    """

    data_dir: Path | None = None
    cache: Path | None = None


def rows(data: DataSet, files: Sequence[str], place: Place) -> Iterator[dict]:
    """The rows of files or patterns (paths inside the data set), in the order of `files` and then of names.

    Raises UserError if a file is missing, empty or unreadable, if the hub cannot be reached, or if columns are missing.
    """
    where = data.hub if place.data_dir is None else str(place.data_dir / data.folder)
    found = here(data, files, place)
    for number, row in enumerate(_load(data, found, place)):
        if number == 0 and not row.keys() >= set(data.columns):
            have, need = ", ".join(row), ", ".join(data.columns)
            raise UserError(f"{where} has the columns {have}; needed are {need}.")
        yield row


def here(data: DataSet, files: Sequence[str], place: Place) -> list[str]:
    """The paths of the files, which are downloaded into the hub's own cache unless they are there; UserError if one is missing."""
    if place.data_dir is not None:
        return _local_files(data, files, place.data_dir)
    from huggingface_hub import snapshot_download

    try:
        folder = snapshot_download(data.hub, repo_type="dataset", allow_patterns=list(files))
    except Exception as error:  # of the network and the hub
        raise _unreachable(data, " ".join(str(error).split()).rstrip(".")) from None
    return _found(data, files, Path(folder))


def require_files(data: DataSet, files: Sequence[str], place: Place) -> None:
    """UserError if one of the files is missing; nothing is read, or downloaded."""
    from huggingface_hub import HfApi

    if place.data_dir is not None or is_offline():
        here(data, files, place)
        return
    try:
        there = {file.rfilename for file in HfApi().dataset_info(data.hub, timeout=20).siblings or []}
    except Exception as error:  # of the network and the hub
        raise _unreachable(data, first_line(error)) from None
    missing = [file for file in files if file not in there]
    if missing:
        raise UserError(f"data set {data.hub} has no file {missing[0]} on the hub.")


def is_offline() -> bool:
    """Whether the hub is not to be asked, by HF_HUB_OFFLINE."""
    from huggingface_hub import constants

    return constants.HF_HUB_OFFLINE


def _unreachable(data: DataSet, reason: str) -> UserError:
    return UserError(
        f"data set {data.hub} cannot be read from the hub ({reason}); "
        f"give a data_dir that holds its files in the folder {data.folder}."
    )


def _load(data: DataSet, found: list[str], place: Place) -> Iterator[dict]:
    from datasets import load_dataset

    cache = None if place.cache is None else str(place.cache)
    try:
        yield from load_dataset("json", data_files=found, split="train", cache_dir=cache)
    except Exception as error:  # of the network, the hub, the file system and the readers: a dozen unrelated types
        empty = isinstance(error, StopIteration)
        reason = "no rows" if empty else " ".join(str(error.__cause__ or error).split())
        raise UserError(f"{', '.join(found)} cannot be read ({reason}); needed are rows in JSON.") from error


def _local_files(data: DataSet, files: Sequence[str], data_dir: Path) -> list[str]:
    folder = data_dir / data.folder
    if not folder.is_dir():
        raise UserError(f"data_dir = {data_dir} has no folder {data.folder}; needed are the files of {data.hub} in it.")
    return _found(data, files, folder)


def _found(data: DataSet, files: Sequence[str], folder: Path) -> list[str]:
    """Packed files may also lie there unpacked."""
    found = []
    for file in files:
        there = sorted(folder.glob(file)) or sorted(folder.glob(file.removesuffix(".gz")))
        if not there:
            raise UserError(f"folder {folder} has no file {file}; needed are the files of {data.hub}, named as there.")
        found += there
    for path in found:
        if not path.stat().st_size:
            raise UserError(f"{path} is empty; needed are rows with the columns {', '.join(data.columns)}.")
    return [str(path) for path in found]
