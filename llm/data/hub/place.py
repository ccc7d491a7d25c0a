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
    if place.data_dir is None:
        found, where = [f"hf://datasets/{data.hub}/{file}" for file in files], data.hub
    else:
        found, where = _local_files(data, files, place.data_dir), str(place.data_dir / data.folder)
    for number, row in enumerate(_load(data, found, place)):
        if number == 0 and not row.keys() >= set(data.columns):
            have, need = ", ".join(row), ", ".join(data.columns)
            raise UserError(f"{where} has the columns {have}; needed are {need}.")
        yield row


def require_files(data: DataSet, files: Sequence[str], place: Place) -> None:
    """UserError if one of the files is missing, nothing being read or downloaded."""
    if place.data_dir is not None:
        _local_files(data, files, place.data_dir)
        return
    from huggingface_hub import HfApi

    try:
        there = {file.rfilename for file in HfApi().dataset_info(data.hub, timeout=20).siblings or []}
    except Exception as error:  # of the network and the hub
        raise UserError(
            f"data set {data.hub} cannot be read from the hub ({first_line(error)}); "
            f"give a data_dir that holds its files in the folder {data.folder}."
        ) from None
    missing = [file for file in files if file not in there]
    if missing:
        raise UserError(f"data set {data.hub} has no file {missing[0]} on the hub.")


def _load(data: DataSet, found: list[str], place: Place) -> Iterator[dict]:
    from datasets import load_dataset

    cache = None if place.cache is None else str(place.cache)
    try:
        yield from load_dataset("json", data_files=found, split="train", cache_dir=cache)
    except Exception as error:  # of the network, the hub, the file system and the readers: a dozen unrelated types
        empty = isinstance(error, StopIteration)
        reason = "no rows" if empty else " ".join(str(error.__cause__ or error).split())
        if place.data_dir is None:
            raise UserError(
                f"data set {data.hub} cannot be read from the hub ({reason}); "
                f"give a data_dir that holds its files in the folder {data.folder}."
            ) from error
        raise UserError(f"{', '.join(found)} cannot be read ({reason}); needed are rows in JSON.") from error


def _local_files(data: DataSet, files: Sequence[str], data_dir: Path) -> list[str]:
    """Packed files may also lie there unpacked."""
    folder = data_dir / data.folder
    if not folder.is_dir():
        raise UserError(f"data_dir = {data_dir} has no folder {data.folder}; needed are the files of {data.hub} in it.")
    found = []
    for file in files:
        here = sorted(folder.glob(file)) or sorted(folder.glob(file.removesuffix(".gz")))
        if not here:
            raise UserError(f"folder {folder} has no file {file}; needed are the files of {data.hub}, named as there.")
        found += here
    for path in found:
        if not path.stat().st_size:
            raise UserError(f"{path} is empty; needed are rows with the columns {', '.join(data.columns)}.")
    return [str(path) for path in found]
