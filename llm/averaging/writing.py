"""Writing a model folder aside, in a stream, and showing it only when it is whole."""

import hashlib
import os
import shutil
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from threading import Event

import numpy as np

from llm.averaging.folders import WeightFile
from llm.errors import UserError

Job = Callable[[], np.ndarray]  # makes the next few megabytes of a tensor's data
_SPARE = 16 << 20  # bytes of room asked for beside the weights: configuration, tokenizer, card
_HASHED = 1 << 18  # bytes hashed at a time


@contextmanager
def aside(out: Path, size: int) -> Iterator[Path]:
    """A new folder beside `out` that becomes `out` if the block succeeds and is removed if it fails.

    size: bytes of weights that will be written, for which there has to be room.
    Raises UserError if `out` exists, its parent does not, or there is no room; and for failures of the disk.
    """
    if out.exists() or out.is_symlink():
        raise UserError(f"out is {str(out)!r}, which exists; give a new folder.")
    if not out.parent.is_dir():
        raise UserError(f"out is {str(out)!r}, but the folder {str(out.parent)!r} does not exist.")
    free = shutil.disk_usage(out.parent).free
    if free < size + _SPARE:
        room = f"{free / 1e9:.2f} GB are free, but {(size + _SPARE) / 1e9:.2f} GB are needed"
        raise UserError(f"out is {str(out)!r}, where {room}.")
    partial = out.parent / f".{out.name}.partial-{os.getpid()}"
    try:
        partial.mkdir()
    except OSError as error:
        raise UserError(f"out is {str(out)!r}, and writing beside it failed: {error}.") from None
    try:
        yield partial
        os.rename(partial, out)
    except OSError as error:
        raise UserError(f"out is {str(out)!r}, and writing it failed: {error}.") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write_weights(
    files: list[WeightFile],
    folder: Path,
    jobs: Callable[[str], Iterator[Job]],
    progress: Callable[[int], None],
) -> dict[str, str]:
    """Write each file's header and, after it, what `jobs(tensor name)` make, in the order of the header.

    Jobs run on as many threads as there are processors; their results are written, and hashed, in order, so
    that only a few of them are in memory at once.
    progress: called with each number of bytes written.
    Returns file name -> SHA-256.
    """
    hashes = {}
    workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with ThreadPoolExecutor(workers) as pool:
        for file in files:
            digest = hashlib.sha256(file.header)
            with open(folder / file.path.name, "xb", buffering=0) as out:
                out.write(file.header)
                work = chain.from_iterable(jobs(tensor.name) for tensor in file.tensors)
                for data in _in_order(pool, work, 2 * workers):
                    view = memoryview(data).cast("B")
                    digest.update(view)
                    _write_all(out, view)
                    progress(len(view))
                if out.tell() != file.path.stat().st_size:
                    raise UserError(f"{file.path} changed while it was read.")
            hashes[file.path.name] = digest.hexdigest()
    return hashes


def hash_files(paths: list[Path], stop: Event) -> dict[str, str]:
    """File name -> SHA-256 of each file, read in order; gives up when `stop` is set."""
    hashes = {}
    buffer = memoryview(bytearray(_HASHED))
    for path in paths:
        digest = hashlib.sha256()
        with open(path, "rb", buffering=0) as file:
            while not stop.is_set() and (count := file.readinto(buffer)):
                digest.update(buffer[:count])
        hashes[path.name] = digest.hexdigest()
    return hashes


def _in_order(pool: ThreadPoolExecutor, work: Iterator[Job], ahead: int) -> Iterator[np.ndarray]:
    """Results of the jobs in their order, with at most `ahead` of them begun and not yet given out."""
    pending: deque[Future] = deque()
    try:
        for job in work:
            pending.append(pool.submit(job))
            if len(pending) >= ahead:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        for future in pending:
            future.cancel()


def _write_all(out, view: memoryview) -> None:
    while len(view):
        view = view[out.write(view) :]
