"""The safetensors format, read as ranges of bytes: the header's length (8 bytes), a JSON header, the data.

A header is trusted only after every type, shape and offset in it has been checked against the file's size.
"""

import json
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np

from ..errors import UserError

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


@dataclass(frozen=True)
class TensorInfo:
    """Where a tensor lies: bytes `start` to `end` of the file `path`."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    path: Path
    start: int
    end: int

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
        with open(self.path, "rb", buffering=0) as file:
            file.seek(self.start + first * self.itemsize)
            view = data.data
            while view:
                count = file.readinto(view)
                if not count:
                    raise UserError(f"{self.path} changed while {self.name} was read.")
                view = view[count:]
        return data.view(f"<u{self.itemsize}")


def read_header(path: Path) -> tuple[bytes, list[TensorInfo]]:
    """A safetensors file's raw header (length field included), and its tensors in the order of their data.

    Raises UserError if it is no safetensors file, is truncated or has bytes that no tensor accounts for.
    """
    size = path.stat().st_size
    with open(path, "rb") as file:
        start = file.read(8)
        length = int.from_bytes(start, "little")
        if len(start) < 8 or not 2 <= length <= min(_LARGEST_HEADER, size - 8):
            raise UserError(f"{path} is no whole safetensors file: {size} bytes with a header of {length}.")
        raw = file.read(length)
    try:
        header = json.loads(raw)
        header.pop("__metadata__", None)
        tensors = [_tensor(name, entry, path, 8 + length) for name, entry in header.items()]
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
    return start + raw, tensors


def _tensor(name: str, entry: dict, path: Path, data: int) -> TensorInfo:
    """One header entry, whose offsets count from byte `data`; ValueError and its like if anything is odd."""
    dtype, shape, (start, end) = entry["dtype"], tuple(entry["shape"]), entry["data_offsets"]
    if not all(type(number) is int and number >= 0 for number in (*shape, start, end)):
        raise ValueError(name)
    if dtype not in _BITS:
        raise UserError(f"{name} in {path} has type {dtype!r}, allowed are {', '.join(_BITS)}.")
    if (end - start) * 8 != prod(shape) * _BITS[dtype]:
        raise ValueError(name)
    return TensorInfo(name, dtype, shape, path, data + start, data + end)
