"""theta as a LoRA adapter on theta_0: W = W_0 + s B A, so (1 - ratio) W_0 + ratio W = W_0 + s (ratio B) A.

Averaging is therefore scaling each B, exactly and without merging; `factors` and `merged_rows` give the full
weights instead. The scale s is lora_alpha / r, or lora_alpha / sqrt(r) for rank-stabilised LoRA (rsLoRA);
rank_pattern and alpha_pattern may give a module its own r and lora_alpha.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ...errors import UserError
from ...grouping import role, token_embeddings
from ...models.folder import ModelFolder, plain_name
from ...models.safetensors import TensorInfo
from .arithmetic import STORAGE, all_finite, as_floats, narrow, widen
from .lora_patterns import module_settings
from .pairing import Tensors, check_rows, heads, may_be_tied, same_values, vocabulary_size

_LORA = re.compile(r"(?P<module>.+)\.lora_(?P<embedding>embedding_)?(?P<side>[AB])(\.(?P<kind>weight|bias))?")
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


@dataclass
class Adapter:
    """An adapter against its base.

    base: the base's tensors, a head that is its embeddings included.
    targets: adapter tensor -> the base's tensor that it acts on (its module's weight if the base has none).
    added: base tensor -> (the pair that is added to it, whether the base stores it as (in, out)).
    whole: base tensor -> the adapter's tensor that replaces it (modules_to_save, trained biases).
    unmergeable: modules whose weight the base stores in another form (fused experts), and low-rank biases.
    tied: head -> embeddings, where the adapter acts on both as on one matrix.
    untied: the head of a base whose head is its embeddings, if it is another matrix in the merged model; else "".
    notes: sentences.
    """

    base: Tensors
    targets: dict[str, str] = field(default_factory=dict)
    added: dict[str, tuple[LowRank, bool]] = field(default_factory=dict)
    whole: Tensors = field(default_factory=dict)
    unmergeable: list[str] = field(default_factory=list)
    tied: dict[str, str] = field(default_factory=dict)
    untied: str = ""
    notes: list[str] = field(default_factory=list)


def read_adapter(base: ModelFolder, folder: ModelFolder, union: bool = False) -> Adapter:
    """Check that the adapter in `folder` is linear in its B and fits `base`; raises UserError if not.

    union: whether its embeddings and head may have more rows, or fewer, than the base's.
    """
    _check_linear(folder)
    for tensor in folder.tensors.values():
        if tensor.dtype not in STORAGE:
            allowed = ", ".join(STORAGE)
            raise UserError(f"{tensor.name} of the adapter has type {tensor.dtype}; allowed are {allowed}.")
    embeddings, head = token_embeddings(base.tensors), _tied_head(base, folder)
    adapter = Adapter(dict(base.tensors))
    if head:
        adapter.base[head] = replace(base.tensors[embeddings], name=head)
    sides: dict[str, dict[str, tuple[TensorInfo, bool]]] = {}
    for name, tensor in folder.tensors.items():
        match = _LORA.fullmatch(name)
        module = _module_name(match["module"] if match else name)
        if match is None:
            adapter.targets[name] = target = _base_name(module, adapter.base, base)
            if replaces(name):
                adapter.whole[target] = tensor
            continue
        adapter.targets[name] = _base_name(f"{module}.weight", adapter.base, base, within=f"{module}.")
        if match["kind"] == "bias":
            adapter.unmergeable.append(name)
        else:
            sides.setdefault(match["module"], {})[match["side"]] = (tensor, bool(match["embedding"]))
    whole = {target: replace(tensor, name=target) for target, tensor in adapter.whole.items()}
    adapter.notes.extend(check_rows(base, folder, adapter.base, whole, union))
    for target in whole:
        if adapter.base[target].dtype not in STORAGE:
            raise UserError(
                f"{target} of theta-0 has type {adapter.base[target].dtype}; allowed are {', '.join(STORAGE)}."
            )
    settings = module_settings(base, folder, [_module_name(module) for module in sides])
    for module, found in sides.items():
        module = _module_name(module)
        if set(found) != {"A", "B"}:
            raise UserError(f"The adapter has only lora_{min(found)} of {module}; allowed is lora_A with lora_B.")
        if adapter.targets[found["A"][0].name] not in adapter.base:
            adapter.unmergeable.append(found["A"][0].name)
            continue
        pair = _pair(module, found, *settings[module], folder.config)
        _add(adapter, pair, bool(folder.config.get("fan_in_fan_out")))
    if head:
        _tie(adapter, head, embeddings, folder)
    return adapter


def _tied_head(base: ModelFolder, folder: ModelFolder) -> str:
    """The name of the head of a base that stores its embeddings only, "" for another base."""
    tensors, size = base.tensors, vocabulary_size(base)
    embeddings = token_embeddings(tensors)
    if not embeddings or not may_be_tied(base) or heads(tensors, size or tensors[embeddings].shape[0]):
        return ""
    modules = {_module_name(m["module"] if (m := _LORA.fullmatch(name)) else name) for name in folder.tensors}
    named = [module.removesuffix(".weight") for module in modules if role(module) == "head"]
    default = "embed_out" if base.config.get("model_type") == "gpt_neox" else "lm_head"
    return f"{min(named, default=default)}.weight"


def _tie(adapter: Adapter, head: str, embeddings: str, folder: ModelFolder) -> None:
    """Find out whether the adapter leaves the head and the embeddings of its base one matrix."""
    acts, whole = {head, embeddings} & {*adapter.targets.values()}, adapter.whole
    as_one = bool(folder.config.get("ensure_weight_tying"))
    same = (
        len(acts) == 2 and acts <= whole.keys() - adapter.added.keys() and same_values(whole[head], whole[embeddings])
    )
    if len(acts) == 2 and (same or as_one):
        adapter.tied[head] = embeddings
    if acts and not same and not (as_one and acts == {embeddings}):
        adapter.untied = head


def scales_with_ratio(name: str) -> bool:
    """Whether a tensor of an adapter is a B (or its bias), which the ratio multiplies."""
    match = _LORA.fullmatch(name)
    return match is not None and match["side"] == "B"


def replaces(name: str) -> bool:
    """Whether a tensor of an adapter takes the place of the base's: it has no low rank, and is no copy of the base's own."""
    return _LORA.fullmatch(name) is None and ".original_module." not in name


def scaled(
    stored: np.ndarray, dtype: str, ratio: float, to: str, round_: Callable[[np.ndarray, str], np.ndarray] = narrow
) -> np.ndarray:
    """ratio * B in the type `to`; the very bits at ratio 1 in B's own."""
    return stored if ratio == 1 and to == dtype else round_(widen(stored, dtype).astype(np.float64) * ratio, to)


def factors(pair: LowRank, transposed: bool, ratio: float) -> tuple[np.ndarray, np.ndarray]:
    """(left, right) in fp64, left @ right = ratio s B A in the base's layout; UserError for NaN or Inf."""
    left, right = _factor(pair.b) * (ratio * pair.scale), _factor(pair.a)  # (out, r), (r, in)
    return (right.T, left.T) if transposed else (left, right)


def merged_rows(
    stored: np.ndarray,
    dtype: str,
    left: np.ndarray,
    right: np.ndarray,
    whole: np.ndarray | None,
    other: str,
    ratio: float,
) -> np.ndarray:
    """Rows of the base's weight, given as stored and flat, with left @ right added, flat and in fp64.

    whole, other: rows that the adapter has in place of the base's, and their type.
    """
    sum_ = left @ right
    base = widen(stored, dtype).reshape(sum_.shape)
    if whole is None:
        sum_ += base
        return sum_.reshape(-1)
    sum_ += (1 - ratio) * base.astype(np.float64) + ratio * widen(whole, other).reshape(sum_.shape).astype(np.float64)
    return sum_.reshape(-1)


def row_blocks(weight: TensorInfo) -> list[range]:
    """The rows of a weight in ranges of about a million elements."""
    rows, width = weight.shape
    step = max(1, _BLOCK // max(1, width))
    return [range(start, min(start + step, rows)) for start in range(0, rows, step)]


def _check_linear(folder: ModelFolder) -> None:
    config = folder.config
    if str(config.get("peft_type", "")).upper() != "LORA":
        raise UserError(f"{folder.name} is an adapter of type {config.get('peft_type')!r}; allowed is LORA.")
    if config.get("use_dora") or any("lora_magnitude_vector" in name for name in folder.tensors):
        raise UserError(f"{folder.name} is a DoRA adapter, which is not linear in B: {_MERGE_FIRST}")
    if config.get("init_lora_weights") not in _PLAIN_STARTS:
        start = config["init_lora_weights"]
        changed = f"{folder.name} has init_lora_weights {start!r}, which changes theta-0"
        raise UserError(f"{changed}: {_MERGE_FIRST}")
    odd = next((name for name in folder.tensors if "trainable_tokens" in name), None)
    if odd:
        raise UserError(f"{folder.name} trains single tokens ({odd}): {_MERGE_FIRST}")


def _add(adapter: Adapter, pair: LowRank, fan_in_fan_out: bool) -> None:
    """Note in `adapter` which of the base's weights the pair is added to."""
    target = adapter.targets[pair.a.name]
    weight, shape = adapter.base[target], (pair.b.shape[0], pair.a.shape[1])
    fits = {weight.shape, adapter.whole.get(target, weight).shape} <= {shape, shape[::-1]}
    if not fits or weight.dtype not in STORAGE:
        raise UserError(
            f"{pair.module} of the adapter has shape {shape}, but {target} of theta-0 has {weight.shape} of {weight.dtype}."
        )
    square = shape[0] == shape[1]
    adapter.added[target] = (pair, (pair.embedding or fan_in_fan_out) if square else weight.shape != shape)


def _pair(module: str, sides: dict[str, tuple[TensorInfo, bool]], rank: Any, alpha: Any, config: dict) -> LowRank:
    (a, embedding), (b, _) = sides["A"], sides["B"]
    numbers = type(rank) is int and rank > 0 and isinstance(alpha, (int, float)) and abs(alpha) < 1e30
    if not numbers or a.shape[:1] != (rank,) or len(b.shape) < 2 or b.shape[1] != rank:
        raise UserError(
            f"The adapter's {module} has shapes {a.shape} and {b.shape}, which do not fit "
            f"r {rank!r} and lora_alpha {alpha!r} in adapter_config.json."
        )
    return LowRank(module, a, b, alpha / (math.sqrt(rank) if config.get("use_rslora") else rank), embedding)


def _module_name(name: str) -> str:
    return re.sub(r"\.(base_layer|modules_to_save|original_module)(?=\.|$)", "", plain_name(name))


def _base_name(name: str, tensors: Tensors, base: ModelFolder, within: str | None = None) -> str:
    """The base's tensor of this name, with or without the outermost module.

    within: the start of names of tensors that will do too, as will any experts of the layer; then `name` itself is returned.
    Raises UserError if there is none.
    """
    if name in tensors or (within and any(own.startswith(within) for own in tensors)):
        return name
    found = [own for own in tensors if name.endswith(f".{own}") or own.endswith(f".{name}")]
    if len(found) == 1:
        return found[0]
    experts = re.match(r"(.+?\.\d+\.)(?:.*\.)?experts\.", name)  # fused in memory, often not on the disk
    if within and experts and any(own.startswith(experts[1]) and ".experts." in own for own in tensors):
        return name
    raise UserError(f"The adapter acts on {name}, which theta-0 ({base.path}) does not have.")


def _factor(tensor: TensorInfo) -> np.ndarray:
    """A two-dimensional factor in fp64."""
    if len(tensor.shape) != 2:
        raise UserError(f"{tensor.name} has shape {tensor.shape} with --full; allowed are two dimensions.")
    stored = as_floats(tensor.read(), tensor.dtype)
    if not all_finite(stored, tensor.dtype):
        raise UserError(f"{tensor.name} of theta ({tensor.path}) holds NaN or Inf.")
    return widen(stored, tensor.dtype).astype(np.float64).reshape(tensor.shape)
