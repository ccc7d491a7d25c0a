"""The files of an output: which tensors each has, its header, and the index of several."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ...models.folder import ModelFolder, WeightFile
from ...models.safetensors import TensorInfo, write_header


@dataclass(frozen=True)
class OutputFile:
    """A file of weights: its name, its header, and the names, types and shapes of its tensors in the order of their data."""

    name: str
    header: bytes
    tensors: list[TensorInfo]

    @cached_property
    def size(self) -> int:
        """Bytes."""
        return len(self.header) + sum(tensor.elements * tensor.itemsize for tensor in self.tensors)


def layout(files: list[WeightFile], outputs: Iterable[TensorInfo]) -> list[OutputFile]:
    """The output's tensors in the files, and at the places, where those that they are laid out as lie.

    A file that holds what its source does has the very header of it.
    """
    found: dict[Path, list[TensorInfo]] = {file.path: [] for file in files}
    for tensor in outputs:
        found[tensor.path].append(tensor)
    made = []
    for file in files:
        tensors = sorted(found[file.path], key=lambda tensor: (tensor.start, tensor.end))
        if tensors == file.tensors:
            made.append(OutputFile(file.path.name, file.header, tensors))
        elif tensors:
            tensors.sort(key=lambda tensor: -tensor.itemsize)  # so that all are aligned
            metadata = json.loads(file.header[8:]).get("__metadata__", {})
            made.append(OutputFile(file.path.name, write_header(tensors, metadata), tensors))
    return made


def write_index(source: ModelFolder, files: list[OutputFile], folder: Path) -> None:
    """The index of a model in several files, into `folder`: that of the source, if it still fits."""
    weight_map = {tensor.name: file.name for file in files for tensor in file.tensors}
    if source.index is not None:
        content = json.loads(source.index.read_bytes())
        same = [file.header for file in files] == [file.header for file in source.files]
        if content["weight_map"] != weight_map or not same:
            size = sum(file.size - len(file.header) for file in files)
            content = {"metadata": {"total_size": size}, "weight_map": dict(sorted(weight_map.items()))}
            (folder / source.index.name).write_text(json.dumps(content, indent=2) + "\n", "utf-8")
        else:
            (folder / source.index.name).write_bytes(source.index.read_bytes())
