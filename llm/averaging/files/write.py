"""Atomic writing of a model folder, in a stream: under another name, and renamed when it is complete."""

import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import chain
from pathlib import Path

import numpy as np

from ...errors import UserError
from ...files import remove_partial, written
from .chunks import SIZE, Chunk
from .layout import OutputFile

_SPARE = 16 << 20  # bytes of room needed beside the weights: configuration, tokenizer, card
_BUFFER = 8 * SIZE  # bytes: a chunk of the widest type
_UNSYNCED = 1 << 25  # bytes written before the disk is made to have them


class NoPlace(UserError):
    """The output cannot lie where it is wanted, or there is no room: once there is, the same command does."""


@contextmanager
def atomic_folder(out: Path, size: int) -> Iterator[Path]:
    """A new folder that becomes `out`, synced to the disk, if the block succeeds and is removed if it fails.

    size: bytes of weights that will be written, for which there has to be room.
    Raises NoPlace if `out` exists, its parent does not, or there is no room; OSError for failures of the disk.
    """
    check_new(out, size)
    remove_partial(out)
    with written(out) as folder:
        folder.mkdir()
        yield folder
        if out.exists():
            raise NoPlace(f"out is {str(out)!r}, which something else has made meanwhile; give a new folder.")


def check_new(out: Path, size: int) -> None:
    """NoPlace if `out` exists, its parent does not, or there is no room for `size` bytes of weights."""
    if out.exists() or out.is_symlink():
        raise NoPlace(f"out is {str(out)!r}, which exists; give a new folder.")
    if not out.parent.is_dir():
        raise NoPlace(f"out is {str(out)!r}, but the folder {str(out.parent)!r} does not exist.")
    if any("\ud800" <= letter <= "\udfff" for letter in out.name):
        raise NoPlace(f"out is {str(out)!r}, whose name is no UTF-8.")
    free = shutil.disk_usage(out.parent).free
    if free < size + _SPARE:
        room = f"{free / 1e9:.2f} GB are free, but {(size + _SPARE) / 1e9:.2f} GB are needed"
        raise NoPlace(f"out is {str(out)!r}, where {room}.")


def write_weights(
    files: list[OutputFile], folder: Path, chunks: Callable[[str], Iterator[Chunk]], progress: Callable[[int], None]
) -> None:
    """Write each file's header and, after it, what `chunks(tensor name)` describe, in the order of the header.

    progress: called with each number of bytes written.
    """
    buffers = [np.empty(_BUFFER, np.uint8) for _ in range(2)]  # used for every chunk: new memory takes time
    for file in files:
        with open(folder / file.name, "xb", buffering=0) as out, ThreadPoolExecutor(1) as pool:
            out.write(file.header)
            start, synced = 0, pool.submit(os.fsync, out.fileno())
            for chunk in chain.from_iterable(chunks(tensor.name) for tensor in file.tensors):
                spans = zip((chunk.theta_0, chunk.theta), buffers, strict=True)
                data = chunk.make(*(span and span.read(buffer) for span, buffer in spans))
                view = data.data.cast("B")
                progress(len(view))
                while view:
                    view = view[out.write(view) :]
                if synced.done() and out.tell() - start > _UNSYNCED:  # in a thread, so that little is left for the end
                    synced.result()
                    start, synced = out.tell(), pool.submit(os.fsync, out.fileno())
            synced.result()
            if out.tell() != file.size:
                raise AssertionError(f"{file.name} has {out.tell()} bytes, not {file.size}")
