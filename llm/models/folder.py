"""Local model folders in the Hugging Face layout, read without transformers, never running their code."""

import json
import re
from dataclasses import dataclass
from pathlib import Path

from ..errors import UserError
from .safetensors import TensorInfo, read_header

_INDEX = "model.safetensors.index.json"
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
_OTHER_PICKLES = ("training_args.bin", "optimizer", "scheduler", "rng_state", "scaler.pt")


@dataclass(frozen=True)
class WeightFile:
    """One safetensors file: its raw header and its tensors in the order of their data."""

    path: Path
    header: bytes
    tensors: list[TensorInfo]


@dataclass(frozen=True)
class ModelFolder:
    """A checked folder; `config` is config.json or an adapter's adapter_config.json, `name` the option's."""

    name: str
    path: Path
    config: dict
    files: list[WeightFile]
    index: Path | None

    @property
    def tensors(self) -> dict[str, TensorInfo]:
        return {tensor.name: tensor for file in self.files for tensor in file.tensors}

    @property
    def is_adapter(self) -> bool:
        return (self.path / "adapter_config.json").exists() and not (self.path / "config.json").exists()

    @property
    def weight_bytes(self) -> int:
        return sum(file.path.stat().st_size for file in self.files)


def read_folder(path: Path, name: str) -> ModelFolder:
    """Headers and configuration of the model (or adapter) in `path`; no weights are read yet.

    name: the option that gave the path, for messages.
    Raises UserError if the folder or one of its files is missing, damaged, unsafe (pickle) or quantised.
    """
    if not path.is_dir():
        raise UserError(f"{name} is {str(path)!r}, which is no folder; give a local model folder.")
    adapter = (path / "adapter_config.json").exists() and not (path / "config.json").exists()
    config_file = path / ("adapter_config.json" if adapter else "config.json")
    if not config_file.exists():
        raise UserError(f"{name} is {str(path)!r}, which has no config.json.")
    config = read_json(config_file)
    if "quantization_config" in config:
        raise UserError(f"{name} is quantised ({config_file} says); give it in bf16, fp16 or fp32.")
    index, paths = _weight_paths(path, name, adapter)
    files = [WeightFile(file, *read_header(file)) for file in paths]
    folder = ModelFolder(name, path, config, files, index)
    if index is not None:
        _check_index(folder)
    if not folder.tensors:
        raise UserError(f"{name} is {str(path)!r}, whose weight files hold no tensors.")
    return folder


def read_json(path: Path) -> dict:
    """A JSON file that holds an object; UserError if it does not."""
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not valid JSON ({str(error).splitlines()[0]}).") from None
    if not isinstance(content, dict):
        raise UserError(f"{path} holds a JSON {type(content).__name__}, allowed is an object.")
    return content


def _weight_paths(path: Path, name: str, adapter: bool) -> tuple[Path | None, list[Path]]:
    """The index, if the model is in shards, and its files; a single file goes first, as in transformers."""
    single = path / ("adapter_model.safetensors" if adapter else "model.safetensors")
    index = path / _INDEX
    if single.is_file():
        return None, [single]
    if index.is_file() and not adapter:
        weight_map = read_json(index).get("weight_map")
        if not isinstance(weight_map, dict) or not weight_map:
            raise UserError(f"{index} has no weight_map.")
        for shard in weight_map.values():
            if not isinstance(shard, str) or not re.fullmatch(r"[\w.+-]+\.safetensors", shard):
                raise UserError(f"{index} names the shard {shard!r}, allowed are files beside the index.")
            if not (path / shard).is_file():
                raise UserError(f"{name} lacks the shard {shard}, which {index} lists.")
        return index, [path / shard for shard in sorted(set(weight_map.values()))]
    pickles = sorted(file.name for pattern in _PICKLES for file in path.glob(pattern))
    pickles = [file for file in pickles if not file.startswith(_OTHER_PICKLES)]
    if pickles:
        raise UserError(
            f"{name} has pickle weights ({pickles[0]}), which can run code when read; if you trust them, "
            "load them with transformers and save them again with save_pretrained, which writes safetensors."
        )
    missing = single.name if adapter else f"{single.name} and no {_INDEX}"
    raise UserError(f"{name} is {str(path)!r}, which has no {missing}.")


def _check_index(folder: ModelFolder) -> None:
    """Index and shards must agree: each tensor once, in the shard that the index names."""
    weight_map = read_json(folder.index)["weight_map"]
    found: dict[str, str] = {}
    for file in folder.files:
        for tensor in file.tensors:
            if tensor.name in found or weight_map.get(tensor.name) != file.path.name:
                listed = weight_map.get(tensor.name, "no shard")
                raise UserError(f"{tensor.name} lies in {file.path}, but the index lists {listed} for it.")
            found[tensor.name] = file.path.name
    missing = sorted(weight_map.keys() - found.keys())
    if missing:
        shard = weight_map[missing[0]]
        raise UserError(f"{folder.name} lacks {missing[0]}, which {folder.index} lists in {shard}.")
    listed = set(weight_map.values())
    for shard in sorted(folder.path.glob("model-*-of-*.safetensors")):
        if shard.name not in listed:
            raise UserError(f"{folder.name} has the shard {shard.name}, which is missing from {folder.index}.")
