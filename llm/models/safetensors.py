"""The safetensors format, read as ranges of bytes: the header's length (8 bytes), a JSON header, the data.

A header is trusted only after every type, shape and offset in it has been checked against the file's size.
"""

import json
import os
from dataclasses import dataclass
from math import prod
from pathlib import Path
from weakref import finalize

import numpy as np

from ..errors import UserError, first_line
from ..files import unique_keys

_BITS = {
    "F64": 64,
    "F32": 32,
    "F16": 16,
    "BF16": 16,
    "I64": 64,
    "I32": 32,
    "I16": 16,
    "I8": 8,
    "U64": 64,
    "U32": 32,
    "U16": 16,
    "U8": 8,
    "BOOL": 8,
    "F8_E4M3": 8,
    "F8_E5M2": 8,
    "F8_E8M0": 8,
    "C64": 64,
}
_LARGEST_HEADER = 100_000_000  # bytes, the format's own limit
_DIMENSIONS = 64  # that a tensor may have
_COPY = 1 << 20  # bytes at a time


class Source:
    """A file read through one descriptor, open for as long as the object lives: who puts another file in its place
    meanwhile does not mix the two, and `check` notices.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor = os.open(path, os.O_RDONLY)
        finalize(self, os.close, self._descriptor)
        self._opened = os.fstat(self._descriptor)

    @property
    def size(self) -> int:
        return self._opened.st_size

    def read_into(self, view: memoryview, position: int) -> None:
        """Fill the view (bytes) with what lies from byte `position` on; UserError if the file ends before."""
        while view:
            count = os.preadv(self._descriptor, [view], position)
            if not count:
                raise self._changed()
            view, position = view[count:], position + count

    def copy_to(self, path: Path) -> None:
        """Write the file anew."""
        buffer = memoryview(bytearray(_COPY))
        with open(path, "xb", buffering=0) as out:
            for start in range(0, self.size, _COPY):
                view = buffer[: min(_COPY, self.size - start)]
                self.read_into(view, start)
                while view:
                    view = view[out.write(view) :]

    def check(self) -> None:
        """UserError if another file has the path by now, or if the opened one was written to."""
        try:
            found = [os.stat(self.path), os.fstat(self._descriptor)]
        except FileNotFoundError:
            raise self._changed() from None
        if any(_state(one) != _state(self._opened) for one in found):
            raise self._changed()

    def _changed(self) -> UserError:
        return UserError(f"{self.path} changed while it was read; give a folder that nothing writes to.")


def _state(found: os.stat_result) -> tuple[int, ...]:
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size


@dataclass(frozen=True)
class TensorInfo:
    """Where a tensor lies: bytes `start` to `end` of the file `source`."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    source: Source
    start: int
    end: int

    @property
    def path(self) -> Path:
        return self.source.path

    @property
    def elements(self) -> int:
        return prod(self.shape)

    @property
    def itemsize(self) -> int:
        return _BITS[self.dtype] // 8

    def read(self, first: int = 0, last: int | None = None, buffer: np.ndarray | None = None) -> np.ndarray:
        """Stored values `first` to `last` (exclusive; all by default) as unsigned integers, shape (n,).

        They lie in `buffer` (bytes) if it is given and long enough.
        """
        last = self.elements if last is None else last
        size = (last - first) * self.itemsize
        fits = buffer is not None and size <= len(buffer)
        data = buffer[:size] if fits else np.empty(size, np.uint8)
        self.source.read_into(data.data, self.start + first * self.itemsize)
        return data.view(f"<u{self.itemsize}")


def read_header(path: Path) -> tuple[bytes, list[TensorInfo], Source]:
    """A safetensors file's raw header (length field included), its tensors in the order of their data, and the open file.

    Raises UserError if it is no safetensors file, is truncated, has bytes that no tensor accounts for, or is refused by the
    safetensors library.
    """
    from safetensors import SafetensorError, safe_open

    source = Source(path)
    start, size = bytearray(8), source.size
    if size >= 8:
        source.read_into(memoryview(start), 0)
    length = int.from_bytes(start, "little")
    if size < 8 or not 2 <= length <= min(_LARGEST_HEADER, size - 8):
        raise UserError(f"{path} is no whole safetensors file: {size} bytes with a header of {length}.")
    raw = bytearray(length)
    source.read_into(memoryview(raw), 8)
    try:
        header = json.loads(raw, object_pairs_hook=unique_keys)
        header.pop("__metadata__", None)
        tensors = [_tensor(name, entry, source, 8 + length) for name, entry in header.items()]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise UserError(f"{path} has a corrupt safetensors header.") from None
    tensors.sort(key=lambda tensor: (tensor.start, tensor.end))
    position = 8 + length
    for tensor in tensors:
        if tensor.start != position:
            raise UserError(f"{path} is corrupt: {tensor.name} does not begin where the tensor before ends.")
        position = tensor.end
    if position != size:
        kind = "truncated" if size < position else "corrupt"
        raise UserError(f"{path} is {kind}: it has {size} bytes, but its header describes {position}.")
    try:
        with safe_open(path, framework="numpy"):
            pass
    except SafetensorError as error:
        raise UserError(f"{path} is refused by the safetensors library ({first_line(error)}).") from None
    return bytes(start + raw), tensors, source


def write_header(tensors: list[TensorInfo], metadata: dict[str, str]) -> bytes:
    """The header of a file that holds tensors of these names, types and shapes, one after the other."""
    entries: dict[str, dict] = {"__metadata__": metadata}
    position = 0
    for tensor in tensors:
        end = position + tensor.elements * tensor.itemsize
        entries[tensor.name] = {"dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": [position, end]}
        position = end
    raw = json.dumps(entries, separators=(",", ":")).encode()
    raw += b" " * (-len(raw) % 8)
    return len(raw).to_bytes(8, "little") + raw


def _tensor(name: str, entry: dict, source: Source, data: int) -> TensorInfo:
    """One header entry, whose offsets count from byte `data`; ValueError and its like if anything is odd."""
    dtype, shape, (start, end) = entry["dtype"], tuple(entry["shape"]), entry["data_offsets"]
    numbers = (*shape, start, end)
    if len(shape) > _DIMENSIONS or not all(type(number) is int and 0 <= number < 1 << 63 for number in numbers):
        raise ValueError(name)
    if not name.isprintable():
        raise ValueError(name)
    if dtype not in _BITS:
        raise UserError(f"{name} in {source.path} has type {dtype!r}; allowed are {', '.join(_BITS)}.")
    if (end - start) * 8 != prod(shape) * _BITS[dtype]:
        raise ValueError(name)
    return TensorInfo(name, dtype, shape, source, data + start, data + end)
