"""theta as a LoRA adapter on theta_0: W = W_0 + s B A, so (1 - ratio) W_0 + ratio W = W_0 + s (ratio B) A.

Averaging is therefore scaling each B, exactly and without merging; `factors` and `merged_rows` give the full
weights instead. The scale s is lora_alpha / r, or lora_alpha / sqrt(r) for rank-stabilised LoRA (rsLoRA);
rank_pattern and alpha_pattern may give a module its own r and lora_alpha.
"""

import math
import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import UserError
from ...models.folder import ModelFolder
from ...models.safetensors import TensorInfo
from .arithmetic import STORAGE, all_finite, as_floats, narrow, widen

_LORA = re.compile(r"(?P<module>.+)\.lora_(?P<embedding>embedding_)?(?P<side>[AB])(\.(?P<kind>weight|bias))?")
_PREFIX = "base_model.model."
# Ways to start an adapter at which B A = 0 and W_0 stays as it is; others (PiSSA, OLoRA, ..) change W_0.
_PLAIN_STARTS = (None, True, False, "gaussian", "orthogonal", "eva")
_MERGE_FIRST = "merge it into theta-0 with peft's merge_and_unload and give the merged folder."
_BLOCK = 1 << 20  # elements of a merged weight at a time


@dataclass(frozen=True)
class LowRank:
    """The pair of one module: a (r, in), b (out, r) and s; of an embedding a (r, tokens), b (width, r)."""

    module: str
    a: TensorInfo
    b: TensorInfo
    scale: float
    embedding: bool


@dataclass(frozen=True)
class Adapter:
    """An adapter against its base.

    targets: adapter tensor -> the base's tensor that it acts on (its module's weight if the base has none).
    added: base tensor -> (the pair that is added to it, whether the base stores it as (in, out)).
    whole: base tensor -> the adapter's tensor that replaces it (modules_to_save, trained biases).
    unmergeable: modules whose weight the base stores in another form (fused experts), and low-rank biases.
    """

    targets: dict[str, str]
    added: dict[str, tuple[LowRank, bool]]
    whole: dict[str, TensorInfo]
    unmergeable: list[str]


def read_adapter(base: ModelFolder, folder: ModelFolder) -> Adapter:
    """Check that the adapter in `folder` is linear in its B and fits `base`; raises UserError if not."""
    _check_linear(folder)
    adapter = Adapter({}, {}, {}, [])
    sides: dict[str, dict[str, tuple[TensorInfo, bool]]] = {}
    for name, tensor in folder.tensors.items():
        if tensor.dtype not in STORAGE:
            allowed = ", ".join(STORAGE)
            raise UserError(f"{name} of the adapter has type {tensor.dtype}, allowed are {allowed}.")
        match = _LORA.fullmatch(name)
        module = _module_name(match["module"] if match else name)
        if match is None:
            adapter.targets[name] = target = _base_name(module, base)
            _check_shapes(name, tensor.shape, target, base)
            adapter.whole[target] = tensor
            continue
        adapter.targets[name] = _base_name(f"{module}.weight", base, within=f"{module}.")
        if match["kind"] == "bias":
            adapter.unmergeable.append(name)
        else:
            sides.setdefault(module, {})[match["side"]] = (tensor, bool(match["embedding"]))
    for module, found in sides.items():
        _add(adapter, base, _pair(module, found, folder.config), bool(folder.config.get("fan_in_fan_out")))
    return adapter


def scales_with_ratio(name: str) -> bool:
    """Whether a tensor of an adapter is a B (or its bias), which the ratio multiplies."""
    match = _LORA.fullmatch(name)
    return match is not None and match["side"] == "B"


def scaled(stored: np.ndarray, dtype: str, ratio: float) -> np.ndarray:
    """ratio * B in B's own type; the very bits at ratio 1."""
    return stored if ratio == 1 else narrow(widen(stored, dtype).astype(np.float64) * ratio, dtype)


def factors(pair: LowRank, transposed: bool, ratio: float) -> tuple[np.ndarray, np.ndarray]:
    """(left, right) in fp64, left @ right = ratio s B A in the base's layout; UserError for NaN or Inf."""
    left, right = _factor(pair.b) * (ratio * pair.scale), _factor(pair.a)  # (out, r), (r, in)
    return (right.T, left.T) if transposed else (left, right)


def merged_rows(weight: TensorInfo, stored: np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Rows of the base's weight, given as stored and flat, with left @ right added, in the same type."""
    sum_ = left @ right
    sum_ += widen(stored, weight.dtype).reshape(sum_.shape)
    return narrow(sum_, weight.dtype).reshape(-1)


def row_blocks(weight: TensorInfo) -> list[range]:
    """The rows of a weight in ranges of about a million elements."""
    rows, width = weight.shape
    step = max(1, _BLOCK // max(1, width))
    return [range(start, min(start + step, rows)) for start in range(0, rows, step)]


def _check_linear(folder: ModelFolder) -> None:
    config = folder.config
    if str(config.get("peft_type", "")).upper() != "LORA":
        raise UserError(f"{folder.name} is an adapter of type {config.get('peft_type')!r}, allowed is LORA.")
    if config.get("use_dora") or any("lora_magnitude_vector" in name for name in folder.tensors):
        raise UserError(f"{folder.name} is a DoRA adapter, which is not linear in B: {_MERGE_FIRST}")
    if config.get("init_lora_weights") not in _PLAIN_STARTS:
        start = config["init_lora_weights"]
        changed = f"{folder.name} has init_lora_weights {start!r}, which changes theta-0"
        raise UserError(f"{changed}: {_MERGE_FIRST}")
    odd = next((name for name in folder.tensors if "trainable_tokens" in name), None)
    if odd:
        raise UserError(f"{folder.name} trains single tokens ({odd}): {_MERGE_FIRST}")


def _add(adapter: Adapter, base: ModelFolder, pair: LowRank, fan_in_fan_out: bool) -> None:
    """Note in `adapter` which of the base's weights the pair is added to, if the base has it in one piece."""
    target = adapter.targets[pair.a.name]
    if target not in base.tensors:
        adapter.unmergeable.append(pair.a.name)
        return
    shape, stored = (pair.b.shape[0], pair.a.shape[1]), base.tensors[target].shape
    if stored not in (shape, shape[::-1]):
        _check_shapes(pair.module, shape, target, base)
    transposed = (pair.embedding or fan_in_fan_out) if shape[0] == shape[1] else stored != shape
    adapter.added[target] = (pair, transposed)


def _check_shapes(name: str, shape: tuple[int, ...], target: str, base: ModelFolder) -> None:
    if shape != base.tensors[target].shape:
        raise UserError(
            f"{name} of the adapter has shape {shape}, but {target} of theta-0 has {base.tensors[target].shape}."
        )


def _pair(module: str, sides: dict[str, tuple[TensorInfo, bool]], config: dict) -> LowRank:
    if set(sides) != {"A", "B"}:
        raise UserError(f"The adapter has only lora_{min(sides)} of {module}, allowed is lora_A with lora_B.")
    (a, embedding), (b, _) = sides["A"], sides["B"]
    rank = _setting(module, config, "r", "rank_pattern")
    alpha = _setting(module, config, "lora_alpha", "alpha_pattern")
    numbers = isinstance(rank, int) and rank > 0 and isinstance(alpha, (int, float)) and math.isfinite(alpha)
    if not numbers or a.shape[:1] != (rank,) or len(b.shape) < 2 or b.shape[1] != rank:
        raise UserError(
            f"The adapter's {module} has shapes {a.shape} and {b.shape}, which do not fit "
            f"r {rank!r} and lora_alpha {alpha!r} in adapter_config.json."
        )
    return LowRank(module, a, b, alpha / (math.sqrt(rank) if config.get("use_rslora") else rank), embedding)


def _setting(module: str, config: dict, key: str, pattern_key: str) -> Any:
    """A module's own rank or alpha, if a pattern of the configuration fits its name, else the common one."""
    for pattern, value in (config.get(pattern_key) or {}).items():
        if re.fullmatch(rf"(.*\.)?({pattern})", module):
            return value
    return config.get(key)


def _module_name(name: str) -> str:
    return re.sub(r"\.(base_layer|modules_to_save|original_module)(?=\.|$)", "", name.removeprefix(_PREFIX))


def _base_name(name: str, base: ModelFolder, within: str | None = None) -> str:
    """The base's tensor of this name, with or without the outermost module.

    within: the start of names of tensors that will do too; then `name` itself is returned.
    Raises UserError if there is none.
    """
    tensors = base.tensors
    if name in tensors or (within and any(own.startswith(within) for own in tensors)):
        return name
    found = [own for own in tensors if name.endswith(f".{own}") or own.endswith(f".{name}")]
    if len(found) != 1:
        raise UserError(f"The adapter acts on {name}, which theta-0 ({base.path}) does not have.")
    return found[0]


def _factor(tensor: TensorInfo) -> np.ndarray:
    """A two-dimensional factor in fp64."""
    if len(tensor.shape) != 2:
        raise UserError(f"{tensor.name} has shape {tensor.shape}, allowed with --full are two dimensions.")
    stored = as_floats(tensor.read(), tensor.dtype)
    if not all_finite(stored, tensor.dtype):
        raise UserError(f"{tensor.name} of theta ({tensor.path}) holds NaN or Inf.")
    return widen(stored, tensor.dtype).astype(np.float64).reshape(tensor.shape)
