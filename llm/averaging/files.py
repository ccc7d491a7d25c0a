"""Averaging two model folders into a third, tensor by tensor, without ever holding a model in memory.

Memory: a few blocks of some megabytes each, whatever the size of the model or of its largest tensor.
"""

import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from glob import escape
from pathlib import Path
from threading import Event

import numpy as np

from llm.averaging import adapters
from llm.averaging.arithmetic import BLOCK, STORAGE, all_finite, as_floats, mix
from llm.averaging.card import write_card
from llm.averaging.compatible import check_tokenizers, pair
from llm.averaging.folders import ModelFolder, read_folder
from llm.averaging.recipe import Recipe, Resolved, resolve
from llm.averaging.safetensors_files import TensorInfo
from llm.averaging.writing import Job, aside, hash_files, write_weights
from llm.errors import UserError

_JOB = 1 << 18  # values
_KINDS = (".json", ".txt", ".model", ".jinja", ".py", ".tiktoken", ".spm")  # copied beside the weights
_RESULTS = ("trainer_state.json", "averaging.json", "all_results.json", "train_results.json")
_NOTICES = ("LICENSE", "LICENCE", "NOTICE", "USE_POLICY")
_TOKENIZER = ("tokenizer", "vocab.", "merges.", "special_tokens", "added_tokens", "chat_template", "spiece")


@dataclass(frozen=True)
class Report:
    """What `average_files` did.

    groups: label -> ratio; tensors: name -> (label, ratio, shape); notes: sentences.
    hashes: "theta_0", "theta", "out" -> file name -> SHA-256.
    """

    kind: str
    groups: dict[str, float]
    grouping: dict[str, object] | None
    tensors: dict[str, tuple[str, float, tuple[int, ...]]]
    notes: list[str]
    hashes: dict[str, dict[str, str]]


@dataclass(frozen=True)
class _Plan:
    """All that is decided before a byte is written: whose layout the output has, how its tensors are made."""

    kind: str
    layout: ModelFolder
    resolved: Resolved
    jobs: Callable[[str], Iterator[Job]]
    notes: list[str]


def average_files(
    theta_0: Path,
    theta: Path,
    out: Path,
    recipe: Recipe,
    *,
    union: bool = False,
    merge: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Report:
    """Write (1 - ratio) theta_0 + ratio theta as the new model folder `out`, whole or not at all.

    theta_0, theta: local folders with safetensors weights; theta may be a LoRA adapter on theta_0, and then
    `out` is an adapter too unless `merge` is set.
    union: allow different vocabulary sizes: shared rows are averaged, theta's own are kept.
    progress: called with bytes written so far and in all.
    Raises UserError, with nothing written, for anything that is missing, damaged or does not fit.
    """
    base, other = read_folder(theta_0, "theta-0"), read_folder(theta, "theta")
    if base.is_adapter:
        raise UserError(f"theta-0 is {str(theta_0)!r}, which is an adapter; give the model it belongs to.")
    if merge and not other.is_adapter:
        raise UserError(f"merge is set, but theta is {str(theta)!r}, which is no adapter.")
    if other.is_adapter:
        plan = _adapter_plan(base, other, recipe, merge)
    else:
        plan = _model_plan(base, other, recipe, union)
    leftovers = sorted(file.name for file in out.parent.glob(f".{escape(out.name)}.partial-*"))
    with aside(out, plan.layout.weight_bytes) as folder:
        hashes = _write(plan, base, other, folder, progress)
        sources = [other, base] if merge else [other]
        notes = plan.notes + _copy_rest(sources, base, folder)
        notes += [f"{name} beside it is what a killed run has left." for name in leftovers]
        resolved = plan.resolved
        report = Report(plan.kind, resolved.groups, resolved.grouping, _covered(plan), notes, hashes)
        write_card(folder, report, base, other)
    return report


def _model_plan(base: ModelFolder, other: ModelFolder, recipe: Recipe, union: bool) -> _Plan:
    pairing = pair(base, other, union)
    resolved = resolve(recipe, other.tensors, pairing.tied)
    tensors = other.tensors

    def jobs(name: str) -> Iterator[Job]:
        left, right, ratio = pairing.theta_0[name], tensors[name], resolved.ratios[name]
        shared = min(left.elements, right.elements)
        for start in range(0, shared, _JOB):
            yield partial(_mixed, left, right, ratio, start, min(start + _JOB, shared))
        for start in range(shared, right.elements, _JOB):
            yield partial(_finite, right, "theta", start, min(start + _JOB, right.elements))

    notes = pairing.notes + [
        f"{len(mixed)} tensors are {kinds[0]} in theta-0 and {kinds[1]} in theta: written as {kinds[1]}."
        for kinds, mixed in _mixed_types(pairing.theta_0, tensors).items()
    ]
    return _Plan("model", other, resolved, jobs, notes)


def _adapter_plan(base: ModelFolder, other: ModelFolder, recipe: Recipe, merge: bool) -> _Plan:
    adapter = adapters.read_adapter(base, other)
    notes = check_tokenizers(base.path, other.path)
    names = [*base.tensors, *(set(adapter.targets.values()) - base.tensors.keys())]
    resolved = resolve(recipe, names, {})
    if merge:
        if adapter.unmergeable:
            raise UserError(f"merge is set, but {adapter.unmergeable[0]} of the adapter belongs to no single "
                            "tensor of theta-0; average it without --merge.")  # fmt: skip
        jobs = partial(_merging_jobs, base, adapter, resolved.ratios)
        return _Plan("merged adapter", base, resolved, jobs, notes)
    own = {name: resolved.ratios[target] for name, target in adapter.targets.items()}
    labels = {name: resolved.assignment[target] for name, target in adapter.targets.items()}
    tensors = other.tensors

    def jobs(name: str) -> Iterator[Job]:
        tensor = tensors[name]
        target = adapter.targets[name]
        whole = base.tensors[target] if adapter.whole.get(target) is tensor else None
        for start in range(0, tensor.elements, _JOB):
            stop = min(start + _JOB, tensor.elements)
            if whole is not None:
                yield partial(_mixed, whole, tensor, own[name], start, stop)
            elif adapters.scales_with_ratio(name):
                yield partial(_scaled, tensor, own[name], start, stop)
            else:
                yield partial(_finite, tensor, "theta", start, stop)

    return _Plan("adapter", other, Resolved(resolved.groups, labels, own, resolved.grouping), jobs, notes)


def _merging_jobs(
    base: ModelFolder, adapter: adapters.Adapter, ratios: dict[str, float], name: str
) -> Iterator[Job]:
    """Jobs for one of theta_0's tensors with the adapter added at its ratio."""
    weight, ratio = base.tensors[name], ratios[name]
    if name in adapter.added and ratio:
        left, right = adapters.factors(*adapter.added[name], ratio)
        for rows in adapters.row_blocks(weight):
            yield partial(_merged, weight, left, right, rows)
        return
    whole = adapter.whole.get(name)
    for start in range(0, weight.elements, _JOB):
        stop = min(start + _JOB, weight.elements)
        if whole is None:
            yield partial(_finite, weight, "theta-0", start, stop)
        else:
            yield partial(_mixed, weight, whole, ratio, start, stop)


def _mixed(left: TensorInfo, right: TensorInfo, ratio: float, start: int, stop: int) -> np.ndarray:
    """Values `start` to `stop` of the average, in theta's type; whole numbers must be the same in both."""
    if right.dtype not in STORAGE:
        values = right.read(start, stop)
        if not np.array_equal(values, left.read(start, stop)):
            raise UserError(f"{right.name}, of type {right.dtype}, differs and cannot be averaged.")
        return values
    out, done = np.empty(stop - start, STORAGE[right.dtype]), 0
    lows, highs = _blocks(left, "theta-0", start, stop), _blocks(right, "theta", start, stop)
    for low, high in zip(lows, highs, strict=True):
        block = mix(low, left.dtype, high, right.dtype, ratio)
        if left.dtype != right.dtype and not all_finite(block, right.dtype):
            raise UserError(f"{right.name} of theta-0 has values too large for theta's type, {right.dtype}.")
        out[done : done + len(block)] = block
        done += len(block)
    return out


def _blocks(tensor: TensorInfo, owner: str, start: int, stop: int) -> Iterator[np.ndarray]:
    """Values `start` to `stop` as stored, in small blocks; UserError if one is NaN or Inf."""
    for bits in tensor.blocks(start, stop, BLOCK):
        values = as_floats(bits, tensor.dtype)
        if not all_finite(values, tensor.dtype):
            raise UserError(f"{tensor.name} of {owner} ({tensor.path}) holds NaN or Inf.")
        yield values


def _finite(tensor: TensorInfo, owner: str, start: int, stop: int) -> np.ndarray:
    """Values `start` to `stop` as stored; UserError if one is NaN or Inf."""
    if tensor.dtype not in STORAGE:
        return tensor.read(start, stop)
    return np.concatenate(list(_blocks(tensor, owner, start, stop)))


def _scaled(tensor: TensorInfo, ratio: float, start: int, stop: int) -> np.ndarray:
    return adapters.scaled(_finite(tensor, "theta", start, stop), tensor.dtype, ratio)


def _merged(weight: TensorInfo, left: np.ndarray, right: np.ndarray, rows: range) -> np.ndarray:
    stored, values = adapters.merged_rows(weight, left, right, rows)
    for block, sentence in ((stored, "holds NaN or Inf"), (values, f"and the adapter exceed {weight.dtype}")):
        if not all_finite(block, weight.dtype):
            raise UserError(f"{weight.name} of theta-0 ({weight.path}) {sentence}.")
    return values


def _write(
    plan: _Plan, base: ModelFolder, other: ModelFolder, folder: Path, progress: Callable[[int, int], None]
) -> dict[str, dict[str, str]]:
    """Write weights while hashing both sources; "theta_0", "theta", "out" -> file name -> SHA-256."""
    stop, done = Event(), 0

    def count(size: int) -> None:
        nonlocal done
        done += size
        progress(done, plan.layout.weight_bytes)

    with ThreadPoolExecutor(2) as pool:
        hashing = {
            key: pool.submit(hash_files, [file.path for file in source.files], stop)
            for key, source in (("theta_0", base), ("theta", other))
        }
        try:
            written = write_weights(plan.layout.files, folder, plan.jobs, count)
        except BaseException:
            stop.set()
            raise
        if plan.layout.index is not None:
            shutil.copyfile(plan.layout.index, folder / plan.layout.index.name)
        return {key: future.result() for key, future in hashing.items()} | {"out": written}


def _copy_rest(sources: list[ModelFolder], base: ModelFolder, folder: Path) -> list[str]:
    """Configuration, tokenizer, chat template, licence from the first source that has each; notes."""
    merged = len(sources) > 1
    for source in sources:
        for file in sorted(source.path.iterdir()):
            wanted = file.name.startswith(_NOTICES) or (file.suffix in _KINDS and file.name not in _RESULTS)
            weights = file.name.endswith(".index.json") or (merged and file.name == "adapter_config.json")
            if file.is_file() and wanted and not weights and not (folder / file.name).exists():
                shutil.copyfile(file, folder / file.name)
        templates = source.path / "chat_templates"
        if templates.is_dir() and not (folder / templates.name).exists():
            shutil.copytree(templates, folder / templates.name)
    if any(file.name.startswith(_TOKENIZER) for file in folder.iterdir()):
        return []
    own = [file for file in sorted(base.path.iterdir()) if file.name.startswith(_TOKENIZER)]
    for file in own:
        shutil.copyfile(file, folder / file.name)
    return ["The tokenizer is theta-0's: theta has none."] if own else ["Neither model has a tokenizer."]


def _covered(plan: _Plan) -> dict[str, tuple[str, float, tuple[int, ...]]]:
    """Tensor of the output -> (label, ratio, shape)."""
    resolved = plan.resolved
    return {n: (resolved.assignment[n], resolved.ratios[n], t.shape) for n, t in plan.layout.tensors.items()}


def _mixed_types(
    theta_0: dict[str, TensorInfo], theta: dict[str, TensorInfo]
) -> dict[tuple[str, str], list[str]]:
    """(type in theta_0, type in theta) -> names, where they differ."""
    found: dict[tuple[str, str], list[str]] = {}
    for name, tensor in theta.items():
        if theta_0[name].dtype != tensor.dtype:
            found.setdefault((theta_0[name].dtype, tensor.dtype), []).append(name)
    return found
