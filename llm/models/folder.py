"""Local model folders in the Hugging Face layout, read without transformers, never running their code."""

import json
import re
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from ..errors import UserError
from .cache import model_name, shown_name
from .safetensors import Source, TensorInfo, read_header

_INDEX = "model.safetensors.index.json"
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
_OTHER_PICKLES = ("training_args.bin", "optimizer", "scheduler", "rng_state", "scaler.pt")
# What wrappers (torch.compile, FSDP, activation checkpointing; DDP, peft, TRL) put into the names of a model's tensors:
_WITHIN = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")  # anywhere
WRAPPERS = (*_WITHIN, "module", "base_model.model", "pretrained_model")  # all, in any order, before the name
_WRAPPED = re.compile(r"^(?:(?:{})\.)+|(?<=\.)(?:{})\.".format("|".join(map(re.escape, WRAPPERS)), "|".join(_WITHIN)))
# Buffers that older code stored and models make anew, and TRL's value head, which is no part of a language model:
_NO_PARAMETER = re.compile(
    r"(.+\.)?(rotary\w*|rope)\.(\w*inv_freq|cos_cached|sin_cached|freqs)|(.+\.)?(position_ids|_extra_state)|v_head\..+"
)
_MASK = re.compile(r".+(attn|attention)\.(bias|masked_bias|causal_mask)")  # GPT-2's kin, of the shapes of no parameter
_FLOATS = ("F64", "F32", "F16", "BF16")
# Weights that stand for others with a scale of their own: GPTQ's and AWQ's, FP8's, bitsandbytes'
_CODED = re.compile(r"\.(qweight|qzeros|weight_scale(_inv)?|weight\.absmax)$")
_OTHER_FORMATS = {  # files that tell of another format -> what to do
    "zero_to_fp32.py": "the zero_to_fp32.py that lies there makes weights",
    "*.gguf": "GGUF is for llama.cpp: give the safetensors that it was made from",
    "*.distcp": "shards of FSDP are made one model by `accelerate merge-weights`",
    "consolidated*.safetensors": "that is Mistral's own format: give the model as transformers writes it",
}


@dataclass(frozen=True)
class WeightFile:
    """One safetensors file: its raw header and its tensors in the order of their data."""

    path: Path
    header: bytes
    tensors: list[TensorInfo]
    source: Source


@dataclass(frozen=True)
class ModelFolder:
    """A checked folder; `config` is config.json or an adapter's adapter_config.json, `name` the option's.

    notes: sentences on what was left out of `tensors` and `config`.
    """

    name: str
    path: Path
    config: dict
    files: list[WeightFile]
    index: Path | None
    notes: list[str] = field(default_factory=list)

    @cached_property
    def tensors(self) -> dict[str, TensorInfo]:
        """A model's parameters by their plain names, an adapter's tensors by the stored ones."""
        stored = [tensor for file in self.files for tensor in file.tensors]
        if self.is_adapter:
            return {tensor.name: tensor for tensor in stored}
        names = {tensor.name: plain_name(tensor.name) for tensor in stored if not _no_parameter(tensor)}
        if len(set(names.values())) < len(names):
            raise UserError(
                f"{self.name} ({self.path}) holds two tensors whose names differ in a wrapper's prefix only."
            )
        return {
            names[tensor.name]: tensor
            if names[tensor.name] == tensor.name
            else replace(tensor, name=names[tensor.name])
            for tensor in stored
            if tensor.name in names
        }

    @property
    def is_adapter(self) -> bool:
        return _is_adapter(self.path)


def read_folder(path: Path, name: str) -> ModelFolder:
    """Headers and configuration of the model (or adapter) in `path`; no weights are read yet.

    name: the option that gave the path, for messages.
    Raises UserError if the folder or one of its files is missing, damaged, unsafe (pickle) or quantised.
    """
    if not path.is_dir():
        raise UserError(f"{name} is {str(path)!r}, which is no folder; give a local model folder.")
    adapter = _is_adapter(path)
    config_file = path / ("adapter_config.json" if adapter else "config.json")
    if not config_file.exists():
        raise UserError(f"{name} is {str(path)!r}, which has no config.json{_advice(path)}.")
    config = read_json(config_file)
    index, paths = _weight_paths(path, name, adapter)
    files = [WeightFile(file, *read_header(file)) for file in paths]
    folder = ModelFolder(name, path, config, files, index)
    if index is not None:
        _check_index(folder)
    if not folder.tensors:
        raise UserError(f"{name} is {str(path)!r}, whose weight files hold no tensors.")
    for tensor in folder.tensors.values():
        if tensor.dtype in _FLOATS and tensor.shape == (0,):
            raise UserError(
                f"{tensor.name} of {name} has shape 0, as DeepSpeed's ZeRO-3 leaves it in place of parameters; "
                "make whole weights with the zero_to_fp32.py that lies in the checkpoint."
            )
    _note(folder, config_file)
    return folder


def _note(folder: ModelFolder, config_file: Path) -> None:
    """Note what `tensors` leaves out; drop a quantisation from `config` that the weights do not have, or raise UserError."""
    stored = [tensor for file in folder.files for tensor in file.tensors]
    if folder.config.pop("quantization_config", None) is not None:
        if not {tensor.dtype for tensor in stored} <= {*_FLOATS, "I64", "BOOL"}:
            raise UserError(f"{folder.name} is quantised ({config_file} says); give it in bf16, fp16 or fp32.")
        folder.notes.append(f"quantization_config of {folder.name} was left out: its weights are not quantised.")
    elif coded := [t.name for t in stored if t.dtype.startswith("F8") or _CODED.search(t.name)]:
        raise UserError(
            f"{folder.name} is quantised ({coded[0]} is not in a floating-point type of its own); give it in bf16, fp16 or fp32."
        )
    if folder.is_adapter:
        return
    for what, names in (
        ("left out, since they are no parameters of the model", [t.name for t in stored if _no_parameter(t)]),
        ("read without a wrapper's prefix", [t.name for t in stored if plain_name(t.name) != t.name]),
    ):
        if names:
            more = f" and {len(names) - 1} more" * (len(names) > 1)
            folder.notes.append(f"{names[0]}{more} of {folder.name} were {what}.")


def _no_parameter(tensor: TensorInfo) -> bool:
    name = plain_name(tensor.name)
    mask = _MASK.fullmatch(name) and (len(tensor.shape) == 4 or (tensor.elements == 1 and "masked" in name))
    return bool(mask or _NO_PARAMETER.fullmatch(name))


def plain_name(name: str) -> str:
    """A tensor's name without what `WRAPPERS` have put before or into it."""
    return _WRAPPED.sub("", name)


def notes_on_base(theta_0: ModelFolder, adapter: ModelFolder) -> list[str]:
    """A note where `base_model_name_or_path` is neither theta_0's folder, nor its name, nor that of its config.json."""
    path, named = theta_0.path.resolve(), adapter.config.get("base_model_name_or_path")
    known = {path.name, Path(model_name(path)).name, Path(str(theta_0.config.get("_name_or_path"))).name}
    if not isinstance(named, str) or not Path(named).name or Path(named).name in known or Path(named).resolve() == path:
        return []
    names = f"{Path(named).name!r}, and theta-0 is {shown_name(theta_0.path)!r}"
    return [f"The adapter's base is {names}: if they are not the same model, no average of them has a meaning."]


def read_json(path: Path) -> dict:
    """A JSON file that holds an object; UserError if it does not."""
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not valid JSON ({str(error).splitlines()[0]}).") from None
    if not isinstance(content, dict):
        raise UserError(f"{path} holds a JSON {type(content).__name__}; allowed is an object.")
    return content


def _is_adapter(path: Path) -> bool:
    """Whether the folder holds an adapter; trainers may leave its model's config.json beside it."""
    if not (path / "adapter_config.json").exists():
        return False
    has_model = any(path.glob("model*.safetensors*")) or any(path.glob("pytorch_model*.bin*"))
    return not (path / "config.json").exists() or (any(path.glob("adapter_model.*")) and not has_model)


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
                raise UserError(f"{index} names the shard {shard!r}; allowed are files beside the index.")
            if not (path / shard).is_file():
                raise UserError(f"{name} lacks the shard {shard}, which {index} lists.")
        return index, [path / shard for shard in sorted(set(weight_map.values()))]
    pickles = sorted(file.name for pattern in _PICKLES for file in path.glob(pattern))
    pickles = [file for file in pickles if not file.startswith(_OTHER_PICKLES)]
    if pickles:
        load = "peft's PeftModel.from_pretrained" if adapter else "transformers"
        raise UserError(
            f"{name} has pickle weights ({pickles[0]}), which can run code when read; if you trust them, "
            f"load them with {load} and save them again with save_pretrained, which writes safetensors."
        )
    missing = single.name if adapter else f"{single.name} and no {_INDEX}"
    raise UserError(f"{name} is {str(path)!r}, which has no {missing}{_advice(path)}.")


def _advice(path: Path) -> str:
    """What to do with a folder in another format; "" for one that is in none that is known."""
    return next((f"; {advice}" for pattern, advice in _OTHER_FORMATS.items() if any(path.rglob(pattern))), "")


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
